"""Whether the sections of params.yaml agree: what needs no data is built.

What lies in folders is looked at where they are here, what is on the hub is not.
"""

import importlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch import nn

from gamengen.data.encoding import AutoencoderConfig, read_facts, require_size
from gamengen.evaluation import fvd
from gamengen.game.facts import GameFacts
from gamengen.game.scenario import GAME, game_facts
from gamengen.model import distillation
from gamengen.model.denoiser import Denoiser
from gamengen.model.network import Model, build
from gamengen.model.small_autoencoder import SIZES, SmallAutoencoder, require_same_sizes
from gamengen.model.warm_start import network_like, require_same_kind
from gamengen.runtime.errors import InputError

MOST_PARAMETERS = 10**10  # of a network: Stable Diffusion's has a tenth


Rule = Callable[[Any], list[str] | None]  # raises InputError, or returns what is wrong


def cross_section_errors(params: Mapping[str, Any]) -> list[str]:
    """What is wrong with sections that are right each for itself, a line each."""
    p, found = SimpleNamespace(**params), []
    rules: list[Rule] = [lengths, timesteps, distilling, networks, features]
    for rule in rules:
        try:
            found += [f"params.yaml: {line}" for line in rule(p) or []]
        except InputError as error:
            found.append(str(error))
    return found


