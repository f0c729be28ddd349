"""Several processes have one and the same network, stop together and wait for each other."""

import json
import subprocess
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
import torch
from safetensors.torch import load_file

from gamengen.runtime import device
from tests.processes import INTERRUPT_AFTER, STAGES
from tests.tiny import ROOT, write_params

Told = list[dict[str, Any]]


@pytest.fixture(scope="module")
def folder(
    made: Path, environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """What two processes left behind."""
    folder = tmp_path_factory.mktemp("processes")
    write_params(folder / "params.yaml", {})
    launched = subprocess.Popen(
        [str(ROOT / "launch/accelerate"), "-m", "tests.processes", str(made), str(folder)],
        cwd=folder,
        env=environment | {"LAUNCH": str(ROOT / "launch/two.yaml"), "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        output, _ = launched.communicate(timeout=600)
    except subprocess.TimeoutExpired:
        launched.terminate()  # it ends its processes, which would outlive it if it were killed
        pytest.fail(f"processes wait for each other: {launched.communicate()[0]}")
    (folder / "output").write_text(output)
    assert len(list(folder.glob("told-*.json"))) == 2, output
    return folder


@pytest.fixture
def told(folder: Path) -> Told:
    """What each process says of itself."""
    return [json.loads((folder / f"told-{rank}.json").read_text()) for rank in (0, 1)]


def assert_same(path: Path, other: Path) -> None:
    """Two files hold the same tensors, bit for bit."""
    ours, theirs = load_file(path), load_file(other)
    assert ours.keys() == theirs.keys()
    for name, tensor in ours.items():
        assert torch.equal(tensor, theirs[name]), name


@pytest.mark.parametrize("stage", STAGES)
def test_every_network_is_the_same_in_every_process(stage: str, folder: Path) -> None:
    first, second = (folder / f"whole/{stage}-{rank}.safetensors" for rank in (0, 1))
    assert_same(first, second)


@pytest.mark.parametrize("stage", STAGES)
def test_stopped_in_one_process_all_stop_and_go_on(stage: str, folder: Path, told: Told) -> None:
    before, after = list(range(INTERRUPT_AFTER)), list(range(INTERRUPT_AFTER, 6))
    for rank, each in enumerate(told):
        assert each[stage] == [
            {"steps": before + after, "ended": True},
            {"steps": before, "ended": False},
            {"steps": after, "ended": True},
        ]
        name = f"{stage}-{rank}.safetensors"
        assert_same(folder / "whole" / name, folder / "interrupted" / name)


def test_accelerators_are_not_asked_in_every_step() -> None:
    asked = Mock(num_processes=2, device=torch.device("cuda"))
    assert not device.any_process(True, asked, waits=False)
    asked.reduce.assert_not_called()


def test_processes_wait_for_days(told: Told) -> None:
    assert device.PATIENCE.days >= 1
    assert [each["patience"] for each in told] == [device.PATIENCE.total_seconds()] * 2


def test_who_waits_for_a_process_that_is_stopped_says_so(folder: Path) -> None:
    said = (folder / "output").read_text()
    assert "error: encode: interrupted; the same command goes on" in said
    assert "error: encode: another process has ended" in said
    assert "RuntimeError" not in said
