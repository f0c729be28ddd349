"""The average of the weights that is saved and played."""

import torch
from torch import nn


class Ema:
    """Exponential moving average of a module's parameters, in float32.

    The decay rises as (1 + n) / (10 + n) towards its limit, so that a short training run is
    not averaged with its initialisation.
    """

    def __init__(self, module: nn.Module, decay: float) -> None:
        self.decay = decay
        self.shadow = {k: p.detach().float().clone() for k, p in module.named_parameters()}

    @torch.no_grad()
    def update(self, module: nn.Module, step: int) -> None:
        """Move towards the module's parameters after ``step`` earlier updates."""
        weight = 1 - min(self.decay, (1 + step) / (10 + step))
        for name, parameter in module.named_parameters():
            self.shadow[name].lerp_(parameter.detach().float(), weight)
