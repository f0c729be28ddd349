"""The action-conditioned U-Net: context packing, action tokens; Stable Diffusion's or small."""

from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from diffusers import ConfigMixin, ModelMixin, UNet2DConditionModel
from diffusers.configuration_utils import register_to_config
from diffusers.models.upsampling import Upsample2D
from einops import rearrange, repeat
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn

from gamengen.diffusion import Augmentation, NoiseSchedule
from gamengen.episodes import GameFacts
from gamengen.errors import InputError
from gamengen.latents import Latents
from gamengen.prior import Prior

HIDDEN = 256  # of the network that turns actions into motion
GAIN = 8.0  # of its logits, which would else need more steps than there are


class Motion(nn.Module):
    """Where the past actions move each column of the picture: logits of the prior's places.

    A turn moves all of a column alike, whatever is to be seen there; the U-Net, which would have
    to learn it anew for every wall, only says what is different.
    """

    def __init__(self, history: int, places: int, columns: int) -> None:
        super().__init__()
        self.places, self.columns = places, columns
        self.hidden = nn.Linear(history, HIDDEN)
        self.out = nn.Linear(HIDDEN, places * columns)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, tokens: Float[Tensor, "b l d"]) -> Float[Tensor, "b k 1 w"]:
        """Logits, the same for every row."""
        logits = self.out(F.silu(self.hidden(tokens.flatten(1))))
        return GAIN * logits.view(-1, self.places, 1, self.columns)


