"""torch.compile: fused kernels, and on a GPU one CUDA graph a network."""

from collections.abc import Callable

import torch
from torch import Tensor

from gamengen.backends.precision import Precision, decoder_in, denoiser_in
from gamengen.model.autoencoder import Autoencoder, to_uint8
from gamengen.model.denoiser import Denoiser
from gamengen.model.sampler import DenoiserFn

# With CUDA graphs; without an accelerator that mode only complains about every operation.
MODE = "reduce-overhead" if torch.accelerator.is_available() else "default"


class Compiled:
    """Runs what torch.compile makes of the modules, in channels-last memory."""

    name = "compile"

    def __init__(self, where: torch.device, precision: Precision = "fp32") -> None:
        self.where, self.precision = where, precision
        self.per_thread = where.type == "cuda"  # its graphs are

    def velocity(self, denoiser: Denoiser) -> DenoiserFn:
        net = denoiser_in(denoiser.to(self.where), self.precision)
        return compiled(net.to(memory_format=torch.channels_last))

    def picture(self, decoder: Autoencoder) -> Callable[[Tensor], Tensor]:
        net = decoder_in(decoder.to(self.where), self.precision)
        return compiled(lambda latent: to_uint8(net.decode(latent))[0])


def compiled(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """A module or function, compiled once per batch size.

    CUDA graphs belong to the thread that recorded them: warm up in the one that plays. A graph's
    output is overwritten by its next run; whoever called it has used it up by then.
    """
    run = torch.compile(function, mode=MODE, dynamic=False)

    @torch.no_grad()
    def call(*inputs: Tensor) -> Tensor:
        torch.compiler.cudagraph_mark_step_begin()
        return run(*inputs)

    return call
