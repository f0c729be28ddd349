"""How far a picture is from the real one: squared error and LPIPS, frame by frame."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from gamengen.model.autoencoder import to_float
from gamengen.training.perceptual import (
    Backbone,
    features_distance,
    load_lpips,
    lpips_features,
)

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
        self.nets = {kind: load_lpips(kind).to(device) for kind in backbones}

    @torch.no_grad()
    def __call__(
        self, shown: Mapping[str, UInt8[Tensor, "b h w 3"]], real: UInt8[Tensor, "b h w 3"]
    ) -> dict[str, Float[np.ndarray, " b"]]:
        """``<name>/<metric>`` of whatever is shown beside the same real pictures."""
        values = {f"{name}/mse": squared_error(frames, real) for name, frames in shown.items()}
        for kind, net in self.nets.items():
            features = lpips_features(net, to_float(real))
            for name, frames in shown.items():
                distance = features_distance(net, lpips_features(net, to_float(frames)), features)
                values[f"{name}/lpips_{kind}"] = distance.cpu().numpy()
        return values
