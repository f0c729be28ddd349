"""Stage 6: a one-step student by distribution matching (§3.3.2)."""

from copy import deepcopy
from dataclasses import asdict
from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F
from pydantic import Field, NonNegativeInt

from gamengen.data.latents import Latents, Window, Windows
from gamengen.data.loader import Loader
from gamengen.model import diffusion
from gamengen.model.denoiser import Denoiser, load_denoiser, require_match
from gamengen.model.diffusion import Sampling
from gamengen.model.distillation import dmd_gradient, dmd_loss, inner_timesteps, require_distillable
from gamengen.model.network import save_model
from gamengen.model.sampler import guided_velocity
from gamengen.runtime import device, output
from gamengen.runtime.resume import resume_folder
from gamengen.runtime.settings import Size
from gamengen.runtime.stage import StageParams, run
from gamengen.training import objective
from gamengen.training.ema import Ema
from gamengen.training.loop import Training, share_of
from gamengen.training.schedule import OptimizerParams, RunLength


class Params(StageParams):
    """How the student is distilled."""

    batch_size: Size  # over all processes
    schedule: RunLength
    generator: OptimizerParams
    fake_score: OptimizerParams
    guidance: float = Field(ge=1, le=100)  # of the teacher, on past frames
    level_margin: float = Field(ge=0, lt=0.5)  # share of noise levels left out at either end
    ema_decay: float = Field(ge=0, lt=1)
    precision: device.Precision
    seed: NonNegativeInt


def main(params: Params, latents_path: Path, denoiser_path: Path, student_path: Path) -> None:
    """Generator and fake score take turns, one step each; the generator's average is saved."""
    accelerator = device.start()
    latents = Latents(latents_path)
    teacher = load_denoiser(denoiser_path).to(memory_format=torch.channels_last)
    require_match(teacher, denoiser_path, latents_path, latents.autoencoder, latents.game)
    require_distillable(
        teacher.noise_schedule, teacher.augmentation, params.guidance, params.level_margin
    )
    resume = resume_folder(params, [latents_path, denoiser_path], student_path)
    student, fake = deepcopy(teacher).train(), deepcopy(teacher).train()
    teacher.requires_grad_(False).to(accelerator.device)
    student_model, student_optimizer = accelerator.prepare(
        student, params.generator.make(student.parameters())
    )
    fake_model, fake_optimizer = accelerator.prepare(
        fake, params.fake_score.make(fake.parameters())
    )
    student, fake = accelerator.unwrap_model(student_model), accelerator.unwrap_model(fake_model)
    ema = Ema(student, params.ema_decay)
    alpha_bars, timesteps = teacher.alpha_bars, teacher.noise_schedule.timesteps
    windows = Windows(latents, "train", teacher.context_frames, 1, where=accelerator.device)
    share = share_of(params.batch_size, accelerator, "distill")

    def batch_at(step: int) -> tuple[Window, objective.RandomInputs, list[torch.Tensor]]:
        """Besides: noise that the student starts from; noise and timesteps of the fake score."""
        window = windows.draw(share, params.seed, step)
        draws = objective.draw(window, teacher, 0.0, share, params.seed, step)
        where = window.frames.device
        random = device.generator(params.seed, step, 0, 2, where=where)
        noise = 2, share.batch, *teacher.latent_shape
        start, fake_eps = torch.randn(noise, generator=random, device=where)
        fake_t = torch.randint(timesteps, (share.batch,), generator=random, device=where)
        return window, draws, [drawn[share.rows] for drawn in (start, fake_eps, fake_t)]

    parts = {
        "student": student,
        "student_optimizer": student_optimizer,
        "fake": fake,
        "fake_optimizer": fake_optimizer,
        "ema": ema.shadow,
    }
    with Training(accelerator, resume, params.schedule, parts) as train:
        loader = Loader(batch_at, train.steps)
        for step, batch in loader:
            now = step, params.schedule.steps
            window = objective.to_device(batch[0], accelerator.device)
            draws = objective.to_device(batch[1], accelerator.device)
            start, fake_eps, fake_t = (each.to(accelerator.device) for each in batch[2])
            noisy = teacher.augmentation.apply(window.context, draws.context_eps, draws.level)
            context = noisy, window.actions, teacher.augmentation.bucket(draws.level)
            with device.autocast(accelerator.device, params.precision):
                last = torch.full_like(fake_t, timesteps - 1)  # where a sampler of one step begins
                _, sample = diffusion.predict(student_model, start, last, alpha_bars, *context)
                t = inner_timesteps(draws.t[:, 0], timesteps, params.level_margin)
                gradient = dmd_gradient(
                    partial(guided, teacher, context, params.guidance),
                    partial(guided, fake, context, 1.0),
                    sample.detach(),
                    draws.eps[:, 0],
                    t,
                    alpha_bars[t],
                )
            student_loss = dmd_loss(sample, gradient)
            accelerator.backward(student_loss)
            norm = params.generator.step(student_optimizer, accelerator, *now)
            ema.update(student, step)

            with device.autocast(accelerator.device, params.precision):
                fake_loss, _ = objective.velocity_loss(
                    fake_model, sample.detach(), context, fake_t, fake_eps, alpha_bars
                )
            accelerator.backward(fake_loss)
            fake_norm = params.fake_score.step(fake_optimizer, accelerator, *now)
            device.sync()
            real = diffusion.to_residual(window.target, noisy, teacher.residual_std)
            losses = {
                "fake_score_loss": fake_loss,
                "dmd_gradient": gradient.abs().mean(),
                "x0_mse": F.mse_loss(sample.detach(), real),
                "student_gradient_norm": norm,
                "fake_score_gradient_norm": fake_norm,
            }
            train.done(step, losses)

    student.load_state_dict(ema.shadow)
    with output.atomic_output(student_path, accelerator) as folder:
        if accelerator.is_main_process:
            one_step = Sampling(steps=1, context_noise=teacher.sampling.context_noise)
            student.config["sampling"] = asdict(one_step)
            save_model(student, folder)
            train.write_curve(folder / "loss.csv")  # for dvc plots
    accelerator.print(
        f"student: {params.schedule.steps} steps of {params.batch_size} windows; "
        f"waited for data {loader.waiting_share:.1%} of the time"
    )


def guided(
    model: Denoiser, context: objective.Context, guidance: float, x_t: torch.Tensor, t: torch.Tensor
) -> torch.Tensor:
    """A velocity with its context filled in, in float32."""
    return guided_velocity(model, x_t, t, *context, guidance, model.null_context_class).float()


cli = partial(run, "distill", Params, main)

if __name__ == "__main__":
    cli()
