"""What a session can be busy with: playing, or a blind test."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from gamengen.play.inbox import Command


@dataclass(frozen=True)
class Shown:
    """A frame for the page: what is said of it, its pictures, whether its size must not tell."""

    pictures: list[bytes]
    header: dict[str, Any] = field(default_factory=dict)
    padded: bool = False


Tell = Callable[[dict[str, Any]], None]  # sends a notice to the page


class Mode(Protocol):
    """Heeds a page's commands, and makes frames while not ``paused``."""

    paused: bool

    def heed(self, command: Command) -> Shown | None:
        """Do what was asked; what to show at once, if anything. Raises BadMessage."""

    def frame(self, held: Sequence[str]) -> Shown:
        """One frame on, with these buttons held."""
