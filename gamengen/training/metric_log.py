"""The losses of a training run's steps, on the device until somebody looks at them."""

from collections.abc import Mapping
from math import isfinite

import torch
from accelerate import Accelerator
from torch import Tensor

from gamengen.runtime import device
from gamengen.runtime.errors import InputError


class MetricLog:
    """Every loss at every step since ``start``; adding them never waits for the device."""

    def __init__(self, start: int) -> None:
        self.start = start
        self.columns: dict[str, list[Tensor]] = {}

    def add(self, losses: Mapping[str, Tensor]) -> None:
        """Scalars of one step, the same names in each."""
        for name, value in losses.items():
            self.columns.setdefault(name, []).append(value.detach())

    def means(self, accelerator: Accelerator) -> dict[str, float]:
        """Means over steps and processes. Raises InputError naming the first that is not finite."""
        if not self.columns:
            return {}
        table = torch.stack([torch.stack(column) for column in self.columns.values()])
        table = device.average(table, accelerator)
        for step, values in enumerate(table.T.tolist(), self.start + 1):
            row = zip(self.columns, values, strict=True)
            if wrong := [f"{name} is {value}" for name, value in row if not isfinite(value)]:
                raise InputError(f"step {step}: {', '.join(wrong)}")
        return dict(zip(self.columns, table.mean(1).tolist(), strict=True))
