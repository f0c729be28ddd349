"""Latents moved sideways by parts of a cell: linear maps, fitted to an autoencoder."""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from gamengen.autoencoder import Autoencoder
from gamengen.errors import InputError

Maps = Float[Tensor, "parts c d 2"]


@torch.no_grad()
def fit(autoencoder: Autoencoder, latents: Float[Tensor, "b c h w"], parts: int) -> Maps:
    """Maps from a cell and its right neighbour to what lies ``k / parts`` of the way between them.

    By least squares over the decoded latents' pictures, moved by pixels and encoded again; the
    first map is the identity. A picture moved exactly is a latent mapped exactly where encoder and
    decoder are linear; latents have mean zero, so that no constant is needed.
    Raises InputError when a cell does not divide into so many pixels.
    """
    side = autoencoder.facts.downsampling
    if side % parts:
        raise InputError(
            f"params.yaml: train.prior.parts: {parts}: must divide a cell of {side} pixels"
        )
    channels = latents.shape[1]
    maps = latents.new_zeros(parts, channels, channels, 2)
    maps[0, :, :, 0] = torch.eye(channels)
    picture = autoencoder.decode(latents)
    rows = picture.shape[-2] // side  # below them there is only padding
    here = latents[:, :, :rows, 1:-2]
    right = latents[:, :, :rows, 2:-1]
    seen = torch.cat([here, right], 1).transpose(0, 1).flatten(1).double()
    for part in range(1, parts):
        moved = autoencoder.encode(picture.roll(-part * (side // parts), -1))
        wanted = moved[:, :, :rows, 1:-2].transpose(0, 1).flatten(1).double()
        found = torch.linalg.lstsq(seen.T, wanted.T).solution.T
        maps[part] = found.view(channels, 2, channels).transpose(1, 2)
    return maps


def between(last: Float[Tensor, "b c h w"], maps: Maps) -> list[Float[Tensor, "b c h w"]]:
    """A latent moved by each part of a cell: cell ``x`` shows what was at ``x + k / parts``."""
    beside = F.pad(last, (0, 1, 0, 0), mode="replicate")
    return [last, *(F.conv2d(beside, part[:, :, None]) for part in maps[1:])]
