"""Stage 4: the denoiser, by teacher forcing on windows of real latents (§3.2)."""

from pathlib import Path
from typing import Literal, Self

import torch
from pydantic import Field, PositiveInt, model_validator

from gamengen import artifact, device, moves, objective, training
from gamengen.autoencoder import Autoencoder, read_facts, require_same_encoder
from gamengen.checkpoint import save_model
from gamengen.denoiser import Denoiser, from_stable_diffusion, small_unet
from gamengen.diffusion import Augmentation, NoiseSchedule
from gamengen.errors import InputError
from gamengen.latents import Latents, Window, Windows
from gamengen.loader import Loader
from gamengen.perceptual import DecodedDistance, PerceptualTerm, load_lpips
from gamengen.prior import Prior, Reach
from gamengen.stage import StageParams, run

MOVED = 64  # frames to which the prior's maps are fitted


class UNet(StageParams):
    """The network: from scratch with these sizes, or Stable Diffusion's, which has its own."""

    kind: Literal["small", "stable-diffusion"]
    source: str | None  # for stable-diffusion: hub name or folder
    widths: list[PositiveInt]  # one per resolution, from the latent's own downwards
    layers: PositiveInt  # residual blocks per resolution
    attention_dim: PositiveInt  # of an action token
    head_dim: PositiveInt
    patch: PositiveInt  # cells along each side that it sees as one


class Params(StageParams):
    """The denoiser and how it is trained."""

    context_frames: PositiveInt
    unet: UNet
    actions_in_time: bool  # past actions join the time embedding, besides cross-attention
    prior: Reach | None  # the network predicts only what the last frame, moved, does not tell
    motion: float = Field(ge=0)  # weight of the likelihood of where the last frame's cells went
    noise: NoiseSchedule
    augmentation: Augmentation
    draws: objective.Choice
    perceptual: PerceptualTerm  # of decoded predictions; weight 0 is the paper's
    batch_size: PositiveInt  # over all processes
    microbatch_size: PositiveInt  # largest forward pass in one process
    schedule: training.Schedule
    optimizer: training.OptimizerParams
    ema_decay: float = Field(ge=0, lt=1)
    precision: Literal["fp32", "bf16"]
    gradient_checkpointing: bool
    seed: int

    @model_validator(mode="after")
    def _some_rows_have_own_frames(self) -> Self:
        size = min(self.microbatch_size, self.batch_size)
        if self.draws.own_frames > 0 and self.draws.own_rows(size) == 0:
            raise ValueError(
                f"draws.own_frames: {self.draws.own_frames}: of {size} rows at a time it is none: "
                "raise it or microbatch_size, or set it to 0"
            )
        return self

    @model_validator(mode="after")
    def _something_moves(self) -> Self:
        if self.motion > 0 and self.prior is None:
            raise ValueError(f"motion: {self.motion}: must be 0 where there is no prior to move")
        return self


