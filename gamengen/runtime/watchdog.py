"""A time limit for a process that is waited for: whoever waits cannot end it, so a thread does."""

import logging
import math
import os
import signal
import threading
import time
from contextlib import suppress
from pathlib import Path

log = logging.getLogger(__name__)


class Watchdog:
    """Ends the process that has ``argument`` among its own once it is waited for too long.

    ``with watchdog:`` stands around each call that waits for the process. Past ``limit`` seconds
    that call fails as it does when the process dies by itself.
    """

    def __init__(self, argument: str, limit: float) -> None:
        self.argument, self.limit, self.due = argument, limit, math.inf
        self.off = threading.Event()
        threading.Thread(target=self._watch, name=f"watchdog {argument}", daemon=True).start()

    def __enter__(self) -> None:
        self.due = time.monotonic() + self.limit

    def __exit__(self, *_: object) -> None:
        self.due = math.inf

    def end(self) -> None:
        """End the process now, if it is still there, and watch no more."""
        self.off.set()
        # Found anew rather than remembered: its number may be another process's by now.
        for cmdline in Path("/proc").glob("[0-9]*/cmdline"):
            with suppress(OSError):  # another that has just ended
                if self.argument.encode() in cmdline.read_bytes().split(b"\0"):
                    os.kill(int(cmdline.parent.name), signal.SIGKILL)

    def _watch(self) -> None:
        while not self.off.wait(min(1.0, self.limit / 4)):
            if time.monotonic() > self.due:
                log.warning(
                    "process %s has not answered for %g s: ended", self.argument, self.limit
                )
                self.end()
