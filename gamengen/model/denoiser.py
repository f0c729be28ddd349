"""The denoiser: packs context frames, embeds actions; a small U-Net or Stable Diffusion's."""

from collections.abc import Mapping
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

from gamengen.data.encoding import Facts
from gamengen.game.facts import GameFacts
from gamengen.model.diffusion import Augmentation, NoiseSchedule, Sampling
from gamengen.model.unet import UNet
from gamengen.runtime.checkpoint import load_model
from gamengen.runtime.errors import InputError


class Denoiser(ModelMixin, ConfigMixin):
    """Predicts the velocity of the next latent from past latents and past actions (§3.2).

    What is diffused is the latent, or with ``residual_std`` its change since the last context
    frame (``diffusion.to_residual``). Past latents are concatenated to it in channels. The
    network is ``small`` (``SmallNetwork``) or ``stable-diffusion`` (``TextNetwork``), with the
    rest of ``network`` as its settings. Everything a later stage must know is in the config.
    """

    alpha_bars: Tensor
    net: "SmallNetwork | TextNetwork"

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
        self.schedule = NoiseSchedule.model_validate(schedule)
        self.augmentation = Augmentation.model_validate(augmentation)
        self.sampling = Sampling(**sampling)
        self.context_frames, self.residual_std = context_frames, residual_std
        self.latent_shape: tuple[int, int, int] = tuple(latent_shape)  # type: ignore[assignment]
        kind, settings = network["kind"], {k: v for k, v in network.items() if k != "kind"}
        networks: dict[str, type[SmallNetwork | TextNetwork]] = {
            "small": SmallNetwork,
            "stable-diffusion": TextNetwork,
        }
        self.net = networks[kind](
            self.latent_shape,
            context_frames,
            actions=len(self.game.actions) + 1,  # one token more: before the episode's start
            levels=self.augmentation.embeddings + 1,  # one more: a dropped context
            settings=settings,
        )
        self.register_buffer("alpha_bars", self.schedule.alpha_bars(), persistent=False)

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
    ) -> Float[Tensor, "b c h w"]:
        """The velocity ``v`` at ``x_t``; a dropped context is all zeros, of class ``dropped``."""
        frames = torch.cat([x_t, rearrange(context, "b l c h w -> b (l c) h w")], 1)
        return self.net(frames, t, actions, level_class)


class SmallNetwork(nn.Module):
    """A plain U-Net; timestep, context noise and past actions enter every block as one embedding.

    ``settings``: ``widths``, ``blocks``, ``head_dim`` and ``embedding_dim`` of ``UNet``.
    """

    unet: nn.Module
    position: Tensor

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
        self.register_buffer("position", torch.arange(context_frames) * actions, persistent=False)
        self.mix = nn.Sequential(nn.SiLU(), nn.Linear(self.features, self.features), nn.SiLU())

    def forward(self, frames: Tensor, t: Tensor, actions: Tensor, level_class: Tensor) -> Tensor:
        waves = get_timestep_embedding(t, self.features).to(frames.dtype)
        past = self.action(self.position + actions).sum(1)
        embedding = self.mix(self.time(waves) + self.level(level_class) + past)
        return self.unet(frames, embedding)


class TextNetwork(nn.Module):
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
    dropped_class: int,
) -> tuple[Tensor, Tensor]:
    """Context frames as zeros where dropped (§4.2); actions are never dropped."""
    kept = (~dropped).to(context.dtype).view(-1, 1, 1, 1, 1)
    return context * kept, torch.where(dropped, dropped_class, level_class)


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
    denoiser = Denoiser(network=network_like(old.config), **facts)
    unet = denoiser.net.unet
    weights = old.state_dict()
    conv_in = unet.conv_in.weight.detach().clone().zero_()
    conv_in[:, :channels] = weights["conv_in.weight"]
    weights["conv_in.weight"] = conv_in
    missing, unexpected = unet.load_state_dict(weights, strict=False)
    if unexpected or any(not name.startswith("class_embedding") for name in missing):
        raise InputError(
            f"train.unet.source: {source!r}: weights do not fit: {unexpected or missing}"
        )
    # Class embeddings add to the time embedding SD knows; small ones leave it as it is.
    nn.init.normal_(unet.class_embedding.weight, std=0.02)
    return denoiser


def network_like(config: Mapping[str, Any]) -> dict[str, Any]:
    """``network`` of a denoiser like a UNet2DConditionModel of that config."""
    from_data = ("in_channels", "out_channels", "sample_size", "num_class_embeds")
    kept = {k: v for k, v in config.items() if not k.startswith("_") and k not in from_data}
    return {"kind": "stable-diffusion", **kept}


def warm_start(denoiser: Denoiser, source: Path) -> None:
    """Begin with the weights of the denoiser in ``source``, which has the same networks.

    Actions are matched by name: one that ``source`` does not know keeps its new embedding. Raises
    InputError when anything else differs.
    """
    old = load_denoiser(source)
    weights, ours = old.state_dict(), denoiser.state_dict()
    names = [[*net.game.action_names, "before start"] for net in (denoiser, old)]
    actions = "net.action.weight"  # one row per action, or per position and action
    rows = ours[actions].unflatten(0, (-1, len(names[0]))).clone()
    known = weights[actions].unflatten(0, (-1, len(names[1])))
    for i, action in enumerate(names[0]):
        if action in names[1] and known[:, 0].shape == rows[:, 0].shape:
            rows[:, i] = known[:, names[1].index(action)]
    weights[actions] = rows.flatten(0, 1)
    require_same_kind(old, denoiser, source)
    denoiser.load_state_dict(weights)


def require_same_kind(old: Denoiser, denoiser: Denoiser, source: Path) -> None:
    """Raise InputError unless a denoiser can begin with the weights of ``old``, from ``source``.

    How many actions there are may differ.
    """
    weights, ours = old.state_dict(), denoiser.state_dict()
    actions = "net.action.weight"
    for what, found, expected in (
        ("autoencoder", old.config["autoencoder"], denoiser.config["autoencoder"]),
        ("context_frames", old.context_frames, denoiser.context_frames),
        ("noise", old.schedule, denoiser.schedule),
        ("augmentation", old.augmentation, denoiser.augmentation),
        *((n, shape(weights.get(n)), shape(ours.get(n))) for n in weights | ours if n != actions),
        (actions, shape(weights.get(actions))[1:], shape(ours.get(actions))[1:]),
    ):
        if found != expected:
            raise InputError(
                f"params.yaml: train.init: {source}: {what} is {found}, but must be {expected}"
            )


def shape(weights: Tensor | None) -> tuple[int, ...]:
    """Of weights; of none, none."""
    return () if weights is None else tuple(weights.shape)


def load_denoiser(folder: Path) -> Denoiser:
    """Read a saved denoiser. Raises InputError when the folder holds none, or a damaged one."""
    return load_model(Denoiser, folder, "train").eval()


def require_match(
    denoiser: Denoiser, folder: Path, latents: Path, autoencoder: Facts, game: GameFacts
) -> None:
    """Raise InputError unless a denoiser and latents, with these facts, belong together."""
    for field, found, expected in (
        ("latent_shape", denoiser.latent_shape, autoencoder.latent_shape),
        ("autoencoder", str(denoiser.config["autoencoder"]), autoencoder.encoder),
        ("actions", denoiser.game.action_names, game.action_names),
        ("tics_per_frame", denoiser.game.tics_per_frame, game.tics_per_frame),
    ):
        if found != expected:
            raise InputError(
                f"{folder}/config.json: {field}: {found!r}, but {latents} has {expected!r}; "
                "train again with: dvc repro train"
            )
