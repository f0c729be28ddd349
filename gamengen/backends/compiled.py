"""torch.compile: fused kernels, and on a GPU one CUDA graph a network."""

from collections.abc import Callable

import torch
from torch import Tensor

from gamengen.backends.precision import Precision, decoder_in, denoiser_in
from gamengen.model.autoencoder import Autoencoder, to_uint8
from gamengen.model.denoiser import Denoiser
from gamengen.model.sampler import Velocity

# With CUDA graphs; without an accelerator that mode only complains about every operation.
MODE = "reduce-overhead" if torch.accelerator.is_available() else "default"


class CompiledVelocity:
    """A denoiser whose forward pass is compiled once per batch size.

    CUDA graphs belong to the thread that recorded them: warm up in the one that plays.
    """

    def __init__(self, denoiser: Denoiser) -> None:
        self.schedule, self.augmentation = denoiser.schedule, denoiser.augmentation
        self.dropped, self.residual_std = denoiser.dropped, denoiser.residual_std
        self.run = torch.compile(denoiser, mode=MODE, dynamic=False)

    @torch.no_grad()
    def __call__(self, *inputs: Tensor) -> Tensor:
        # A graph's output is overwritten by its next run; the sampler has used it up by then.
        torch.compiler.cudagraph_mark_step_begin()
        return self.run(*inputs)


class Compiled:
    """Runs what torch.compile makes of the modules, in channels-last memory."""

    name = "compile"

    def __init__(self, where: torch.device, precision: Precision = "fp32") -> None:
        self.where, self.precision = where, precision

    def velocity(self, denoiser: Denoiser) -> Velocity:
        net = denoiser_in(denoiser.to(self.where), self.precision)
        return CompiledVelocity(net.to(memory_format=torch.channels_last))

    def picture(self, decoder: Autoencoder) -> Callable[[Tensor], Tensor]:
        net = decoder_in(decoder.to(self.where), self.precision)

        def shown(latent: Tensor) -> Tensor:
            return to_uint8(net.decode(latent))[0]

        compiled = torch.compile(shown, mode=MODE, dynamic=False)

        @torch.no_grad()
        def picture(latent: Tensor) -> Tensor:
            torch.compiler.cudagraph_mark_step_begin()
            return compiled(latent)

        return picture
