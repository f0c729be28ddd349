"""Stage evaluate: the real entry point on tiny artifacts."""

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from gamengen.errors import InputError
from stages import evaluate
from tests.artifacts import make_all, make_autoencoder, make_denoiser, make_episodes, make_latents

SETTINGS: dict[str, Any] = {
    "seed": 0,
    "batch_size": 3,
    "teacher": {"guidance": 1.5, "context_noise": 0.1},
    "student": {"guidance": 1.0, "context_noise": 0.0},
    "lpips_vgg": False,
    "teacher_forced": {"frames": 9, "teacher_steps": [1, 2], "moving_below": 30.0},
    "autoregressive": {"rollouts": 4, "frames": 5, "teacher_steps": [2], "shown": 2},
    "actions": {"starts": 2, "frames": 4, "recorded": 40},
    "fvd": {"weights": None, "sha256": None, "videos": 2},
}


def settings(**changes: Any) -> evaluate.Params:
    return evaluate.Params.model_validate(SETTINGS | changes)


@pytest.fixture(scope="module")
def artifacts(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return make_all(tmp_path_factory.mktemp("artifacts"))


@pytest.fixture(scope="module")
def evaluated(artifacts: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("evaluated")
    evaluate.main(settings(), *artifacts, folder / "metrics.json", folder / "report")
    return folder


def test_all_is_there(evaluated: Path) -> None:
    print((evaluated / "metrics.json").read_text())
