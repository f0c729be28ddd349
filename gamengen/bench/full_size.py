"""A model of the paper's size with random weights: good for its speed, and for nothing else."""

import torch
from diffusers import AutoencoderKL

from gamengen.data.encoding import AutoencoderConfig
from gamengen.game.facts import GameFacts
from gamengen.model.autoencoder import Autoencoder
from gamengen.model.denoiser import Denoiser
from gamengen.model.weights import Weights

# Stable Diffusion 1.4's published configuration.
UNET = {
    "block_out_channels": [320, 640, 1280, 1280],
    "down_block_types": [*["CrossAttnDownBlock2D"] * 3, "DownBlock2D"],
    "up_block_types": ["UpBlock2D", *["CrossAttnUpBlock2D"] * 3],
    "layers_per_block": 2,
    "cross_attention_dim": 768,
    "attention_head_dim": 8,
}
AUTOENCODER = {
    "block_out_channels": [128, 256, 512, 512],
    "down_block_types": ["DownEncoderBlock2D"] * 4,
    "up_block_types": ["UpDecoderBlock2D"] * 4,
    "layers_per_block": 2,
    "latent_channels": 4,
}
CONTEXT_FRAMES = 64
HEIGHT, WIDTH = 256, 320


def full_size(
    game: GameFacts,
    unet: dict[str, object] | None = None,
    autoencoder: dict[str, object] | None = None,
) -> Weights:
    """Stable Diffusion 1.4's U-Net and autoencoder, 64 frames of context, 320x256.

    One denoiser plays both roles. ``unet`` and ``autoencoder`` replace the configurations.
    """
    game = game.model_copy(update={"height": HEIGHT, "width": WIDTH})
    net = AutoencoderKL(**(autoencoder or AUTOENCODER)).eval().requires_grad_(False)
    downsampling = 2 ** (len(net.config["block_out_channels"]) - 1)
    facts = AutoencoderConfig.unmeasured(
        "stable-diffusion", game, 4, downsampling, encoder_sha256="random"
    )
    denoiser = Denoiser(
        latent_shape=facts.latent_shape,
        context_frames=CONTEXT_FRAMES,
        game=game.model_dump(),
        autoencoder=facts.encoder_sha256,
        schedule={"kind": "zero-snr", "timesteps": 1000},
        augmentation={"max_level": 0.7, "buckets": 10, "clean_share": 0.0, "context_dropout": 0.1},
        residual_std=None,
        sampling={"steps": 4},
        network={"kind": "stable-diffusion", **(unet or UNET)},
    )
    denoiser.eval().requires_grad_(False)
    net.to(memory_format=torch.channels_last)
    return Weights(denoiser, denoiser, Autoencoder(net, facts))