def lengths(p: Any) -> list[str]:
    """No recorded episode is longer than its rules allow."""
    collect, evaluate = p.collect, p.evaluate
    actions = -(-collect.rules.episode_tics // collect.action_tics)
    longest = actions * (collect.action_tics // collect.tics_per_frame) + 1
    asked = (
        ("train.objective.targets", p.train.objective.targets, True),
        ("evaluate.autoregressive.frames", evaluate.autoregressive.frames, True),
        ("evaluate.actions.frames", evaluate.actions.frames, evaluate.actions.starts),
        ("evaluate.room.away: frames", 2 + 2 * evaluate.room.away, evaluate.room.starts),
        ("evaluate.fvd.weights: videos", max(fvd.LENGTHS), evaluate.fvd.weights),
    )
    return [
        f"{key}: {frames}: must be less than {longest}, the frames of the longest episode that "
        f"collect.rules.episode_tics: {collect.rules.episode_tics} allows"
        for key, frames, wanted in asked
        if wanted and frames >= longest
    ]


def timesteps(p: Any) -> list[str]:
    """The denoiser is sampled in no more steps than it was trained with."""
    found = []
    for group in ("teacher_forced", "autoregressive"):
        for steps in getattr(p.evaluate, group).teacher_steps:
            try:
                p.train.noise.sampling_timesteps(steps)
            except ValueError as error:
                words = str(error).removeprefix("steps: ")
                found.append(f"evaluate.{group}.teacher_steps: {words}, train.noise.timesteps")
    return found


def distilling(p: Any) -> None:
    """The teacher can be distilled as it is trained."""
    teacher = p.train.noise, p.train.augmentation
    distillation.require_distillable(*teacher, p.distill.guidance, p.distill.level_margin)


def features(p: Any) -> None:
    """FVD's network is the one that was meant, unless it is yet to be downloaded."""
    source = p.evaluate.fvd
    if source.weights is not None and "://" not in source.weights:
        fvd.require_file(Path(source.weights), source.sha256)


def networks(p: Any) -> list[str]:
    """The networks can be built, fit each other, and run."""
    game = game_facts(**p.collect.model_dump(include=GAME))
    if p.train.init:
        require_folder("train.init", p.train.init)
    facts = autoencoder_facts(p.autoencoder, game)
    if facts is None:
        return []
    try:
        with torch.device("meta"):
            denoiser = build_denoiser(p.train, facts, game)
            if denoiser is not None:
                require_buildable(denoiser, f"train.unet.widths: {p.train.unet.widths}")
                dry_run(denoiser)
    except (RuntimeError, TypeError) as error:
        return [f"train.unet: cannot be built: {error}"]
    if denoiser is not None and p.train.init and Path(p.train.init).is_dir():
        folder = Path(p.train.init)
        require_same_kind(on_meta(Denoiser, folder, "train.init"), denoiser, folder)
    return []


def autoencoder_facts(settings: Any, game: GameFacts) -> AutoencoderConfig | None:
    """What an autoencoder's latents will be; None where only the hub, or another machine, knows.

    Raises InputError where its folder holds none, or one for other frames.
    """
    source = Path(settings.source or "")
    if settings.kind == "stable-diffusion":
        config = config_of(source, "vae")
        if config is None:
            return None
        channels, halvings = config["latent_channels"], len(config["block_out_channels"]) - 1
        return AutoencoderConfig.unmeasured(
            settings.kind, game, channels, 2**halvings, encoder_sha256=""
        )
    if settings.source is None:
        return trained_here(settings, game)
    require_folder("autoencoder.source", settings.source)
    if not source.is_dir():
        return None
    try:
        facts = read_facts(source)
        require_size(facts, source, game)
    except InputError as error:
        wanted = f"collect.resolution: {game.width}x{game.height}"
        raise InputError(f"params.yaml: autoencoder.source, for {wanted}: {error}") from None
    return facts


def trained_here(settings: Any, game: GameFacts) -> AutoencoderConfig:
    """The latents of an autoencoder of these sizes. Raises InputError where it has none."""
    downsampling = settings.unshuffle * 2 ** (len(settings.widths) - 1)
    channels = settings.latent_channels
    facts = AutoencoderConfig.unmeasured("small", game, channels, downsampling, encoder_sha256="")
    if max(facts.padded[0] / game.height, facts.padded[1] / game.width) >= 2:
        raise InputError(
            f"params.yaml: autoencoder.unshuffle: {settings.unshuffle}: with "
            f"{len(settings.widths)} autoencoder.widths a latent has {downsampling} x "
            f"{downsampling} pixels: too many for collect.resolution: {game.width}x{game.height}"
        )
    with torch.device("meta"):
        net = SmallAutoencoder(**settings.model_dump(include=SIZES))
        require_buildable(net, f"autoencoder.widths: {settings.widths}")
        net(torch.empty(1, 3, *facts.padded), torch.empty(1, *facts.latent_shape))
        if settings.init:
            require_folder("autoencoder.init", settings.init)
            if Path(settings.init).is_dir():
                old = on_meta(SmallAutoencoder, Path(settings.init), "autoencoder.init")
                require_same_sizes(net, old, Path(settings.init))
    return facts


def require_buildable(net: nn.Module, key: str) -> None:
    """Raise InputError where a network has more parameters than any machine's memory."""
    count = sum(parameter.numel() for parameter in net.parameters())
    if count > MOST_PARAMETERS:
        raise InputError(f"params.yaml: {key}: too wide or too deep: {count:.1e} parameters")


def build_denoiser(train: Any, facts: AutoencoderConfig, game: GameFacts) -> Denoiser | None:
    """The denoiser before training; None where only the hub knows its sizes."""
    stage = importlib.import_module("stages.train")
    known = SimpleNamespace(autoencoder=facts, game=game, change_std=1.0)
    if train.unet.kind == "small":
        denoiser: Denoiser = stage.build(train, known)
        return denoiser
    config = config_of(Path(train.unet.source), "unet")
    if config is None:
        return None
    if config["in_channels"] != facts.latent_channels:
        raise InputError(
            f"params.yaml: train.unet.source: {train.unet.source!r}: denoises "
            f"{config['in_channels']} channels, the latents of autoencoder have "
            f"{facts.latent_channels}"
        )
    return Denoiser(network=network_like(config), **stage.facts_of(train, known))


def dry_run(denoiser: Denoiser) -> None:
    """One pass over latents without memory."""
    past, shape = (1, denoiser.context_frames), denoiser.latent_shape
    number = torch.zeros(1, dtype=torch.int64)
    actions = torch.zeros(past, dtype=torch.int64)
    denoiser(torch.empty(1, *shape), number, torch.empty(*past, *shape), actions, number)


def on_meta(kind: type[Model], folder: Path, key: str) -> Model:
    """The model of a folder's config.json without its weights. Raises InputError without one."""
    if not (folder / "config.json").is_file():
        raise InputError(
            f"params.yaml: {key}: {folder}: no {kind.__name__}: config.json is missing"
        )
    try:
        with torch.device("meta"):
            return build(kind, folder)
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"params.yaml: {key}: {folder}: no {kind.__name__}: {error}") from None


def config_of(source: Path, part: str) -> dict[str, Any] | None:
    """The config.json of a model in a folder, there or in its part; None where there is none."""
    for file in (source / "config.json", source / part / "config.json"):
        if file.is_file():
            config: dict[str, Any] = json.loads(file.read_text())
            return config
    return None


def require_folder(key: str, folder: str) -> None:
    """Raise InputError where a folder of this project is missing: no stage makes it.

    Another machine, for which a bundle is made, may have one at an absolute path.
    """
    if not Path(folder).is_absolute() and not Path(folder).is_dir():
        raise InputError(f"params.yaml: {key}: {folder!r}: there is no such folder")
