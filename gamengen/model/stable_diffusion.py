"""Stable Diffusion's U-Net as a denoiser's network; past actions in place of text."""

from typing import Any

import torch
from diffusers import UNet2DConditionModel
from diffusers.models.upsampling import Upsample2D
from einops import repeat
from torch import Tensor, nn


class StableDiffusionNetwork(nn.Module):
    """Stable Diffusion's U-Net: past actions are the tokens it attends to in place of text (§3.2).

    The noise level of the context is a class embedding. ``settings`` are the config of a
    UNet2DConditionModel but for what follows from the data.
    """

    unet: nn.Module

    def __init__(
        self,
        latent_shape: tuple[int, int, int],
        context_frames: int,
        actions: int,
        levels: int,
        settings: dict[str, Any],
    ) -> None:
        super().__init__()
        channels, height, width = latent_shape
        self.unet = UNet2DConditionModel(
            **settings,
            sample_size=(height, width),
            in_channels=channels * (context_frames + 1),
            out_channels=channels,
            num_class_embeds=levels,
        )
        for module in self.unet.modules():
            if isinstance(module, Upsample2D):
                module.interpolate = False
                module.conv.register_forward_pre_hook(_upsampled)
        self.action = nn.Embedding(actions, settings["cross_attention_dim"])
        self.position = nn.Parameter(torch.randn(context_frames, settings["cross_attention_dim"]))

    def forward(self, frames: Tensor, t: Tensor, actions: Tensor, level_class: Tensor) -> Tensor:
        tokens = self.action(actions) + self.position
        out = self.unet(frames, t, tokens, class_labels=level_class, return_dict=False)
        return out[0]


def _upsampled(conv: nn.Module, args: tuple[Tensor]) -> tuple[Tensor]:
    """Nearest-neighbour upsampling by copying, which XLA compiles on every device.

    torch_xla lowers the gradient of ``interpolate`` for TPUs alone.
    """
    return (repeat(args[0], "b c h w -> b c (h 2) (w 2)").contiguous(),)
