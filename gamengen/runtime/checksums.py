"""Whether files are as they were made: SHA256SUMS, as ``sha256sum --check`` reads it."""

import hashlib
import re
from pathlib import Path

from gamengen.runtime.errors import InputError
from gamengen.runtime.replacing import replacing

SUMS = "SHA256SUMS"
LINE = re.compile(r"([0-9a-f]{64})  (.+)")


def seal(folder: Path) -> None:
    """List the files of a finished folder; Zarr's chunks (in ``c``) end with sums of their own."""
    with replacing(folder / SUMS) as partial:
        lines = [
            f"{_sum(file)}  {file.relative_to(folder)}\n"
            for file in sorted(folder.rglob("*"))
            if file.is_file() and file.name != SUMS and "c" not in file.relative_to(folder).parts
        ]
        partial.write_text("".join(lines))


def require_sound(folder: Path, remedy: str) -> None:
    """Raise InputError unless every listed file is as it was when the folder was finished.

    A folder without a list, as of weights from before there was one, is taken as it is.
    """
    path = folder / SUMS
    remedy = f"delete {folder} and make it again with: {remedy}"
    try:
        lines = path.read_text().splitlines()
    except FileNotFoundError:
        return
    except ValueError as error:
        raise InputError(f"{path}: damaged ({error}); {remedy}") from None
    for number, line in enumerate(lines, 1):
        match = LINE.fullmatch(line)
        if match is None or "\0" in line:
            raise InputError(f"{path}: damaged in line {number}; {remedy}")
        file = folder / match[2]
        if not file.is_file():
            raise InputError(f"{file}: missing, but {SUMS} lists it; {remedy}")
        if _sum(file) != match[1]:
            raise InputError(f"{file}: damaged: its SHA-256 is not that of {SUMS}; {remedy}")


def _sum(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()
