"""One row a frame of many episodes: read from their stores, or kept on an accelerator."""

from collections.abc import Callable, Sequence
from itertools import accumulate

import numpy as np
import torch
from torch import Tensor

from gamengen.data.index import Entry
from gamengen.data.loader import Loader
from gamengen.data.positions import Position
from gamengen.runtime import device

Read = Callable[[Entry, int, int], np.ndarray]  # rows [begin, end) of an episode


class Rows:
    """A column of some episodes, for draws of single rows.

    Where an accelerator has room for the whole column, ``kept`` holds it there, one episode
    behind the other, from ``starts`` on: reading scattered rows would cost more than training on
    them. Elsewhere ``kept`` is None.
    """

    def __init__(self, entries: Sequence[Entry], read: Read, where: torch.device | str) -> None:
        self.read = read
        ends = list(accumulate((entry.length for entry in entries), initial=0))
        self.starts = {entry.id: start for entry, start in zip(entries, ends, strict=False)}
        self.kept: Tensor | None = None
        one = torch.from_numpy(read(entries[0], 0, 1))
        if one.nbytes * ends[-1] <= device.room(torch.device(where)):
            self.kept = torch.empty((ends[-1], *one.shape[1:]), dtype=one.dtype, device=where)
            whole = Loader(lambda n: read(entries[n], 0, entries[n].length), range(len(entries)))
            for n, part in whole:
                self.kept[ends[n] : ends[n + 1]] = torch.from_numpy(part).to(where)

    def at(self, positions: Sequence[Position]) -> Tensor:
        """The rows of some positions, where they are kept, or else in the host's memory."""
        if self.kept is None:
            parts = [self.read(entry, i, i + 1) for entry, i in positions]
            return torch.from_numpy(np.concatenate(parts))
        numbers = torch.tensor([self.starts[entry.id] + i for entry, i in positions])
        return self.kept[numbers.to(self.kept.device)]
