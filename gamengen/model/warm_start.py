"""Weights that a denoiser begins with: Stable Diffusion's, or another denoiser's."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from gamengen.model.denoiser import Denoiser, load_denoiser
from gamengen.model.network import load_pretrained
from gamengen.runtime.errors import InputError


def from_stable_diffusion(source: str, **facts: Any) -> Denoiser:
    """A denoiser that starts from Stable Diffusion's U-Net (hub name or folder in its layout).

    conv_in is widened: the old weights serve the target's channels, the context's start at
    zero, so that at first the network is the text model with its frames unseen (§3.2). Text
    cross-attention layers are re-used for action tokens.
    """
    from diffusers import UNet2DConditionModel  # seconds, which no other start needs

    old = load_pretrained(UNet2DConditionModel, source, "unet", "train.unet.source")
    channels = facts["latent_shape"][0]
    if old.config["in_channels"] != channels:
        raise InputError(
            f"train.unet.source: {source!r} denoises {old.config['in_channels']} channels, the "
            f"latents have {channels}: use the autoencoder it was trained with"
        )
    denoiser = Denoiser(network=network_like(old.config), **facts)
    unet: Any = denoiser.net.unet
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


def warm_start(denoiser: Denoiser, source: Path) -> bool:
    """Begin with the weights of the denoiser in ``source``, which has the same networks.

    Actions are matched by name: one that ``source`` does not know keeps its new embedding. What
    residuals are divided by is kept too. Gives whether its latents are of the same encoder: those
    of an autoencoder that was trained on are near, those of an unrelated one are not. Raises
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
    denoiser.residual_std = old.residual_std
    denoiser.config["residual_std"] = old.residual_std
    return bool(old.config["autoencoder"] == denoiser.config["autoencoder"])


def require_same_kind(old: Denoiser, denoiser: Denoiser, source: Path) -> None:
    """Raise InputError unless a denoiser can begin with the weights of ``old``, from ``source``.

    How many actions there are may differ, and the encoder.
    """
    weights, ours = old.state_dict(), denoiser.state_dict()
    actions = "net.action.weight"
    network, theirs = denoiser.config["network"], old.config["network"]
    for what, found, expected in (
        ("context_frames", old.context_frames, denoiser.context_frames),
        ("noise", old.noise_schedule, denoiser.noise_schedule),
        ("augmentation", old.augmentation, denoiser.augmentation),
        *((f"unet.{n}", theirs.get(n), value) for n, value in network.items()),
        ("residual", old.residual_std is not None, denoiser.residual_std is not None),
        *((n, _shape(weights.get(n)), _shape(ours.get(n))) for n in weights | ours if n != actions),
        (actions, _shape(weights.get(actions))[1:], _shape(ours.get(actions))[1:]),
    ):
        if found != expected:
            raise InputError(
                f"params.yaml: train.init: {source}: {what} is {found} there, but {expected} in "
                "params.yaml"
            )


def _shape(weights: Tensor | None) -> tuple[int, ...]:
    return () if weights is None else tuple(weights.shape)
