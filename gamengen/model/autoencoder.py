"""Picture <-> latent: Stable Diffusion's autoencoder, or a small one trained here."""

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import Literal

import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL
from jaxtyping import Float
from pydantic import BaseModel
from torch import Tensor, nn

from gamengen.checkpoint import save_model
from gamengen.episodes import GameFacts
from gamengen.errors import InputError
from gamengen.model.small_autoencoder import SmallAutoencoder

Network = Literal["alex", "vgg"]


class Facts(BaseModel, frozen=True, extra="forbid"):
    """What ``autoencoder.json`` says of the network beside it."""

    kind: Literal["small", "stable-diffusion"]
    height: int  # of a frame, pixels
    width: int
    downsampling: int
    latent_channels: int
    latent_mean: list[float]  # per latent channel, over the training frames
    latent_std: list[float]
    encoder: str  # sha256 of the encoder's weights: which latents this decoder reads
    # LPIPS networks that a loss of its training saw; a folder that does not say may have had both.
    perceptual: list[Network] = ["alex", "vgg"]

    @property
    def padded(self) -> tuple[int, int]:
        """Height and width the network sees, pixels: 240 -> 256 as in the paper (§4.2)."""
        grid = 4 * self.downsampling  # latents that a U-Net can halve twice
        return -(-self.height // grid) * grid, -(-self.width // grid) * grid

    def seen_by(self, networks: Iterable[Network]) -> "Facts":
        """The same after a training whose loss saw these networks too."""
        return self.model_copy(update={"perceptual": sorted({*self.perceptual, *networks})})

    @property
    def latent_shape(self) -> tuple[int, int, int]:
        """Channels, height and width of one latent."""
        height, width = self.padded
        return self.latent_channels, height // self.downsampling, width // self.downsampling


class Autoencoder(nn.Module):
    """Frames to normalised latents and back, whichever network does it.

    Frames are ``[b, 3, height, width]`` in [-1, 1]; latents are ``[b, *facts.latent_shape]``
    with zero mean over the training frames, and unit variance: of each channel, or of all
    together where the encoder is linear.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, net: SmallAutoencoder | AutoencoderKL, facts: Facts) -> None:
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
        if isinstance(self.net, AutoencoderKL):
            parts: list[nn.Module] = [self.net.decoder]
            return parts + ([self.net.post_quant_conv] if self.net.post_quant_conv else [])
        return [self.net.decoder]

    def _encode(self, padded: Tensor) -> Tensor:
        if isinstance(self.net, AutoencoderKL):
            return self.net.encode(padded).latent_dist.mean
        return self.net.encoder(padded)

    def _decode(self, raw: Tensor) -> Tensor:
        if isinstance(self.net, AutoencoderKL):
            return self.net.decode(raw).sample
        return self.net.decoder(raw)

    def save(self, folder: Path) -> None:
        """Write the network as a diffusers folder, and ``autoencoder.json`` beside its weights."""
        save_model(self.net, folder)
        (folder / "autoencoder.json").write_text(self.facts.model_dump_json(indent=2) + "\n")

    @classmethod
    def load(cls, folder: Path) -> "Autoencoder":
        """Read what ``save`` wrote. Raises InputError naming the file that is missing or wrong."""
        facts = read_facts(folder)
        kinds = {"small": SmallAutoencoder, "stable-diffusion": AutoencoderKL}
        net = kinds[facts.kind].from_pretrained(folder, low_cpu_mem_usage=False)
        return cls(net.to(memory_format=torch.channels_last), facts).eval()


def read_facts(folder: Path) -> Facts:
    """The facts of a saved autoencoder, without its weights."""
    path = folder / "autoencoder.json"
    try:
        return Facts.model_validate_json(path.read_text())
    except FileNotFoundError:
        raise InputError(
            f"{path}: missing, so {folder} is no autoencoder; make it with: dvc repro autoencoder"
        ) from None
    except ValueError as error:
        raise InputError(f"{path}: not an autoencoder's facts: {error}") from error


def pad(frames: Tensor, facts: Facts) -> Tensor:
    """Frames padded below and on the right with their edge pixels."""
    height, width = facts.padded
    return F.pad(
        frames, (0, width - frames.shape[-1], 0, height - frames.shape[-2]), mode="replicate"
    )


def crop(frames: Tensor, facts: Facts) -> Tensor:
    """What ``pad`` added, taken away."""
    return frames[..., : facts.height, : facts.width]


def load_stable_diffusion(source: str) -> AutoencoderKL:
    """Stable Diffusion's autoencoder from a hub name or a local folder in its layout.

    The network may lie in the folder itself or in its ``vae`` subfolder.
    """
    subfolder = "vae" if not (Path(source) / "config.json").is_file() else None
    try:
        return AutoencoderKL.from_pretrained(source, subfolder=subfolder, low_cpu_mem_usage=False)
    except (OSError, ValueError) as error:
        raise InputError(
            f"autoencoder.source: {source!r} is neither a folder with an AutoencoderKL "
            f"(config.json and weights, here or in vae/) nor one on the hub: {error}"
        ) from error


def encoder_digest(net: SmallAutoencoder | AutoencoderKL) -> str:
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


def require_same_encoder(found: str, expected: str, found_in: Path, expected_in: Path) -> None:
    """Raise InputError unless two artifacts stem from one autoencoder."""
    if found != expected:
        raise InputError(
            f"{found_in}: its latents come from autoencoder {found[:12]}, but {expected_in} is "
            f"{expected[:12]}; encode again with: dvc repro encode"
        )


def require_size(facts: Facts, folder: Path, game: GameFacts) -> None:
    """Raise InputError unless the autoencoder was made for this game's frames."""
    if (facts.height, facts.width) != (game.height, game.width):
        raise InputError(
            f"{folder}/autoencoder.json: made for frames of {facts.height} x {facts.width}, but "
            f"the recorded ones are {game.height} x {game.width}; train one: autoencoder.source "
            "null in params.yaml, or: dvc repro autoencoder"
        )


def to_float(frames: Tensor) -> Float[Tensor, "b 3 h w"]:
    """``uint8 [b, h, w, 3]`` -> float in [-1, 1], channels first (channels last in memory)."""
    return frames.permute(0, 3, 1, 2).float().div(127.5).sub(1.0)


def to_uint8(frames: Float[Tensor, "b 3 h w"]) -> Tensor:
    """Float in [-1, 1] -> ``uint8 [b, h, w, 3]``, clamped and rounded."""
    pixels = frames.clamp(-1, 1).add(1).mul(127.5).round().to(torch.uint8)
    return pixels.permute(0, 2, 3, 1).contiguous()
