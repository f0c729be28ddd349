"""Recorded episodes without their pictures: seeds and actions, which ViZDoom plays again."""

import hashlib
import threading
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int32, UInt8
from pydantic import BaseModel, ValidationError

from gamengen.data.episodes import Episode, Episodes, Row
from gamengen.data.index import Entry
from gamengen.data.positions import Position
from gamengen.game.doom import Game
from gamengen.game.facts import GameFacts
from gamengen.runtime.errors import InputError


class Replay(BaseModel, frozen=True, extra="forbid"):
    """The beginning of one episode: a kilobyte, where its frames are megabytes."""

    entry: Entry
    actions: list[int]  # taken at each frame but the last


class Replays(BaseModel, frozen=True, extra="forbid"):
    """The content of ``replays.json``."""

    game: GameFacts
    episodes: list[Replay]
    sha256: str | None = None  # of all the rest

    @property
    def digest(self) -> str:
        """What ``sha256`` must be."""
        rest = self.model_copy(update={"sha256": None})
        return hashlib.sha256(rest.model_dump_json().encode()).hexdigest()


def write_replays(episodes: Episodes, path: Path, count: int, frames: int) -> None:
    """Keep the first ``frames`` frames of ``count`` test episodes, the longest."""
    longest = sorted(episodes.of("test"), key=lambda entry: -entry.length)[:count]
    kept = [
        Replay(
            entry=entry.model_copy(update={"length": min(entry.length, frames)}),
            actions=episodes.actions(entry)[: min(entry.length, frames) - 1].tolist(),
        )
        for entry in longest
    ]
    replays = Replays(game=episodes.game, episodes=kept)
    path.write_text(replays.model_copy(update={"sha256": replays.digest}).model_dump_json() + "\n")


def read_replays(path: Path) -> Replays:
    """What ``write_replays`` wrote. Raises InputError when it is missing or damaged."""
    try:
        replays = Replays.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        raise InputError(f"{path}: missing; make it with: make repro") from None
    except ValidationError as error:
        raise InputError(f"{path}: damaged: {error}") from None
    if replays.sha256 != replays.digest:
        raise InputError(f"{path}: damaged: its sha256 is not that of what it holds")
    return replays


class Replayed(Episodes):
    """Episodes that ViZDoom plays again, each as far as its rows are asked for."""

    def __init__(self, path: Path) -> None:
        """Raises InputError when the file is missing or damaged.

        Reading raises it when ViZDoom cannot start the game.
        """
        replays = read_replays(path)
        self.folder, self.game = path.parent, replays.game
        self.entries = [replay.entry for replay in replays.episodes]
        self.taken = {replay.entry.id: replay.actions for replay in replays.episodes}
        self.played: dict[str, Episode] = {}
        self.keeping = threading.Lock()

    def actions(self, entry: Entry) -> Int32[np.ndarray, " n"]:
        return np.array([*self.taken[entry.id], self.game.no_action], np.int32)

    def batch(self, positions: Sequence[Position]) -> UInt8[np.ndarray, "b h w 3"]:
        self._play([(entry, frame + 1) for entry, frame in positions])
        return super().batch(positions)

    def _rows(self, entry: Entry, name: str, begin: int = 0, end: int | None = None) -> Any:
        end = entry.length if end is None else end
        rows = entry.model_copy(update={"start": 0}).rows(begin, end)
        self._play([(entry, max(end, 1))])
        episode = self.played[entry.id]
        variable = name.removeprefix("variables/")
        column = getattr(episode, name) if variable == name else episode.variables[variable]
        return column[rows]

    def _play(self, wanted: Sequence[tuple[Entry, int]]) -> None:
        """Have at least so many frames of each."""
        most = {entry.id: (entry, n) for entry, n in sorted(wanted, key=lambda one: one[1])}
        more = [(e, n) for e, n in most.values() if len(self.played.get(e.id, ())) < n]
        if not more:
            return
        with closing(Game(self.game)) as game:
            for entry, frames in more:
                episode = _played(game, entry, self.taken[entry.id][: frames - 1])
                with self.keeping:  # of what two threads played, the longer
                    if len(episode) > len(self.played.get(entry.id, ())):
                        self.played[entry.id] = episode


def load_episodes(data: Path) -> Episodes:
    """The episodes from which a model's folder is played: recorded, or played again."""
    replays = data / "replays.json"
    return Replayed(replays) if replays.is_file() else Episodes(data / "episodes")


def _played(game: Game, entry: Entry, actions: Sequence[int]) -> Episode:
    """The beginning of an episode; rewards are not known and stay 0."""
    frame, rows = game.start(entry.seed), []
    for action in actions:
        rows.append(Row(frame, action, 0.0, game.variables))
        frame = game.step(action)
    return Episode.of([*rows, Row(frame, game.facts.no_action, 0.0, game.variables)])
