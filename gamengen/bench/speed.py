"""How fast a dream is played: frame by frame, action in to picture out."""

from dataclasses import asdict, dataclass
from time import perf_counter
from typing import Any

import numpy as np

from gamengen.game.engine import History
from gamengen.play.dream import Dream, Timings

HELD_FRAMES = 5  # for how many frames the player keeps a key down
WARM_FRAMES = 10  # not counted: some build what they run, and CUDA graphs are recorded
LEAST_FRAMES = 3


@dataclass(frozen=True)
class Spread:
    """Milliseconds: the median and the 99th percentile."""

    p50: float
    p99: float


@dataclass(frozen=True)
class Speed:
    """One row of the table. ``frame`` is the whole of a step; fps counts every one of them."""

    frames: int
    denoise: Spread
    decode: Spread
    picture: Spread
    frame: Spread
    fps: float
    real_time: float  # fps * tics per frame / 35: above 1 the dream is faster than the game


def play(dream: Dream, history: History, seconds: float) -> Speed:
    """Play for so long, at least ``LEAST_FRAMES``, with keys held and changed at random."""
    random = np.random.default_rng(0)
    dream.measured = True
    dream.start(history)
    warm_up(dream, seconds)
    parts: list[Timings] = []
    frames: list[float] = []
    action = dream.facts.no_action
    begin = now = perf_counter()
    while now - begin < seconds or len(frames) < LEAST_FRAMES:
        if len(frames) % HELD_FRAMES == 0:
            action = int(random.integers(len(dream.facts.actions)))
        dream.step(action)
        before, now = now, perf_counter()
        frames.append(1e3 * (now - before))
        parts.append(dream.timings)
    fps = len(frames) / (now - begin)
    columns: dict[str, Any] = {
        name: spread([asdict(part)[name] for part in parts])
        for name in ("denoise", "decode", "picture")
    }
    return Speed(
        frames=len(frames),
        **columns,
        frame=spread(frames),
        fps=fps,
        real_time=fps / float(dream.facts.fps),
    )


def warm_up(dream: Dream, seconds: float) -> None:
    """Frames that are not counted; few where one takes long, whatever the first one takes."""
    for number in range(WARM_FRAMES):
        begin = perf_counter()
        dream.step(dream.facts.no_action)
        if number and perf_counter() - begin > seconds / WARM_FRAMES:
            return


def spread(milliseconds: list[float]) -> Spread:
    p50, p99 = np.percentile(milliseconds, [50, 99]).tolist()
    return Spread(p50, p99)
