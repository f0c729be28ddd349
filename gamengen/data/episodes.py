"""Frames, actions and variables of played games: Zarr in and out, whole episodes only."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float32, Int32, UInt8
from zarr.codecs import BloscCodec, Crc32cCodec

from gamengen.data.columns import damage_as_input_error, open_column, read_rows, require_written
from gamengen.data.index import Entry, Index, Split, of_split, read_index
from gamengen.data.positions import Position
from gamengen.game.engine import History
from gamengen.game.facts import GameFacts
from gamengen.runtime.errors import InputError

FRAMES_PER_CHUNK = 8
CHUNKS_PER_SHARD = 64
ROWS_PER_SHARD = FRAMES_PER_CHUNK * CHUNKS_PER_SHARD
NUMBERS_PER_CHUNK = 16384  # of actions, rewards and variables: few files, small rewrites


class Row(NamedTuple):
    """A frame, the action taken at it, the reward it earned, the variables at the frame."""

    frame: UInt8[np.ndarray, "h w 3"]
    action: int
    reward: float  # over the ``tics_per_frame`` tics that follow
    variables: Mapping[str, float]


@dataclass(frozen=True)
class Episode:
    """One played game, a column for each part of its rows.

    The last row is the terminal frame, with the action "NOTHING" and no reward.
    """

    frames: UInt8[np.ndarray, "n h w 3"]
    actions: Int32[np.ndarray, " n"]
    rewards: Float32[np.ndarray, " n"]
    variables: Mapping[str, Float32[np.ndarray, " n"]]

    @classmethod
    def of(cls, rows: Sequence[Row]) -> "Episode":
        """The episode of these rows, in their order."""
        frames, actions, rewards, variables = zip(*rows, strict=True)
        return cls(
            np.stack(frames),
            np.array(actions, np.int32),
            np.array(rewards, np.float32),
            {n: np.array([row[n] for row in variables], np.float32) for n in variables[0]},
        )

    def __len__(self) -> int:
        return len(self.actions)


class EpisodeWriter:
    """Appends whole episodes to one Zarr store that nobody else writes.

    Rows wait in memory until they fill a shard; ``flush`` writes the rest. ``rows`` rows of an
    existing store are kept and anything after them, left by a crash, is dropped.
    """

    def __init__(self, path: Path, game: GameFacts, rows: int = 0) -> None:
        self.game = game
        self.waiting: list[dict[str, np.ndarray]] = []
        self.rows = rows
        remedy = f"delete {path.parent} to collect again"
        self.columns: dict[str, Any] = {}
        kinds = {"frames": "uint8", "actions": "int32"}  # float32 all others
        for name in Index(game=game, entries=[]).columns:
            frames = name == "frames"
            shape = (game.height, game.width, 3) if frames else ()
            column = open_column(
                path,
                name,
                remedy,
                shape=(0, *shape),
                chunks=(FRAMES_PER_CHUNK if frames else NUMBERS_PER_CHUNK, *shape),
                shards=(ROWS_PER_SHARD, *shape) if frames else None,
                dtype=kinds.get(name, "float32"),
                compressors=[*[BloscCodec(cname="lz4", clevel=1)] * frames, Crc32cCodec()],
            )
            require_written(path, name, rows, remedy)
            with damage_as_input_error(path / name, remedy):
                _ = column[max(0, rows - 1) : rows]  # appending reads the chunk of the last row
            column.resize((rows, *shape))
            self.columns[name] = column

    def append(self, episode: Episode) -> int:
        """Add an episode; returns the row at which it starts."""
        start = self.rows + self._waiting_rows()
        parts = {"frames": episode.frames, "actions": episode.actions, "rewards": episode.rewards}
        variables = {f"variables/{name}": episode.variables[name] for name in self.game.variables}
        self.waiting.append(parts | variables)
        # Up to the end of a shard and no further: a shard written twice is read and packed again.
        whole = (self.rows + self._waiting_rows()) // ROWS_PER_SHARD * ROWS_PER_SHARD
        if whole > self.rows:
            self._write(whole - self.rows)
        return start

    def flush(self) -> None:
        """Write everything that waits."""
        if self.waiting:
            self._write(self._waiting_rows())

    def _write(self, count: int) -> None:
        rest: dict[str, np.ndarray] = {}
        for name in self.waiting[0]:
            rows = np.concatenate([parts[name] for parts in self.waiting])
            column = self.columns[name]
            column.resize((self.rows + count, *column.shape[1:]))
            column[self.rows :] = rows[:count]
            rest[name] = rows[count:].copy()
        self.rows += count
        self.waiting = [rest] if len(rest["actions"]) else []

    def _waiting_rows(self) -> int:
        return sum(len(parts["actions"]) for parts in self.waiting)


class Episodes:
    """Reads a folder of episode stores by its index."""

    def __init__(self, folder: Path) -> None:
        """Raises InputError when the index is missing or damaged, or a store is truncated."""
        self.folder = folder
        index = read_index(folder, Index, "dvc repro collect")
        self.game, self.entries = index.game, index.entries
        if not self.entries:
            raise InputError(f"{folder}/index.json: no episodes; raise collect.frames")

    def of(self, split: Split) -> list[Entry]:
        """The episodes of one split. Raises InputError when there is none."""
        return of_split(self.entries, split, self.folder)

    def frames(
        self, entry: Entry, begin: int = 0, end: int | None = None
    ) -> UInt8[np.ndarray, "n h w 3"]:
        """Frames ``[begin, end)`` of an episode."""
        return self._rows(entry, "frames", begin, end)

    def actions(self, entry: Entry) -> Int32[np.ndarray, " n"]:
        """The action taken at each frame; at the terminal frame none."""
        return self._rows(entry, "actions")

    def rewards(self, entry: Entry) -> Float32[np.ndarray, " n"]:
        """The reward earned between each frame and the next."""
        return self._rows(entry, "rewards")

    def variable(self, entry: Entry, name: str) -> Float32[np.ndarray, " n"]:
        """A game variable at each frame, e.g. HEALTH."""
        return self._rows(entry, f"variables/{name}")

    def batch(self, positions: Sequence[Position]) -> UInt8[np.ndarray, "b h w 3"]:
        """Single frames from anywhere."""
        return np.concatenate([self.frames(entry, i, i + 1) for entry, i in positions])

    def _rows(self, entry: Entry, name: str, begin: int = 0, end: int | None = None) -> Any:
        rows = entry.rows(begin, entry.length if end is None else end)
        return read_rows(self.folder / entry.store, name, rows)


def recorded_history(episodes: Episodes, entry: Entry, frame: int, length: int) -> History:
    """The history of a recorded episode up to one of its frames, with at most ``length`` frames."""
    begin = max(0, frame + 1 - length)
    return History(
        seed=entry.seed,
        actions=episodes.actions(entry)[:frame],
        frames=episodes.frames(entry, begin, frame + 1),
    )
