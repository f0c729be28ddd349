"""The diffusion loss of the denoiser, its self-generated context, and the random inputs of both."""

from collections.abc import Iterator
from dataclasses import dataclass, fields
from functools import partial
from typing import TypeVar

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int64
from pydantic import Field
from torch import Tensor, nn

from gamengen.data.latents import Window
from gamengen.data.positions import Share
from gamengen.model import diffusion
from gamengen.model.denoiser import Denoiser, drop_context
from gamengen.runtime import device
from gamengen.runtime.settings import Settings, Size


class Objective(Settings):
    """What a training window asks of the denoiser."""

    targets: Size  # consecutive frames to predict, each from predictions of those before it
    single_target_share: float = Field(ge=0, le=1)  # of the training, at its start: only the first
    terminal_share: float = Field(ge=0, le=1)  # of windows at the last timestep, as samplers begin

    def targets_at(self, step: int, steps: int) -> int:
        """How many frames of each window are predicted in a step of a training run."""
        return 1 if step < self.single_target_share * steps else self.targets


@dataclass(frozen=True)
class RandomInputs:
    """Everything random in one training step, for windows of ``n`` targets."""

    t: Int64[Tensor, "b n"]  # timestep
    eps: Float[Tensor, "b n c h w"]  # noise on the targets
    level: Float[Tensor, " b"]  # noise level of the context
    context_eps: Float[Tensor, "b m c h w"]  # for every frame but the last, m = l + n - 1
    dropped: Bool[Tensor, " b"]  # whether the context is dropped


def draw(
    window: Window, denoiser: Denoiser, terminal_share: float, share: Share, seed: int, step: int
) -> RandomInputs:
    """Draws where the window is: each row a pure function of (seed, step, row of the batch)."""
    where = window.frames.device
    random = device.generator(seed, step, 0, 1, where=where)
    uniform = partial(torch.rand, generator=random, device=where)
    normal = partial(torch.randn, generator=random, device=where)
    batch, (_, frames, *shape) = share.batch, window.frames.shape
    targets, timesteps = frames - denoiser.context_frames, denoiser.noise_schedule.timesteps
    t = torch.randint(timesteps, (batch, targets), generator=random, device=where)
    # Whole windows: those are rolled out as a sampler of one step would.
    terminal = uniform(batch, 1) < terminal_share
    drawn = RandomInputs(
        t=torch.where(terminal, timesteps - 1, t),
        eps=normal(batch, targets, *shape),
        level=denoiser.augmentation.draw(*uniform(2, batch)),
        context_eps=normal(batch, frames - 1, *shape),
        dropped=uniform(batch) < denoiser.augmentation.context_dropout,
    )
    return slice_batch(drawn, share.rows)


Tensors = TypeVar("Tensors", Window, RandomInputs)
Context = tuple[Tensor, Tensor, Tensor]  # latents, actions, class of the latents' noise level


def to_device(batch: Tensors, where: torch.device) -> Tensors:
    """Every tensor of a batch, on a device."""
    return type(batch)(**{f.name: getattr(batch, f.name).to(where) for f in fields(batch)})


def slice_batch(batch: Tensors, which: slice) -> Tensors:
    return type(batch)(**{f.name: getattr(batch, f.name)[which] for f in fields(batch)})


def velocity_loss(
    model: nn.Module,
    x0: Float[Tensor, "b c h w"],
    context: Context,
    t: Int64[Tensor, " b"],
    eps: Float[Tensor, "b c h w"],
    alpha_bars: Float[Tensor, " t"],
) -> tuple[Float[Tensor, ""], Float[Tensor, "b c h w"]]:
    """Mean squared error of the velocity at timestep ``t`` (§3.2, equation 1), and the clean
    ``x0`` that this velocity means."""
    x_t = diffusion.add_noise(x0, eps, alpha_bars[t])
    v, predicted = diffusion.predict(model, x_t, t, alpha_bars, *context)
    return F.mse_loss(v, diffusion.v_target(x0, eps, alpha_bars[t])), predicted


def self_generated_context_losses(
    model: nn.Module, denoiser: Denoiser, window: Window, random: RandomInputs, targets: int
) -> Iterator[Float[Tensor, ""]]:
    """The loss of each of a window's first ``targets`` targets, to be used before the next one.

    The first target's context is real. Each prediction, made at its random noise level, becomes
    the newest context frame of the next target, without a gradient: at play the denoiser sees
    nothing but predictions (Bengio et al. 2015; Alonso et al. 2024). ``model`` is ``denoiser`` as
    Accelerate wrapped it.
    """
    length, std = denoiser.context_frames, denoiser.residual_std
    null_class = denoiser.null_context_class
    context = window.frames[:, :length]
    for n in range(targets):
        eps = random.context_eps[:, n : n + length]
        noisy = denoiser.augmentation.apply(context, eps, random.level)
        level_class = denoiser.augmentation.bucket(random.level)
        noisy, level_class = drop_context(noisy, level_class, random.dropped, null_class)
        residual = diffusion.to_residual(window.frames[:, length + n], noisy, std)
        loss, predicted = velocity_loss(
            model,
            residual,
            (noisy, window.actions[:, n : n + length], level_class),
            random.t[:, n],
            random.eps[:, n],
            denoiser.alpha_bars,
        )
        yield loss
        latent = diffusion.from_residual(predicted.detach(), noisy, std)
        context = torch.cat([context[:, 1:], latent[:, None]], 1)
