"""Episodes that ship without pictures: ViZDoom draws the same ones again."""

from pathlib import Path

import numpy as np
import pytest

from gamengen.data.episodes import Episodes
from gamengen.data.replay import play_again, write_replays
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
    again = Episodes(play_again(path, tmp_path / "cache"))
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


def test_it_is_played_once(recorded: Episodes, tmp_path: Path) -> None:
    path = tmp_path / "replays.json"
    write_replays(recorded, path, count=1, frames=4)
    folder = play_again(path, tmp_path / "cache")
    made = (folder / "index.json").stat().st_mtime_ns
    assert play_again(path, tmp_path / "cache") == folder
    assert (folder / "index.json").stat().st_mtime_ns == made


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "replays.json"
    with pytest.raises(InputError, match=r"replays\.json: missing"):
        play_again(path, tmp_path)
    path.write_text('{"game": 1')
    with pytest.raises(InputError, match=r"replays\.json: damaged"):
        play_again(path, tmp_path)
