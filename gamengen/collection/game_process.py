"""A game in a process of its own, which may die or hang: it is brought back exactly."""

import errno
import logging
import multiprocessing
import os
import shutil
import signal
import time
import traceback
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

from gymnasium import spaces

from gamengen.runtime.errors import InputError

log = logging.getLogger(__name__)

START_LIMIT = 600.0  # seconds, to import everything and play a running episode again
# For what takes milliseconds. An engine that hangs is ended before that; where one dies with a lock
# of the memory that it shares with ViZDoom, ViZDoom waits for ever.
ANSWER_LIMIT = 90.0
RESTARTS, WITHIN = 3, 3600.0  # of one game, in so many seconds; then it is given up
PRELOADED = ["gamengen.collection.recording"]  # imported once for all games, which share the memory
Make = Callable[[Any], Any]  # a game where its checkpoint says
Request = tuple[str, tuple[Any, ...], dict[str, Any]]  # method, arguments
Spaces = tuple[spaces.Space, spaces.Space]  # of observations, of actions


@dataclass(frozen=True)
class Failure:
    """Instead of an answer: why there will be none."""

    error: Exception
    trace: str


class Death(Exception):
    """A game's process has ended, or is as good as dead."""

    def __init__(self, reason: str, trace: str = "") -> None:
        super().__init__(reason)
        self.trace = trace


class GameProcess:
    """A game that is asked for its methods' results.

    When its process dies, or hangs, another begins at its last checkpoint and is asked all over
    again for what the first was asked since: games are deterministic, so it stands where the
    first one died, its store included.
    """

    def __init__(self, name: str, make: Make, checkpoint: Any) -> None:
        """``checkpoint`` is what ``make`` takes, as the game's method ``checkpoint`` returns it."""
        self.name, self.make, self.checkpoint = name, make, checkpoint
        self.asked: list[Request] = []  # since that checkpoint
        self.deaths: deque[float] = deque(maxlen=RESTARTS)
        self._start()

    def spaces(self) -> Spaces:
        """Of observations and actions, once the game has begun. Raises what ``answer`` raises."""
        try:
            return self._begun()
        except Death as death:
            return self._bring_back(death)[0]

    def ask(self, method: str, *arguments: Any, **named: Any) -> None:
        """Ask for a method's result; ``step`` begins the next episode where one ends."""
        self.asked.append((method, arguments, named))
        self._send(self.asked[-1])

    def answer(self) -> Any:
        """What the last request gave.

        Raises InputError when the game cannot be started or dies again and again, OSError when
        the disk is full.
        """
        try:
            answer = self._receive()
        except Death as death:
            answer = self._bring_back(death)[1]
        if self.asked[-1][0] == "checkpoint" and not isinstance(answer, Exception):
            self.checkpoint, self.asked = answer, []
        return answer

    def end(self, patience: float = 0.0) -> None:
        """End the process and its engine, after ``patience`` seconds in which it may close both."""
        self.connection.close()
        wait([self.process.sentinel], patience)
        assert self.process.pid is not None
        with suppress(ProcessLookupError):  # no such group: it had not come so far
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.kill()
        self.process.join()
        for path in self.traces:
            shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(True)

    def _start(self) -> None:
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(PRELOADED)
        self.connection, theirs = context.Pipe()
        arguments = (theirs, self.make, self.checkpoint)
        self.process = context.Process(target=_serve, args=arguments, name=self.name, daemon=True)
        # Ctrl-C is for the stage alone: it ends its games itself, after a checkpoint.
        blocked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        self.process.start()
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
        theirs.close()
        self.traces: list[Path] = []
        self.due = time.monotonic() + START_LIMIT

    def _begun(self) -> Spaces:
        self.traces, begun = self._receive()
        return begun

    def _send(self, request: Request) -> None:
        self.due = time.monotonic() + ANSWER_LIMIT
        with suppress(OSError):  # it has died: ``answer`` says so
            self.connection.send(request)

    def _receive(self) -> Any:
        try:
            if not self.connection.poll(max(0.0, self.due - time.monotonic())):
                raise Death("it has not answered for too long")
            answer = self.connection.recv()
        except (EOFError, OSError):
            raise Death("its process was ended") from None
        if isinstance(answer, Failure):
            error, full = answer.error, getattr(answer.error, "errno", None) == errno.ENOSPC
            # What has run before is not wrong when it cannot be started again.
            if full or (isinstance(error, InputError) and not self.deaths):
                raise error
            raise Death(str(error), answer.trace)
        return answer

    def _bring_back(self, death: Death) -> tuple[Spaces, Any]:
        """A new process that has been asked for everything; its spaces and its last answer."""
        while True:
            self._count(death)
            self.end()
            self._start()
            try:
                begun, answer = self._begun(), None
                for request in self.asked:
                    self._send(request)
                    answer = self._receive()
                return begun, answer
            except Death as again:
                death = again

    def _count(self, death: Death) -> None:
        now = time.monotonic()
        if len(self.deaths) == RESTARTS and now - self.deaths[0] < WITHIN:
            log.error("game %s: %s", self.name, death.trace or death)
            raise InputError(
                f"game {self.name}: died {RESTARTS + 1} times within {WITHIN / 60:.0f} minutes, "
                f"the last time: {death}; the same command goes on from the last checkpoint"
            )
        self.deaths.append(now)
        log.warning("game %s: %s; it is started again and brought back", self.name, death)


def _serve(connection: Connection, make: Make, checkpoint: Any) -> None:
    """A game's process: make it, then answer until nobody asks any more."""
    os.setsid()  # a group of its own, to be ended with its engine
    for number in map(int, os.listdir("/proc/self/fd")):
        # An engine that outlives this process would hold its pipes open: it would not look dead.
        with suppress(OSError):
            os.set_inheritable(number, number <= 2)
    game = None
    try:
        game = make(checkpoint)
        connection.send((game.traces, (game.observation_space, game.action_space)))
        while True:
            method, arguments, named = connection.recv()
            act = partial(_step, game) if method == "step" else getattr(game, method)
            connection.send(act(*arguments, **named))
    except (EOFError, ConnectionError):
        pass  # nobody listens
    except Exception as error:
        known = isinstance(error, InputError | OSError)  # to the other side
        sent = error if known else RuntimeError(f"{type(error).__name__}: {error}")
        with suppress(OSError):
            connection.send(Failure(sent, traceback.format_exc()))
    finally:
        if game is not None:
            game.close()


def _step(game: Any, action: Any) -> tuple[Any, float, bool, dict[str, Any]]:
    """As Stable-Baselines3 has it: where an episode ends, what is seen is the next one's."""
    seen, reward, over, late, info = game.step(action)
    info["TimeLimit.truncated"] = late and not over
    if over or late:
        info["terminal_observation"] = seen
        seen, _ = game.reset()
    return seen, reward, over or late, info
