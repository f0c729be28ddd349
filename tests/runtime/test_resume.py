"""N steps equal k steps, a kill -9, and N - k steps, bit for bit on the CPU."""

import csv
import importlib
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from gamengen.model.denoiser import load_denoiser
from gamengen.runtime import output
from stages import train
from tests.tiny import params, write_params

ROOT = Path(__file__).parents[2]
SCHEDULE = {"steps": 30, "log_every": 2, "checkpoint_every": 4}
# What tiny.yaml leaves out is resumed too.
LPIPS = [{"backbone": "alex", "weight": 0.3, "share": 0.5, "crop": 32}]
ALSO = {"autoencoder": {"perceptual": LPIPS}, "decoder": {"perceptual": LPIPS}}


def changes_of(stage: str) -> dict[str, Any]:
    return {"schedule": SCHEDULE} | ALSO.get(stage, {})


def run(stage: str, inputs: list[Path], out: Path) -> None:
    """The stage to its end, in this process."""
    module = importlib.import_module(f"stages.{stage}")
    module.main(params(module.Params, stage, **changes_of(stage)), *inputs, out)


def start(stage: str, inputs: list[Path], out: Path) -> subprocess.Popen[str]:
    """The stage as a process of its own, in a folder with a params.yaml of its own."""
    write_params(out.parent / "params.yaml", {stage: changes_of(stage)})
    threads = str(torch.get_num_threads())  # as many as here, or sums are added up otherwise
    return subprocess.Popen(
        [sys.executable, "-m", f"stages.{stage}", *map(str, [*inputs, out])],
        cwd=out.parent,
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": threads},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def finish(process: subprocess.Popen[str]) -> str:
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 0, output
    return output


def kill_after_a_checkpoint(process: subprocess.Popen[str], out: Path) -> None:
    while not list(out.parent.glob(f".resume/{out.name}-*/checkpoint.safetensors")):
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.005)
    process.kill()
    process.communicate()
    assert not out.exists(), "an interrupted stage leaves no output"


@pytest.mark.parametrize(
    ("stage", "inputs"),
    [
        ("autoencoder", ["episodes"]),
        ("train", ["latents", "autoencoder"]),
        ("decoder", ["episodes", "latents", "autoencoder"]),
        ("distill", ["latents", "denoiser"]),
    ],
)
def test_killed_and_resumed_is_uninterrupted(
    stage: str, inputs: list[str], made: Path, tmp_path: Path
) -> None:
    paths = [made / name for name in inputs]
    outs = [tmp_path / name / "out" for name in ("whole", "killed")]
    for out in outs:
        out.parent.mkdir()
    run(stage, paths, outs[0])
    kill_after_a_checkpoint(start(stage, paths, outs[1]), outs[1])
    assert "resumed at step" in finish(start(stage, paths, outs[1]))
    whole, killed = (load_file(out / "diffusion_pytorch_model.safetensors") for out in outs)
    assert whole.keys() == killed.keys()
    for name, tensor in whole.items():
        assert torch.equal(tensor, killed[name]), name
    curves = [list(csv.DictReader((out / "loss.csv").read_text().splitlines())) for out in outs]
    assert curves[0] == curves[1]
    assert [int(row["step"]) for row in curves[0]] == list(range(2, 31, 2))
    assert not list(outs[1].parent.glob(".resume/*")), "checkpoints go when the output is whole"


def test_an_unfinished_training_has_an_average_to_look_at(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Here one that has done all its steps, and could not write its output."""
    paths = made / "latents", made / "autoencoder", tmp_path / "out"

    def full(*_: object) -> None:
        raise OSError("disk full")

    with monkeypatch.context() as patched:
        patched.setattr(output, "atomic_output", full)
        with pytest.raises(OSError, match="disk full"):
            train.main(params(train.Params, "train"), *paths)
    (average,) = tmp_path.glob(".resume/out-*/average")
    unfinished = load_denoiser(average).state_dict()
    train.main(params(train.Params, "train"), *paths)
    for name, tensor in load_denoiser(tmp_path / "out").state_dict().items():
        torch.testing.assert_close(unfinished[name].float(), tensor, atol=1e-3, rtol=1e-3)
