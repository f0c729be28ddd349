"""Frames of episodes under one running number, and uniform draws of them."""

from collections.abc import Sequence

import numpy as np
import torch

from gamengen.data.index import Entry
from gamengen.runtime import device

Position = tuple[Entry, int]  # an episode, and the index of one of its frames


class Positions:
    """Of each episode the frames from ``first`` on, without its last ``left_out``."""

    def __init__(self, entries: Sequence[Entry], first: int = 0, left_out: int = 0) -> None:
        self.entries, self.first = entries, first
        self.ends = np.cumsum([entry.length - first - left_out for entry in entries])

    def __len__(self) -> int:
        return int(self.ends[-1])

    def locate(self, number: int) -> Position:
        """The position of a running number."""
        which = int(np.searchsorted(self.ends, number, side="right"))
        before = int(self.ends[which - 1]) if which else 0
        return self.entries[which], number - before + self.first

    def draw(self, size: int, seed: int, step: int, rank: int) -> list[Position]:
        """Uniformly drawn positions: a pure function of (seed, step, rank)."""
        random = device.generator(seed, step, rank)
        numbers = torch.randint(len(self), (size,), generator=random).tolist()
        return [self.locate(number) for number in numbers]
