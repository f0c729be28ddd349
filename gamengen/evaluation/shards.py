"""Measurements in batches: N processes share them, and an interrupted run goes on from them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from accelerate import Accelerator
from tqdm import tqdm

from gamengen.data.positions import Position
from gamengen.evaluation.player import Progress
from gamengen.runtime import device
from gamengen.runtime.errors import InputError
from gamengen.runtime.replacing import replacing

Table = dict[str, np.ndarray]
Batch = Sequence[Position]


@dataclass(frozen=True)
class Job:
    """One measurement: ``measure(number, batch, progress)`` gives a batch's rows.

    What it gives must depend on the batch's number and places alone, so that it does not
    matter which process takes it, or when.
    """

    name: str
    batches: Sequence[Batch]
    passes: int  # network passes per place, for the time left
    measure: Callable[[int, Batch, Progress], Table]


def run(jobs: Sequence[Job], folder: Path, accelerator: Accelerator) -> dict[str, Table]:
    """Every job's table, in the order of its batches.

    Each process takes every N-th batch of all jobs together and writes its rows to ``folder``,
    which all must see; what lies there already is not measured again.
    """
    folder.mkdir(parents=True, exist_ok=True)
    rank, count = accelerator.process_index, accelerator.num_processes
    every = [(job, number, batch) for job in jobs for number, batch in enumerate(job.batches)]
    todo = [item for item in every[rank::count] if not _file(folder, *item[:2]).exists()]
    with tqdm(
        total=sum(len(batch) * job.passes for job, _, batch in todo),
        unit="pass",
        disable=rank != 0,
        mininterval=5,
        dynamic_ncols=True,
    ) as bar:
        for job, number, batch in todo:
            bar.set_description(job.name.replace("_", " "), refresh=False)
            _save(_file(folder, job, number), job.measure(number, batch, bar.update))
    device.wait(accelerator)
    return {job.name: _gather(folder, job) for job in jobs}


def concat_tables(tables: Sequence[Table]) -> Table:
    """Tables one below the other; a column that only the first ones have stays shorter."""
    names = dict.fromkeys(name for table in tables for name in table)
    return {
        name: np.concatenate([table[name] for table in tables if name in table]) for name in names
    }


def _gather(folder: Path, job: Job) -> Table:
    tables = []
    for number, batch in enumerate(job.batches):
        tables.append(_load(_file(folder, job, number)))
        found = max(len(column) for column in tables[-1].values())
        if found != len(batch):
            raise RuntimeError(
                f"{_file(folder, job, number)}: {found} rows, its batch has {len(batch)}"
            )
    return concat_tables(tables)


def _file(folder: Path, job: Job, number: int) -> Path:
    return folder / f"{job.name}-{number}.npz"


def _save(path: Path, table: Table) -> None:
    for name, column in table.items():
        if not np.isfinite(column).all():
            raise InputError(
                f"{path.stem}: {name} is not finite: a model gives NaN or infinity; check "
                "denoiser, student, decoder"
            )
    with replacing(path) as partial, partial.open("wb") as file:
        np.savez(file, **table)  # type: ignore[arg-type]


def _load(path: Path) -> Table:
    try:
        with np.load(path) as file:  # allow_pickle is off
            return {name: file[name] for name in file.files}
    except Exception as error:  # zipfile raises what the damage leads it to
        raise InputError(f"{path}: damaged ({error}); delete it to measure it again") from None


def with_prefix(group: str, table: Table) -> Table:
    """The columns ``<group>/<name>`` of a table, by name."""
    return {
        name.removeprefix(f"{group}/"): column
        for name, column in table.items()
        if name.startswith(f"{group}/")
    }
