"""The report's folder: pictures, a video, and one page that holds everything itself."""

import base64
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup

from gamengen.evaluation.report import charts, pictures, words
from gamengen.evaluation.summary import Names
from gamengen.game.facts import GameFacts
from gamengen.runtime.template import read_template

TEMPLATE = Path(__file__).parent / "page.html.j2"


@dataclass(frozen=True)
class Findings:
    """What the evaluate stage found, ready to be shown.

    ``examples`` holds pictures ``[k, h, w, 3]`` of moving frames, and ``videos`` the shown
    rollouts ``[k, n, h, w, 3]``, by name, with ``real`` and the baselines.
    """

    metrics: dict[str, Any]  # the content of metrics.json
    game: GameFacts
    params: dict[str, Any]
    names: Names
    curves: list[dict[str, Any]]  # per step, the columns of autoregressive.csv
    confusions: dict[str, np.ndarray]  # of rollouts: how often, row taken, column read
    examples: dict[str, np.ndarray]
    videos: dict[str, np.ndarray]
    shown: list[tuple[str, int, list[int]]]  # episode and frame where each begins, its actions

    @property
    def seconds(self) -> float:
        """Game time of one frame."""
        return float(1 / self.game.fps)

    @property
    def models(self) -> list[str]:
        """The models whose rollouts were made: the student, then the teacher's."""
        return [name for name in self.names.rollout if name not in ("copy_last", "autoencoder")]


def write(folder: Path, found: Findings) -> None:
    """Write ``filmstrips/*.png``, ``one_frame_ahead.png``, ``rollout.mp4`` and ``index.html``."""
    (folder / "filmstrips").mkdir()
    strips = []
    for rank, (episode, frame, _) in enumerate(found.shown):
        videos = {name: found.videos[name][rank] for name in ["real", *found.models]}
        path = folder / "filmstrips" / f"{rank + 1}.png"
        pictures.filmstrip(videos, ["real", *found.models], found.seconds).save(path)
        strips.append((path, f"Episode {episode}, from frame {frame}."))
    if found.examples:
        sheet = pictures.examples(found.examples, found.names.one_frame)
        sheet.save(folder / "one_frame_ahead.png")
    actions = [[found.game.action_names[a] for a in taken] for *_, taken in found.shown]
    frames = pictures.video_frames(found.videos, ["real", *found.models], actions, found.seconds)
    pictures.write_video(folder / "rollout.mp4", frames, found.game.fps)
    (folder / "index.html").write_text(render(folder, found, strips))


def render(folder: Path, found: Findings, strips: list[tuple[Path, str]]) -> str:
    """The page, with every picture, curve and number inside."""
    ahead = folder / "one_frame_ahead.png"
    return read_template(TEMPLATE).render(
        found=found,
        title=Path(found.game.scenario).stem,
        metrics=found.metrics,
        rate=float(found.game.fps),
        video=_inline(folder / "rollout.mp4", "video/mp4"),
        strips=[(_inline(path, "image/png"), caption) for path, caption in strips],
        ahead=_inline(ahead, "image/png") if ahead.exists() else None,
        examples=len(found.examples.get("real", [])),
        curves=[(title(found, metric), rollout_chart(found, metric)) for metric in CHARTED],
        dots=[(title(found, metric), steps_chart(found, metric)) for metric in CHARTED],
        confusions=[
            (words.name_in_words(name), charts.matrix(shares(counts), found.game.action_names))
            for name, counts in found.confusions.items()
            if name in ("real", "autoencoder", *found.models)
        ],
        style=style,
        words=words,
        params=json.dumps(found.params, indent=2),
    )


CHARTED = ("psnr_pooled", "lpips_alex", "lpips_vgg")


def title(found: Findings, metric: str) -> str:
    """A chart's heading: which metric, and which way is closer."""
    way = "higher" if metric.startswith("psnr") else "lower"
    return f"{words.metric_in_words(metric, found.metrics)}: {way} is closer"


def unit(metric: str) -> str:
    """What a chart's axis counts."""
    return "dB" if metric.startswith("psnr") else "LPIPS"


def rollout_chart(found: Findings, metric: str) -> Markup:
    """A metric against the game time of a rollout."""
    seconds = np.array([row["step"] for row in found.curves]) * found.seconds
    series = []
    for name in found.names.rollout:
        y = np.array([row[f"{name}_{metric}"] for row in found.curves])
        margins = [row.get(f"{name}_{metric}_95") for row in found.curves]
        margin = None if None in margins else np.array(margins)
        series.append(charts.Series(words.name_in_words(name), style(name), y, margin))
    return charts.lines(series, seconds, "seconds of game", unit(metric))


def steps_chart(found: Findings, metric: str) -> Markup:
    """A metric of moving frames, one model a row, between the baselines."""
    moving = found.metrics["teacher_forced"]["moving"]
    rows = [
        charts.Dot(
            words.name_in_words(name),
            style(name),
            f"{moving[name][metric]:.{2 if unit(metric) == 'dB' else 3}f}",
            moving[name][metric],
            moving[name].get(f"{metric}_95"),
            baseline=name in ("copy_last", "autoencoder"),
        )
        for name in found.names.one_frame
        if name in moving
    ]
    return charts.dots(rows, unit(metric)) if rows else Markup("")


def shares(counts: np.ndarray) -> np.ndarray:
    """Of each row, which part is in each column; zeros where a row is empty."""
    return counts / np.maximum(1, counts.sum(1, keepdims=True))


def style(name: str) -> str:
    """The CSS class that gives a name its colour."""
    return "steps" if name.startswith("steps_") else name.replace("_", "-")


def _inline(path: Path, kind: str) -> str:
    return f"data:{kind};base64,{base64.b64encode(path.read_bytes()).decode()}"