def main(params: Params, latents_path: Path, autoencoder_path: Path, denoiser_path: Path) -> None:
    """Train, keep the average of the weights, save it."""
    accelerator = device.start()
    latents, facts = Latents(latents_path), read_facts(autoencoder_path)
    theirs = latents.autoencoder.encoder
    require_same_encoder(theirs, facts.encoder, latents_path, autoencoder_path)
    resume = artifact.resume_folder(params, [latents_path, autoencoder_path], denoiser_path)
    torch.manual_seed(params.seed)
    autoencoder = Autoencoder.load(autoencoder_path)
    denoiser = build(params, latents, autoencoder).to(memory_format=torch.channels_last)
    if params.gradient_checkpointing:
        denoiser.unet.enable_gradient_checkpointing()
    model, optimizer = accelerator.prepare(denoiser, params.optimizer.make(denoiser.parameters()))
    denoiser = accelerator.unwrap_model(model)
    ema = training.Ema(denoiser, params.ema_decay)
    distance = None
    if params.perceptual.weight > 0:
        lpips_net = load_lpips(params.perceptual.backbone)
        distance = DecodedDistance(autoencoder, lpips_net)
        distance.to(accelerator.device)
    alpha_bars = denoiser.schedule.alpha_bars().to(accelerator.device)
    windows = Windows(latents, "train", params.context_frames + params.draws.earlier)
    rank, size = accelerator.process_index, share(params.batch_size, accelerator.num_processes)

    def batch_at(step: int) -> tuple[Window, objective.Draws]:
        window = windows.draw(size, params.seed, step, rank)
        draws = objective.draw(window, denoiser, params.draws, params.seed, step, rank)
        return window, draws

    parts = {"denoiser": denoiser, "optimizer": optimizer, "ema": ema.shadow}
    with training.Training(accelerator, resume, params.schedule, parts) as train:
        loader = Loader(batch_at, train.steps)
        for step, batch in loader:
            params.optimizer.set_rate(optimizer, step, params.schedule.steps)
            window = objective.to(batch[0], accelerator.device)
            draws = objective.to(batch[1], accelerator.device)
            totals: dict[str, torch.Tensor] = {}
            for some in training.microbatches(size, params.microbatch_size):
                rows = objective.rows(window, some), objective.rows(draws, some)
                with device.autocast(accelerator.device, params.precision):
                    seen = objective.own_last_frames(denoiser, rows[0], rows[1].start, params.draws)
                # Apart from the above: autocast would keep weights cast where no gradient is.
                with device.autocast(accelerator.device, params.precision):
                    found = objective.denoised(
                        model, denoiser, seen, rows[1], alpha_bars, params.motion > 0
                    )
                    losses = {"velocity": found.error}
                    total = found.error
                    if found.surprise is not None:
                        losses["surprise"] = found.surprise
                        total = total + params.motion * found.surprise
                    if distance is not None:
                        compared = params.perceptual.rows(len(found.x0), step, accelerator.device)
                        pair = found.x0[compared], rows[0].target[compared]
                        losses["lpips"] = distance(*pair).float().mean()
                        total = total + params.perceptual.weight * losses["lpips"]
                    losses = {"loss": total} | losses
                part = len(found.x0) / size
                accelerator.backward(losses["loss"] * part)
                for name, value in losses.items():
                    totals[name] = totals.get(name, 0.0) + value.detach() * part
            accelerator.clip_grad_norm_(model.parameters(), params.optimizer.clip)
            optimizer.step()
            optimizer.zero_grad()
            ema.update(denoiser, step)
            device.sync()
            train.done(step, totals)

    ema.copy_to(denoiser)
    with artifact.whole(denoiser_path, accelerator) as folder:
        if accelerator.is_main_process:
            save_model(denoiser, folder)
            train.publish(folder)
    count = sum(p.numel() for p in denoiser.parameters())
    accelerator.print(
        f"denoiser: {count / 1e6:.1f} M parameters, {params.context_frames} context frames, "
        f"{params.schedule.steps} steps of {params.batch_size} windows out of {len(windows)}; "
        f"waited for data {loader.waiting_share:.1%} of the time"
    )


def build(params: Params, latents: Latents, autoencoder: Autoencoder) -> Denoiser:
    """The denoiser before training."""
    facts = {
        "latent_shape": latents.autoencoder.latent_shape,
        "context_frames": params.context_frames,
        "game": latents.game.model_dump(),
        "autoencoder": latents.autoencoder.encoder,
        "schedule": params.noise.model_dump(),
        "augmentation": params.augmentation.model_dump(),
        "actions_in_time": params.actions_in_time,
    }
    unet = params.unet
    if unet.kind == "stable-diffusion":
        if unet.source is None:
            raise InputError("params.yaml: train.unet.source: null: name a hub model or a folder")
        if params.prior:
            raise InputError(
                "params.yaml: train.prior: Stable Diffusion's U-Net has no outputs for one: null"
            )
        return from_stable_diffusion(unet.source, **facts)
    require_patches(unet, latents.autoencoder.latent_shape)
    config = small_unet(unet.widths, unet.attention_dim, unet.layers, unet.head_dim)
    prior = params.prior and Prior(reach=params.prior, **measure(params, latents))
    made = Denoiser(network=config, patch=unet.patch, prior=prior and prior.model_dump(), **facts)
    if params.prior and params.prior.parts > 1:
        some = Windows(latents, "train", 1).draw(MOVED, params.seed, -2, 0)
        made.maps.copy_(moves.fit(autoencoder, some.target, params.prior.parts))
    return made


def require_patches(unet: UNet, latent_shape: tuple[int, int, int]) -> None:
    """Raise InputError unless a latent divides into patches that the U-Net can halve."""
    step = unet.patch * 2 ** (len(unet.widths) - 1)
    _, height, width = latent_shape
    if height % step or width % step:
        raise InputError(
            f"params.yaml: train.unet: patch {unet.patch} and {len(unet.widths)} widths need "
            f"latents whose sides are multiples of {step}; they are {height} x {width}"
        )


def measure(params: Params, latents: Latents) -> dict[str, list[float]]:
    """Root mean square of each channel, and of its change in one frame, over training windows."""
    window = Windows(latents, "train", 1).draw(512, params.seed, -1, 0)
    parts = {"std": window.target, "change": window.target - window.context[:, -1]}
    return {
        k: part.square().mean((0, 2, 3)).sqrt().clamp_min(1e-3).tolist()
        for k, part in parts.items()
    }


def share(batch_size: int, processes: int) -> int:
    """Rows of the batch in each process. Raises InputError when it does not divide."""
    if batch_size % processes:
        raise InputError(
            f"params.yaml: batch_size: {batch_size}: must be a multiple of the number of "
            f"processes, {processes}"
        )
    return batch_size // processes


def cli() -> None:
    """Run from the command line: see gamengen.stage.run."""
    run("train", Params, main)


if __name__ == "__main__":
    cli()
