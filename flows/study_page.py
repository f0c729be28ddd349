"""What a study found: a table, a plot, and the sentences that they support."""

import csv
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dvc.api
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from flows.experiments import Result, flat
from flows.studies import Column, Curve, Row, Study
from gamengen.evaluation.statistics import estimate

PAGES = Path("docs/studies")


@dataclass(frozen=True)
class Cell:
    """A mean over seeds, half its 95 % interval, or why there is neither."""

    value: float | None
    margin: float | None = None
    reason: str = ""


Found = Mapping[str, Sequence[Result]]  # of each row


def write(name: str, study: Study, found: Found) -> Path:
    """Write ``docs/studies/NAME.md`` and ``NAME.png``; the page's path."""
    cells = {row.name: [cell(c, row, found[row.name]) for c in study.columns] for row in study.rows}
    PAGES.mkdir(parents=True, exist_ok=True)
    figure = curves(study, study.curve, found) if study.curve else dots(study, cells)
    figure.savefig(PAGES / f"{name}.png", dpi=120)
    runs = {result.name: result for results in found.values() for result in results if result.rev}
    links = [f"`{run.name}` ({run.rev[:7]})" for run in runs.values()]
    parts = [
        f"# {study.asks}",
        *table(study, cells),
        "",
        f"![{study.asks}]({name}.png)",
        "",
        *(f"- {sentence(study, n, cells)}" for n in range(len(study.columns))),
        f"- {chance(study, len(runs))}",
        f"- {study.limits.strip()}",
        "",
        f"Made by `make study NAME={name}`, of the experiments {', '.join(links) or 'none'}. "
        "The weights are their own: compare rows with each other, not with `metrics.json`.",
    ]
    page = PAGES / f"{name}.md"
    page.write_text("\n".join(parts) + "\n")
    return page


def cell(column: Column, row: Row, results: Sequence[Result]) -> Cell:
    """A number over the seeds; its interval allows for the frames, and for the seeds' spread."""
    path = column.read.format(of=row.of)
    values: list[float] = []
    margins: list[float] = []
    for result in results:
        if result.reason:
            return Cell(None, reason=result.reason)
        metrics = flat(result.metrics)
        if metrics.get(path) is None:
            return Cell(None, reason=f"{path} was not measured")
        values.append(metrics[path])
        margins.append(metrics.get(f"{path}_95", math.nan))
    over_seeds = estimate(np.array(values), np.arange(len(values)))
    margin = math.hypot(over_seeds.margin or 0.0, float(np.mean(margins)))
    return Cell(over_seeds.mean, None if math.isnan(margin) else margin)


def digits(column: Column) -> int:
    return 2 if column.unit == "dB" else 3


def table(study: Study, cells: Mapping[str, Sequence[Cell]]) -> list[str]:
    """Markdown, a line each; the paper's numbers beside ours where it has any."""
    titles = [""]
    papers = [
        any(row.paper and row.paper[n] is not None for row in study.rows)
        for n in range(len(study.columns))
    ]
    for column, paper in zip(study.columns, papers, strict=True):
        titles += [f"{column.name}, {column.unit}" if column.unit else column.name]
        titles += ["paper"] if paper else []
    lines = [f"| {' | '.join(titles)} |", "|" + "---|" * len(titles)]
    for row in study.rows:
        line = [row.name]
        for n, column in enumerate(study.columns):
            line += [in_words(cells[row.name][n], column)]
            line += [number(row.paper[n] if row.paper else None, column)] if papers[n] else []
        lines.append(f"| {' | '.join(line)} |")
    return lines


def in_words(found: Cell, column: Column) -> str:
    """A mean with its interval, or the reason why there is none."""
    if found.value is None:
        return f"failed: {found.reason}".replace("|", "/")
    margin = "" if found.margin is None else f" ± {number(found.margin, column)}"
    return number(found.value, column) + margin


def number(value: float | None, column: Column) -> str:
    """A number with the column's digits."""
    return "" if value is None else f"{value:.{digits(column)}f}"


