"""The shell around every stage: its section of params.yaml, its paths, its errors."""

import errno
import inspect
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from gamengen.runtime import device
from gamengen.runtime.errors import InputError
from gamengen.runtime.settings import Settings

PARAMS, PIPELINE = Path("params.yaml"), Path("dvc.yaml")
Params = TypeVar("Params", bound=BaseModel)


class StageParams(Settings):
    """Base of every stage's ``Params``."""

    def reads(self) -> list[Path]:
        """Files and folders that a value names, beside what earlier stages made."""
        return []


def read_yaml(path: Path) -> Any:
    """What params.yaml holds. Raises InputError where it is missing, or no YAML."""
    try:
        # ruamel reads 1e-4 as a number, as DVC does; PyYAML would make it a string.
        return YAML(typ="safe", pure=True).load(path.read_text())
    except FileNotFoundError:
        raise InputError(f"{path}: missing; run from the project's root") from None
    except (YAMLError, ValueError) as error:  # no text, a number of too many digits
        told = str(error).replace('"<unicode string>"', str(path))
        raise InputError(f"{path}: not YAML: {told}") from error


def checked(section: str, params: type[Params], everything: Any, path: Path = PARAMS) -> Params:
    """One stage's section of what params.yaml holds.

    Raises InputError naming every key that is missing, unknown or wrong, and what it may be.
    """
    if not isinstance(everything, dict) or not isinstance(everything.get(section), dict):
        raise InputError(f"{path}: section {section!r} is missing")
    try:
        return params.model_validate(everything[section])
    except ValidationError as error:
        lines = [_explain(path, section, detail) for detail in error.errors()]
        raise InputError("\n".join(lines)) from None


def require_listed(section: str, settings: StageParams) -> None:
    """Raise InputError unless DVC watches what the values name. Where there is no DVC, nothing."""
    if not PIPELINE.is_file():
        return
    deps = read_yaml(PIPELINE)["stages"][section]["deps"]
    watched = {Path(dep).resolve() for dep in deps}
    named = {path: {path.resolve(), *path.resolve().parents} for path in settings.reads()}
    unseen = [str(path) for path, within in named.items() if not within & watched]
    if unseen:
        raise InputError(
            f"{PARAMS}: {section} names {', '.join(unseen)}, which DVC would not see change: run "
            f"python -m flows.deps, which lists it in {PIPELINE}"
        )


def _explain(path: Path, section: str, detail: Any) -> str:
    field = ".".join([section, *(str(part) for part in detail["loc"])])
    if detail["type"] == "extra_forbidden":
        return f"{path}: {field}: unknown key (value {detail['input']!r}); remove or rename it"
    if detail["type"] == "missing":
        return f"{path}: {field}: missing"
    message = detail["msg"].removeprefix("Value error, ")
    if detail["type"] == "value_error" and isinstance(detail["input"], dict):
        return f"{path}: {field}.{message}"  # of several keys together: it begins with one
    return f"{path}: {field}: {detail['input']!r}: {message}"


def run(section: str, params: type[StageParams], main: Callable[..., None]) -> None:
    """Run a stage from the command line: its positional arguments are ``main``'s paths.

    Exits with 2 and one message for what the user can mend, 130 when interrupted.
    """
    names = list(inspect.signature(main).parameters)[1:]
    try:
        if len(sys.argv) - 1 != len(names):
            raise InputError(
                f"usage: launch/accelerate -m stages.{section} {' '.join(names).upper()}"
            )
        if threading.current_thread() is threading.main_thread():  # not so on TPU
            # launch/accelerate ignores Ctrl-C, and by inheritance so does the stage until here.
            for number in (signal.SIGINT, signal.SIGTERM):
                signal.signal(number, signal.default_int_handler)
        settings = checked(section, params, read_yaml(PARAMS))
        require_listed(section, settings)
        main(settings, *(Path(arg) for arg in sys.argv[1:]))
        device.stop()
    except InputError as error:
        sys.exit(_report(f"{section}: {error}", 2))
    except KeyboardInterrupt:
        again = "the same command goes on from the last checkpoint, if there is one"
        sys.exit(_report(f"{section}: interrupted; {again}", 130))
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        full = f"disk full while writing {error.filename or 'an output'}"
        again = "free some; the same command goes on from the last checkpoint, if there is one"
        sys.exit(_report(f"{section}: {full}: {again}", 2))


def _report(message: str, code: int) -> int:
    print(f"\nerror: {message}", file=sys.stderr, flush=True)
    return code
