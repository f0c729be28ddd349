"""PyTorch as it comes: the reference for every other back end. Under PJRT_DEVICE it is XLA's."""

from collections.abc import Callable

import torch
from torch import Tensor

from gamengen.backends.precision import Precision, decoder_in, denoiser_in
from gamengen.model.autoencoder import Autoencoder, to_uint8
from gamengen.model.denoiser import Denoiser
from gamengen.model.sampler import DenoiserFn


class Eager:
    """Runs the modules themselves, on any device torch knows.

    XLA traces them into one graph a frame: nothing more is needed for it.
    """

    per_thread = False

    def __init__(
        self, where: torch.device, precision: Precision = "fp32", name: str = "eager"
    ) -> None:
        self.where, self.precision, self.name = where, precision, name

    def velocity(self, denoiser: Denoiser) -> DenoiserFn:
        return self.made(denoiser_in(denoiser.to(self.where), self.precision))

    def picture(self, decoder: Autoencoder) -> Callable[[Tensor], Tensor]:
        net = decoder_in(decoder.to(self.where), self.precision)
        return self.made(lambda latent: to_uint8(net.decode(latent))[0])

    def made(self, function: Callable[..., Tensor]) -> Callable[..., Tensor]:
        """What runs instead of a module or function: here the same, without gradients."""
        return torch.no_grad()(function)
