"""The model, and beside it the real game: one start, the same actions."""

import logging
from collections.abc import Callable
from contextlib import suppress

import numpy as np

from gamengen.game.engine import Engine, Frame, History
from gamengen.play.dream import Dream

log = logging.getLogger(__name__)


class Match:
    """Owns a dream and, while it is wanted, a real game.

    The real game runs in a process of its own that may die. It is then started anew, alone, and
    replayed to where it was: the dream goes on. If it dies again at once, ``lost`` says why and
    the dream goes on without it.
    """

    def __init__(self, dream: Dream, new_real: Callable[[], Engine]) -> None:
        self.dream, self.new_real = dream, new_real
        self.real: Engine | None = None
        self.lost: str | None = None
        self.restarts = 0

    def start(self, history: History, beside: bool) -> list[Frame]:
        """Where play begins: the real frame if wanted, then the dream's."""
        self.history: History = history
        self.taken: list[int] = []
        self.lost = None
        frame = self.dream.start(history)
        if not beside:
            self._drop_real()
            return [frame]
        return [*self._really(lambda real: real.start(history)), frame]

    def step(self, action: int) -> list[Frame]:
        """One frame on: the real one if there is one, then the dream's."""
        frame = self.dream.step(action)
        if self.real is None:
            return [frame]
        if self.real.over is None:
            self.taken.append(action)
        return [*self._really(lambda real: real.step(action)), frame]

    @property
    def over(self) -> str | None:
        """Why the real game has ended; None while it goes on, and without one."""
        return self.real.over if self.real is not None else None

    def close(self) -> None:
        """Give back both engines."""
        self._drop_real()
        self.dream.close()

    def _really(self, act: Callable[[Engine], Frame]) -> list[Frame]:
        try:
            if self.real is None:
                self.real = self.new_real()
            return [act(self.real)]
        except Exception as error:  # of any kind: it must not take the dream along
            log.warning("the real game crashed, starting it anew: %s", error)
            return self._bring_back()

    def _bring_back(self) -> list[Frame]:
        self._drop_real()
        self.restarts += 1
        begun = self.history
        actions = np.append(begun.actions, self.taken).astype(np.int64)
        try:
            self.real = self.new_real()
            return [self.real.start(History(begun.seed, actions, begun.frames))]
        except Exception as error:
            self._drop_real()
            self.lost = f"the real game cannot be started: {error}"
            log.error("%s", self.lost)
            return []

    def _drop_real(self) -> None:
        if self.real is not None:
            with suppress(Exception):  # it may be dead already
                self.real.close()
            self.real = None
