"""PyTorch as it comes: the reference for every other back end. Under PJRT_DEVICE it is XLA's."""

from collections.abc import Callable
from copy import deepcopy
from functools import cache
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from gamengen.model.autoencoder import Autoencoder, to_uint8
from gamengen.model.denoiser import Denoiser
from gamengen.model.sampler import DenoiserFn
from gamengen.runtime.device import Format

Whole = TypeVar("Whole", Denoiser, Autoencoder)


class Eager:
    """Runs the modules themselves, on any device torch knows.

    XLA traces them into one graph a frame: nothing more is needed for it.
    """

    per_thread = False

    def __init__(
        self, where: torch.device, precision: Format = "fp32", name: str = "eager"
    ) -> None:
        self.where, self.precision, self.name = where, precision, name
        self.cast = cache(cast)  # one copy, whoever plays

    def velocity(self, denoiser: Denoiser) -> DenoiserFn:
        return self.made(self.cast(denoiser.to(self.where), "unet", self.precision))

    def picture(self, decoder: Autoencoder) -> Callable[[Tensor], Tensor]:
        net = self.cast(decoder.to(self.where), "decoder", self.precision)
        return self.made(lambda latent: to_uint8(net.decode(latent))[0])

    def made(self, function: Callable[..., Tensor]) -> Callable[..., Tensor]:
        """What runs instead of a module or function: here the same, without gradients."""
        return torch.no_grad()(function)


class Cast(nn.Module):
    """A network with weights in bfloat16 that takes and gives float32."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net.to(torch.bfloat16)

    def forward(self, *args: Any, **named: Any) -> Any:
        out = self.net(
            *(self._cast(value) for value in args),
            **{name: self._cast(value) for name, value in named.items()},
        )
        return (out[0].float(),) if isinstance(out, tuple) else out.float()

    def _cast(self, value: Any) -> Any:
        floating = isinstance(value, Tensor) and value.is_floating_point()
        return value.bfloat16() if floating else value


def cast(whole: Whole, part: str, precision: Format) -> Whole:
    """A copy whose network has that part in that precision; what goes around stays float32."""
    if precision == "fp32":
        return whole
    whole = deepcopy(whole)
    setattr(whole.net, part, Cast(getattr(whole.net, part)))
    return whole