def sentence(study: Study, n: int, cells: Mapping[str, Sequence[Cell]]) -> str:
    """Whether two rows differ by more than their intervals allow."""
    column = study.columns[n]
    ours, theirs = (cells[row][n] for row in study.compare)
    unit = f" {column.unit}" if column.unit else ""
    names = f"{study.compare[0]} against {study.compare[1]}"
    if ours.value is None or theirs.value is None:
        return f"{column.name}: {names} cannot be compared: a run failed."
    apart = ours.value - theirs.value
    if float(number(apart, column)) == 0:
        return f"{column.name}: {names}: the same."
    way = f"{names}: {'higher' if apart > 0 else 'lower'} by {number(abs(apart), column)}{unit}"
    if ours.margin is None or theirs.margin is None:
        return f"{column.name}: {way}; without intervals, so whether by chance cannot be told."
    margin = math.hypot(ours.margin, theirs.margin)
    known = f"their intervals together are {number(margin, column)}{unit}"
    if abs(apart) > margin:
        return f"**{column.name}: {way}**, beyond chance ({known})."
    return f"{column.name}: {way}, which may be chance ({known})."


def chance(study: Study, runs: int) -> str:
    """What the intervals allow for."""
    frames = "Intervals are 95 %, with episodes as the units; rows are measured on the same frames"
    if runs == 1:
        return f"{frames}, of one run, so a difference is usually known better than they say."
    if study.seeds:
        (key, seeds), *_ = study.seeds.items()
        return f"{frames}; they allow for the spread over {len(seeds)} values of `{key}` too."
    return f"{frames}, each row trained once: what another seed would give is not in them."


def dots(study: Study, cells: Mapping[str, Sequence[Cell]]) -> Figure:
    """A panel for each column: our means with intervals, and the paper's where it has any."""
    figure = Figure(figsize=(4.2 * len(study.columns), 3.6), layout="constrained")
    places = np.arange(len(study.rows))
    for n, (column, axes) in enumerate(zip(study.columns, panels(figure, study), strict=True)):
        ours = [cells[row.name][n] for row in study.rows]
        axes.errorbar(
            places,
            [math.nan if c.value is None else c.value for c in ours],
            [c.margin or 0.0 for c in ours],
            fmt="o",
            capsize=3,
            label="here",
        )
        paper = [row.paper[n] if row.paper else None for row in study.rows]
        if any(value is not None for value in paper):
            axes.plot(places, [math.nan if v is None else v for v in paper], "x", label="paper")
            axes.legend()
        axes.set_xticks(places, [row.name for row in study.rows], rotation=30, ha="right")
        axes.set_title(f"{column.name}, {column.unit}" if column.unit else column.name)
        axes.grid(axis="y", alpha=0.3)
    return figure


def panels(figure: Figure, study: Study) -> list[Axes]:
    """Axes side by side."""
    return [figure.add_subplot(1, len(study.columns), n + 1) for n in range(len(study.columns))]


def curves(study: Study, curve: Curve, found: Found) -> Figure:
    """A line for each row, with its 95 % band, of the first seed."""
    figure = Figure(figsize=(7, 4.2), layout="constrained")
    axes = figure.add_subplot()
    tops, bottoms = [], []
    for row in study.rows:
        result = found[row.name][0]
        if result.reason:
            continue
        told_rows = list(csv.DictReader(io.StringIO(dvc.api.read(curve.file, rev=result.rev))))
        x, y, margin = (
            numbers(told_rows, key.format(of=row.of)) for key in (curve.x, curve.y, f"{curve.y}_95")
        )
        axes.plot(x, y, label=row.name)
        axes.fill_between(x, y - margin, y + margin, alpha=0.15)
        tops.append(np.nanmax(y))
        bottoms.append(np.nanmin(y))
    if tops:  # the bands of few rollouts would flatten the curves
        apart = 0.15 * (max(tops) - min(bottoms))
        axes.set_ylim(min(bottoms) - apart, max(tops) + apart)
        axes.legend()
    axes.set_xlabel(curve.x)
    axes.set_ylabel(curve.y.replace("{of}_", ""))
    axes.grid(alpha=0.3)
    return figure


def numbers(rows: Sequence[Mapping[str, Any]], key: str) -> np.ndarray:
    """A column of a CSV file; what is not there is nan."""
    return np.array([float(row.get(key) or "nan") for row in rows])
