"""The denoiser: packs context frames, embeds actions; a small U-Net or Stable Diffusion's."""

from pathlib import Path
from typing import Any

import torch
from diffusers import ConfigMixin, ModelMixin, UNet2DConditionModel
from diffusers.configuration_utils import register_to_config
from diffusers.models.embeddings import get_timestep_embedding
from diffusers.models.upsampling import Upsample2D
from einops import rearrange, repeat
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn

from gamengen.data.encoding import AutoencoderConfig
from gamengen.game.facts import GameFacts
from gamengen.model.diffusion import Augmentation, NoiseSchedule, Sampling
from gamengen.model.unet import UNet
from gamengen.runtime.checkpoint import load_model
from gamengen.runtime.errors import InputError


class Denoiser(ModelMixin, ConfigMixin):
    """Predicts the velocity of the next latent from past latents and past actions (§3.2).

    What is diffused is the latent, or with ``residual_std`` its change since the last context
    frame (``diffusion.to_residual``). Past latents are concatenated to it in channels. The
    network is ``small`` (``SmallNetwork``) or ``stable-diffusion`` (``StableDiffusionNetwork``),
    with the rest of ``network`` as its settings. What a later stage must know is in the config.
    """

    alpha_bars: Tensor
    net: "SmallNetwork | StableDiffusionNetwork"

    @register_to_config
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
        self.game = GameFacts.model_validate(game)
        self.noise_schedule = NoiseSchedule.model_validate(schedule)
        self.augmentation = Augmentation.model_validate(augmentation)
        self.sampling = Sampling(**sampling)
        self.context_frames, self.residual_std = context_frames, residual_std
        self.latent_shape: tuple[int, int, int] = tuple(latent_shape)  # type: ignore[assignment]
        kind, settings = network["kind"], {k: v for k, v in network.items() if k != "kind"}
        networks: dict[str, type[SmallNetwork | StableDiffusionNetwork]] = {
            "small": SmallNetwork,
            "stable-diffusion": StableDiffusionNetwork,
        }
        self.net = networks[kind](
            self.latent_shape,
            context_frames,
            actions=len(self.game.actions) + 1,  # one token more: before the episode's start
            levels=self.augmentation.embeddings + 1,  # one more: a dropped context
            settings=settings,
        )
        self.register_buffer("alpha_bars", self.noise_schedule.alpha_bars(), persistent=False)

    @property
    def null_context_class(self) -> int:
        """Class of a context that was dropped, for guidance."""
        return self.augmentation.embeddings

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
        timestep_embedding = get_timestep_embedding(t, self.features).to(frames.dtype)
        past = self.action(self.action_offsets + actions).sum(1)
        embedding = self.mix(self.time(timestep_embedding) + self.level(level_class) + past)
        return self.unet(frames, embedding)


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
