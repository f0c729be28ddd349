"""Files and folders that appear whole or not at all."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a path beside ``path`` to write to; it becomes ``path`` when the block ends well.

    It may become a file or a folder; what a failed block left is dropped by the next one.
    """
    partial = partial_path(path)
    remove(partial)
    path.parent.mkdir(parents=True, exist_ok=True)
    yield partial
    if partial.is_dir():
        remove(path)
    os.replace(partial, path)


def partial_path(path: Path) -> Path:
    """Where the next content of ``path`` is written."""
    return path.with_name(f".partial-{path.name}")


def remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
