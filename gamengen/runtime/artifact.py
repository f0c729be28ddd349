"""A stage's output folder: whole or not at all, and resumable until it is whole."""

import hashlib
import json
import os
import shutil
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path

from accelerate import Accelerator
from pydantic import BaseModel

from gamengen.runtime import device
from gamengen.runtime.checksums import seal
from gamengen.runtime.errors import InputError
from gamengen.runtime.lock import hold
from gamengen.runtime.replacing import partial_path, replacing

KEY = 16  # characters of a resume folder's key


def fingerprint(path: Path) -> str:
    """Sha256 of the names, sizes and modification times of a file, or of a folder's files."""
    digest = hashlib.sha256()
    files = sorted(path.rglob("*")) if path.is_dir() else [path]
    for file in files:
        if file.is_file():
            stat = file.stat()
            digest.update(f"{file.relative_to(path)} {stat.st_size} {stat.st_mtime_ns}\n".encode())
    return digest.hexdigest()


def code_fingerprint() -> str:
    """Sha256 of the project's own modules that this process has imported.

    The stage is among them, as ``__main__`` or, under a launcher that imports it, by its name.
    """
    digest = hashlib.sha256()
    root = Path(__file__).parents[2]
    sources = {getattr(module, "__file__", None) for module in [*sys.modules.values()]}
    for source in sorted({Path(source) for source in sources if source}):
        if any(source.is_relative_to(root / package) for package in ("gamengen", "stages")):
            digest.update(source.read_bytes())
    return digest.hexdigest()


def resume_folder(params: BaseModel, inputs: Sequence[Path], out: Path) -> Path:
    """Where the unfinished work towards ``out`` lives, keyed by everything that it depends on.

    Another value of any parameter, another input, other code or another number of processes,
    which would share the work in another way, means another folder, so that a changed stage
    never goes on from the checkpoint of an old one. Raises InputError where another process works
    towards ``out``, as a stage may whose ``dvc repro`` was killed.
    """
    if device.is_first():
        lock_output(out)
    key = {
        "processes": device.processes(),
        "params": json.loads(params.model_dump_json()),
        "inputs": [fingerprint(path) for path in inputs],
        "code": code_fingerprint(),
    }
    digest = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:KEY]
    return out.parent / ".resume" / f"{out.name}-{digest}"


def lock_output(out: Path) -> None:
    """Be the only process that works towards ``out``, until it is made or this process ends."""
    lock_of(out).parent.mkdir(parents=True, exist_ok=True)
    hold(lock_of(out), out, f"stage of {out.name}")  # the lock goes if its descriptor is closed


def lock_of(out: Path) -> Path:
    """The file whose lock is held by whoever makes ``out``."""
    return out.resolve().parent / ".resume" / f"{out.name}.lock"


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
        for folder in (out.parent / ".resume").glob(f"{out.name}-{'?' * KEY}"):
            shutil.rmtree(folder, ignore_errors=True)
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
