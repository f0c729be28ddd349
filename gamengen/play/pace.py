"""Neither faster than the game nor, where fewer steps help, slower; and how fast that is."""

import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from gamengen.play.dream import Dream, Settings, Timings, black
from gamengen.runtime import device

SECONDS_MEASURED = 2.0
SHARE = 0.65  # of the game's frame for the model's at its fastest: a browser has the same cores
TRIED, SECONDS_TRIED = 10, 1.0  # at most so many frames, and no more after so long


@dataclass(frozen=True)
class Rate:
    """What the page always shows; all 0 until two frames have been made."""

    fps: float
    ms: float  # of making one frame, without waiting for its turn
    factor: float  # of real time: 1 is the game's own speed


class Pace:
    """Says how long to wait for the next frame; measures the last two seconds.

    A frame that comes late is not made up for by hurrying: the next is due one period on.
    """

    def __init__(self, fps: float, clock: Callable[[], float] = time.perf_counter) -> None:
        """``fps`` are the game's own: 35 tics a second over tics a frame."""
        self.game_fps, self.clock = fps, clock
        self.unlimited = False
        self.restart()

    def restart(self) -> None:
        """Play goes on after a pause: nothing is late."""
        self.due = self.clock()
        self.frames: deque[tuple[float, float]] = deque()  # when it was ready, seconds it took

    def wait(self) -> float:
        """Seconds until the next frame's turn; 0 when it is late."""
        now = self.clock()
        return 0.0 if self.unlimited else max(0.0, self.due - now)

    def made(self, seconds: float) -> None:
        """A frame is ready; making it took so many seconds."""
        now = self.clock()
        self.frames.append((now, seconds))
        while now - self.frames[0][0] > SECONDS_MEASURED:
            self.frames.popleft()
        self.due = max(self.due, now - seconds) + 1 / self.game_fps

    def rate(self) -> Rate:
        """Over the frames of the last two seconds."""
        if len(self.frames) < 2:
            return Rate(0.0, 0.0, 0.0)
        spent = self.frames[-1][0] - self.frames[0][0]
        fps = (len(self.frames) - 1) / spent if spent > 0 else 0.0
        ms = 1000 * sum(seconds for _, seconds in self.frames) / len(self.frames)
        return Rate(fps, ms, fps / self.game_fps)


def in_time(dream: Dream, settings: Settings) -> Settings:
    """The same, in no more steps than surely keep the game's pace on this machine.

    XLA, which computes a frame as a whole, keeps them all.
    """
    sampling = settings.sampling
    if sampling.steps == 1 or device.on_xla():
        return settings
    dream.settings, dream.measured = replace(settings, sampling=replace(sampling, steps=1)), True
    dream.start(black(dream.facts))
    dream.step(dream.facts.no_action)  # not counted: something may still be built
    tried: list[Timings] = []
    begin = time.perf_counter()
    while len(tried) < TRIED and time.perf_counter() - begin < SECONDS_TRIED:
        dream.step(dream.facts.no_action)
        tried.append(dream.timings)
    steps = min(sampling.steps, steps_in_time(tried, 1000 / float(dream.facts.fps)))
    return replace(settings, sampling=replace(sampling, steps=steps))


def steps_in_time(tried: Sequence[Timings], frame: float) -> int:
    """How many steps fit into a frame of the game, milliseconds; at least one.

    ``tried`` are frames of one step. Their fastest counts: others may have been held up.
    """
    step = min(each.denoise for each in tried)
    picture = min(each.decode + each.picture for each in tried)
    return max(1, int((SHARE * frame - picture) / step))
