"""Stage 4: the denoiser, on windows of real latents and on its own predictions (§3.2)."""

from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import torch
from pydantic import Field, NonNegativeInt, model_validator

from gamengen.data.encoding import read_facts, require_same_encoder
from gamengen.data.latents import Latents, Window, Windows
from gamengen.data.loader import Loader
from gamengen.data.splits import Selection
from gamengen.model.denoiser import Denoiser
from gamengen.model.diffusion import Augmentation, NoiseSchedule, Sampling, require_sampleable
from gamengen.model.network import save_model
from gamengen.model.unet import GROUPS
from gamengen.model.warm_start import from_stable_diffusion, warm_start
from gamengen.runtime import device, output
from gamengen.runtime.errors import InputError
from gamengen.runtime.resume import resume_folder
from gamengen.runtime.settings import Depth, Size
from gamengen.runtime.stage import StageParams, run
from gamengen.training.ema import Ema
from gamengen.training.loop import Training, share_of
from gamengen.training.objective import (
    Objective,
    RandomInputs,
    draw,
    self_generated_context_losses,
    slice_batch,
    to_device,
)
from gamengen.training.schedule import OptimizerParams, RunLength


class UNet(StageParams):
    """The network: from scratch with these sizes, or Stable Diffusion's, which has its own."""

    kind: Literal["small", "stable-diffusion"]
    source: str | None  # for stable-diffusion: hub name or folder
    # One per resolution, from the latent's own downwards.
    widths: list[Annotated[Size, Field(multiple_of=GROUPS)]] = Field(min_length=1, max_length=16)
    blocks: Depth  # residual blocks per resolution
    head_dim: Size
    embedding_dim: Annotated[Size, Field(ge=4)]  # two waves at least, whose lengths differ

    @model_validator(mode="after")
    def _can_be_built(self) -> Self:
        if self.widths[-1] % self.head_dim:
            raise ValueError(
                f"head_dim: {self.head_dim}: must divide the last of widths: {self.widths[-1]}"
            )
        if self.kind == "stable-diffusion" and not self.source:
            raise ValueError(
                f"source: {self.source}: name a hub model or a folder: kind stable-diffusion "
                "does not begin from scratch"
            )
        return self


class Params(StageParams):
    """The denoiser and how it is trained."""

    context_frames: Annotated[Size, Field(le=1024)]
    data: Selection
    unet: UNet
    residual: bool  # diffuse the change since the last frame; the paper: the latent itself
    noise: NoiseSchedule
    augmentation: Augmentation
    init: str | None  # folder of a denoiser to begin with; null: from scratch
    objective: Objective
    sampling: Sampling  # of the finished denoiser, whoever uses it
    batch_size: Size  # over all processes
    microbatch_size: Size  # largest forward pass in one process
    schedule: RunLength
    optimizer: OptimizerParams
    ema_decay: float = Field(ge=0, lt=1)
    precision: device.Precision
    compile: bool
    gradient_checkpointing: bool
    seed: NonNegativeInt

    def reads(self) -> list[Path]:
        named = [Path(name) for name in (self.init, self.unet.source) if name]
        return [path for path in named if path.exists()]

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.residual and self.augmentation.context_dropout > 0:
            raise ValueError(
                f"augmentation.context_dropout: {self.augmentation.context_dropout}: must be 0 "
                "with residual: true, which is the change since a frame that would be dropped"
            )
        if self.gradient_checkpointing and self.unet.kind == "small":
            raise ValueError("gradient_checkpointing: true: the small U-Net has none: false")
        require_sampleable(self.sampling, self.noise, self.augmentation, "sampling.")
        if self.objective.terminal_share == 1:
            raise ValueError(
                "objective.terminal_share: 1.0: must be less than 1: no other timestep would be "
                "trained, and more steps than one, and distilling, need them"
            )
        return self


