"""A plain U-Net whose every block is scaled and shifted by one embedding."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

GROUPS = 8  # of group normalisation


class UNet(nn.Module):
    """Residual blocks at several resolutions, with skips; attention at the lowest.

    ``widths`` are the channels of each resolution, the input's own first; the next one has
    half its height and width. The embedding, ``[b, embedding_dim]``, enters every block as scale
    and shift after normalisation (Dhariwal & Nichol 2021, adaptive group normalisation). The
    output is zero at initialisation.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        widths: Sequence[int],
        blocks: int,
        embedding_dim: int,
        head_dim: int,
    ) -> None:
        super().__init__()
        self.conv_in = nn.Conv2d(in_channels, widths[0], 3, padding=1)
        settings = (blocks, embedding_dim, head_dim)
        lower = [*widths[1:], None]
        self.down = nn.ModuleList(
            Down(width, below, *settings) for width, below in zip(widths, lower, strict=True)
        )
        skips = [widths[0]]
        for width, below in zip(widths, lower, strict=True):
            skips += [width] * blocks + ([below] if below else [])
        self.up = nn.ModuleList()
        channels = widths[-1]
        for width, above in zip(widths[::-1], [*widths[-2::-1], None], strict=True):
            here = [skips.pop() for _ in range(blocks + 1)]
            attends = None if len(self.up) else head_dim
            self.up.append(Up(channels, here, width, above, embedding_dim, attends))
            channels = above or width
        self.norm_out = nn.GroupNorm(GROUPS, channels)
        self.conv_out = nn.Conv2d(channels, out_channels, 3, padding=1)
        zero(self.conv_out)

    def forward(
        self, x: Float[Tensor, "b c h w"], embedding: Float[Tensor, "b e"]
    ) -> Float[Tensor, "b k h w"]:
        """Height and width must divide by ``2 ** (len(widths) - 1)``."""
        h = self.conv_in(x)
        skips = [h]
        for level in self.down:
            h = level(h, embedding, skips)
        for level in self.up:
            h = level(h, embedding, skips)
        return self.conv_out(F.silu(self.norm_out(h)))


class Down(nn.Module):
    """The blocks of one resolution on the way down; every result joins ``skips``."""

    def __init__(
        self, width: int, below: int | None, blocks: int, embedding_dim: int, head_dim: int
    ) -> None:
        """``below``: the next resolution's width; at the lowest, with attention, None."""
        super().__init__()
        self.blocks = nn.ModuleList(
            ResidualBlock(width, width, embedding_dim) for _ in range(blocks)
        )
        self.attention = None if below else SelfAttention(width, head_dim)
        self.downsample = nn.Conv2d(width, below, 2, stride=2) if below else None

    def forward(self, h: Tensor, embedding: Tensor, skips: list[Tensor]) -> Tensor:
        for block in self.blocks:
            h = block(h, embedding)
            skips.append(h)
        if self.attention is not None:
            h = self.attention(h)
        if self.downsample is not None:
            h = self.downsample(h)
            skips.append(h)
        return h


class Up(nn.Module):
    """The blocks of one resolution on the way up; each takes the newest of ``skips``."""

    def __init__(
        self,
        in_channels: int,
        skips: Sequence[int],
        width: int,
        above: int | None,
        embedding_dim: int,
        head_dim: int | None,
    ) -> None:
        """``above``: the next resolution's width, at the highest None; ``head_dim``: of attention
        after the blocks, None for none."""
        super().__init__()
        inputs = [in_channels, *[width] * (len(skips) - 1)]
        self.blocks = nn.ModuleList(
            ResidualBlock(channels + skip, width, embedding_dim)
            for channels, skip in zip(inputs, skips, strict=True)
        )
        self.attention = SelfAttention(width, head_dim) if head_dim else None
        self.upsample = nn.Conv2d(width, 4 * above, 1) if above else None

    def forward(self, h: Tensor, embedding: Tensor, skips: list[Tensor]) -> Tensor:
        for block in self.blocks:
            h = block(torch.cat([h, skips.pop()], 1), embedding)
        if self.attention is not None:
            h = self.attention(h)
        if self.upsample is not None:
            h = F.pixel_shuffle(self.upsample(h), 2)
        return h


class ResidualBlock(nn.Module):
    """Two convolutions, each after a modulated normalisation; the identity at initialisation."""

    def __init__(self, in_channels: int, out_channels: int, embedding_dim: int) -> None:
        super().__init__()
        self.norm1 = ModulatedNorm(in_channels, embedding_dim)
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, padding=1)
        self.norm2 = ModulatedNorm(out_channels, embedding_dim)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1)
        zero(self.conv2)
        same = in_channels == out_channels
        self.skip = nn.Identity() if same else nn.Conv2d(in_channels, out_channels, 1)

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        h = self.conv1(F.silu(self.norm1(x, embedding)))
        h = self.conv2(F.silu(self.norm2(h, embedding)))
        return self.skip(x) + h


class ModulatedNorm(nn.Module):
    """Group normalisation, then a scale and a shift that the embedding gives."""

    def __init__(self, channels: int, embedding_dim: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(GROUPS, channels, affine=False)
        self.modulation = nn.Linear(embedding_dim, 2 * channels)
        zero(self.modulation)

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        scale, shift = self.modulation(embedding)[:, :, None, None].chunk(2, 1)
        return self.norm(x) * (1 + scale) + shift


class SelfAttention(nn.Module):
    """Every cell attends to every other; the identity at initialisation."""

    def __init__(self, channels: int, head_dim: int) -> None:
        super().__init__()
        self.head_dim = head_dim
        self.norm = nn.GroupNorm(GROUPS, channels)
        self.qkv = nn.Conv2d(channels, 3 * channels, 1)
        self.out = nn.Conv2d(channels, channels, 1)
        zero(self.out)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        q, k, v = rearrange(
            self.qkv(self.norm(x)), "b (n m d) h w -> n b m (h w) d", n=3, d=self.head_dim
        ).unbind(0)
        mixed = F.scaled_dot_product_attention(q, k, v)
        return x + self.out(rearrange(mixed, "b m (h w) d -> b (m d) h w", h=x.shape[2]))


def zero(layer: nn.Module) -> None:
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)
