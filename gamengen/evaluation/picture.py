"""How far a picture is from the real one: PSNR and LPIPS, frame by frame."""

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor
from torchmetrics.functional.image import peak_signal_noise_ratio

from gamengen.model.autoencoder import to_float
from gamengen.training.perceptual import Backbone, load_lpips, perceptual_distance

# Two identical 8-bit pictures are known to be equal only up to their rounding, whose variance
# is 1/12 of a level squared: no PSNR here is above 10 log10(255^2 * 12).
PSNR_LIMIT = 58.92


def psnr(
    shown: UInt8[Tensor, "b h w 3"], real: UInt8[Tensor, "b h w 3"]
) -> Float[np.ndarray, " b"]:
    """Peak signal-to-noise ratio of each picture, dB, at most ``PSNR_LIMIT``."""
    value = peak_signal_noise_ratio(
        shown.float(), real.float(), data_range=255.0, reduction="none", dim=(1, 2, 3)
    )
    return value.clamp(max=PSNR_LIMIT).cpu().numpy()


class PictureDistance:
    """PSNR and LPIPS of shown pictures against real ones, one value per picture.

    The keys are ``psnr``, ``lpips`` (AlexNet, as the paper's field reports it) and, with
    ``vgg``, ``lpips_vgg``.
    """

    def __init__(self, device: torch.device, vgg: bool) -> None:
        backbones: dict[str, Backbone] = {"lpips": "alex"}
        if vgg:
            backbones["lpips_vgg"] = "vgg"
        self.nets = {name: load_lpips(kind).to(device) for name, kind in backbones.items()}

    @property
    def names(self) -> list[str]:
        """The keys of what a call returns."""
        return ["psnr", *self.nets]

    @torch.no_grad()
    def __call__(
        self, shown: UInt8[Tensor, "b h w 3"], real: UInt8[Tensor, "b h w 3"]
    ) -> dict[str, Float[np.ndarray, " b"]]:
        values = {"psnr": psnr(shown, real)}
        a, b = to_float(shown), to_float(real)
        for name, net in self.nets.items():
            values[name] = perceptual_distance(net, a, b).cpu().numpy()
        return values
