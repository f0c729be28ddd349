"""What can be played: the real game and the model of it are the same kind of thing."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from jaxtyping import Int, UInt8

from gamengen.game.facts import GameFacts

Frame = UInt8[np.ndarray, "h w 3"]


@dataclass(frozen=True)
class History:
    """How a game got where play begins: enough for either kind of engine.

    ``actions[i]`` was taken at the episode's frame ``i``; play begins at frame ``len(actions)``.
    ``frames`` are the last ones up to that frame, oldest first, at least one.
    """

    seed: int
    actions: Int[np.ndarray, " n"]
    frames: UInt8[np.ndarray, "m h w 3"]


class Engine(Protocol):
    """Start from a history, then one frame per action."""

    facts: GameFacts

    @property
    def over(self) -> str | None:
        """Why the episode has ended (``death``, ``exit``); None while it goes on."""

    def start(self, history: History) -> Frame:
        """The frame at which play begins."""

    def step(self, action: int) -> Frame:
        """The frame that an action leads to."""

    def close(self) -> None:
        """Give back what the engine holds."""
