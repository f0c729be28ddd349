"""Keeps two processes from one output: a POSIX lock, gone with the process that holds it."""

import errno
import fcntl
import os
from datetime import datetime
from pathlib import Path

from gamengen.runtime.errors import InputError

NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)  # as on some clusters' file systems


def hold(file: Path, held: Path, what: str) -> int:
    """Lock ``file`` until its descriptor, which this gives, is closed or this process ends.

    Processes that this one starts do not hold it; what it turns into by ``exec`` does. Raises
    InputError, which says who holds ``held``, where another process does.
    """
    descriptor = os.open(file, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in NO_LOCKS:
            return descriptor
        who = os.read(descriptor, 1000).decode(errors="replace").strip()
        os.close(descriptor)
        if not isinstance(error, BlockingIOError | PermissionError):
            raise
        raise InputError(
            f"{held}: in use by {who or 'another run'}; wait for it to end, or stop it, or work "
            "in another clone"
        ) from None
    if not file.exists() or not os.path.samestat(os.fstat(descriptor), file.stat()):
        os.close(descriptor)  # its holder removed it in between
        return hold(file, held, what)
    os.truncate(descriptor, 0)
    holder = f"process {os.getpid()} since {datetime.now():%Y-%m-%d %H:%M:%S}: {what}\n"
    os.write(descriptor, holder.encode())
    return descriptor


def lock_output(out: Path) -> None:
    """Be the only process that works towards ``out``, until it is made or this process ends."""
    lock_of(out).parent.mkdir(parents=True, exist_ok=True)
    hold(lock_of(out), out, f"stage of {out.name}")  # the lock goes if its descriptor is closed


def lock_of(out: Path) -> Path:
    """The file whose lock is held by whoever makes ``out``."""
    return out.resolve().parent / ".resume" / f"{out.name}.lock"
