"""Players of a server, in a process of their own: ``python -m tests.play.players ADDRESS JSON``.

Fast ones acknowledge every frame at once, slow ones read one message a second, hostile ones say
whatever comes to their mind, as text and as bytes. Prints what they saw, as JSON.
"""

import asyncio
import json
import random
import sys
import time
from contextlib import suppress
from dataclasses import asdict, dataclass, field

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from tests.play.fuzz import mangled
from tests.play.player import unpack


@dataclass(frozen=True)
class Players:
    """How many of each kind, and for how many seconds they play."""

    fast: int
    slow: int = 0
    hostile: int = 0
    seconds: float = 60


@dataclass
class Seen:
    """What they saw and said."""

    gaps: list[float] = field(default_factory=list)  # seconds between a fast player's frames
    slow_frames: int = 0
    hostile_messages: int = 0


async def play(address: str, players: Players) -> Seen:
    """Let them all play at once."""
    seen, ends = Seen(), time.monotonic() + players.seconds
    playing = [play_fast(address, ends, seen) for _ in range(players.fast)]
    playing += [play_slowly(address, ends, seen, honest=bool(n % 2)) for n in range(players.slow)]
    playing += [babble(address, ends, seen, random.Random(n)) for n in range(players.hostile)]
    await asyncio.gather(*playing)
    return seen


async def begin(address: str) -> ClientConnection:
    """A player who has begun to play."""
    socket = await connect(f"ws://{address}/play", origin=f"http://{address}", max_queue=1)
    await socket.send(json.dumps({"type": "keys", "held": ["TURN_LEFT"]}))
    await socket.send(json.dumps({"type": "pause", "paused": False}))
    return socket


async def play_fast(address: str, ends: float, seen: Seen) -> None:
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


async def play_slowly(address: str, ends: float, seen: Seen, honest: bool) -> None:
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


async def babble(address: str, ends: float, seen: Seen, chance: random.Random) -> None:
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


if __name__ == "__main__":
    found = asyncio.run(play(sys.argv[1], Players(**json.loads(sys.argv[2]))))
    print(json.dumps(asdict(found)))
