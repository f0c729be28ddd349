"""How long a training run is, its optimizer, and the learning rate of each step."""

from collections.abc import Iterable
from typing import Literal

from accelerate import Accelerator
from pydantic import Field, NonNegativeInt, PositiveInt
from torch import Tensor, nn
from torch.optim import AdamW, Optimizer

from gamengen.runtime import device
from gamengen.runtime.settings import Settings


class RunLength(Settings):
    """How many steps a training run has, and how often it logs and saves."""

    steps: PositiveInt
    log_every: PositiveInt
    checkpoint_every: PositiveInt


class LearningRateSchedule(Settings):
    """Linear warm-up, constant, then linear decay to zero; ``decay_from: 1.0`` never decays."""

    peak: float = Field(gt=0, le=0.1)
    warmup_steps: NonNegativeInt
    decay_from: float = Field(ge=0, le=1)  # share of the training

    def at(self, step: int, steps: int) -> float:
        warm = min(1.0, (step + 1) / max(1, self.warmup_steps))
        left = (1 - step / steps) / (1 - self.decay_from) if self.decay_from < 1 else 1.0
        return self.peak * warm * min(1.0, left)


class OptimizerParams(Settings):
    """AdamW, or the paper's Adafactor (§4.2) without relative steps; no weight decay."""

    name: Literal["adamw", "adafactor"]
    learning_rate: LearningRateSchedule
    clip: float = Field(gt=0)  # largest norm of the gradient

    def make(self, parameters: Iterable[nn.Parameter]) -> Optimizer:
        """The optimizer; neither kind synchronises with the host in a step."""
        if self.name == "adamw":
            return AdamW(
                parameters,
                lr=self.learning_rate.peak,
                betas=(0.9, 0.99),
                weight_decay=0.0,
                fused=not device.on_xla(),
            )
        from transformers import Adafactor  # takes a second to import

        return Adafactor(
            parameters, lr=self.learning_rate.peak, relative_step=False, scale_parameter=False
        )

    def step(self, optimizer: Optimizer, accelerator: Accelerator, step: int, steps: int) -> Tensor:
        """Clip the gradients, change the weights, drop the gradients; their norm before."""
        for group in optimizer.param_groups:
            group["lr"] = self.learning_rate.at(step, steps)
        norm = device.clip_gradients(optimizer, self.clip, accelerator)
        optimizer.step()
        optimizer.zero_grad()
        return norm
