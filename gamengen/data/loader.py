"""Batches read ahead by threads, and the time spent waiting for them."""

import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Generic, TypeVar

import torch

Batch = TypeVar("Batch")
READERS = max(1, min(8, (os.cpu_count() or 1) // 4))  # the rest of the cores has work of its own


class Loader(Generic[Batch]):
    """Iterates ``(step, batch_at(step))`` for a range of steps, some of them in flight.

    ``batch_at`` must be a pure function of the step: that is what makes a resumed run exact.
    ``waited`` and ``elapsed`` are in seconds.
    """

    def __init__(
        self, batch_at: Callable[[int], Batch], steps: range, readers: int = READERS
    ) -> None:
        self.batch_at, self.steps, self.readers = batch_at, steps, readers
        self.waited = self.elapsed = 0.0

    def __iter__(self) -> Iterator[tuple[int, Batch]]:
        begin = time.perf_counter()
        # One thread for a reader's tensors: a second OpenMP pool slows training by 1.45.
        alone = partial(torch.set_num_threads, 1)
        ahead = 2 * self.readers
        with ThreadPoolExecutor(max_workers=self.readers, initializer=alone) as reader:
            pending = [(s, reader.submit(self.batch_at, s)) for s in self.steps[:ahead]]
            try:
                while pending:
                    step, future = pending.pop(0)
                    asked = time.perf_counter()
                    batch = future.result()
                    self.waited += time.perf_counter() - asked
                    following = step + ahead * self.steps.step
                    if following in self.steps:
                        pending.append((following, reader.submit(self.batch_at, following)))
                    yield step, batch
                    self.elapsed = time.perf_counter() - begin
            finally:
                for _, future in pending:
                    future.cancel()

    @property
    def waiting_share(self) -> float:
        """Part of the step time spent waiting for data, 0 to 1."""
        return self.waited / self.elapsed if self.elapsed else 0.0
