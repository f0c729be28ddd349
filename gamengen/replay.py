"""Recorded episodes without their pictures: seeds and actions, which ViZDoom plays again."""

import hashlib
import shutil
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
from pydantic import BaseModel, ValidationError

from gamengen.doom import Game
from gamengen.episodes import Entry, Episode, Episodes, EpisodeWriter, GameFacts, Index, write_index
from gamengen.errors import InputError

CACHE = Path(".cache")


class Replay(BaseModel, frozen=True, extra="forbid"):
    """The beginning of one episode: a kilobyte, where its frames are megabytes."""

    entry: Entry
    actions: list[int]  # taken at each frame but the last


class Replays(BaseModel, frozen=True, extra="forbid"):
    """The content of ``replays.json``."""

    game: GameFacts
    episodes: list[Replay]


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
    path.write_text(Replays(game=episodes.game, episodes=kept).model_dump_json() + "\n")


def play_again(path: Path, cache: Path = CACHE) -> Path:
    """A folder of episodes played from ``replays.json``; made once and kept in ``cache``.

    Raises InputError when the file is missing or damaged, or ViZDoom cannot start the game.
    """
    try:
        text = path.read_bytes()
        replays = Replays.model_validate_json(text)
    except FileNotFoundError:
        raise InputError(f"{path}: missing; make it with: make repro") from None
    except ValidationError as error:
        raise InputError(f"{path}: damaged: {error}") from None
    folder = cache / f"episodes-{hashlib.sha256(text).hexdigest()[:16]}"
    if not folder.is_dir():
        partial = folder.with_name(f".partial-{folder.name}")
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        write_index(partial, Index(game=replays.game, entries=[*_record(replays, partial)]))
        partial.rename(folder)
    return folder


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
    frames, variables = [game.start(replay.entry.seed)], [game.variables]
    for action in replay.actions:
        frames.append(game.step(action))
        variables.append(game.variables)
    names = game.facts.variables
    return Episode(
        frames=np.stack(frames),
        actions=np.array([*replay.actions, game.facts.no_action], np.int32),
        rewards=np.zeros(len(frames), np.float32),
        variables={name: np.array([row[name] for row in variables], np.float32) for name in names},
    )
