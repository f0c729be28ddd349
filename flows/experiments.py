"""DVC's experiments: which of them is the run that is asked for, and running those that are not."""

import difflib
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
from ruamel.yaml.error import YAMLError

from flows.check import problems_of, stage_names
from flows.graph import DVC, environment, run_dvc
from gamengen.runtime.errors import InputError
from gamengen.runtime.stage import PARAMS, PIPELINE, read_yaml

METRICS = "metrics.json"
Experiment = Mapping[str, Any]  # as ``dvc exp show --json`` tells of it
UNKNOWN = re.compile(r"Could not override '(?P<key>[^']+)'")  # as Hydra says it
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


def override(path: Path, overrides: Sequence[str]) -> None:
    """Write overrides into params.yaml. Raises InputError where one names no key of it."""
    try:
        apply_overrides(path, list(overrides))
    except (InvalidArgumentError, YAMLError) as error:
        why = str(error.__cause__ or error)
        if unknown := UNKNOWN.match(why):
            near = difflib.get_close_matches(unknown["key"], flat(read_yaml(path)), 3)
            why = f"{unknown['key']}: no key of {path.name}; nearest: {', '.join(near) or 'none'}"
        raise InputError(f"overrides: {why}") from None


def overridden(overrides: Sequence[str], path: Path = PARAMS) -> Any:
    """What params.yaml would hold. Raises InputError where an override names no key of it."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(shutil.copy(path, folder))
        override(copy, overrides)
        return read_yaml(copy)


def require_right_with(overrides: Sequence[str]) -> Any:
    """What params.yaml is with overrides. Raises InputError naming every key that is wrong then."""
    content = overridden(overrides)
    if problems := problems_of(content, stage_names()):
        raise InputError("\n".join(problems))
    return content


def flat(nested: Mapping[str, Any]) -> dict[str, Any]:
    """Nested numbers by their paths: ``teacher_forced.steps_1.psnr``."""
    found: dict[str, Any] = {}
    for key, value in nested.items():
        inner = flat(value) if isinstance(value, dict) else None
        found |= {f"{key}.{k}": v for k, v in inner.items()} if inner else {key: value}
    return found


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
    runs: Sequence[Run], shown: Sequence[Experiment], paths: Sequence[str]
) -> dict[str, Result]:
    """The finished experiments that had a run's parameters and the files of now."""
    results: dict[str, Result] = {}
    for experiment in shown:
        result, params = finished(experiment)
        if result is None:
            continue
        wanted = [run for run in runs if run.name not in results and run.params == params]
        if wanted and same_files(result.rev, paths):
            results |= {run.name: result for run in wanted}
    return results


def run_all(runs: Sequence[Run], taken: set[str]) -> dict[str, Result]:
    """Run one after another, each in a copy of the project; the workspace stays as it is.

    ``taken`` are the names of other experiments. A run that fails does not stop the others, an
    interrupt does.
    """
    names: dict[str, str] = {}
    for run in runs:
        names[run.name] = free_name(run.name, {*taken, *names.values()})
    failed = {run.name: failure(run, names[run.name]) for run in runs}
    ended = {experiment["name"]: finished(experiment)[0] for experiment in experiments()}
    results = {}
    for run in runs:
        nothing = failed[run.name] or f"dvc exp show has no metrics of {names[run.name]}"
        results[run.name] = ended.get(names[run.name]) or Result(names[run.name], "", {}, nothing)
    return results


def failure(run: Run, name: str) -> str:
    """Run an experiment, with what it prints; why it failed, in the stage's words where it has any.

    Nothing where it did not.
    """
    said = ["dvc said nothing"]

    def tell(line: str, is_progress: bool) -> None:
        print(line, end="\r" if is_progress else "\n", flush=True)
        if line.lower().startswith("error: "):
            said.append(line)

    options = [word for override in run.overrides for word in ("-S", override)]
    try:
        run_dvc(["exp", "run", "--temp", "--name", name, *options], tell)
    except subprocess.CalledProcessError:
        by_stage = [line for line in said if line.startswith("error: ")]
        return (by_stage or said)[-1].partition(": ")[2] or said[-1]
    return ""


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
