"""The measure of enemies against cases with a known answer, and against the game itself."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from gamengen.data.episodes import Episodes
from gamengen.evaluation.enemies import contrast, sightings
from gamengen.evaluation.summary import enemies
from gamengen.runtime.errors import InputError
from tests.artifacts import make_episodes
from tests.data.test_replay import recorded  # noqa: F401  a fixture

BOX = (10, 8, 6, 9)


def scene(enemy: bool) -> Tensor:
    """A plain wall, and perhaps a dark figure before it."""
    frame = torch.full((1, 32, 40, 3), 120, dtype=torch.uint8)
    if enemy:
        frame[:, 8:17, 10:16] = 30
    return frame


def left(shown: Tensor) -> float:
    covariance, variance = contrast(shown, scene(True), [[BOX]])
    return float(covariance[0] / variance[0])


def test_an_enemy_is_whole_half_or_gone() -> None:
    blurred = (scene(True).float() / 2 + scene(False).float() / 2).round().to(torch.uint8)
    assert left(scene(True)) == pytest.approx(1)
    assert left(blurred) == pytest.approx(0.5, abs=0.01)
    assert left(scene(False)) == 0
    assert left(scene(True).flip(2)) == pytest.approx(0, abs=0.05), "elsewhere is gone"
    brighter = (scene(True).int() + 50).to(torch.uint8)
    assert left(brighter) == pytest.approx(1), "the light is another matter"


def test_specks_do_not_count() -> None:
    assert contrast(scene(True), scene(True), [[(10, 8, 3, 9)]])[1][0] == 0


def test_shares_are_pooled_over_rollouts() -> None:
    table = {
        "episode": np.array([0, 1]),
        "enemies/real": np.array([[4.0, 0, 0, 2], [1.0, 0, 0, 2]]),
        "enemies/steps_1": np.array([[1.0, 0, 0, 1], [1.0, 0, 0, 2]]),
    }
    found = enemies(table, ["steps_1"])
    assert found["after_1"]["steps_1"] == 0.4
    assert found["after_4"]["steps_1"] == 0.75
    assert found["after_4"]["steps_1_95"] > found["after_4"]["steps_1"], "two episodes tell little"
    assert "steps_1_95" not in found["after_1"], "of which one makes nearly all"
    nobody = {"episode": np.array([0]), "enemies/real": np.zeros((1, 1))}
    assert enemies(nobody, ["steps_1"]) == {"after_1": {"steps_1": None}}
    assert "reason" in enemies({}, ["steps_1"])


def test_enemies_are_found_by_playing_again(recorded: Episodes) -> None:  # noqa: F811
    (entry, *_) = recorded.entries
    found = sightings(recorded, [entry])
    assert found is not None
    boxes = found[entry.id]
    assert len(boxes) == entry.length
    assert sum(len(seen) for seen in boxes) > entry.length, "defend_the_line has several in sight"
    frames = torch.from_numpy(recorded.frames(entry))
    covariance, variance = contrast(frames, frames, boxes)
    np.testing.assert_allclose(covariance, variance)
    assert variance.max() > 0
    for x, y, width, height in boxes[0]:
        assert 0 <= x <= x + width <= 161
        assert 0 <= y <= y + height <= 121


def test_a_game_that_vizdoom_does_not_have_is_not_looked_at(tmp_path: Path) -> None:
    episodes = Episodes(make_episodes(tmp_path / "episodes"))
    assert sightings(episodes, episodes.entries) is None


def test_a_recording_that_cannot_be_played_again_is_named(recorded: Episodes) -> None:  # noqa: F811
    (entry, *_) = recorded.entries
    with pytest.raises(InputError, match="episode 0 is another when it is played again"):
        sightings(recorded, [entry.model_copy(update={"seed": 77})])
