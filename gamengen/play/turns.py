"""Who computes next, where many players share one device."""

import threading
from collections import deque
from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")


class Turns:
    """A lock that serves in the order of asking.

    ``threading.Lock`` lets whoever has just released it in again first: one player without a
    limit of pace, or with a blind test's clips to make, would hold up all others.
    """

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._waiting: deque[threading.Event] = deque()
        self._taken = False

    def __enter__(self) -> None:
        with self._guard:
            if not self._taken:
                self._taken = True
                return
            mine = threading.Event()
            self._waiting.append(mine)
        mine.wait()

    def __exit__(self, *_: object) -> None:
        with self._guard:
            if self._waiting:
                self._waiting.popleft().set()
            else:
                self._taken = False

    def each(self, function: Callable[P, R]) -> Callable[P, R]:
        """The function, a turn each call: of many steps a frame, others compute between them."""

        @wraps(function)
        def in_turn(*args: P.args, **kwargs: P.kwargs) -> R:
            with self:
                return function(*args, **kwargs)

        return in_turn
