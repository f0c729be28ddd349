"""Recorded episodes without their pictures: seeds and actions, which ViZDoom plays again."""

import hashlib
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from pydantic import BaseModel, ValidationError

from gamengen.data.episodes import Episode, Episodes, EpisodeWriter, Row
from gamengen.data.index import Entry, Index, write_index
from gamengen.game.doom import Game
from gamengen.game.facts import GameFacts
from gamengen.runtime.checksums import seal
from gamengen.runtime.errors import InputError
from gamengen.runtime.replacing import replacing

CACHE = Path(".cache")


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


def play_again(path: Path, cache: Path = CACHE) -> Path:
    """A folder of episodes played from ``replays.json``, kept in ``cache`` until it is damaged.

    Raises InputError when the file is missing or damaged, or ViZDoom cannot start the game.
    """
    replays = read_replays(path)
    folder = cache / f"episodes-{hashlib.sha256(path.read_bytes()).hexdigest()[:16]}"
    try:
        Episodes(folder)
    except InputError:
        with replacing(folder) as partial:
            partial.mkdir()
            write_index(partial, Index(game=replays.game, entries=[*_record(replays, partial)]))
            seal(partial)
    return folder


def load_episodes(data: Path) -> Episodes:
    """The episodes from which a model's folder is played: recorded, or played again."""
    if (data / "replays.json").is_file():
        return Episodes(play_again(data / "replays.json"))
    return Episodes(data / "episodes")


def _record(replays: Replays, folder: Path) -> Iterator[Entry]:
    store = "replays.zarr"
    writer = EpisodeWriter(folder / store, replays.game)
    with closing(Game(replays.game)) as game:
        for replay in replays.episodes:
            start = writer.append(_played(game, replay))
            yield replay.entry.model_copy(update={"store": store, "start": start})
    writer.flush()


def _played(game: Game, replay: Replay) -> Episode:
    """The episode's frames and variables; rewards are not known and stay 0."""
    frame, rows = game.start(replay.entry.seed), []
    for action in replay.actions:
        rows.append(Row(frame, action, 0.0, game.variables))
        frame = game.step(action)
    return Episode.of([*rows, Row(frame, game.facts.no_action, 0.0, game.variables)])
