"""Where a game stands: what a checkpoint keeps of it, and what brings it back."""

from typing import Literal

from pydantic import BaseModel

from gamengen.data.index import Entry

Policy = Literal["training", "trained", "random"]


class Running(BaseModel, frozen=True, extra="forbid"):
    """An episode in progress: its actions bring it back."""

    policy: Policy
    agent_step: int
    actions: list[int]


class Progress(BaseModel, frozen=True, extra="forbid"):
    """Where a game and its store stand."""

    entries: list[Entry] = []  # of the episodes that are over; how many gives the next one's seed
    steps: int = 0  # actions taken by an agent in training
    finishing: bool = False
    policy: Policy | None = None  # of episodes to come; None: the one that the game is started with
    running: Running | None = None

    @property
    def idle(self) -> bool:
        """Whether it plays no more."""
        return self.finishing and self.running is None

    @property
    def rows(self) -> int:
        """Of the store: frames of the episodes that are over."""
        return sum(entry.length for entry in self.entries)
