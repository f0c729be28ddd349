"""Many players for a while, slow and hostile ones among them: ``python -m tests.play.soak``.

Fast ones acknowledge every frame at once, slow ones read one message a second, hostile ones say
whatever comes to their mind, as text and as bytes. Prints how late frames are for the fast ones,
with and without others beside them, how much memory the process, which holds the server and all
players, has gained, and what the server failed at; exit status 1 if it failed at anything.
"""

import argparse
import asyncio
import json
import logging
import random
import resource
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from gamengen.play.blind import Answers
from gamengen.play.protocol import unpack
from gamengen.play.server import create_app
from gamengen.play.source import Source
from tests.play.fuzz import mangled
from tests.play.worlds import served, tiny_source, until


@dataclass(frozen=True)
class Players:
    """How many of each kind."""

    fast: int
    slow: int = 0
    hostile: int = 0


@dataclass
class Soak:
    """What was seen in one run."""

    gaps: list[float] = field(default_factory=list)  # seconds between a fast player's frames
    slow_frames: int = 0
    hostile_messages: int = 0
    memory: list[float] = field(default_factory=list)  # MiB, once a second
    failures: list[str] = field(default_factory=list)  # of the server

    def gap(self, percent: float) -> float:
        """A percentile of the gaps, milliseconds."""
        return 1000 * float(np.percentile(self.gaps, percent))

    @property
    def gained(self) -> float:
        """MiB of the last quarter's median over the second quarter's."""
        quarter = max(1, len(self.memory) // 4)
        return float(
            np.median(self.memory[-quarter:]) - np.median(self.memory[quarter : 2 * quarter])
        )


async def soak(address: str, players: Players, seconds: float) -> Soak:
    """Let them play for so long."""
    seen, ends = Soak(), time.monotonic() + seconds
    playing = [play_fast(address, ends, seen) for _ in range(players.fast)]
    playing += [play_slowly(address, ends, seen, honest=bool(n % 2)) for n in range(players.slow)]
    playing += [babble(address, ends, seen, random.Random(n)) for n in range(players.hostile)]
    await asyncio.gather(watch_memory(ends, seen), *playing)
    return seen


async def begin(address: str) -> ClientConnection:
    """A player who has begun to play."""
    socket = await connect(f"ws://{address}/play", origin=f"http://{address}", max_queue=1)
    await socket.send(json.dumps({"type": "keys", "held": ["TURN_LEFT"]}))
    await socket.send(json.dumps({"type": "pause", "paused": False}))
    return socket


async def play_fast(address: str, ends: float, seen: Soak) -> None:
    """Reads and acknowledges at once."""
    socket, last = await begin(address), 0.0
    while time.monotonic() < ends:
        message = await socket.recv()
        if isinstance(message, str):
            continue
        await acknowledge(socket, message)
        now = time.monotonic()
        seen.gaps += [now - last] if last else []
        last = now
    await socket.close()


async def play_slowly(address: str, ends: float, seen: Soak, honest: bool) -> None:
    """Reads one message a second; goes without a word.

    An honest one acknowledges what it reads. Another claims to have received everything, so that
    the socket's buffers fill; the server drops it when it misses its pings, and it comes again.
    """
    while time.monotonic() < ends:
        socket, turn = await begin(address), 0
        with suppress(ConnectionClosed):
            while time.monotonic() < ends:
                if turn % 20 == 0:
                    message = await socket.recv()
                    seen.slow_frames += 1
                    if honest and isinstance(message, bytes):
                        await acknowledge(socket, message)
                if not honest:
                    await socket.send(json.dumps({"type": "seen", "number": 2**52}))
                turn += 1
                await asyncio.sleep(0.05)
        socket.transport.abort()


async def babble(address: str, ends: float, seen: Soak, chance: random.Random) -> None:
    """Says good messages, nearly good ones, and noise; leaves and comes again."""
    while time.monotonic() < ends:
        async with connect(f"ws://{address}/play", origin=f"http://{address}") as socket:
            reading = asyncio.create_task(read_all(socket))
            with suppress(ConnectionClosed):
                for _ in range(chance.randrange(1000)):
                    noise = chance.random() < 0.2
                    await socket.send(
                        chance.randbytes(chance.randrange(200)) if noise else mangled(chance)
                    )
                    seen.hostile_messages += 1
                    if time.monotonic() > ends:
                        break
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)


async def read_all(socket: ClientConnection) -> None:
    """Whatever it says."""
    async for _ in socket:
        pass


async def acknowledge(socket: ClientConnection, message: bytes) -> None:
    """Say that a frame has come."""
    number = unpack(message)[0]["number"]
    await socket.send(json.dumps({"type": "seen", "number": number}))


async def watch_memory(ends: float, seen: Soak) -> None:
    """The process's resident memory, once a second."""
    page = resource.getpagesize()
    while time.monotonic() < ends:
        resident = int(Path("/proc/self/statm").read_text().split()[1]) * page
        seen.memory.append(resident / 2**20)
        await asyncio.sleep(1)


class Failures(logging.Handler):
    """What is logged as an error."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(self.format(record))


def run(source: Source, folder: Path, players: Players, seconds: float) -> Soak:
    """One run on a server of its own."""
    # The seats of dropped players are free only once their engines are.
    most = players.fast + 2 * players.slow + 4 * players.hostile
    app = create_app(source, Answers(folder / "blind.jsonl"), most)
    failures = Failures()
    logging.getLogger().addHandler(failures)
    try:
        with served(app) as address:
            seen = asyncio.run(soak(address, players, seconds))
            until(lambda: not app.state.sessions, 30)
    finally:
        logging.getLogger().removeHandler(failures)
    seen.failures = failures.lines
    return seen


def main() -> None:
    """The command: fast players alone, then with slow ones, then with hostile ones too."""
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--players", type=int, default=16)
    asked.add_argument("--slow", type=int, default=4)
    asked.add_argument("--hostile", type=int, default=2)
    asked.add_argument("--seconds", type=float, default=60)
    asked = asked.parse_args()
    failed = []
    with tempfile.TemporaryDirectory() as folder:
        source = tiny_source(Path(folder) / "data")
        for slow, hostile in ((0, 0), (asked.slow, 0), (asked.slow, asked.hostile)):
            players = Players(asked.players - slow - hostile, slow, hostile)
            seen = run(source, Path(folder), players, asked.seconds)
            failed += seen.failures
            print(
                f"{players}, {asked.seconds:g} s: between a fast player's frames p50 "
                f"{seen.gap(50):.1f} ms, p99 {seen.gap(99):.1f} ms; the slow read "
                f"{seen.slow_frames}; the hostile said {seen.hostile_messages}; memory "
                f"{seen.memory[0]:.0f} -> {seen.memory[-1]:.0f} MiB, {seen.gained:+.1f} from the "
                f"second to the last quarter; all seats given back; {len(seen.failures)} failures",
                flush=True,
            )
    sys.exit("\n".join(failed))


if __name__ == "__main__":
    main()
