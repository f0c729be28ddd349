"""What studies.yaml may say, and whether it can be run and read so."""

import difflib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError, model_validator

from flows.experiments import METRICS, Experiment, Run, finished, flat, require_right_with
from gamengen.runtime.errors import InputError
from gamengen.runtime.settings import Settings
from gamengen.runtime.stage import read_yaml

STUDIES, SHIPPED = Path("studies.yaml"), Path("data/pretrained/metrics.json")
MODEL = re.compile(r"\b(steps_\d+|student|teacher)\b")  # one is measured as another is


class Column(Settings):
    """A number of metrics.json; ``{of}`` in its path is the row's."""

    name: str
    read: str
    unit: str = ""


class Row(Settings):
    """A run, or a part of one, and what the paper has for each column."""

    name: str
    overrides: list[str] = []
    of: str = ""
    paper: list[float | None] = []


class Curve(Settings):
    """Columns of a CSV file of the report, one a row of the study; ``{of}`` as in Column."""

    file: str
    x: str
    y: str


class Study(Settings):
    """A question, and what is run and read to answer it."""

    asks: str
    limits: str  # what it cannot show
    overrides: list[str] = []  # of every row
    seeds: dict[str, list[int]] = Field({}, max_length=1)  # every row is run with each of them
    columns: list[Column] = Field(min_length=1)
    rows: list[Row] = Field(min_length=2)
    compare: list[str] = Field(min_length=2, max_length=2)  # two rows: the first to the second
    curve: Curve | None = None

    @model_validator(mode="after")
    def _names_what_is_there(self) -> "Study":
        names = [row.name for row in self.rows]
        if len(set(names)) < len(names):
            raise ValueError(f"rows: {names}: each name once")
        if unknown := set(self.compare) - set(names):
            raise ValueError(f"compare: {sorted(unknown)}: no such row; there are {names}")
        for row in self.rows:
            if len(row.paper) not in (0, len(self.columns)):
                raise ValueError(f"rows: {row.name}: paper: one number a column, null where none")
        return self

    def runs(self, name: str) -> dict[str, list[Run]]:
        """The runs of each row, one a seed; rows with the same parameters share them.

        Raises InputError where params.yaml would be wrong with the overrides, or two runs would
        have one name.
        """
        of_row: dict[str, list[Run]] = {}
        known: dict[tuple[str, ...], Run] = {}
        draws = [[f"{key}={seed}"] for key, seeds in self.seeds.items() for seed in seeds] or [[]]
        for row in self.rows:
            of_row[row.name] = []
            for draw in draws:
                overrides = (*self.overrides, *row.overrides, *draw)
                if overrides not in known:
                    words = [name, row.name if row.overrides else "", *draw]
                    slug = re.sub(r"[^a-z0-9]+", "-", " ".join(words).lower()).strip("-")
                    where = f"{name}: {row.name}"
                    run = Run(slug, overrides, right_params(where, overrides))
                    known[overrides] = shared(run, [*known.values()], where)
                of_row[row.name].append(known[overrides])
        return of_row


def shared(run: Run, others: Sequence[Run], where: str) -> Run:
    """The run, or the other one of the same parameters. Raises InputError where its name is taken
    by one of different parameters."""
    same = [other for other in others if other.params == run.params]
    if not same and run.name in [other.name for other in others]:
        raise InputError(
            f"{STUDIES}: {where}: its experiment would be called {run.name}, as another row's is: "
            "rename one of them"
        )
    return same[0] if same else run


def read_study(name: str, path: Path = STUDIES) -> Study:
    """One study of the file. Raises InputError where there is none of this name, or it is wrong."""
    studies = read_yaml(path)
    if name not in studies:
        raise InputError(f"{path}: {name!r}: no such study; there are {', '.join(studies)}")
    try:
        return Study.model_validate(studies[name])
    except ValidationError as error:
        lines = (
            f"{path}: {'.'.join([name, *map(str, detail['loc'])])}: {detail['msg']}"
            for detail in error.errors()
        )
        raise InputError("\n".join(lines)) from None


def right_params(where: str, overrides: Sequence[str]) -> Any:
    """params.yaml with overrides. Raises InputError naming every key that is wrong with them."""
    try:
        return require_right_with(overrides)
    except InputError as error:
        raise InputError(f"{STUDIES}: {where}: {error}") from None


def require_measured(
    name: str, study: Study, runs: Mapping[str, list[Run]], experiments: Sequence[Experiment]
) -> None:
    """Raise InputError where a column reads what no evaluation so far has written.

    Models are measured alike: what there is of one there is of all that a run evaluates.
    """
    numbers = set(numbers_known(experiments))
    known = {MODEL.sub("{of}", key) for key in numbers}
    for row in study.rows:
        for column in study.columns:
            path = column.read.format(of=row.of)
            where = f"{STUDIES}: {name}: {row.name}: {path}"
            if MODEL.sub("{of}", path) not in known:
                near = ", ".join(difflib.get_close_matches(path, numbers, 3)) or "nothing like it"
                raise InputError(f"{where}: no number of {METRICS}; nearest: {near}")
            group = "teacher_forced" if "teacher_forced" in path.split(".") else "autoregressive"
            measured = runs[row.name][0].params["evaluate"][group]["teacher_steps"]
            steps = re.search(r"steps_(\d+)", path)
            if steps and int(steps[1]) not in measured:
                raise InputError(
                    f"{where}: evaluate.{group}.teacher_steps: {measured}: {steps[1]} is not "
                    "measured; add it by an override"
                )


def numbers_known(experiments: Sequence[Experiment]) -> Iterator[str]:
    """Paths of all numbers that an evaluation here, or of the weights that ship, has written."""
    for path in (Path(METRICS), SHIPPED):
        if path.is_file():
            yield from flat(json.loads(path.read_text()))
    for experiment in experiments:
        result, _ = finished(experiment)
        if result:
            yield from flat(result.metrics)
