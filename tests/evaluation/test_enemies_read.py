"""How much of a picture is enemies: cells in closed form, a reader that learns from the game."""

from pathlib import Path

import numpy as np
import pytest
import torch

from gamengen.data.episodes import Episodes
from gamengen.evaluation import enemies_read
from gamengen.evaluation.enemies import sightings
from gamengen.evaluation.enemies_read import EnemyReader, covered
from gamengen.evaluation.learning import LearningParams
from gamengen.runtime import device
from tests.artifacts import make_episodes
from tests.doom import record

FEW = LearningParams(frames=320, steps=80, batch_size=16, learning_rate=6e-3)


def test_cells_are_covered_by_boxes_once_and_never_by_specks() -> None:
    cells = covered([(8, 16, 16, 12), (8, 16, 16, 8), (100, 0, 40, 3)], 120, 160)
    assert cells.shape == (15, 20)
    assert cells[2, 1:3].tolist() == [1, 1]
    assert cells[3, 1:3].tolist() == [0.5, 0.5]
    assert cells.sum() == 3
    assert torch.equal(covered([(16, 32, 32, 24)], 240, 320), cells), "of any size of picture"
    assert covered([(-4, -4, 12, 12), (156, 116, 40, 40)], 120, 160).sum() == 1.25


@pytest.fixture(scope="module")
def episodes(tmp_path_factory: pytest.TempPathFactory) -> Episodes:
    splits = ["test"] * 2 + ["train"] * 6
    return record(tmp_path_factory.mktemp("read") / "episodes", splits, 50, held=8)  # type: ignore[arg-type]


def test_it_learns_where_enemies_are(episodes: Episodes, tmp_path: Path) -> None:
    seen = sightings(episodes, episodes.of("test"))
    assert seen is not None
    net = enemies_read.learn(episodes, FEW, seen, 0, tmp_path, device.start())
    assert net is not None
    places = [(entry, 0) for entry in episodes.of("test")]
    real = torch.stack([torch.from_numpy(episodes.frames(e, 0, 50)) for e, _ in places])
    videos = {"real": real, "mirrored": real.flip(3), "blank": torch.full_like(real, 70)}
    table = {"episode": np.arange(2)} | enemies_read.rows(net, places, videos, seen)
    found = enemies_read.summary(table, ["mirrored", "blank"])
    assert found["correlation"] > 0.8
    told = found["frames_5_to_16"]
    assert 0.5 < told["boxes"] < 2
    assert told["mirrored"] == pytest.approx(1, abs=0.5), "it need not be where the game has it"
    assert told["blank"] == 0


def test_it_is_not_learned_again(episodes: Episodes, tmp_path: Path) -> None:
    short = FEW.model_copy(update={"steps": 2})
    one, two = (
        enemies_read.learn(episodes, short, {}, seed, tmp_path, device.start()) for seed in (0, 1)
    )
    assert one is not None
    assert two is not None
    assert torch.equal(one.net[0].weight, two.net[0].weight)


def test_shares_in_closed_form() -> None:
    """Four frames of two rollouts; the second has no enemy at all, but is shown with some."""
    table = {
        "episode": np.array([0, 1]),
        "area/real": np.array([[2.0, 2, 4, 2], [0, 0, 0, 0]]),
        "area/boxes": np.array([[2.0, 2, 4, 2], [0, 0, 0, 0]]),
        "area/steps_1": np.array([[1.0, 2, 2, 0], [0, 2, 0, 0]]),
    }
    found = enemies_read.summary(table, ["steps_1"])
    assert found.keys() == {"correlation", "frames_1_to_1", "frames_2_to_4"}, "of 4 frames"
    assert found["correlation"] == 1
    assert found["frames_1_to_1"] == {"boxes": 1, "steps_1": 0.5}
    assert found["frames_2_to_4"] == {"boxes": 1, "steps_1": 0.75}
    nobody = {key: np.zeros((2, 1)) for key in table}
    assert enemies_read.summary(nobody, ["steps_1"]) == {
        "correlation": None,
        "frames_1_to_1": {"boxes": None, "steps_1": None},
    }
    assert "steps is 0" in enemies_read.summary({}, [])["reason"]


def test_what_was_not_asked_for_or_cannot_be_played_is_not_read(tmp_path: Path) -> None:
    episodes = Episodes(make_episodes(tmp_path / "episodes"))
    given = 0, tmp_path, device.start()
    assert enemies_read.learn(episodes, FEW, None, *given) is None
    none = FEW.model_copy(update={"steps": 0})
    assert enemies_read.learn(episodes, none, {}, *given) is None
    assert enemies_read.rows(None, [], {}, {}) == {}
    assert enemies_read.rows(EnemyReader(), [], {}, None) == {}
