"""Many players for a while, slow readers among them: ``python -m tests.play.soak``.

Fast ones acknowledge every frame at once, slow ones read one message a second. Prints how late
frames are for the fast ones, with and without slow ones beside them, and how much memory the
process, which holds the server and all players, has gained.
"""

import argparse
import asyncio
import json
import resource
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
from tests.play.worlds import served, tiny_source


@dataclass
class Soak:
    """What was seen in one run."""

    gaps: list[float] = field(default_factory=list)  # seconds between a fast player's frames
    slow_frames: int = 0
    memory: list[float] = field(default_factory=list)  # MiB, once a second

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


async def soak(address: str, fast: int, slow: int, seconds: float) -> Soak:
    """Let so many play for so long."""
    seen, ends = Soak(), time.monotonic() + seconds
    players = [play_fast(address, ends, seen) for _ in range(fast)]
    players += [play_slowly(address, ends, seen, honest=bool(n % 2)) for n in range(slow)]
    await asyncio.gather(watch_memory(ends, seen), *players)
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


def run(source: Source, folder: Path, fast: int, slow: int, seconds: float) -> Soak:
    """One run on a server of its own."""
    app = create_app(
        source, Answers(folder / "blind.jsonl"), most=fast + 2 * slow
    )  # seats of dropped ones
    with served(app) as address:
        return asyncio.run(soak(address, fast, slow, seconds))


def main() -> None:
    """The command: the same number of players, without and with slow ones."""
    told = argparse.ArgumentParser(description=__doc__)
    told.add_argument("--players", type=int, default=8)
    told.add_argument("--slow", type=int, default=4)
    told.add_argument("--seconds", type=float, default=60)
    told = told.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        source = tiny_source(Path(folder) / "data")
        for slow in (0, told.slow):
            seen = run(source, Path(folder), told.players - slow, slow, told.seconds)
            print(
                f"{told.players} players, {slow} of them slow, {told.seconds:g} s: between a fast "
                f"player's frames p50 {seen.gap(50):.1f} ms, p99 {seen.gap(99):.1f} ms; the slow "
                f"read {seen.slow_frames}; memory {seen.memory[0]:.0f} -> {seen.memory[-1]:.0f} "
                f"MiB, {seen.gained:+.1f} from the second to the last quarter",
                flush=True,
            )


if __name__ == "__main__":
    main()
