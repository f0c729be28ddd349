"""Between a page and its session: what it asked for, and the newest frame, never a queue of them.

Both ends are bounded, whoever writes.
"""

import asyncio
import threading
from collections import deque

from gamengen.play.protocol import BadMessage, Command, Keys, Leave, SetSampling

MAX_WAITING = 16
MAX_NOTICES = 32
IN_FLIGHT = 2  # frames sent and not yet received: one on its way while the next is drawn


class Inbox:
    """From the event loop to a session's thread.

    Held buttons are sampled once a frame; one that was pressed and let go between two samples
    counts for one frame, so that no tap is lost.
    """

    def __init__(self) -> None:
        self.changed = threading.Condition()
        self.commands: deque[Command] = deque()
        self.held: list[str] = []
        self.tapped: list[str] = []
        self.closed = False

    def put(self, command: Command) -> None:
        """Raises BadMessage when too much is waiting already."""
        with self.changed:
            if isinstance(command, Keys):
                self.held = list(dict.fromkeys(command.held))
                self.tapped = list(dict.fromkeys(self.tapped + self.held))[-64:]
            else:
                if isinstance(command, SetSampling):  # only the newest counts
                    older = [c for c in self.commands if not isinstance(c, SetSampling)]
                    self.commands = deque(older)
                if len(self.commands) >= MAX_WAITING:
                    raise BadMessage(f"too fast: {MAX_WAITING} messages are waiting already")
                self.commands.append(command)
            self.changed.notify_all()

    def close(self) -> None:
        """The page is gone."""
        with self.changed:
            self.closed = True
            self.changed.notify_all()

    def take(self) -> Command | None:
        """The oldest command that waits, if any."""
        with self.changed:
            return self.commands.popleft() if self.commands else None

    def leaving(self) -> bool:
        """Whether the page is gone, or waits to leave a blind test."""
        with self.changed:
            return self.closed or any(isinstance(command, Leave) for command in self.commands)

    def sample(self) -> list[str]:
        """Buttons held now, or tapped since the last sample; the newest press last."""
        with self.changed:
            brief = [button for button in self.tapped if button not in self.held]
            self.tapped = []
            return brief + self.held

    def wait(self, seconds: float | None) -> None:
        """Until a command has come, the page is gone, or the time is over."""
        with self.changed:
            self.changed.wait_for(lambda: self.closed or bool(self.commands), seconds)

    def rest(self, seconds: float) -> None:
        """Until the time is over, or the page is gone."""
        with self.changed:
            self.changed.wait_for(lambda: self.closed, seconds)


class Outbox:
    """From a session's thread to the event loop.

    A frame replaces the one before it if that has not been sent. No frame is sent while two are
    on their way, so that a slow reader's frames wait here, where they are replaced, and not in
    the buffers of a socket, where they grow old.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop, self.ready = loop, asyncio.Event()
        self.lock = threading.Lock()
        self.frame: tuple[int, bytes] | None = None
        self.notices: deque[str | bytes] = deque(maxlen=MAX_NOTICES)
        self.on_their_way: deque[int] = deque()  # numbers of frames
        self.closed = False

    def show(self, number: int, frame: bytes) -> None:
        """The newest frame."""
        with self.lock:
            self.frame = (number, frame)
        self._wake()

    def tell(self, notice: str | bytes) -> None:
        """Something that must not be lost, unless so many wait that nobody can be reading."""
        with self.lock:
            self.notices.append(notice)
        self._wake()

    def seen(self, number: int) -> None:
        """The page has received a frame, and all before it."""
        with self.lock:
            while self.on_their_way and self.on_their_way[0] <= number:
                self.on_their_way.popleft()
        self._wake()

    def close(self) -> None:
        """Nothing more will be sent than the notices that wait."""
        self.closed = True
        self._wake()

    async def next(self) -> str | bytes | None:
        """What to send next, when there is something; None once closed."""
        while True:
            self.ready.clear()
            closed = self.closed  # before looking: what was told before the end is not lost
            message = self._take()
            if message is not None or closed:
                return message
            await self.ready.wait()

    def _take(self) -> str | bytes | None:
        with self.lock:
            if self.notices:
                return self.notices.popleft()
            if self.frame is None or len(self.on_their_way) >= IN_FLIGHT:
                return None
            (number, message), self.frame = self.frame, None
            self.on_their_way.append(number)
            return message

    def _wake(self) -> None:
        try:
            self.loop.call_soon_threadsafe(self.ready.set)
        except RuntimeError:  # the loop has ended before the session's thread
            self.closed = True
