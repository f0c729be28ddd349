"""Something to play in tests: a tiny dream, and a striped world in the real game's place."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from fastapi import FastAPI

from gamengen.backends.backend import open_backend
from gamengen.game.engine import Frame, History
from gamengen.game.facts import GameFacts
from gamengen.play import source
from gamengen.play.__main__ import serve
from gamengen.play.source import Source
from tests.artifacts import SHIFT, make_all


class StripedWorld:
    """Turns when told to; dies when a test says so."""

    alive = 0  # how many there are now
    crashes = 0  # of the steps to come, as many fail
    broken = False  # none can be started

    def __init__(self, facts: GameFacts, ends_after: int | None = None) -> None:
        if StripedWorld.broken:
            raise RuntimeError("no such game")
        self.facts, self.ends_after, self.over = facts, ends_after, None
        StripedWorld.alive += 1

    def start(self, history: History) -> Frame:
        self.seed, self.taken = history.seed, 0
        self.frame = history.frames[-1]
        self.replayed = len(history.actions)
        return self.frame

    def step(self, action: int) -> Frame:
        if StripedWorld.crashes:
            StripedWorld.crashes -= 1
            raise RuntimeError("the game's process has died")
        self.taken += 1
        if self.ends_after is not None and self.taken >= self.ends_after:
            self.over = "death"
        shift = SHIFT[self.facts.action_names[action]]
        self.frame = np.roll(self.frame, shift, 1)
        return self.frame

    def close(self) -> None:
        StripedWorld.alive -= 1


def tiny_source(folder: Path, ends_after: int | None = None) -> Source:
    make_all(folder, length=100)
    return source.load(folder, open_backend("eager"), lambda facts: StripedWorld(facts, ends_after))


@contextmanager
def served(app: FastAPI) -> Iterator[str]:
    """The app on a port of its own; gives its host and port."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = serve(app, "127.0.0.1", port)
    thread = threading.Thread(target=server.run)
    thread.start()
    until(lambda: server.started, 60)
    try:
        yield f"127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join(10)


def until(told: Any, seconds: float) -> float:
    """Wait for something to be so; how long it took. Fails when it takes longer."""
    began = time.monotonic()
    while not told():
        assert time.monotonic() - began < seconds, f"not so within {seconds} s"
        time.sleep(0.01)
    return time.monotonic() - began
