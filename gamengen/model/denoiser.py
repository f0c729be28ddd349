"""The denoiser: packs context frames, embeds actions; a small U-Net or Stable Diffusion's."""

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from einops import rearrange
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn

from gamengen.data.encoding import AutoencoderConfig
from gamengen.game.facts import GameFacts
from gamengen.model.diffusion import Augmentation, NoiseSchedule, Sampling
from gamengen.model.network import Network, load_model
from gamengen.model.unet import UNet
from gamengen.runtime.errors import InputError

if TYPE_CHECKING:
    from gamengen.model.stable_diffusion import StableDiffusionNetwork


class Denoiser(Network):
    """Predicts the velocity of the next latent from past latents and past actions (§3.2).

    What is diffused is the latent, or with ``residual_std`` its change since the last context
    frame (``diffusion.to_residual``). Past latents are concatenated to it in channels. The
    network is ``small`` (``SmallNetwork``) or ``stable-diffusion`` (``StableDiffusionNetwork``),
    with the rest of ``network`` as its settings. What a later stage must know is in the config.
    """

    alpha_bars: Tensor
    net: "SmallNetwork | StableDiffusionNetwork"

    def __init__(
        self,
        latent_shape: tuple[int, int, int],
        context_frames: int,
        game: dict[str, Any],
        autoencoder: str,
        schedule: dict[str, Any],
        augmentation: dict[str, Any],
        residual_std: float | None,
        sampling: dict[str, Any],
        network: dict[str, Any],
    ) -> None:
        super().__init__()
        self.config = {
            "latent_shape": list(latent_shape),
            "context_frames": context_frames,
            "game": game,
            "autoencoder": autoencoder,
            "schedule": schedule,
            "augmentation": augmentation,
            "residual_std": residual_std,
            "sampling": sampling,
            "network": network,
        }
        self.game = GameFacts.model_validate(game)
        self.noise_schedule = NoiseSchedule.model_validate(schedule)
        self.augmentation = Augmentation.model_validate(augmentation)
        # Class of a context that was dropped, for guidance.
        self.null_context_class = self.augmentation.embeddings
        self.sampling = Sampling(**sampling)
        self.context_frames, self.residual_std = context_frames, residual_std
        self.latent_shape: tuple[int, int, int] = tuple(latent_shape)  # type: ignore[assignment]
        self.net = network_of(network["kind"])(
            self.latent_shape,
            context_frames,
            actions=len(self.game.actions) + 1,  # one token more: before the episode's start
            levels=self.null_context_class + 1,
            settings={name: value for name, value in network.items() if name != "kind"},
        )
        self.register_buffer("alpha_bars", self.noise_schedule.alpha_bars(), persistent=False)

    def forward(
        self,
        x_t: Float[Tensor, "b c h w"],
        t: Int64[Tensor, " b"],
        context: Float[Tensor, "b l c h w"],
        actions: Int64[Tensor, "b l"],
        level_class: Int64[Tensor, " b"],
    ) -> Float[Tensor, "b c h w"]:
        """The velocity ``v`` at ``x_t``; a dropped context is zeros, of ``null_context_class``."""
        frames = torch.cat([x_t, rearrange(context, "b l c h w -> b (l c) h w")], 1)
        return self.net(frames, t, actions, level_class)


def network_of(kind: str) -> "type[SmallNetwork | StableDiffusionNetwork]":
    """The class of a denoiser's network. Raises InputError for a kind that there is not."""
    if kind == "small":
        return SmallNetwork
    if kind != "stable-diffusion":
        raise InputError(f"network.kind: {kind!r}: there are small, stable-diffusion")
    # Seconds of importing diffusers' own, which only this kind needs.
    from gamengen.model.stable_diffusion import StableDiffusionNetwork

    return StableDiffusionNetwork


class SmallNetwork(nn.Module):
    """A plain U-Net; timestep, context noise and past actions enter every block as one embedding.

    ``settings``: ``widths``, ``blocks``, ``head_dim`` and ``embedding_dim`` of ``UNet``.
    """

    unet: nn.Module
    action_offsets: Tensor

    def __init__(
        self,
        latent_shape: tuple[int, int, int],
        context_frames: int,
        actions: int,
        levels: int,
        settings: dict[str, Any],
    ) -> None:
        super().__init__()
        channels = latent_shape[0]
        self.unet = UNet(channels * (context_frames + 1), channels, **settings)
        self.features = settings["embedding_dim"]
        self.time = nn.Linear(self.features, self.features)
        self.level = nn.Embedding(levels, self.features)
        # One embedding per (position, action): their sum is a linear map of the history.
        self.action = nn.Embedding(context_frames * actions, self.features)
        nn.init.normal_(self.action.weight, std=context_frames**-0.5)
        self.register_buffer(
            "action_offsets", torch.arange(context_frames) * actions, persistent=False
        )
        self.mix = nn.Sequential(nn.SiLU(), nn.Linear(self.features, self.features), nn.SiLU())

    def forward(self, frames: Tensor, t: Tensor, actions: Tensor, level_class: Tensor) -> Tensor:
        time = timestep_embedding(t, self.features).to(frames.dtype)
        past = self.action(self.action_offsets + actions).sum(1)
        embedding = self.mix(self.time(time) + self.level(level_class) + past)
        return self.unet(frames, embedding)


def timestep_embedding(t: Int64[Tensor, " b"], features: int) -> Float[Tensor, "b e"]:
    """Sines, then cosines, of ``t`` at wavelengths from 2 pi to 20,000 pi (Vaswani et al. 2017)."""
    half = features // 2
    exponents = -math.log(10_000) * torch.arange(half, dtype=torch.float32, device=t.device)
    angles = t[:, None].float() * torch.exp(exponents / (half - 1))
    return torch.cat([angles.sin(), angles.cos()], 1)


def drop_context(
    context: Float[Tensor, "b l c h w"],
    level_class: Int64[Tensor, " b"],
    dropped: Bool[Tensor, " b"],
    null_context_class: int,
) -> tuple[Tensor, Tensor]:
    """Context frames as zeros where dropped (§4.2); actions are never dropped."""
    kept = (~dropped).to(context.dtype).view(-1, 1, 1, 1, 1)
    return context * kept, torch.where(dropped, null_context_class, level_class)


def load_denoiser(folder: Path) -> Denoiser:
    """Read a saved denoiser. Raises InputError when the folder holds none, or a damaged one."""
    return load_model(Denoiser, folder, "train").eval()


def require_match(
    denoiser: Denoiser, folder: Path, latents: Path, autoencoder: AutoencoderConfig, game: GameFacts
) -> None:
    """Raise InputError unless a denoiser and latents, with these facts, belong together."""
    for field, found, expected in (
        ("latent_shape", denoiser.latent_shape, autoencoder.latent_shape),
        ("autoencoder", str(denoiser.config["autoencoder"]), autoencoder.encoder_sha256),
        ("actions", denoiser.game.action_names, game.action_names),
        ("tics_per_frame", denoiser.game.tics_per_frame, game.tics_per_frame),
    ):
        if found != expected:
            raise InputError(
                f"{folder}/config.json: {field}: {found!r}, but {latents} has {expected!r}; "
                "train again with: dvc repro train"
            )
