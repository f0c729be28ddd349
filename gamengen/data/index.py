"""``index.json``: which rows of a folder's stores are which episode, and of which split."""

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, TypeVar

from pydantic import BaseModel, ValidationError

from gamengen.data.columns import require_written
from gamengen.game.facts import GameFacts
from gamengen.runtime.checksums import SUMS, require_sound
from gamengen.runtime.errors import InputError

# Settings are chosen on validation; what is reported and played is test.
Split = Literal["train", "validation", "test"]


class Entry(BaseModel, frozen=True, extra="forbid"):
    """One episode's rows: ``[start, start + length)`` of a store."""

    id: str
    store: str  # folder beside the index
    start: int
    length: int  # frames, the terminal one included
    split: Split
    seed: int
    policy: Literal["training", "trained", "random"]
    agent_step: int  # the agent's training steps when the episode began

    def rows(self, begin: int, end: int) -> slice:
        """Rows of the store that are frames ``[begin, end)``. IndexError where there are none."""
        if not 0 <= begin <= end <= self.length:
            raise IndexError(f"rows [{begin}, {end}) of episode {self.id} of {self.length}")
        return slice(self.start + begin, self.start + end)


class Index(BaseModel, frozen=True, extra="forbid"):
    """The content of ``index.json``."""

    game: GameFacts
    entries: list[Entry]

    @property
    def columns(self) -> list[str]:
        """The arrays that every store has."""
        return ["frames", "actions", "rewards", *(f"variables/{n}" for n in self.game.variables)]

    @property
    def rows(self) -> dict[str, int]:
        """How many rows of each store belong to an episode."""
        ends: dict[str, int] = {}
        for entry in self.entries:
            ends[entry.store] = max(ends.get(entry.store, 0), entry.start + entry.length)
        return ends


def of_split(
    entries: Sequence[Entry], split: Split, folder: Path, longer_than: int = 0
) -> list[Entry]:
    """The entries of a split with more than so many frames. Raises InputError if none."""
    found = [e for e in entries if e.split == split and e.length > longer_than]
    if not found:
        counted = Counter(entry.split for entry in entries)
        there = ", ".join(f"{counted[name]} of {name}" for name in sorted(counted))
        raise InputError(
            f"{folder}/index.json: no episode of more than {longer_than} frames in split "
            f"{split!r} (episodes: {there}); raise collect.frames and collect again with: dvc repro"
        )
    return found


IndexKind = TypeVar("IndexKind", bound=Index)


def read_index(folder: Path, kind: type[IndexKind], remedy: str) -> IndexKind:
    """The ``index.json`` of a folder, checked against the files beside it.

    Raises InputError when it is missing or damaged, a file is missing or truncated, or a row was
    never written, each with the command that makes it again.
    """
    path = folder / "index.json"
    if not path.is_file():
        raise InputError(f"{path}: missing; make it with: {remedy}")
    require_sound(folder, remedy)
    try:
        content = json.loads(path.read_bytes())
        index = kind.model_validate(content["index"])
        files: dict[str, int] = content["files"]
    except (ValidationError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path}: damaged ({error}); make it again with: {remedy}") from None
    for name, size in files.items():
        file = folder / name
        found = file.stat().st_size if file.is_file() else 0
        if found != size:
            raise InputError(
                f"{file}: truncated: {found} bytes, {path.name} says {size}; "
                f"make it again with: {remedy}"
            )
    _require_whole(folder, index, f"make it again with: {remedy}")
    return index


def write_index(folder: Path, index: Index) -> None:
    """Write ``index.json``, last of all: a folder without one is unfinished.

    Raises InputError when a row of an episode was never written.
    """
    _require_whole(folder, index, "start again")
    files = {
        str(file.relative_to(folder)): file.stat().st_size
        for file in sorted(folder.rglob("*"))
        if file.is_file() and file.name not in ("index.json", SUMS)
    }
    content = {"index": json.loads(index.model_dump_json()), "files": files}
    (folder / "index.json").write_text(json.dumps(content, indent=1) + "\n")


def _require_whole(folder: Path, index: Index, remedy: str) -> None:
    for store, rows in index.rows.items():
        for name in index.columns:
            require_written(folder / store, name, rows, remedy)
