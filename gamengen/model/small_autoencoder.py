"""The autoencoder that is trained here: small, and fast on CPUs."""

from collections.abc import Sequence
from pathlib import Path

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from gamengen.model.network import Network, load_model
from gamengen.runtime.errors import InputError

SIZES = {"latent_channels", "unshuffle", "widths", "encoder_blocks", "decoder_blocks"}


class SmallAutoencoder(Network):
    """An autoencoder that moves pixels into channels before anything else.

    Nearly all its work is at 1/unshuffle of the resolution and below, which is what makes it fast
    on CPUs; it downsamples by ``unshuffle * 2 ** (len(widths) - 1)``.
    """

    def __init__(
        self,
        latent_channels: int,
        unshuffle: int,
        widths: Sequence[int],
        encoder_blocks: int,
        decoder_blocks: int,
    ) -> None:
        super().__init__()
        self.config = {
            "latent_channels": latent_channels,
            "unshuffle": unshuffle,
            "widths": list(widths),
            "encoder_blocks": encoder_blocks,
            "decoder_blocks": decoder_blocks,
        }
        self.downsampling = unshuffle * 2 ** (len(widths) - 1)  # pixels a latent along each side
        self.encoder = encoder(latent_channels, unshuffle, widths, encoder_blocks)
        self.decoder = decoder(latent_channels, unshuffle, widths, decoder_blocks)

    def forward(
        self, frames: Float[Tensor, "b 3 h w"], noise: Float[Tensor, "b c lh lw"]
    ) -> Float[Tensor, "b 3 h w"]:
        """Reconstruction from the latent with noise added, in units of the latents' std."""
        latents = self.encoder(frames)
        return self.decoder(latents + noise * latents.detach().std())


class Block(nn.Module):
    """Residual block of two 3x3 convolutions, the identity at initialisation."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(width, width, 3, padding=1)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1)
        nn.init.zeros_(self.conv2.weight)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv2(F.silu(self.conv1(F.silu(x))))


def encoder(channels: int, unshuffle: int, widths: Sequence[int], blocks: int) -> nn.Sequential:
    """Pixels into channels, then residual blocks and a stride at each resolution."""
    down: list[nn.Module] = [
        nn.PixelUnshuffle(unshuffle),
        nn.Conv2d(3 * unshuffle**2, widths[0], 3, padding=1),
    ]
    for i, width in enumerate(widths):
        if i:
            down.append(nn.Conv2d(widths[i - 1], width, 3, stride=2, padding=1))
        down += [Block(width) for _ in range(blocks)]
    return nn.Sequential(*down, nn.SiLU(), nn.Conv2d(widths[-1], channels, 3, padding=1))


def decoder(channels: int, unshuffle: int, widths: Sequence[int], blocks: int) -> nn.Sequential:
    """The way back: residual blocks and more pixels a cell, at last all of them."""
    up: list[nn.Module] = [nn.Conv2d(channels, widths[-1], 3, padding=1)]
    for i, width in reversed(list(enumerate(widths))):
        up += [Block(width) for _ in range(blocks)]
        if i:
            up += [nn.Conv2d(width, 4 * widths[i - 1], 3, padding=1), nn.PixelShuffle(2)]
    last = nn.Conv2d(widths[0], 3 * unshuffle**2, 3, padding=1)
    return nn.Sequential(*up, nn.SiLU(), last, nn.PixelShuffle(unshuffle))


def warm_start(net: SmallAutoencoder, source: Path) -> None:
    """Begin with the weights in ``source``. Raises InputError unless they have the same sizes."""
    old = load_model(SmallAutoencoder, source, "autoencoder")
    require_same_sizes(net, old, source)
    net.load_state_dict(old.state_dict())


def require_same_sizes(net: SmallAutoencoder, old: SmallAutoencoder, source: Path) -> None:
    """Raise InputError unless an autoencoder can begin with the weights of ``old``."""
    for name in net.config:
        found, expected = old.config[name], net.config[name]
        if found != expected:
            raise InputError(
                f"params.yaml: autoencoder.init: {source}: {name} is {found}, but "
                f"autoencoder.{name} is {expected}"
            )
