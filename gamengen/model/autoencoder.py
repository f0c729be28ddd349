"""Picture <-> latent: Stable Diffusion's autoencoder, or a small one trained here."""

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from gamengen.data.encoding import AutoencoderConfig, read_facts
from gamengen.model.network import load_model, save_model
from gamengen.model.small_autoencoder import SmallAutoencoder

if TYPE_CHECKING:
    from diffusers import AutoencoderKL


class Autoencoder(nn.Module):
    """Frames to normalised latents and back, whichever network does it.

    Frames are ``[b, 3, height, width]`` in [-1, 1]; latents are ``[b, *facts.latent_shape]``
    with zero mean over the training frames, and unit variance: of each channel, or of all
    together where the encoder is linear.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, net: "SmallAutoencoder | AutoencoderKL", facts: AutoencoderConfig) -> None:
        super().__init__()
        self.net, self.facts = net, facts
        shape = (1, facts.latent_channels, 1, 1)
        self.register_buffer("mean", torch.tensor(facts.latent_mean).view(shape))
        self.register_buffer("std", torch.tensor(facts.latent_std).view(shape))

    def encode(self, frames: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b c lh lw"]:
        """Normalised latents (of Stable Diffusion's posterior, the mean)."""
        return (self._encode(pad(frames, self.facts)) - self.mean) / self.std

    def decode(self, latents: Float[Tensor, "b c lh lw"]) -> Float[Tensor, "b 3 h w"]:
        """Frames, the padding cropped away; not clamped, so that a loss sees what it must."""
        picture = self._decode(latents * self.std + self.mean)
        return crop(picture, self.facts)

    def decoder_modules(self) -> list[nn.Module]:
        """What the decoder stage may change."""
        parts: list[nn.Module | None] = [
            self.net.decoder,
            getattr(self.net, "post_quant_conv", None),
        ]
        return [part for part in parts if part is not None]

    def _encode(self, padded: Tensor) -> Tensor:
        if isinstance(self.net, SmallAutoencoder):
            return self.net.encoder(padded)
        return self.net.encode(padded).latent_dist.mean

    def _decode(self, raw: Tensor) -> Tensor:
        if isinstance(self.net, SmallAutoencoder):
            return self.net.decoder(raw)
        return self.net.decode(raw).sample

    def save(self, folder: Path) -> None:
        """Write the network as a diffusers folder, and ``autoencoder.json`` beside its weights."""
        save_model(self.net, folder)
        (folder / "autoencoder.json").write_text(self.facts.model_dump_json(indent=2) + "\n")

    @classmethod
    def load(cls, folder: Path) -> "Autoencoder":
        """Read what ``save`` wrote. Raises InputError naming the file that is missing or wrong."""
        facts = read_facts(folder)
        net = load_model(_class_of(facts.kind), folder, "autoencoder")
        return cls(net.to(memory_format=torch.channels_last), facts).eval()


def _class_of(kind: str) -> "type[SmallAutoencoder | AutoencoderKL]":
    if kind == "small":
        return SmallAutoencoder
    from diffusers import AutoencoderKL  # seconds, which no other kind needs

    return AutoencoderKL


def pad(frames: Tensor, facts: AutoencoderConfig) -> Tensor:
    """Frames padded below and on the right with their edge pixels."""
    height, width = facts.padded
    return F.pad(
        frames, (0, width - frames.shape[-1], 0, height - frames.shape[-2]), mode="replicate"
    )


def crop(frames: Tensor, facts: AutoencoderConfig) -> Tensor:
    """What ``pad`` added, taken away."""
    return frames[..., : facts.height, : facts.width]


def encoder_digest(net: "SmallAutoencoder | AutoencoderKL") -> str:
    """Sha256 of the weights that latents depend on."""
    digest = hashlib.sha256()
    parts: dict[str, nn.Module | None] = {
        "encoder": net.encoder,
        "quant": getattr(net, "quant_conv", None),
    }
    for part, module in parts.items():
        for name, tensor in (module.state_dict() if module else {}).items():
            digest.update(f"{part}.{name}".encode())
            digest.update(tensor.detach().cpu().float().numpy().tobytes())
    return digest.hexdigest()


def to_float(frames: Tensor) -> Float[Tensor, "b 3 h w"]:
    """``uint8 [b, h, w, 3]`` -> float in [-1, 1], channels first (channels last in memory)."""
    return frames.permute(0, 3, 1, 2).float().div(127.5).sub(1.0)


def to_uint8(frames: Float[Tensor, "b 3 h w"]) -> Tensor:
    """Float in [-1, 1] -> ``uint8 [b, h, w, 3]``, clamped and rounded."""
    pixels = frames.clamp(-1, 1).add(1).mul(127.5).round().to(torch.uint8)
    return pixels.permute(0, 2, 3, 1).contiguous()
