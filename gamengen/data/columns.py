"""Columns of a Zarr store: no row is read that was never written, none that is damaged."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from errno import ENOSPC
from functools import cache
from os import SEEK_END
from pathlib import Path
from typing import Any

import numpy as np
import zarr

from gamengen.runtime.errors import InputError

NEVER_WRITTEN = 2**64 - 1  # in a shard's index: offset and size of a chunk that it does not hold
# A chunk that is missing reads as zeros: those of zeros must not be missing.
ZEROS = {"array.write_empty_chunks": True}


@contextmanager
def damage_as_input_error(where: Path, remedy: str) -> Iterator[None]:
    """Turn what Zarr makes of a damaged file into an InputError."""
    try:
        yield
    except (OSError, ValueError, TypeError, KeyError, RuntimeError) as error:
        if isinstance(error, InputError) or getattr(error, "errno", None) == ENOSPC:
            raise
        raise InputError(f"{where}: damaged ({error}); {remedy}") from None


def open_column(store: Path, name: str, remedy: str, **layout: Any) -> Any:
    """A column to write to: a new one, or the one that is there, which may be of other length.

    ``layout`` as in ``zarr.create_array``. Raises InputError when it is damaged, or of another
    layout.
    """
    with damage_as_input_error(store / name, remedy), zarr.config.set(ZEROS):
        group = zarr.open_group(store, mode="a")
        if name not in group:
            return group.create_array(name, **layout)
        found, wanted = group[name], zarr.create_array({}, name=name, **layout)
        if replace(found.metadata, shape=wanted.shape) != wanted.metadata:
            raise InputError(f"{store}/{name}/zarr.json: another layout than is written; {remedy}")
        return found


@cache
def open_array(store: Path, name: str) -> Any:
    """One column of a store, opened once in a process."""
    return zarr.open_group(store, mode="r")[name]


def read_rows(store: Path, name: str, rows: slice) -> Any:
    """Some rows. Raises InputError when a chunk is not as it was written."""
    with damage_as_input_error(store / name, f"delete {store.parent} and make it again"):
        return open_array(store, name)[rows]


def require_written(store: Path, name: str, rows: int, remedy: str) -> None:
    """Raise InputError unless each of the first ``rows`` rows is in a chunk that was written."""
    found = written(store, name, rows, remedy)
    if found < rows:
        raise InputError(
            f"{store}/{name}: holds {found} rows, there must be {rows}: truncated, or never "
            f"written; {remedy}"
        )


def written(store: Path, name: str, rows: int, remedy: str) -> int:
    """How many rows, of the first ``rows``, come before the first that was never written.

    Raises InputError when the column is missing or damaged.
    """
    with damage_as_input_error(store / name, remedy):
        column = zarr.open_group(store, mode="r")[name]
        rows = min(rows, column.shape[0])
        per_file, per_chunk = (column.shards or column.chunks)[0], column.chunks[0]
        for first in range(0, rows, per_file):
            key = [str(first // per_file), *"0" * (column.ndim - 1)]
            file = store.joinpath(name, "c", *key)
            chunks = -(-min(per_file, rows - first) // per_chunk)
            if not file.is_file():
                return first
            if column.shards:
                missing = _offsets(file, per_file // per_chunk)[:chunks] == NEVER_WRITTEN
                if missing.any():
                    return first + int(missing.argmax()) * per_chunk
    return rows


def _offsets(shard: Path, chunks: int) -> np.ndarray:
    """Where the chunks of a shard begin: its last bytes say, before a checksum of their own."""
    with shard.open("rb") as file:
        file.seek(-(16 * chunks + 4), SEEK_END)
        return np.frombuffer(file.read(16 * chunks), "<u8")[::2]
