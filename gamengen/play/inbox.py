"""What a page has said and its session has not yet heeded: bounded, whoever writes it."""

import threading
from collections import deque

from gamengen.game.engine import Frame
from gamengen.play.messages import AnyMessage, BadMessage, Keys, Settings

MAX_WAITING = 16
Command = AnyMessage | Frame  # a frame is an edited picture


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
                if isinstance(command, Settings):  # only the newest counts
                    older = [c for c in self.commands if not isinstance(c, Settings)]
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
