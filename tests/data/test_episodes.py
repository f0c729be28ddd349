import json
from pathlib import Path

import numpy as np
import pytest

from gamengen.data.episodes import ROWS_PER_SHARD, Episodes, EpisodeWriter
from gamengen.data.index import Index, write_index
from gamengen.runtime.errors import InputError
from tests.artifacts import game_facts, make_entry, make_episodes, play


def write(folder: Path, lengths: list[int]) -> None:
    folder.mkdir()
    writer = EpisodeWriter(folder / "one.zarr", game_facts())
    entries = [
        make_entry(writer.append(play(length, 32, 48, number)), length, number)
        for number, length in enumerate(lengths)
    ]
    writer.flush()
    write_index(folder, Index(game=game_facts(), entries=entries))


def test_episodes_come_back_whole_across_shards(tmp_path: Path):
    lengths = [ROWS_PER_SHARD - 7, 30, 2 * ROWS_PER_SHARD, 1, 12]
    write(tmp_path / "episodes", lengths)
    episodes = Episodes(tmp_path / "episodes")
    assert [e.length for e in episodes.entries] == lengths
    for number, told in enumerate(episodes.entries):
        wanted = play(told.length, 32, 48, number)
        np.testing.assert_array_equal(episodes.frames(told), wanted.frames)
        np.testing.assert_array_equal(episodes.actions(told), wanted.actions)
        np.testing.assert_array_equal(episodes.rewards(told), wanted.rewards)
        np.testing.assert_array_equal(episodes.variable(told, "ANGLE"), wanted.variables["ANGLE"])


def test_a_writer_goes_on_after_what_its_checkpoint_knows(tmp_path: Path):
    game, path = game_facts(), tmp_path / "one.zarr"
    writer = EpisodeWriter(path, game)
    writer.append(play(20, 32, 48, 0))
    writer.flush()
    writer.append(play(ROWS_PER_SHARD, 32, 48, 1))  # written, but after the checkpoint
    writer.flush()
    writer = EpisodeWriter(path, game, rows=20)
    start = writer.append(play(25, 32, 48, 2))
    writer.flush()
    assert start == 20
    entries = [make_entry(0, 20), make_entry(20, 25, 1)]
    write_index(tmp_path, Index(game=game, entries=entries))
    episodes = Episodes(tmp_path)
    np.testing.assert_array_equal(episodes.frames(entries[0]), play(20, 32, 48, 0).frames)
    np.testing.assert_array_equal(episodes.frames(entries[1]), play(25, 32, 48, 2).frames)


def test_a_store_shorter_than_its_checkpoint_is_refused(tmp_path: Path):
    writer = EpisodeWriter(tmp_path / "one.zarr", game_facts())
    writer.append(play(20, 32, 48, 0))
    writer.flush()
    with pytest.raises(InputError, match=r"holds 20 rows, there must be 21"):
        EpisodeWriter(tmp_path / "one.zarr", game_facts(), rows=21)


def test_rows_outside_an_episode_are_never_read(tmp_path: Path):
    episodes = Episodes(make_episodes(tmp_path / "episodes"))
    first = episodes.entries[0]
    with pytest.raises(IndexError):
        episodes.frames(first, 0, first.length + 1)


def test_a_missing_index_names_the_command_that_makes_it(tmp_path: Path):
    with pytest.raises(InputError, match=r"index\.json: missing; make it with: dvc repro collect"):
        Episodes(tmp_path)


def test_a_damaged_index_is_told(tmp_path: Path):
    folder = make_episodes(tmp_path / "episodes")
    (folder / "index.json").write_text("{")
    with pytest.raises(InputError, match="damaged"):
        Episodes(folder)


def test_a_truncated_or_missing_file_is_told(tmp_path: Path):
    folder = make_episodes(tmp_path / "episodes")
    name = max(json.loads((folder / "index.json").read_text())["files"].items(), key=lambda f: f[1])
    path = folder / name[0]
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(InputError, match=f"truncated: 100 bytes, index.json says {name[1]}"):
        Episodes(folder)
    path.unlink()
    with pytest.raises(InputError, match="truncated: 0 bytes"):
        Episodes(folder)


def test_no_episodes_is_told(tmp_path: Path):
    write(tmp_path / "episodes", [])
    with pytest.raises(InputError, match=r"no episodes; raise collect\.frames"):
        Episodes(tmp_path / "episodes")


def test_a_recording_without_validation_loads_and_lacks_it(tmp_path: Path) -> None:
    path = make_episodes(tmp_path / "episodes") / "index.json"
    path.write_text(path.read_text().replace('"validation"', '"train"'))
    episodes = Episodes(path.parent)
    assert [entry.split for entry in episodes.entries] == ["train"] * 3 + ["test"] * 2
    assert episodes.of("test") == episodes.entries[3:]
    with pytest.raises(
        InputError, match=r"index\.json: .*'validation' .*2 of test, 3 of train.*dvc repro"
    ):
        episodes.of("validation")
