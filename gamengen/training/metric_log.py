"""The losses of a training run's steps, on the device until somebody looks at them."""

from collections.abc import Mapping, Sequence
from math import isfinite

import torch
from accelerate import Accelerator
from jaxtyping import Float
from torch import Tensor

from gamengen.runtime import device
from gamengen.runtime.errors import InputError


class MetricLog:
    """Every loss at every step since the last row of the curve; adding never waits for the device.

    ``earlier`` are those of the steps before ``count``, as a checkpoint kept them.
    """

    def __init__(self, count: int, earlier: Mapping[str, Sequence[float]], where: torch.device):
        kept = {name: torch.tensor(values, device=where) for name, values in earlier.items()}
        self.columns: dict[str, list[Tensor]] = {name: [*row] for name, row in kept.items()}
        self.start = count - len(next(iter(self.columns.values()), []))

    def add(self, losses: Mapping[str, Tensor]) -> None:
        """Scalars of one step, the same names in each."""
        for name, value in losses.items():
            self.columns.setdefault(name, []).append(value.detach())

    def table(self, accelerator: Accelerator) -> Float[Tensor, "names steps"]:
        """Means over processes. Raises InputError naming the first that is not finite."""
        if not self.columns:
            return torch.empty(0, 0)
        table = torch.stack([torch.stack(column) for column in self.columns.values()])
        table = device.average(table, accelerator)
        for step, values in enumerate(table.T.tolist(), self.start + 1):
            row = zip(self.columns, values, strict=True)
            if wrong := [f"{name} is {value}" for name, value in row if not isfinite(value)]:
                raise InputError(f"step {step}: {', '.join(wrong)}")
        return table
