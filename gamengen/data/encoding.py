"""What latents are: the facts of the autoencoder that made them, without its network."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, Field, FiniteFloat

from gamengen.game.facts import GameFacts
from gamengen.runtime.checksums import require_sound
from gamengen.runtime.errors import InputError

Network = Literal["alex", "vgg"]


class AutoencoderConfig(
    BaseModel, frozen=True, extra="forbid", validate_by_name=True, serialize_by_alias=True
):
    """What ``autoencoder.json`` says of the network beside it."""

    kind: Literal["small", "stable-diffusion"]
    height: int  # of a frame, pixels
    width: int
    downsampling: int
    latent_channels: int
    latent_mean: list[FiniteFloat]  # per latent channel, over the training frames
    latent_std: list[FiniteFloat]
    encoder_sha256: str = Field(alias="encoder")  # of its weights: which latents the decoder reads
    # LPIPS networks that a loss of its training saw; a folder that does not say may have had both.
    perceptual: list[Network] = ["alex", "vgg"]

    @classmethod
    def unmeasured(
        cls, kind: str, game: GameFacts, channels: int, downsampling: int, **others: Any
    ) -> "AutoencoderConfig":
        """Before anything was encoded: latents as they come, of mean 0 and deviation 1."""
        return cls(
            kind=kind,
            height=game.height,
            width=game.width,
            downsampling=downsampling,
            latent_channels=channels,
            latent_mean=[0.0] * channels,
            latent_std=[1.0] * channels,
            **others,
        )

    @property
    def padded(self) -> tuple[int, int]:
        """Height and width the network sees, pixels: 240 -> 256 as in the paper (§4.2)."""
        grid = 4 * self.downsampling  # latents that a U-Net can halve twice
        return -(-self.height // grid) * grid, -(-self.width // grid) * grid

    def seen_by(self, networks: Iterable[Network]) -> "AutoencoderConfig":
        """The same after a training run whose loss saw these networks too."""
        return self.model_copy(update={"perceptual": sorted({*self.perceptual, *networks})})

    @property
    def latent_shape(self) -> tuple[int, int, int]:
        """Channels, height and width of one latent."""
        height, width = self.padded
        return self.latent_channels, height // self.downsampling, width // self.downsampling


def read_facts(folder: Path) -> AutoencoderConfig:
    """The facts of a saved autoencoder, without its weights."""
    path = folder / "autoencoder.json"
    require_sound(folder, "dvc repro autoencoder")
    try:
        return AutoencoderConfig.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        raise InputError(
            f"{path}: missing, so {folder} is no autoencoder; make it with: dvc repro autoencoder"
        ) from None
    except ValueError as error:
        raise InputError(f"{path}: not an autoencoder's facts: {error}") from error


def require_same_encoder(found: str, expected: str, found_in: Path, expected_in: Path) -> None:
    """Raise InputError unless two artifacts stem from one autoencoder."""
    if found != expected:
        raise InputError(
            f"{found_in}: its latents come from autoencoder {found[:12]}, but {expected_in} is "
            f"{expected[:12]}; encode again with: dvc repro encode"
        )


def require_size(facts: AutoencoderConfig, folder: Path, game: GameFacts) -> None:
    """Raise InputError unless the autoencoder was made for this game's frames."""
    if (facts.height, facts.width) != (game.height, game.width):
        raise InputError(
            f"{folder}/autoencoder.json: made for frames of {facts.height} x {facts.width}, but "
            f"the recorded ones are {game.height} x {game.width}; train one: autoencoder.source: "
            "null in params.yaml"
        )
