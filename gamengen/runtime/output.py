"""A stage's output folder: whole or not at all."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

from accelerate import Accelerator

from gamengen.runtime import device
from gamengen.runtime.checksums import seal
from gamengen.runtime.errors import InputError
from gamengen.runtime.lock import lock_of
from gamengen.runtime.replacing import partial_path, replacing
from gamengen.runtime.resume import forget_unfinished


@contextmanager
def atomic_output(out: Path, accelerator: Accelerator) -> Iterator[Path]:
    """A folder beside ``out`` to write into; it becomes ``out`` when the block ends well.

    All processes enter and leave together; the first one seals and renames, and then drops the
    checkpoints that led there.
    """
    first = accelerator.is_main_process
    with replacing(out) if first else nullcontext(partial_path(out)) as partial:
        if first:
            partial.mkdir()
        device.wait(accelerator)
        yield partial
        device.wait(accelerator)
        if first:
            seal(partial)
    if first:
        forget_unfinished(out)
        lock_of(out).unlink(missing_ok=True)
    device.wait(accelerator)


def link(store: Path, folder: Path) -> None:
    """Put a checkpoint's store into an output as links: should this be cut off, both have it."""
    shutil.copytree(store, folder / store.name, copy_function=os.link)


def require_space(folder: Path, needed: int, what: str) -> None:
    """Raise InputError unless the disk under ``folder`` has ``needed`` bytes free."""
    folder.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise InputError(
            f"{folder}: {what} needs about {needed / 1e9:.2f} GB, but the disk has "
            f"{free / 1e9:.2f} GB free; free some, or ask for less in params.yaml"
        )
