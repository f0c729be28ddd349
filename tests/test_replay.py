"""Episodes that ship without pictures: ViZDoom draws the same ones again."""

from pathlib import Path

import numpy as np
import pytest

from gamengen.doom import Game, game_facts
from gamengen.episodes import Entry, Episode, Episodes, EpisodeWriter, Index, write_index
from gamengen.errors import InputError
from gamengen.replay import play_again, write_replays

LENGTH, KEPT = 30, 20


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Episodes:
    """Three test episodes of random play."""
    folder = tmp_path_factory.mktemp("recorded")
    facts = game_facts("defend_the_line", "160x120", 2, 2, 2, 4)
    writer, game, entries = EpisodeWriter(folder / "own.zarr", facts), Game(facts), []
    for seed in range(3):
        length = LENGTH + seed
        actions = np.random.default_rng(seed).integers(len(facts.actions), size=length)
        actions[-1] = facts.no_action
        frames, variables = [game.start(seed)], [game.variables]
        for action in actions[:-1]:
            frames.append(game.step(int(action)))
            variables.append(game.variables)
        columns = {n: np.array([v[n] for v in variables], np.float32) for n in facts.variables}
        zeros = np.zeros(length, np.float32)
        start = writer.append(Episode(np.stack(frames), actions.astype(np.int32), zeros, columns))
        entry = Entry(
            id=f"{seed}",
            store="own.zarr",
            start=start,
            length=length,
            split="test",
            seed=seed,
            policy="random",
            agent_step=0,
        )
        entries.append(entry)
    game.close()
    writer.flush()
    write_index(folder, Index(game=facts, entries=entries))
    return Episodes(folder)


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