def main(params: Params, latents_path: Path, autoencoder_path: Path, denoiser_path: Path) -> None:
    """Train, keep the average of the weights, save it."""
    accelerator = device.start()
    latents, facts = Latents(latents_path), read_facts(autoencoder_path)
    theirs = latents.autoencoder.encoder_sha256
    require_same_encoder(theirs, facts.encoder_sha256, latents_path, autoencoder_path)
    inputs = [latents_path, autoencoder_path, *params.reads()]
    torch.manual_seed(params.seed)
    denoiser = build(params, latents).to(memory_format=torch.channels_last)
    resume = resume_folder(params, inputs, denoiser_path)  # imported by now: the network's code
    if params.init and not warm_start(denoiser, Path(params.init)):
        accelerator.print(
            f"warning: train.init: {params.init}: trained on another encoder's latents; expect to "
            "retrain most of it"
        )
    if params.gradient_checkpointing:
        unet: Any = denoiser.net.unet
        unet.enable_gradient_checkpointing()
    model, optimizer = accelerator.prepare(denoiser, params.optimizer.make(denoiser.parameters()))
    denoiser = accelerator.unwrap_model(model)
    if params.compile:
        device.compile_module(denoiser.net)
    precision = device.resolve(params.precision, accelerator.device)
    accelerator.print(f"precision: {precision}")
    ema = Ema(denoiser, params.ema_decay)
    run_of = params.context_frames, params.objective.targets
    windows = Windows(latents, "train", *run_of, params.data, accelerator.device)
    share = share_of(params.batch_size, accelerator, "train")

    def batch_at(step: int) -> tuple[Window, RandomInputs]:
        window = windows.draw(share, params.seed, step)
        terminal = params.objective.terminal_share
        return window, draw(window, denoiser, terminal, share, params.seed, step)

    parts = {"denoiser": denoiser, "optimizer": optimizer, "ema": ema.shadow}

    def save_ema(folder: Path) -> None:
        # On the CPU: on XLA every copy would be compiled.
        average = Denoiser(**denoiser.config)
        average.load_state_dict({name: value.cpu() for name, value in ema.shadow.items()})
        save_model(average.half(), folder)

    with Training(accelerator, resume, params.schedule, parts, save_ema) as train:
        loader = Loader(batch_at, train.steps)
        for step, batch in loader:
            window = to_device(batch[0], accelerator.device)
            random = to_device(batch[1], accelerator.device)
            targets = params.objective.targets_at(step, params.schedule.steps)
            size = len(window.frames)
            total = torch.zeros((), device=accelerator.device)
            for first in range(0, size, params.microbatch_size):
                microbatch = slice(first, first + params.microbatch_size)
                rows = slice_batch(window, microbatch), slice_batch(random, microbatch)
                loss_weight = len(rows[0].frames) / size / targets
                losses = self_generated_context_losses(model, denoiser, *rows, targets)
                for _ in range(targets):
                    with device.autocast(accelerator.device, precision):
                        loss = next(losses)
                    accelerator.backward(loss * loss_weight)
                    total += loss.detach() * loss_weight
            norm = params.optimizer.step(optimizer, accelerator, step, params.schedule.steps)
            ema.update(denoiser, step)
            device.sync()
            train.done(step, {"loss": total, "gradient_norm": norm})

    denoiser.load_state_dict(ema.shadow)
    with output.atomic_output(denoiser_path, accelerator) as folder:
        if accelerator.is_main_process:
            save_model(denoiser, folder)
            train.write_curve(folder / "loss.csv")  # for dvc plots
    count = sum(p.numel() for p in denoiser.parameters())
    steps = params.schedule.steps
    targets = params.batch_size * sum(params.objective.targets_at(n, steps) for n in range(steps))
    accelerator.print(
        f"denoiser: {count / 1e6:.1f} M parameters, {params.context_frames} context frames, "
        f"{steps} steps of {params.batch_size} windows out of {len(windows)}, {targets} targets; "
        f"waited for data {loader.waiting_share:.1%} of the time"
    )


def facts_of(params: Params, latents: Latents) -> dict[str, Any]:
    """What a denoiser knows besides its network."""
    return {
        "latent_shape": latents.autoencoder.latent_shape,
        "context_frames": params.context_frames,
        "game": latents.game.model_dump(),
        "autoencoder": latents.autoencoder.encoder_sha256,
        "schedule": params.noise.model_dump(),
        "augmentation": params.augmentation.model_dump(),
        "sampling": asdict(params.sampling),
        "residual_std": latents.change_std if params.residual else None,
    }


def build(params: Params, latents: Latents) -> Denoiser:
    """The denoiser before training."""
    facts, unet = facts_of(params, latents), params.unet
    if unet.kind == "stable-diffusion":
        assert unet.source is not None
        return from_stable_diffusion(unet.source, **facts)
    require_sides(unet, latents.autoencoder.latent_shape)
    return Denoiser(network=unet.model_dump(exclude={"source"}), **facts)


def require_sides(unet: UNet, latent_shape: tuple[int, int, int]) -> None:
    """Raise InputError unless a latent can be halved at every resolution of the U-Net."""
    step = 2 ** (len(unet.widths) - 1)
    _, height, width = latent_shape
    if height % step or width % step:
        raise InputError(
            f"params.yaml: train.unet.widths: {unet.widths}: {len(unet.widths)} widths need "
            f"latents whose sides are multiples of {step}; they are {height} x {width}"
        )


cli = partial(run, "train", Params, main)

if __name__ == "__main__":
    cli()
