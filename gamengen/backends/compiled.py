"""torch.compile: fused kernels, and on a GPU one CUDA graph a network."""

from collections.abc import Callable

import torch
from torch import Tensor

from gamengen.backends.eager import Eager
from gamengen.model.denoiser import Denoiser
from gamengen.model.sampler import DenoiserFn
from gamengen.runtime.device import Format

# With CUDA graphs; without an accelerator that mode only complains about every operation.
MODE = "reduce-overhead" if torch.accelerator.is_available() else "default"


class Compiled(Eager):
    """Runs what torch.compile makes of the modules, in channels-last memory.

    CUDA graphs belong to the thread that recorded them: warm up in the one that plays. A graph's
    output is overwritten by its next run; whoever called it has used it up by then.
    """

    def __init__(self, where: torch.device, precision: Format = "fp32") -> None:
        super().__init__(where, precision, "compile")
        self.per_thread = where.type == "cuda"  # its graphs are

    def velocity(self, denoiser: Denoiser) -> DenoiserFn:
        return super().velocity(denoiser.to(memory_format=torch.channels_last))

    def made(self, function: Callable[..., Tensor]) -> Callable[..., Tensor]:
        """It, compiled once per batch size."""
        run = torch.compile(function, mode=MODE, dynamic=False)

        @torch.no_grad()
        def call(*inputs: Tensor) -> Tensor:
            torch.compiler.cudagraph_mark_step_begin()
            return run(*inputs)

        return call
