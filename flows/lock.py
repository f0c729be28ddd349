"""One run at a time in a folder: ``python -m flows.lock dvc repro``.

Held are params.yaml, dvc.lock and data, for whoever asks here: the flow, ``make repro``. A ``dvc``
called by hand takes no part; DVC's own locks keep two of them apart.
"""

import argparse
import json
import os
import shlex
import shutil
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from gamengen.runtime.errors import InputError
from gamengen.runtime.lock import hold

FILE = Path(".running")
RUN_CACHE, IN_USE = Path(".dvc/cache/runs"), Path(".dvc/tmp/rwlock")
LOCK, KEPT = Path("dvc.lock"), Path(".dvc/tmp/dvc.lock")
CONFLICT = b"<<<<<<<"  # git's


@contextmanager
def held(what: str, file: Path = FILE) -> Iterator[int]:
    """Hold the folder while the block runs, or what this process turns into by ``exec``.

    Gives the lock's descriptor. Raises InputError, which says who holds it, where another process
    does.
    """
    descriptor = hold(file, file.resolve().parent, what)
    try:
        forget_cut_off()
        mend_lock_file()
        yield descriptor
    finally:
        os.close(descriptor)


def forget_cut_off() -> None:
    """Remove what a full disk or a kill has cut off of the notes that DVC makes for itself.

    DVC 3.67 would end every later ``dvc repro``. It takes a part of a run's record for one
    ("'outs'"), or finds none in its folder ("join() argument must be str ... not 'NoneType'"), or
    cannot read who uses which file ("JSON structure is corrupted").
    """
    for part in RUN_CACHE.glob("*/*/.*.tmp"):
        part.unlink(missing_ok=True)
    for folder in RUN_CACHE.glob("*/*"):
        with suppress(OSError):  # it holds a record
            folder.rmdir()
    try:
        json.loads(IN_USE.read_text())
    except FileNotFoundError:
        pass
    except ValueError:
        IN_USE.unlink()


def mend_lock_file() -> None:
    """Keep a copy of dvc.lock; bring it back where a full disk or a kill has cut dvc.lock off.

    DVC 3.67 writes over it in place, and ends every later run if that fails ("required key not
    provided"). Stages that ran since the copy are not run again: each has a record in the cache.
    """
    if not LOCK.exists() or CONFLICT in LOCK.read_bytes():
        return
    KEPT.parent.mkdir(parents=True, exist_ok=True)
    part = KEPT.with_suffix(".tmp")
    if is_whole(LOCK):
        with suppress(OSError):  # the disk is full: an older copy remains
            shutil.copyfile(LOCK, part)
            part.replace(KEPT)
    elif KEPT.exists():
        shutil.copyfile(KEPT, LOCK)
        print("dvc.lock was cut off: its last whole copy is back", file=sys.stderr)
    else:
        LOCK.unlink()
        print("dvc.lock was cut off and is removed: DVC makes it again", file=sys.stderr)


def is_whole(lock: Path) -> bool:
    """Whether DVC could read it."""
    from dvc.schema import COMPILED_LOCKFILE_SCHEMA
    from voluptuous import Invalid

    try:
        COMPILED_LOCKFILE_SCHEMA(YAML(typ="safe").load(lock))
    except (YAMLError, Invalid):
        return False
    return True


def require_right(command: Sequence[str]) -> None:
    """Raise InputError where the overrides of a ``dvc exp run`` are wrong, in whatever stage.

    Those of a sweep, which DVC queues, are left to it.
    """
    program, *words = command or [""]
    if Path(program).name != "dvc" or words[:2] not in (["exp", "run"], ["experiments", "run"]):
        return
    from flows.experiments import require_right_with  # seconds, which no other command needs

    parser = argparse.ArgumentParser(add_help=False, exit_on_error=False)
    parser.add_argument("-S", "--set-param", action="append", default=[])
    try:
        asked, others = parser.parse_known_args(words[2:])
    except argparse.ArgumentError:
        return  # DVC says what it lacks
    if not {"--queue", "-h", "--help"}.intersection(others):
        require_right_with([one.removeprefix("params.yaml:") for one in asked.set_param])


def main() -> None:
    """Become a command that holds the folder."""
    command = sys.argv[1:]
    try:
        require_right(command)
        with held(shlex.join(command)) as descriptor:
            os.set_inheritable(descriptor, True)  # or exec would close it
            os.execvp(command[0], command)
    except (InputError, OSError) as error:  # a disk that is still full
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
