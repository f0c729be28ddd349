"""Every measure puts what it should on top: the real game, it through the autoencoder, a held frame
and a random network, on held turns of the real game."""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from gamengen.data.episodes import Episodes
from gamengen.data.latents import Latents
from gamengen.evaluation import actions_read, autoregressive, enemies, fvd, summary
from gamengen.evaluation.heldout import Heldout
from gamengen.evaluation.inverse_dynamics import InverseDynamicsParams, learn
from gamengen.evaluation.metrics import PictureDistance
from gamengen.evaluation.player import teachers
from gamengen.model.autoencoder import Autoencoder
from gamengen.model.denoiser import load_denoiser
from gamengen.model.network import save_model
from gamengen.runtime import device
from stages import evaluate
from tests.artifacts import awake, make_denoiser, make_latents
from tests.doom import record

DECODER = Path(__file__).parents[2] / "data/pretrained/decoder"
FRAMES, METRICS = 4, ("psnr_pooled", "psnr", "lpips_alex", "lpips_vgg")
CPU = torch.device("cpu")


class Eye(nn.Module):
    """Answers the calls of I3D; sees coarse pictures and how they change."""

    def forward(
        self, x: Tensor, rescale: bool = False, resize: bool = False, return_features: bool = False
    ) -> Tensor:
        coarse = nn.functional.avg_pool3d(x, [8, 40, 40])
        change = nn.functional.avg_pool3d((x[:, :, 1:] - x[:, :, :-1]).abs(), [5, 60, 80])
        return torch.cat([coarse.flatten(1), change.flatten(1)], 1)


