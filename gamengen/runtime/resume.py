"""Where a stage's unfinished work is kept, and what makes it another one's."""

import hashlib
import json
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from accelerate import PartialState
from pydantic import BaseModel

from gamengen.runtime.lock import lock_output

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
    state = PartialState()
    if state.is_main_process:
        lock_output(out)
    key = {
        "processes": state.num_processes,
        "params": json.loads(params.model_dump_json()),
        "inputs": [fingerprint(path) for path in inputs],
        "code": code_fingerprint(),
    }
    digest = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:KEY]
    return out.parent / ".resume" / f"{out.name}-{digest}"


def forget_unfinished(out: Path) -> None:
    """Remove all unfinished work towards ``out``, whatever its parameters were."""
    for folder in (out.parent / ".resume").glob(f"{out.name}-{'?' * KEY}"):
        shutil.rmtree(folder, ignore_errors=True)
