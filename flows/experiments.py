"""DVC's experiments: which of them is the run that is asked for, and running those that are not."""

import json
import re
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dvc.exceptions import InvalidArgumentError
from dvc.utils.hydra import apply_overrides

from flows.graph import DVC, environment
from gamengen.runtime.errors import InputError
from gamengen.runtime.stage import PARAMS, PIPELINE, read_yaml

METRICS = "metrics.json"
Experiment = Mapping[str, Any]  # as ``dvc exp show --json`` tells of it
BASELINE = re.compile(r"^refs/exps/([0-9a-f]{2})/([0-9a-f]{38})/")


@dataclass(frozen=True)
class Run:
    """The pipeline under some parameters: what is laid over params.yaml, and what comes of it."""

    name: str
    overrides: Sequence[str]
    params: Any


@dataclass(frozen=True)
class Result:
    """What became of a run: an experiment's metrics, or why there are none."""

    name: str
    rev: str
    metrics: Mapping[str, Any]
    reason: str = ""


def overridden(overrides: Sequence[str], path: Path = PARAMS) -> Any:
    """What params.yaml would hold. Raises InputError where an override names no key of it."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(shutil.copy(path, folder))
        try:
            apply_overrides(copy, list(overrides))
        except InvalidArgumentError as error:
            raise InputError(f"overrides: {error.__cause__ or error}") from None
        return read_yaml(copy)


def watched() -> list[str]:
    """The files of the repository that stages depend on: code, and weights that ship."""
    stages = read_yaml(PIPELINE)["stages"].values()
    outs = {out for stage in stages for out in stage["outs"]}
    return sorted({dep for stage in stages for dep in stage["deps"]} - outs)


def require_known_to_git(paths: Sequence[str]) -> None:
    """Raise InputError where git has never seen a file: an experiment runs in a copy of git's."""
    command = ["git", "ls-files", "--others", "--exclude-standard", "--", *paths]
    if unknown := printed(command).split():
        raise InputError(f"{', '.join(unknown)}: unknown to git; an experiment lacks it: git add")


def existing(
    runs: Sequence[Run], told: Sequence[Experiment], paths: Sequence[str]
) -> dict[str, Result]:
    """The finished experiments that had a run's parameters and the files of now."""
    results: dict[str, Result] = {}
    for experiment in told:
        result, params = finished(experiment)
        if result is None:
            continue
        wanted = [run for run in runs if run.name not in results and run.params == params]
        if wanted and same_files(result.rev, paths):
            results |= {run.name: result for run in wanted}
    return results


def run_all(runs: Sequence[Run], taken: set[str]) -> dict[str, Result]:
    """Queue the runs, and run what is queued, one after another, in copies of the project.

    ``taken`` are the names of other experiments. The workspace stays as it is, and a run that
    fails does not stop the others. On an interrupt the run in progress is told to stop, and the
    others leave the queue.
    """
    names = {run.name: free_name(run.name, taken) for run in runs}
    try:
        for run in runs:
            options = [word for override in run.overrides for word in ("-S", override)]
            printed([*DVC, "exp", "run", "--queue", "--name", names[run.name], *options])
        follow()
    except BaseException:
        for verb in ("kill", "remove"):
            for name in names.values():
                command = [*DVC, "queue", verb, name]
                subprocess.run(command, env=environment(), capture_output=True, check=False)
        raise
    told = {experiment["name"]: experiment for experiment in experiments()}
    return {run.name: outcome(names[run.name], told) for run in runs}


def follow() -> None:
    """``dvc exp run --run-all``, with what it prints."""
    # Not in the terminal's group: DVC would say "still executing" and leave the run behind.
    process = subprocess.Popen(
        [*DVC, "exp", "run", "--run-all"],
        env=environment(),
        stdin=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        process.wait()
    finally:
        process.kill()


def outcome(name: str, told: Mapping[str, Experiment]) -> Result:
    """The metrics of an experiment, or the reason in the log of one that failed."""
    if name not in told:
        return Result(name, "", {}, "DVC knows nothing of it")
    result, _ = finished(told[name])
    if result is not None:
        return result
    local = (told[name].get("executor") or {}).get("local") or {}
    log = Path(local.get("log") or "")
    return Result(name, "", {}, reason_in(log) if log.is_file() else "no log")


def reason_in(log: Path) -> str:
    """The last ``error:`` of a log: the stage's own where it has one, else DVC's."""
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
    for begins in ("error: ", "ERROR: "):
        if found := [line.removeprefix(begins) for line in lines if line.startswith(begins)]:
            return found[-1]
    return lines[-1] if lines else f"{log} is empty"


def experiments() -> list[Experiment]:
    """All that ``dvc exp show`` knows, of every commit that experiments started from."""
    refs = printed(["git", "for-each-ref", "--format=%(refname)", "refs/exps"]).splitlines()
    starts = {"".join(found.groups()) for ref in refs if (found := BASELINE.match(ref))}
    starts.add(printed(["git", "rev-parse", "HEAD"]).strip())
    revs = [word for start in sorted(starts) for word in ("--rev", start)]
    shown = json.loads(printed([*DVC, "exp", "show", "--json", "--hide-workspace", *revs]))
    return [experiment for commit in shown for experiment in commit["experiments"] or []]


def finished(experiment: Experiment) -> tuple[Result | None, Any]:
    """The result of an experiment and its parameters; None where there are no metrics."""
    revision = experiment["revs"][0]
    data = revision["data"] or {}
    metrics = data.get("metrics", {}).get(METRICS, {}).get("data")
    state = (experiment["executor"] or {"state": "success"})["state"]
    if metrics is None or state != "success":
        return None, None
    params = data["params"][str(PARAMS)].get("data")
    return Result(experiment["name"], revision["rev"], metrics), params


def same_files(rev: str, paths: Sequence[str]) -> bool:
    """Whether files of the working tree are those of a commit."""
    command = ["git", "diff", "--quiet", rev, "--", *paths]
    return subprocess.run(command, check=False).returncode == 0


def free_name(name: str, taken: set[str]) -> str:
    """The name, with a number where it is taken."""
    numbered = (f"{name}-{n}" for n in range(2, len(taken) + 3))
    return next(free for free in [name, *numbered] if free not in taken)


def printed(command: Sequence[str]) -> str:
    """What a command prints. Raises InputError with its complaint where it fails."""
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, check=False)
    if done.returncode:
        raise InputError(f"{' '.join(command)}: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout
