"""The autoencoder that is trained here: small, and fast on CPUs."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from jaxtyping import Float
from torch import Tensor, nn

from gamengen import principal

EXPANSION = 3  # cells along each side that the decoder's linear part looks at


class SmallAutoencoder(ModelMixin, ConfigMixin):
    """An autoencoder that folds pixels into channels before anything else.

    Nearly all its work is at 1/fold of the resolution and below, which is what makes it fast
    on CPUs; it downsamples by ``fold * 2 ** (len(widths) - 1)``. Without ``encoder_blocks`` the
    encoder is linear, the principal components of the pixels under a latent cell, and the
    decoder's network adds to a linear one: ``fit`` sets both, in closed form.
    """

    @register_to_config
    def __init__(
        self,
        latent_channels: int = 8,
        fold: int = 4,
        widths: tuple[int, ...] = (64, 128),
        encoder_blocks: int | None = 1,
        decoder_blocks: int = 2,
    ) -> None:
        super().__init__()
        linear = encoder_blocks is None
        self.encoder: nn.Module
        self.decoder: nn.Module = decoder(latent_channels, fold, widths, decoder_blocks, linear)
        if encoder_blocks is not None:
            self.encoder = encoder(latent_channels, fold, widths, encoder_blocks)
        else:
            self.encoder = LinearEncoder(latent_channels, self.downsampling)
            self.decoder = LinearDecoder(latent_channels, self.downsampling, self.decoder)

    @torch.no_grad()
    def fit(self, frames: Float[Tensor, "n 3 h w"], whitening: float) -> None:
        """Set what is linear to the best for these frames (padded already): see principal."""
        assert isinstance(self.encoder, LinearEncoder)
        assert isinstance(self.decoder, LinearDecoder)
        patches = F.pixel_unshuffle(frames, self.downsampling)
        project, expand = self.encoder.project, self.decoder.expand
        fill(project, *principal.components(patches, project.out_channels, whitening))
        fill(expand, *principal.expansion(project(patches), patches, EXPANSION))

    def forward(
        self, frames: Float[Tensor, "b 3 h w"], noise: Float[Tensor, "b c lh lw"]
    ) -> tuple[Float[Tensor, "b 3 h w"], Float[Tensor, "b c lh lw"]]:
        """Reconstruction from the latent with noise added, and the latent without."""
        latents = self.encoder(frames)
        return self.decoder(latents + noise), latents

    @property
    def downsampling(self) -> int:
        """Pixels per latent cell along each side."""
        return int(self.config["fold"] * 2 ** (len(self.config["widths"]) - 1))


class Block(nn.Module):
    """Residual block of two 3x3 convolutions, the identity at initialisation."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(width, width, 3, padding=1)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1)
        nn.init.zeros_(self.conv2.weight)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv2(F.silu(self.conv1(F.silu(x))))


class LinearEncoder(nn.Module):
    """A linear map of the pixels under each cell; never trained."""

    def __init__(self, channels: int, fold: int) -> None:
        super().__init__()
        self.fold = fold
        self.project = nn.Conv2d(3 * fold**2, channels, 1).requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        return self.project(F.pixel_unshuffle(x, self.fold))


class LinearDecoder(nn.Module):
    """A linear map of the cells around each cell, and a network that adds to it."""

    def __init__(self, channels: int, fold: int, network: nn.Module) -> None:
        super().__init__()
        self.fold, self.network = fold, network
        self.expand = nn.Conv2d(
            channels, 3 * fold**2, EXPANSION, padding=EXPANSION // 2, padding_mode="replicate"
        )

    def forward(self, z: Tensor) -> Tensor:
        return F.pixel_shuffle(self.expand(z), self.fold) + self.network(z)


def encoder(channels: int, fold: int, widths: Sequence[int], blocks: int) -> nn.Sequential:
    """Pixels folded, then residual blocks and a stride at each resolution."""
    down: list[nn.Module] = [
        nn.PixelUnshuffle(fold),
        nn.Conv2d(3 * fold**2, widths[0], 3, padding=1),
    ]
    for i, width in enumerate(widths):
        if i:
            down.append(nn.Conv2d(widths[i - 1], width, 3, stride=2, padding=1))
        down += [Block(width) for _ in range(blocks)]
    return nn.Sequential(*down, nn.SiLU(), nn.Conv2d(widths[-1], channels, 3, padding=1))


def decoder(
    channels: int, fold: int, widths: Sequence[int], blocks: int, silent: bool
) -> nn.Sequential:
    """The way back: residual blocks and more pixels a cell, at last all of them; a silent one
    gives zeros until it is trained."""
    up: list[nn.Module] = [nn.Conv2d(channels, widths[-1], 3, padding=1)]
    for i, width in reversed(list(enumerate(widths))):
        up += [Block(width) for _ in range(blocks)]
        if i:
            up += [nn.Conv2d(width, 4 * widths[i - 1], 3, padding=1), nn.PixelShuffle(2)]
    last = nn.Conv2d(widths[0], 3 * fold**2, 3, padding=1)
    if silent:
        for parameter in last.parameters():
            nn.init.zeros_(parameter)
    return nn.Sequential(*up, nn.SiLU(), last, nn.PixelShuffle(fold))


def fill(convolution: nn.Conv2d, weight: Tensor, bias: Tensor) -> None:
    """Give a convolution its numbers."""
    assert convolution.bias is not None
    convolution.weight.copy_(weight.view_as(convolution.weight))
    convolution.bias.copy_(bias)
