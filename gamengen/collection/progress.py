"""Where a game stands: what a checkpoint keeps of it, and what brings it back."""

from typing import Literal

from pydantic import BaseModel

from gamengen.data.index import Entry

Policy = Literal["training", "trained", "random"]


class Running(BaseModel, frozen=True, extra="forbid"):
    """An episode in progress: its number gives its seed, and its actions bring it back."""

    number: int
    policy: Policy
    agent_step: int
    actions: list[int]


class Progress(BaseModel, frozen=True, extra="forbid"):
    """Where a game and its store stand."""

    rows: int = 0
    entries: list[Entry] = []
    episode_rewards: list[float] = []  # of each entry
    frames: int = 0  # recorded, the running episode's included
    steps: int = 0  # actions taken by an agent in training
    finishing: bool = False
    policy: Policy | None = None  # of episodes to come; None: the one that the game is started with
    running: Running | None = None
