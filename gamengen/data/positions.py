"""Frames of episodes under one running number, and uniform draws of them."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch

from gamengen.data.index import Entry
from gamengen.runtime import device

Position = tuple[Entry, int]  # an episode, and the index of one of its frames


class Share(NamedTuple):
    """One process's rows of a batch that several processes share.

    Every process draws for the whole batch, so that a row is the same whoever trains on it.
    """

    batch: int  # rows of all processes
    rows: slice = slice(None)  # this one's


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

    def draw(self, share: Share, seed: int, step: int) -> list[Position]:
        """Uniformly drawn positions: each a pure function of (seed, step, row of the batch)."""
        random = device.generator(seed, step, 0)
        numbers = torch.randint(len(self), (share.batch,), generator=random)
        return [self.locate(number) for number in numbers[share.rows].tolist()]
