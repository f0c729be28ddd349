"""Charts as inline SVG; their colours are the page's, so that they follow light and dark."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from markupsafe import Markup, escape

WIDTH, HEIGHT = 560, 300
LEFT, RIGHT, TOP, BOTTOM = 46, 14, 12, 36


@dataclass(frozen=True)
class Series:
    """A curve with its 95 % band; ``style`` is a CSS class."""

    label: str
    style: str
    y: np.ndarray
    margin: np.ndarray | None


def lines(series: Sequence[Series], x: np.ndarray, x_title: str, y_title: str) -> Markup:
    """Curves over a common x."""
    # The bands of few rollouts would flatten the curves: they are cut where they leave the chart.
    low, high = _widened(min(s.y.min() for s in series), max(s.y.max() for s in series))

    def across(at: Any) -> Any:
        return LEFT + (at - x[0]) / max(1e-9, x[-1] - x[0]) * (WIDTH - LEFT - RIGHT)

    def down(at: Any) -> Any:
        return TOP + (high - at) / (high - low) * (HEIGHT - TOP - BOTTOM)

    def place(xs: np.ndarray, ys: np.ndarray) -> str:
        return " ".join(f"{a:.1f},{d:.1f}" for a, d in zip(across(xs), down(ys), strict=True))

    inner = f'x="{LEFT}" y="{TOP}" width="{WIDTH - LEFT - RIGHT}" height="{HEIGHT - TOP - BOTTOM}"'
    view = f"{LEFT} {TOP} {WIDTH - LEFT - RIGHT} {HEIGHT - TOP - BOTTOM}"
    parts = []
    for value in _ticks(low, high):
        parts.append(_line("grid", LEFT, down(value), WIDTH - RIGHT, down(value)))
        parts.append(_text(LEFT - 6, down(value) + 4, f"{value:g}", "end"))
    parts.append(_text(4, HEIGHT - 6, y_title, "start"))
    ticks = _ticks(float(x[0]), float(x[-1]))
    parts += [_text(across(at), HEIGHT - BOTTOM + 16, f"{at:g}", "middle") for at in ticks]
    parts.append(_text(WIDTH - RIGHT, HEIGHT - 6, x_title, "end"))
    parts.append(f'<svg class="inner" {inner} viewBox="{view}">')
    for s in series:
        if s.margin is not None:
            band = np.concatenate([s.y + s.margin, (s.y - s.margin)[::-1]])
            points = place(np.concatenate([x, x[::-1]]), band)
            parts.append(f'<polygon class="band {s.style}" points="{points}"/>')
    parts += [f'<polyline class="line {s.style}" points="{place(x, s.y)}"/>' for s in series]
    parts.append("</svg>")
    return _svg(parts, f"{y_title} against {x_title}")


@dataclass(frozen=True)
class Dot:
    """A mean with half its interval, or a baseline drawn as a line through the whole chart."""

    label: str
    style: str
    text: str  # the mean, as it is printed
    mean: float
    margin: float | None
    baseline: bool


def dots(rows: Sequence[Dot], title: str) -> Markup:
    """Means with their intervals, one a row, against the baselines as vertical lines."""
    step, left, top = 30, 140, 46
    models = [row for row in rows if not row.baseline]
    bottom = top + 6 + step * len(models)
    values = [row.mean + sign * (row.margin or 0.0) for row in rows for sign in (-1, 1)]
    low, high = _widened(min(values), max(values))

    def across(value: float) -> float:
        return left + (value - low) / (high - low) * (WIDTH - left - RIGHT)

    parts = [_text(left - 10, bottom + 16, title, "end")]
    for value in _ticks(low, high):
        parts.append(_line("grid", across(value), top, across(value), bottom))
        parts.append(_text(across(value), bottom + 16, f"{value:g}", "middle"))
    for number, row in enumerate(row for row in rows if row.baseline):
        x, up = across(row.mean), 20 - 16 * number
        anchor = "end" if x > (left + WIDTH) / 2 else "start"
        parts.append(_line(f"line {row.style}", x, top - up + 6, x, bottom))
        parts.append(_text(x, top - up, f"{row.label} {row.text}", anchor))
    for number, row in enumerate(models):
        x, y = across(row.mean), top + step * (number + 0.5)
        if row.margin is not None:
            ends = across(row.mean - row.margin), across(row.mean + row.margin)
            parts.append(_line(f"whisker {row.style}", ends[0], y, ends[1], y))
        parts.append(f'<circle class="dot {row.style}" cx="{x:.1f}" cy="{y:.1f}" r="5"/>')
        parts.append(_text(left - 10, y + 4, row.label, "end", "name"))
    return _svg(parts, title, bottom + 30)


def matrix(shares: np.ndarray, names: Sequence[str]) -> Markup:
    """A square of shares, 0 to 1: rows and columns go by the same names."""
    left, top = 160, 30
    cell = (WIDTH - left - RIGHT) / len(names)
    high = min(cell, 34.0)
    parts = [_text(left, 12, "read in the frames", "start")]
    for row, name in enumerate(names):
        middle = top + (row + 0.5) * high + 4
        parts.append(_text(left - 8, middle, name, "end", "name"))
        parts.append(_text(left + (row + 0.5) * cell, top - 4, str(row + 1), "middle"))
        parts.append(_text(4, middle, str(row + 1), "start"))
        for column, share in enumerate(shares[row]):
            x, y = left + column * cell, top + row * high
            parts.append(
                f'<rect class="cell" x="{x:.1f}" y="{y:.1f}" width="{cell - 2:.1f}" '
                f'height="{high - 2:.1f}" fill-opacity="{0.05 + 0.4 * share:.2f}"/>'
            )
            if share >= 0.005:
                parts.append(_text(x + cell / 2, middle, f"{100 * share:.0f}", "middle", "name"))
    return _svg(parts, "share of each action that is read so, in %", int(top + high * len(names)))


def _line(style: str, x1: float, y1: float, x2: float, y2: float) -> str:
    return f'<line class="{style}" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>'


def _text(x: float, y: float, text: str, anchor: str, style: str = "tick") -> str:
    place = f'x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"'
    return f'<text class="{style}" {place}>{escape(text)}</text>'


def _widened(low: float, high: float) -> tuple[float, float]:
    room = 0.06 * (high - low) or 0.5
    return float(low - room), float(high + room)


def _ticks(low: float, high: float) -> list[float]:
    """Round numbers in a range, four to eight of them."""
    if high <= low:
        return [low]
    step = 10 ** np.floor(np.log10((high - low) / 4))
    step *= next(m for m in (1, 2, 5, 10) if (high - low) / (step * m) <= 8)
    first = np.ceil(low / step) * step
    return [float(np.round(v, 10)) + 0.0 for v in np.arange(first, high + step * 1e-6, step)]


def _svg(parts: Sequence[str], title: str, height: int = HEIGHT) -> Markup:
    # Everything in the parts is a number, one of our class names, or escaped.
    return Markup(
        f'<svg viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{escape(title)}">'
        f"{''.join(parts)}</svg>"
    )
