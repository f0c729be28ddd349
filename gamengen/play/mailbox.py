"""What a session has made and its page has not yet been sent: the newest frame, never a queue."""

import asyncio
import threading
from collections import deque

MAX_NOTICES = 32
IN_FLIGHT = 2  # frames sent and not yet received: one on its way while the next is drawn


class Mailbox:
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
        """Nothing more will be sent."""
        self.closed = True
        self._wake()

    async def next(self) -> str | bytes | None:
        """What to send next, when there is something; None once closed."""
        while not self.closed:
            self.ready.clear()
            message = self._take()
            if message is not None:
                return message
            await self.ready.wait()
        return None

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
