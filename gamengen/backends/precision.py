"""Networks in another floating-point format than their callers."""

from copy import deepcopy
from typing import Any, Literal

import torch
from torch import Tensor, nn

from gamengen.model.autoencoder import Autoencoder
from gamengen.model.denoiser import Denoiser

Precision = Literal["fp32", "bf16", "fp16"]
FORMATS = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def default_precision() -> Precision:
    """Half the bits on an accelerator; a CPU is no faster for them."""
    return "bf16" if torch.accelerator.is_available() else "fp32"


class Cast(nn.Module):
    """A network with weights in one format that takes and gives float32."""

    def __init__(self, net: nn.Module, kind: torch.dtype) -> None:
        super().__init__()
        self.net, self.kind = net.to(kind), kind

    def forward(self, *args: Any, **named: Any) -> Any:
        out = self.net(
            *(self._cast(value) for value in args),
            **{name: self._cast(value) for name, value in named.items()},
        )
        return (out[0].float(),) if isinstance(out, tuple) else out.float()

    def _cast(self, value: Any) -> Any:
        floating = isinstance(value, Tensor) and value.is_floating_point()
        return value.to(self.kind) if floating else value


def denoiser_in(denoiser: Denoiser, precision: Precision) -> Denoiser:
    """The denoiser with its U-Net in that precision; what goes around it stays float32."""
    if precision == "fp32":
        return denoiser
    denoiser = deepcopy(denoiser)
    denoiser.net.unet = Cast(denoiser.net.unet, FORMATS[precision])
    return denoiser


def decoder_in(autoencoder: Autoencoder, precision: Precision) -> Autoencoder:
    """The autoencoder with its decoder in that precision."""
    if precision == "fp32":
        return autoencoder
    autoencoder = deepcopy(autoencoder)
    autoencoder.net.decoder = Cast(autoencoder.net.decoder, FORMATS[precision])
    return autoencoder
