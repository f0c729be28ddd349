"""What the look of a long play says of pictures whose look is known."""

import numpy as np
import pytest
import torch

from gamengen.evaluation import long_play
from gamengen.evaluation.long_play import LOOKS, look, usual


def noise(n: int, mean: float = 128.0, std: float = 30.0, seed: int = 0) -> torch.Tensor:
    values = np.random.default_rng(seed).normal(mean, std, (n, 24, 32, 3))
    return torch.from_numpy(values.clip(0, 255).astype(np.uint8))


def test_looks_in_closed_form() -> None:
    half = torch.zeros(1, 4, 8, 3, dtype=torch.uint8)
    half[:, :, 4:] = torch.tensor([200, 100, 0], dtype=torch.uint8)
    brightness, contrast, red_green, blue_yellow = look(half)[0]
    assert (brightness, contrast) == pytest.approx((50.0, 50.0))
    assert (red_green, blue_yellow) == pytest.approx((50.0, -75.0))


@pytest.mark.parametrize(
    ("shown", "unusual"),
    [
        (noise(50, seed=1), []),
        (noise(50, mean=200), ["brightness"]),
        (noise(50, std=3), ["contrast"]),
        (noise(50) // torch.tensor([1, 2, 1]), ["brightness", "red_green", "blue_yellow"]),
    ],
)
def test_what_drifts_is_named(shown: torch.Tensor, unusual: list[str]) -> None:
    shares = usual(look(noise(2000, seed=2)), look(shown.to(torch.uint8)))
    shares = dict(zip(LOOKS, shares, strict=True))
    for name, share in shares.items():
        if name in unusual:
            assert share < 0.05, name
        elif not unusual:
            assert share > 0.9, name


def test_a_summary_ranks_a_drift_behind_other_real_frames() -> None:
    random = np.random.default_rng(0)
    drift = np.linspace(0, 4, 40)[None, :, None]
    table = {"episode": np.arange(8)}
    for name, shift in (("real", 0.0), ("real_again", 0.0), ("copy_last", 0.0), ("steps_1", drift)):
        rows = random.normal(size=(8, 40, 4)) + shift
        if name == "copy_last":
            rows = rows[:, :1].repeat(40, 1)
        table[f"look/{name}"] = table[f"features/{name}"] = rows
        table[f"area/{name}"] = np.square(rows[..., 0])
    found = long_play.summary(table, ["copy_last", "steps_1"])
    floor, held, model = (found[name] for name in ("real_again", "copy_last", "steps_1"))
    assert model["usual_brightness"] < floor["usual_brightness"] <= 1.0
    floors, helds, models = (
        [kept[f"frechet_{quarter}"] for quarter in (1, 2, 3, 4)] for kept in (floor, held, model)
    )
    assert sorted(models) == models  # it drifts further and further away
    assert max(floors) < min(helds[0], models[1])
    for quarter in (1, 2, 3, 4):  # other real frames have as many enemies, within chance
        assert abs(floor[f"enemies_{quarter}"] - 1) < floor[f"enemies_{quarter}_95"] < 1
    assert model["enemies_4"] - model["enemies_4_95"] > 1
    assert long_play.summary(None, [])["reason"].startswith("not measured")
