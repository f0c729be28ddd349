"""What is read in frames: a game whose actions show, and matrices whose scores are known."""

from pathlib import Path

import numpy as np
import pytest
import torch

from gamengen.data.episodes import Episodes
from gamengen.evaluation import actions_read
from gamengen.evaluation.inverse_dynamics import (
    GRID,
    InverseDynamicsParams,
    learn,
    recordings,
)
from gamengen.evaluation.learning import averaged_to
from gamengen.runtime import device
from gamengen.runtime.errors import InputError
from tests.artifacts import make_episodes

TOLD = InverseDynamicsParams(sees=3, frames=200, steps=40, batch_size=12, learning_rate=2e-3)


@pytest.fixture(scope="module")
def episodes(tmp_path_factory: pytest.TempPathFactory) -> Episodes:
    return Episodes(make_episodes(tmp_path_factory.mktemp("read") / "episodes", episodes=8))


def test_it_learns_to_read_the_actions_of_a_game(episodes: Episodes, tmp_path: Path) -> None:
    net = learn(episodes, TOLD, 0, tmp_path, device.start())
    assert net is not None
    (entry, *_) = episodes.of("test")
    video = torch.from_numpy(episodes.frames(entry))[None]
    taken = episodes.actions(entry)[1:-1]  # those that led to the third frame and on
    read = net.tell(video)[0].numpy()
    assert (read == taken).mean() > 0.9
    still = net.tell(video[:, :1].expand(-1, 40, -1, -1, -1))[0].numpy()
    assert not np.isin(still, [1, 2]).any(), "nothing turns in a held frame"


def test_what_was_learned_is_not_learned_again(episodes: Episodes, tmp_path: Path) -> None:
    few = TOLD.model_copy(update={"steps": 2})
    once, twice, other, another = (
        learn(episodes, few, seed, tmp_path / folder, device.start())
        for seed, folder in ((0, "a"), (1, "a"), (0, "b"), (1, "c"))
    )
    assert once is not None
    assert twice is not None
    assert other is not None
    assert another is not None
    for name, weight in once.state_dict().items():
        assert torch.equal(weight, twice.state_dict()[name]), "it was read, not trained"
        assert torch.equal(weight, other.state_dict()[name]), "a function of the seed"
    assert not torch.equal(once.judge[0].weight, another.judge[0].weight)


def test_windows_end_where_their_action_led(episodes: Episodes) -> None:
    frames, windows, actions = recordings(episodes, TOLD, 0)
    assert len(frames) == 200, "five episodes of 40"
    assert windows.shape == (5 * 39, 3)
    assert windows[0].tolist() == [0, 0, 1], "the first frame stands for what is before it"
    assert windows[39].tolist() == [40, 40, 41], "no window crosses an episode"
    entry = episodes.of("train")[int(torch.randperm(5, generator=device.generator(0))[0])]
    assert actions[:39].tolist() == episodes.actions(entry)[:-1].tolist()


def test_it_is_not_measured_where_it_was_not_asked_for(tmp_path: Path, episodes: Episodes) -> None:
    assert (
        learn(episodes, TOLD.model_copy(update={"steps": 0}), 0, tmp_path, device.start()) is None
    )
    assert "steps is 0" in actions_read.summary({}, [], 4)["reason"]


def test_without_training_episodes_it_says_so(tmp_path: Path, episodes: Episodes) -> None:
    other = Episodes(episodes.folder)
    other.entries = [entry for entry in other.entries if entry.split != "train"]
    with pytest.raises(InputError, match="split 'train'"):
        learn(other, TOLD, 0, tmp_path, device.start())


def test_pictures_are_averaged_down_and_small_ones_repeated() -> None:
    picture = torch.zeros(1, 120, 160, 3, dtype=torch.uint8)
    picture[:, :, 1::2] = 100
    assert averaged_to(picture, *GRID).unique().tolist() == [50]
    small = torch.full((2, 3, 32, 48, 3), 7, dtype=torch.uint8)
    assert averaged_to(small, *GRID).shape == (2, 3, *GRID, 3)


def test_scores_in_closed_form() -> None:
    taken = np.array([[0, 0, 0, 1], [1, 1, 2, 2]])
    read = np.array([[0, 0, 1, 1], [1, 0, 2, 2]])
    found = actions_read.confusion(taken, read, 5)
    assert found[:3, :3].tolist() == [[2, 1, 0], [1, 2, 0], [0, 0, 2]]
    # F1 of the three that are there: 4/6, 4/6, 1; the other two are asked of nobody.
    assert actions_read.macro_f1(found) == pytest.approx((4 / 6 + 4 / 6 + 1) / 3)
    table = {"episode": np.array([0, 1]), "taken": taken, "read/real": read}
    table |= {"read/steps_1": taken, "read/majority": np.zeros_like(taken)}
    told = actions_read.summary(table, ["steps_1"], 5)
    assert told["frames"] == 8
    assert (told["real"]["accuracy"], told["steps_1"]["accuracy"]) == (0.75, 1.0)
    assert told["majority"] == {
        "accuracy": 0.375,
        "accuracy_95": pytest.approx(4.765),
        "macro_f1": 0.182,
    }
