"""Episodes that ship without pictures: ViZDoom draws the same ones again."""

from pathlib import Path

import numpy as np
import pytest

from gamengen.data import replay
from gamengen.data.episodes import Episodes
from gamengen.data.replay import Replayed, write_replays
from gamengen.game.doom import Game
from gamengen.game.facts import GameFacts
from gamengen.runtime.errors import InputError
from tests.doom import record

LENGTH, KEPT = 30, 20


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Episodes:
    """Three test episodes of random play."""
    return record(tmp_path_factory.mktemp("recorded"), ["test"] * 3, LENGTH)


def test_an_episode_is_played_again_frame_by_frame(recorded: Episodes, tmp_path: Path) -> None:
    path = tmp_path / "replays.json"
    write_replays(recorded, path, count=2, frames=KEPT)
    assert path.stat().st_size < 20_000
    again = Replayed(path)
    assert [entry.id for entry in again.entries] == ["2", "1"], "the longest"
    assert again.game == recorded.game
    for entry in again.entries:
        (own,) = (e for e in recorded.entries if e.id == entry.id)
        assert entry.length == KEPT
        np.testing.assert_array_equal(again.frames(entry), recorded.frames(own, 0, KEPT))
        assert again.actions(entry)[:-1].tolist() == recorded.actions(own)[: KEPT - 1].tolist()
        angles = [
            store.variable(e, "ANGLE")[:KEPT] for store, e in ((again, entry), (recorded, own))
        ]
        np.testing.assert_array_equal(*angles)


def test_it_is_played_once_and_no_further_than_asked(
    recorded: Episodes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "replays.json"
    write_replays(recorded, path, count=2, frames=KEPT)
    drawn: list[list[int]] = []

    class Counted(Game):
        """Counts the frames of every episode, and the games."""

        def __init__(self, facts: GameFacts) -> None:
            super().__init__(facts)
            drawn.append([])

        def start(self, seed: int) -> np.ndarray:
            drawn[-1].append(1)
            return super().start(seed)

        def step(self, action: int) -> np.ndarray:
            drawn[-1][-1] += 1
            return super().step(action)

    monkeypatch.setattr(replay, "Game", Counted)
    again = Replayed(path)
    first, second = again.entries
    again.actions(first)
    assert drawn == [], "what was done is known"
    again.frames(first, 4, 8)
    again.frames(first, 2, 6)
    assert drawn == [[8]]
    pictures = again.batch([(first, 3), (second, 5), (second, 9), (first, 11)])
    assert drawn == [[8], [12, 10]], "one game for all"
    for picture, (entry, frame) in zip(pictures, [(first, 3), (second, 5)], strict=False):
        (own,) = (e for e in recorded.entries if e.id == entry.id)
        np.testing.assert_array_equal(picture, recorded.frames(own, frame, frame + 1)[0])
    with pytest.raises(IndexError, match="of 20"):
        again.frames(first, 0, KEPT + 1)


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "replays.json"
    with pytest.raises(InputError, match=r"replays\.json: missing"):
        Replayed(path)
    path.write_text('{"game": 1')
    with pytest.raises(InputError, match=r"replays\.json: damaged"):
        Replayed(path)
