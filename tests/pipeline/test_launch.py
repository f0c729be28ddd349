"""launch/accelerate starts a process, several, or XLA, as the environment says."""

import os
import subprocess
from pathlib import Path

from tests.conftest import call, copy_project
from tests.pipeline.test_repro import STAGES, ran
from tests.tiny import ROOT

PROBE = """
import os
import stages
import torch
from gamengen.runtime import device

def cli():
    accelerator = device.start()
    where, rank = accelerator.device, accelerator.process_index
    mean = float(device.average(torch.tensor(float(rank), device=where), accelerator))
    told = f"probe {where.type} {rank} of {accelerator.num_processes} {mean}\\n"
    os.write(1, told.encode())  # in one piece: the processes share their output
    device.stop()

if __name__ == "__main__":
    cli()
"""


def probe(folder: Path, environment: dict[str, str]) -> list[str]:
    (folder / "probe.py").write_text(PROBE)
    settings = {"PYTHONPATH": str(ROOT)} | environment
    log = call([str(ROOT / "launch/accelerate"), "-m", "probe"], folder, settings)
    assert "were not passed to `accelerate launch`" not in log
    return sorted(line for line in log.splitlines() if line.startswith("probe"))


def test_one_process_without_xla_though_torch_xla_is_installed(
    tmp_path: Path, environment: dict[str, str]
) -> None:
    assert probe(tmp_path, environment) == ["probe cpu 0 of 1 0.0"]


def test_two_processes_know_of_each_other(tmp_path: Path, environment: dict[str, str]) -> None:
    two = environment | {"LAUNCH": str(ROOT / "launch/two.yaml")}
    assert probe(tmp_path, two) == ["probe cpu 0 of 2 0.5", "probe cpu 1 of 2 0.5"]


def test_two_processes_share_every_stage(tmp_path: Path, environment: dict[str, str]) -> None:
    copy_project(tmp_path)
    log = call(["dvc", "repro"], tmp_path, environment | {"LAUNCH": "launch/two.yaml"})
    assert ran(log) == STAGES
    stores = {store.name.split("-game")[0] for store in tmp_path.glob("data/*/*.zarr")}
    assert stores == {"process0", "process1", "rank-000.zarr", "rank-001.zarr"}


def test_xla_when_pjrt_device_is_set(tmp_path: Path, environment: dict[str, str]) -> None:
    xla = {"PJRT_DEVICE": "CPU", "LAUNCH": str(ROOT / "launch/tpu.yaml")}
    assert probe(tmp_path, environment | xla) == ["probe xla 0 of 1 0.0"]


def test_a_launch_file_that_is_not_there_is_named(environment: dict[str, str]) -> None:
    done = subprocess.run(
        ["launch/accelerate", "-m", "stages.encode"],
        cwd=ROOT,
        env=environment | {"LAUNCH": "launch/nope.yaml"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "LAUNCH=launch/nope.yaml: no such file; there are: launch/tpu.yaml" in done.stderr


def test_launcher_is_a_program() -> None:
    assert os.access(ROOT / "launch/accelerate", os.X_OK)
