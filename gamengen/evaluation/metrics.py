"""How far a picture is from the real one: squared error and LPIPS, frame by frame."""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from gamengen.model.autoencoder import to_float
from gamengen.training.perceptual import Backbone, load_lpips, perceptual_distance

PEAK = 255.0**2
# Two identical 8-bit pictures are known to be equal only up to their rounding, whose variance
# is 1/12 of a level squared: no PSNR here is above 10 log10(255^2 * 12) = 58.92 dB.
ROUNDING = 1 / 12


def squared_error(
    shown: UInt8[Tensor, "b h w 3"], real: UInt8[Tensor, "b h w 3"]
) -> Float[np.ndarray, " b"]:
    """Mean squared error of each picture, levels squared, at least ``ROUNDING``."""
    error = (shown.float() - real.float()).square().mean((1, 2, 3))
    return error.clamp(min=ROUNDING).cpu().numpy()


def decibels(mse: Float[np.ndarray, "*n"]) -> Float[np.ndarray, "*n"]:
    """Peak signal-to-noise ratio of a mean squared error."""
    return 10 * np.log10(PEAK / mse)


class PictureDistance:
    """Shown pictures against real ones: ``mse`` and ``lpips_<network>``, one value per picture."""

    def __init__(
        self, device: torch.device, backbones: Sequence[Backbone] = ("alex", "vgg")
    ) -> None:
        self.nets = {f"lpips_{kind}": load_lpips(kind).to(device) for kind in backbones}

    @torch.no_grad()
    def __call__(
        self, shown: UInt8[Tensor, "b h w 3"], real: UInt8[Tensor, "b h w 3"]
    ) -> dict[str, Float[np.ndarray, " b"]]:
        values = {"mse": squared_error(shown, real)}
        a, b = to_float(shown), to_float(real)
        for name, net in self.nets.items():
            values[name] = perceptual_distance(net, a, b).cpu().numpy()
        return values
