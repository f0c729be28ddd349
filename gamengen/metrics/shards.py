"""N processes measure N shards: who does which batch, and how results come together."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np
from accelerate import Accelerator

Item = TypeVar("Item")
Table = dict[str, np.ndarray]


class Shards:
    """Splits batches over processes by rank and merges their tables through files.

    ``folder`` must be seen by every process.
    """

    def __init__(self, folder: Path, accelerator: Accelerator) -> None:
        self.folder, self.accelerator = folder, accelerator
        self.rank, self.count = accelerator.process_index, accelerator.num_processes
        folder.mkdir(parents=True, exist_ok=True)

    def mine(self, batches: Sequence[Item]) -> Iterator[tuple[int, Item]]:
        """This process's batches, with their numbers."""
        for number in range(self.rank, len(batches), self.count):
            yield number, batches[number]

    def gather(self, name: str, tables: Mapping[int, Table], rows: int) -> Table:
        """One table of all processes' rows, in the order of the batches.

        Raises RuntimeError when their number is not ``rows``.
        """
        numbered = [t | {"_batch": np.full(_length(t), n)} for n, t in tables.items()]
        np.savez(self._file(name, self.rank), **join(numbered))  # type: ignore[arg-type]
        self.accelerator.wait_for_everyone()
        table = join([part for rank in range(self.count) if (part := self._read(name, rank))])
        found = _length(table) if table else 0
        if found != rows:
            raise RuntimeError(f"{self.folder}/{name}: {found} rows gathered, expected {rows}")
        order = np.argsort(table.pop("_batch"), kind="stable")
        return {key: column[order] for key, column in table.items()}

    def _file(self, name: str, rank: int) -> Path:
        return self.folder / f"{name}-{rank}.npz"

    def _read(self, name: str, rank: int) -> Table:
        with np.load(self._file(name, rank)) as file:  # allow_pickle is off
            return {key: file[key] for key in file.files}


def join(tables: Sequence[Table]) -> Table:
    """Tables with the same columns, one below the other."""
    if not tables:
        return {}
    return {key: np.concatenate([table[key] for table in tables]) for key in tables[0]}


def _length(table: Table) -> int:
    return len(next(iter(table.values())))
