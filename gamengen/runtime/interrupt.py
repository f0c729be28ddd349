"""Ctrl-C and SIGTERM, kept until it is a good time to stop."""

import os
import signal
import threading
import time
from types import FrameType
from typing import Any

SAME = 2.0  # seconds: among several processes one Ctrl-C comes twice, from terminal and launcher


class Interrupt:
    """While entered, an interrupt only sets ``asked``; whoever works looks at it between steps.

    With ``insist`` a second one, later than the first's echo, stops at once.
    """

    def __init__(self, insist: bool = False) -> None:
        self.asked, self.insist, self.first = False, insist, 0.0
        self.handlers: dict[int, Any] = {}

    def __enter__(self) -> "Interrupt":
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self.handlers[number] = signal.signal(number, self._ask)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self.handlers.items():
            signal.signal(number, handler)

    def _ask(self, number: int, frame: FrameType | None) -> None:
        if self.asked and self.insist and time.monotonic() - self.first > SAME:
            raise KeyboardInterrupt
        if not self.asked:
            self.asked, self.first = True, time.monotonic()
            again = "; again to stop at once" if self.insist else ""
            # Not by ``print``, which may be what was interrupted.
            os.write(2, f"\ninterrupted: a checkpoint is saved first{again}\n".encode())
