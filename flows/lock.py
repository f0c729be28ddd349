"""One run at a time in a folder: ``python -m flows.lock dvc repro``.

Held are params.yaml, dvc.lock and data, for whoever asks here: the flow, ``make repro``. A ``dvc``
called by hand takes no part; DVC's own locks keep two of them apart.
"""

import fcntl
import os
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

from gamengen.runtime.errors import InputError

FILE = Path(".running")


@contextmanager
def held(what: str, file: Path = FILE) -> Iterator[int]:
    """Hold the folder while the block runs, or what this process turns into; gives the file's
    descriptor.

    A POSIX lock belongs to the process: not to those it starts, still after ``exec``, and no more
    once it is dead. Raises InputError, which says who holds it, where another process does.
    """
    with file.open("a+") as told:
        try:
            fcntl.lockf(told, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError):
            told.seek(0)
            raise InputError(
                f"{file.resolve().parent}: in use by {told.read().strip() or 'another run'}; wait "
                "for it to end, or stop it, or work in another clone"
            ) from None
        told.truncate(0)
        told.write(f"process {os.getpid()} since {datetime.now():%Y-%m-%d %H:%M:%S}: {what}\n")
        told.flush()
        yield told.fileno()


def main() -> None:
    """Become a command that holds the folder."""
    command = sys.argv[1:]
    try:
        with held(shlex.join(command)) as descriptor:
            os.set_inheritable(descriptor, True)  # or exec would close it
            os.execvp(command[0], command)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