@pytest.fixture(scope="module")
def paths(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Turns held for 8 frames; a denoiser that was never trained, and does not begin with the last
    frame: its change, from a random network, is the last frame with some noise."""
    folder = tmp_path_factory.mktemp("rank")
    splits = ["train", *["test"] * 4, *["train"] * 7]
    record(folder / "episodes", splits, length=40, held=8, only="TURN")  # type: ignore[arg-type]
    latents = make_latents(folder / "latents", folder / "episodes", DECODER)
    denoiser = make_denoiser(folder / "denoiser", latents, residual_std=None, sampling={"steps": 1})
    save_model(awake(load_denoiser(denoiser)), denoiser)
    return [folder / "episodes", latents, DECODER, denoiser, denoiser]


@pytest.fixture(scope="module")
def told(paths: list[Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    out = tmp_path_factory.mktemp("ranked")
    torch.jit.script(Eye()).save(str(out / "eye.pt"))
    params = {
        "split": "test",
        "seed": 0,
        "batch_size": 4,
        "teacher_forced": {"frames": 6, "teacher_steps": [1]},
        "autoregressive": {"rollouts": 2, "frames": FRAMES, "teacher_steps": [1], "shown": 1},
        "actions": {"starts": 4, "frames": 6},
        "inverse_dynamics": {
            "sees": 2,
            "frames": 330,
            "steps": 2,
            "batch_size": 16,
            "learning_rate": 2e-3,
        },
        "enemies_read": {"frames": 330, "steps": 80, "batch_size": 16, "learning_rate": 6e-3},
        "status_bar": {"frames": 330},
        "room": {"starts": 2, "away": 6},
        "long_play": {"rollouts": 4, "frames": 64, "every": 8},
        "fvd": {
            "weights": str(out / "eye.pt"),
            "sha256": hashlib.sha256((out / "eye.pt").read_bytes()).hexdigest(),
            "videos": 4,
        },
    }
    evaluate.main(evaluate.Params(**params), *paths, out / "metrics.json", out / "report")
    page = (out / "report/index.html").read_text()
    assert "that row says nothing of obedience" in page
    return json.loads((out / "metrics.json").read_text())


def ranked(metric: str, best: float, middle: float, worst: float) -> bool:
    return best > middle > worst if metric.startswith("psnr") else best < middle < worst


@pytest.mark.parametrize("metric", METRICS)
def test_pictures(told: dict[str, Any], metric: str) -> None:
    forced, played = told["teacher_forced"]["moving"], told["autoregressive"]
    assert forced["frames"] == 6, "each turns"
    names = ("autoencoder", "copy_last", "steps_1")
    assert ranked(metric, *(forced[name][metric] for name in names))
    assert ranked(metric, *(played[name][f"{metric}_last"] for name in names))
    gain = forced["steps_1"][f"{metric}_over_copy_last"]
    assert (gain < 0) == metric.startswith("psnr"), "a random network gains nothing"


def test_enemies(told: dict[str, Any]) -> None:
    left = told["enemies"][f"after_{FRAMES}"]
    assert 1 > left["autoencoder"] > left["copy_last"]
    assert left["autoencoder"] > 2 * abs(left["steps_1"])


def test_enemies_read(told: dict[str, Any]) -> None:
    read = told["enemies_read"]
    assert read["correlation"] > 0.5
    found = read[f"frames_2_to_{FRAMES}"]
    # One is right; a random network's noise looks like more enemies than there ever are.
    assert abs(found["autoencoder"] - 1) < 0.5 < abs(found["steps_1"] - 1)
    minute = told["long_play"]
    assert minute["real_again"]["enemies_4"] > 0.5


def test_actions(told: dict[str, Any]) -> None:
    for action, side in (("TURN_LEFT", 1), ("TURN_RIGHT", -1)):
        found = told["actions"][action]
        assert side * found["shift_real"] > 5
        assert found["alike_real"] >= found["alike_autoencoder"] > found["alike_teacher"]
        assert found["alike_copy_last"] == 0
    # A held frame wins here: standing still says nothing of obedience.
    assert told["actions"]["NOTHING"]["alike_copy_last"] == 1


def test_actions_read(paths: list[Path], tmp_path: Path) -> None:
    episodes, latents, decoder, denoiser, _ = paths
    held = Heldout(Episodes(episodes), Latents(latents), Autoencoder.load(decoder), 3, CPU, "test")
    few = InverseDynamicsParams(sees=2, frames=330, steps=60, batch_size=16, learning_rate=3e-3)
    net = learn(held.episodes, few, 0, tmp_path, device.start())
    models = teachers(load_denoiser(denoiser), [1])
    places = [(entry, frame) for entry in held.entries for frame in (3, 12, 21, 30)]
    videos = autoregressive.rollouts(held, models, places, FRAMES, lambda _: None, 0)
    table = {"episode": np.array([held.number(place) for place in places])}
    table |= actions_read.rows(net, held, places, videos)
    names = ["copy_last", "steps_1", "autoencoder"]
    found = actions_read.summary(table, names, len(held.episodes.game.actions))
    for score in ("accuracy", "macro_f1"):
        real, copied, random, through, most = (
            found[name][score] for name in ("real", *names, "majority")
        )
        by_chance = 2 / len(table["episode"]) / FRAMES  # two frames, which any reader may guess
        assert real + by_chance >= through > max(copied, random, most)


def test_status_bar(told: dict[str, Any]) -> None:
    found = told["status_bar"]["SELECTED_WEAPON_AMMO"]
    assert found["real"] > 0.95
    assert found["copy_last"] == 0, "only numbers that change are asked for"
    assert found["real"] > max(found["autoencoder"], found["steps_1"])


@pytest.mark.parametrize("metric", METRICS)
def test_room(told: dict[str, Any], metric: str) -> None:
    found = {name: value for name, value in told["room"].items() if name != "starts"}
    back = {name: value[f"back_{metric}"] for name, value in found.items()}
    away = {name: value[f"away_{metric}"] for name, value in found.items()}
    # Enemies move meanwhile, which the autoencoder's blur forgives: the two are about alike.
    sign = 1 if metric.startswith("psnr") else -1
    for name in ("real", "autoencoder"):
        assert sign * back[name] > sign * back["teacher"]
        assert sign * back[name] > sign * away[name]
    # A held frame wins here: it is the start. But it never turned away.
    assert back["copy_last"] == away["copy_last"]
    assert back["copy_last"] == (58.92 if metric.startswith("psnr") else 0)


def test_long_play(told: dict[str, Any]) -> None:
    found = told["long_play"]
    for quarter in ("frechet_1", "frechet_4"):
        other, held, random = (found[n][quarter] for n in ("real_again", "copy_last", "teacher"))
        assert other < held < random
    # A held frame wins here: standing still drifts nowhere.
    assert found["copy_last"]["usual_brightness"] == 1 > found["teacher"]["usual_contrast"]


@pytest.mark.parametrize("length", fvd.LENGTHS)
def test_fvd(told: dict[str, Any], length: int) -> None:
    found = told[f"fvd_{length}"]
    assert 0 < found["autoencoder"] < min(found["copy_last"], found["steps_1"])


def test_the_real_game_is_at_no_distance_from_itself(paths: list[Path]) -> None:
    episodes, latents, decoder, *_ = paths
    held = Heldout(Episodes(episodes), Latents(latents), Autoencoder.load(decoder), 3, CPU, "test")
    places = [(entry, 9) for entry in held.entries[:2]]
    seen = enemies.sightings(held.episodes, held.episodes.of("test"))
    real = torch.stack([held.pixels(place, 0, FRAMES) for place in places])
    videos = {"real": real, "copy_last": real}
    table = autoregressive.measure(videos, held, places, PictureDistance(CPU))
    table |= autoregressive.enemies(videos, places, seen)
    found = summary.autoregressive(table, ["copy_last"])["copy_last"]
    assert found["psnr"] == found["psnr_pooled"] == 58.92
    assert found["lpips_alex"] == found["lpips_vgg"] == 0
    assert summary.enemies(table, ["copy_last"])["after_1"]["copy_last"] == 1
