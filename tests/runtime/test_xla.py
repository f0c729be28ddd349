"""Every stage a TPU would run, under torch-xla on the CPU, in a process of its own."""

import csv
from pathlib import Path

import numpy as np
import pytest

from gamengen.data.latents import Latents
from tests.artifacts import make_denoiser
from tests.conftest import on_xla

# Of one resolution: it is compiled in half the time, and train's has two.
SMALL = {"kind": "small", "widths": [8], "blocks": 1, "head_dim": 8, "embedding_dim": 16}


@pytest.fixture(scope="session")
def inputs_of(made: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Path]]:
    """What each stage reads."""
    names = ("episodes", "latents", "autoencoder")
    episodes, latents, autoencoder = (made / name for name in names)
    teacher = make_denoiser(tmp_path_factory.mktemp("xla") / "teacher", latents, network=SMALL)
    return {
        "encode": [episodes, autoencoder],
        "train": [latents, autoencoder],
        "decoder": [episodes, latents, autoencoder],
        "distill": [latents, teacher],
    }


@pytest.mark.parametrize("stage", ["train", "decoder", "distill"])
def test_training_on_xla(stage: str, inputs_of: dict[str, list[Path]], tmp_path: Path) -> None:
    out = tmp_path / "out"
    told = on_xla("tests.xla_stage", stage, *map(str, [*inputs_of[stage], out]))
    assert told["device"].startswith("xla")
    assert told["fallbacks"] == []
    assert told["starts"] == [0, 6], "resumed where it was interrupted"
    assert told["reductions"] == [1], "of every gradient, whichever network's, one in every step"
    first, second = told["compiles"][:6], told["compiles"][6:]
    assert first[3:] == [first[3]] * 3, f"recompiled after warm-up: {first}"
    assert second[2:] == [second[2]] * 2, f"recompiled after warm-up: {second}"
    with (out / "loss.csv").open() as file:
        column = "fake_score_loss" if stage == "distill" else "loss"
        losses = [float(row[column]) for row in csv.DictReader(file)]
    assert len(losses) == 10
    assert np.isfinite(losses).all()
    if stage == "decoder":  # the others' losses change more with what is drawn in so few steps
        assert np.mean(losses[-3:]) < np.mean(losses[:3])
    assert (out / "diffusion_pytorch_model.safetensors").exists()


def test_encoding_on_xla_gives_the_latents_of_the_cpu(
    made: Path, inputs_of: dict[str, list[Path]], tmp_path: Path
) -> None:
    out = tmp_path / "latents"
    told = on_xla("tests.xla_stage", "encode", *map(str, [*inputs_of["encode"], out]))
    assert told["fallbacks"] == []
    ours, theirs = Latents(out), Latents(made / "latents")
    for entry, twin in zip(ours.entries, theirs.entries, strict=True):
        assert entry.id == twin.id
        np.testing.assert_allclose(
            ours.latents(entry, 0, entry.length),
            theirs.latents(twin, 0, twin.length),
            atol=2e-3,
        )
