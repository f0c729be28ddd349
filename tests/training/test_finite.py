"""A training whose numbers are no longer finite stops, says so, and publishes nothing."""

from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

from gamengen.model.denoiser import load_denoiser
from gamengen.runtime.errors import InputError
from tests.tiny import params

STAGES = {
    "autoencoder": ["episodes"],
    "train": ["latents", "autoencoder"],
    "decoder": ["episodes", "latents", "autoencoder"],
    "distill": ["latents", "denoiser"],
}
SCHEDULE = {"steps": 40, "log_every": 10, "checkpoint_every": 1}
RATE = {"learning_rate": {"peak": 0.1, "warmup_steps": 2, "decay_from": 1.0}}
TOO_HIGH = 1e4  # what params.yaml may not say


def refused(stage: str, made: Path, out: Path, **changes: Any) -> str:
    module = import_module(f"stages.{stage}")
    optimizers = ["generator", "fake_score"] if stage == "distill" else ["optimizer"]
    settings = params(module.Params, stage, **dict.fromkeys(optimizers, RATE), **changes)
    for name in optimizers:
        rate = getattr(settings, name).learning_rate
        object.__setattr__(rate, "peak", TOO_HIGH)
    with pytest.raises(InputError) as caught:
        module.main(settings, *(made / name for name in STAGES[stage]), out)
    assert not out.exists(), "nothing is published"
    return str(caught.value)


@pytest.mark.parametrize("stage", STAGES)
def test_a_training_stops_at_the_first_number_that_is_not_finite(
    stage: str, made: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    message = refused(stage, made, out, schedule=SCHEDULE)
    assert "are not finite" in message
    assert "learning_rate.peak" in message
    (kept,) = tmp_path.glob(".resume/out-*/checkpoint.safetensors")
    for name, tensor in load_file(kept).items():
        assert tensor.isfinite().all(), name
    assert f"checkpoint of step {kept_step(kept)} stays" in message
    for row in (kept.parent / "loss.csv").read_text().splitlines()[1:]:
        assert "nan" not in row
        assert "inf" not in row
    if stage == "train":
        load_denoiser(kept.parent / "average")


def test_losses_are_looked_at_before_the_output_is_made(made: Path, tmp_path: Path) -> None:
    """Though no log and no checkpoint fell due after it."""
    schedule = {"steps": 8, "log_every": 1000, "checkpoint_every": 1000}
    message = refused("train", made, tmp_path / "out", schedule=schedule)
    assert "no checkpoint yet" in message
    assert "are not finite" in message


def kept_step(path: Path) -> str:
    from safetensors import safe_open

    with safe_open(path, "pt") as file:
        return str(file.metadata()["step"])