class Denoiser(ModelMixin, ConfigMixin):
    """Predicts the velocity of the next latent from past latents and past actions (§3.2).

    Past latents are concatenated to the noised target in channels, ``patch`` x ``patch`` cells
    as one; past actions are learned embeddings, with learned positions, that the U-Net attends
    to, and with ``actions_in_time`` they also join the time embedding; the noise level of the
    context is a class embedding. With a ``prior`` the network says how the last frame moves,
    and predicts only what that leaves. Everything a later stage must know is in its config.
    """

    alpha_bars: Tensor
    levels: Tensor
    maps: Tensor

    @register_to_config
    def __init__(
        self,
        latent_shape: tuple[int, int, int],
        context_frames: int,
        game: dict[str, Any],
        autoencoder: str,
        schedule: dict[str, Any],
        augmentation: dict[str, Any],
        network: dict[str, Any],
        patch: int,
        actions_in_time: bool,
        prior: dict[str, Any] | None,
    ) -> None:
        super().__init__()
        self.game = GameFacts.model_validate(game)
        self.schedule = NoiseSchedule.model_validate(schedule)
        self.augmentation = Augmentation.model_validate(augmentation)
        self.context_frames = context_frames
        self.latent_shape: tuple[int, int, int] = tuple(latent_shape)  # type: ignore[assignment]
        self.patch = patch
        self.prior = Prior.model_validate(prior) if prior else None
        channels, height, width = self.latent_shape
        told = channels + (self.prior.channels if self.prior else 0)
        # One class more than noise levels: a context that was dropped.
        self.unet = UNet2DConditionModel(
            **network,
            sample_size=(height // patch, width // patch),
            in_channels=channels * patch**2 * (context_frames + 1),
            out_channels=told * patch**2,
            num_class_embeds=self.augmentation.embeddings + 1,
            time_cond_proj_dim=network["cross_attention_dim"] if actions_in_time else None,
        )
        for module in self.unet.modules():
            if isinstance(module, Upsample2D):
                module.interpolate = False
                module.conv.register_forward_pre_hook(_upsampled)
        self.actions = nn.Embedding(len(self.game.actions) + 1, network["cross_attention_dim"])
        self.positions = nn.Parameter(torch.randn(context_frames, network["cross_attention_dim"]))
        self.register_buffer("alpha_bars", self.schedule.alpha_bars(), persistent=False)
        levels = torch.cat([self.augmentation.levels(), torch.zeros(1)])
        self.register_buffer("levels", levels, persistent=False)
        if self.prior:
            reach = self.prior.reach
            parts = reach.parts
            self.register_buffer(
                "maps", torch.zeros(parts, channels, channels, 2), persistent=parts > 1
            )
            if reach.by_actions:
                history = context_frames * network["cross_attention_dim"]
                self.motion = Motion(history, reach.places, width // patch)
            nn.init.zeros_(self.unet.conv_out.weight)
            at_first = torch.cat([torch.zeros(channels), self.prior.still()])
            self.unet.conv_out.bias.data.copy_(at_first.repeat_interleave(patch**2))
        self.history = None
        if actions_in_time:
            # One embedding per (position, action): their sum is a linear map of the history.
            entries = context_frames * (len(self.game.actions) + 1)
            self.history = nn.Embedding(entries, network["cross_attention_dim"])
            nn.init.normal_(self.history.weight, std=context_frames**-0.5)

    @property
    def dropped(self) -> int:
        """Class of a context that was dropped, for guidance."""
        return self.augmentation.embeddings

    def forward(
        self,
        x_t: Float[Tensor, "b c h w"],
        t: Int64[Tensor, " b"],
        context: Float[Tensor, "b l c h w"],
        actions: Int64[Tensor, "b l"],
        level_class: Int64[Tensor, " b"],
        target: Float[Tensor, "b c h w"] | None = None,
    ) -> Float[Tensor, "b c h w"] | tuple[Float[Tensor, "b c h w"], Float[Tensor, ""]]:
        """The velocity ``v`` at ``x_t``; a dropped context is all zeros, of class ``dropped``.

        With the real next latent as ``target`` also how much it surprises the prior.
        """
        tokens = self.actions(actions) + self.positions
        frames = torch.cat([x_t, rearrange(context, "b l c h w -> b (l c) h w")], 1)
        out = self.unet(
            F.pixel_unshuffle(frames, self.patch),
            t,
            tokens,
            class_labels=level_class,
            timestep_cond=self._history(actions),
            return_dict=False,
        )
        told = F.pixel_shuffle(out[0], self.patch)
        if self.prior is None:
            return told
        channels = x_t.shape[1]
        told, of_prior = told[:, :channels], told[:, channels:]
        if self.prior.reach.by_actions:
            moving = repeat(self.motion(tokens), "b k 1 w -> b k 1 (w p)", p=self.patch)
            of_prior = torch.cat([of_prior[:, :-1] + moving, of_prior[:, -1:]], 1)
        expected, deviation = self.prior.velocity(
            x_t,
            context[:, -1],
            of_prior,
            self.maps,
            noise=self.levels[level_class].square(),
            dropped=level_class == self.dropped,
            alpha_bar=self.alpha_bars[t],
        )
        v = expected + deviation * told
        if target is None:
            return v
        return v, self.prior.surprise(target, context[:, -1], of_prior, self.maps)

    def _history(self, actions: Int64[Tensor, "b l"]) -> Float[Tensor, "b d"] | None:
        if self.history is None:
            return None
        position = torch.arange(self.context_frames, device=actions.device)
        return self.history(position * (len(self.game.actions) + 1) + actions).sum(1)


def _upsampled(conv: nn.Module, args: tuple[Tensor]) -> tuple[Tensor]:
    """Nearest-neighbour upsampling by copying, which XLA compiles on every device.

    torch_xla lowers the gradient of ``interpolate`` for TPUs alone.
    """
    return (repeat(args[0], "b c h w -> b c (h 2) (w 2)").contiguous(),)


def drop_context(
    context: Float[Tensor, "b l c h w"],
    level_class: Int64[Tensor, " b"],
    dropped: Bool[Tensor, " b"],
    dropped_class: int,
) -> tuple[Tensor, Tensor]:
    """Context frames as zeros where dropped (§4.2); actions are never dropped."""
    kept = (~dropped).to(context.dtype).view(-1, 1, 1, 1, 1)
    return context * kept, torch.where(dropped, dropped_class, level_class)


def small_unet(widths: list[int], attention_dim: int, layers: int, head_dim: int) -> dict[str, Any]:
    """Config of a U-Net from scratch: attention everywhere but at the highest resolution."""
    levels = len(widths)
    return {
        "block_out_channels": widths,
        "down_block_types": ["DownBlock2D", *["CrossAttnDownBlock2D"] * (levels - 1)],
        "up_block_types": [*["CrossAttnUpBlock2D"] * (levels - 1), "UpBlock2D"],
        "layers_per_block": layers,
        "cross_attention_dim": attention_dim,
        "attention_head_dim": [max(1, width // head_dim) for width in widths],
        "norm_num_groups": 8,
        "resnet_time_scale_shift": "scale_shift",
    }


# Layers that Stable Diffusion's U-Net lacks.
NEW = ("class_embedding", "time_embedding.cond_proj")


def from_stable_diffusion(source: str, **facts: Any) -> Denoiser:
    """A denoiser that starts from Stable Diffusion's U-Net (hub name or folder in its layout).

    conv_in is widened: the old weights serve the target's channels, the context's start at
    zero, so that at first the network is the text model with its frames unseen (§3.2). Text
    cross-attention layers are re-used for action tokens.
    """
    subfolder = "unet" if not (Path(source) / "config.json").is_file() else None
    try:
        old = UNet2DConditionModel.from_pretrained(
            source, subfolder=subfolder, low_cpu_mem_usage=False
        )
    except (OSError, ValueError) as error:
        raise InputError(
            f"train.unet.source: {source!r} is neither a folder with a UNet2DConditionModel "
            f"(config.json and weights, here or in unet/) nor one on the hub: {error}"
        ) from error
    channels = facts["latent_shape"][0]
    if old.config["in_channels"] != channels:
        raise InputError(
            f"train.unet.source: {source!r} denoises {old.config['in_channels']} channels, the "
            f"latents have {channels}: use the autoencoder it was trained with"
        )
    inherited = (
        "in_channels",
        "out_channels",
        "sample_size",
        "num_class_embeds",
        "time_cond_proj_dim",
    )
    config = {k: v for k, v in old.config.items() if not k.startswith("_") and k not in inherited}
    denoiser = Denoiser(network=config, patch=1, prior=None, **facts)
    weights = old.state_dict()
    conv_in = denoiser.unet.conv_in.weight.detach().clone().zero_()
    conv_in[:, :channels] = weights["conv_in.weight"]
    weights["conv_in.weight"] = conv_in
    missing, unexpected = denoiser.unet.load_state_dict(weights, strict=False)
    if unexpected or any(not name.startswith(NEW) for name in missing):
        raise InputError(
            f"train.unet.source: {source!r}: weights do not fit: {unexpected or missing}"
        )
    # Class embeddings add to the time embedding SD knows; small ones leave it as it is.
    nn.init.normal_(denoiser.unet.class_embedding.weight, std=0.02)
    return denoiser


def load_denoiser(folder: Path) -> Denoiser:
    """Read a saved denoiser. Raises InputError when the folder holds none."""
    if not (folder / "config.json").is_file():
        raise InputError(f"{folder}/config.json: missing; make it with: dvc repro train")
    try:
        return Denoiser.from_pretrained(folder, low_cpu_mem_usage=False).eval()
    except (OSError, ValueError, TypeError) as error:
        raise InputError(f"{folder}: not a denoiser: {error}") from error


def require_match(denoiser: Denoiser, folder: Path, latents: Latents) -> None:
    """Raise InputError unless a denoiser and latents belong together."""
    theirs = latents.autoencoder
    for field, found, expected in (
        ("latent_shape", denoiser.latent_shape, theirs.latent_shape),
        ("autoencoder", str(denoiser.config["autoencoder"]), theirs.encoder),
        ("actions", denoiser.game.action_names, latents.game.action_names),
        ("tics_per_frame", denoiser.game.tics_per_frame, latents.game.tics_per_frame),
    ):
        if found != expected:
            raise InputError(
                f"{folder}/config.json: {field}: {found!r}, but {latents.folder} has {expected!r}; "
                "train again with: dvc repro train"
            )
