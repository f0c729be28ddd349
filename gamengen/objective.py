"""The diffusion loss of the denoiser, and the random draws it needs."""

from dataclasses import dataclass, fields, replace
from typing import TypeVar

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int64
from pydantic import BaseModel, Field, PositiveInt
from torch import Tensor, nn

from gamengen import device, diffusion
from gamengen.denoiser import Denoiser, drop_context
from gamengen.latents import Window


@dataclass(frozen=True)
class Draws:
    """Everything random in one training step."""

    t: Int64[Tensor, " b"]  # timestep
    eps: Float[Tensor, "b c h w"]  # noise on the target
    level: Float[Tensor, " b"]  # noise level of the context
    context_eps: Float[Tensor, "b l c h w"]
    dropped: Bool[Tensor, " b"]  # whether the context is dropped
    start: Float[Tensor, "b c h w"]  # where a one-step generator starts


class Choice(BaseModel, frozen=True, extra="forbid"):
    """What the draws are drawn from."""

    context_dropout: float = Field(ge=0, lt=1)
    timestep_bias: float = Field(gt=0)  # t = T u^bias: 1 is uniform (§4.2), below 1 favours noise
    own_frames: float = Field(ge=0, le=1)  # share of a batch whose last frames the denoiser made
    own_in_a_row: PositiveInt  # how many of them, each from those before it

    @property
    def earlier(self) -> int:
        """Frames before a window without which its own frames cannot be made."""
        return self.own_in_a_row if self.own_frames > 0 else 0

    def own_rows(self, batch: int) -> int:
        """How many rows of a batch have own frames."""
        return round(self.own_frames * batch)

    def timesteps(self, u: Float[Tensor, " b"], timesteps: int) -> Int64[Tensor, " b"]:
        """Timesteps from numbers in [0, 1)."""
        return (u.pow(self.timestep_bias) * timesteps).long().clamp_max(timesteps - 1)


def draw(
    window: Window, denoiser: Denoiser, choice: Choice, seed: int, step: int, rank: int
) -> Draws:
    """Draws on the CPU, a pure function of (seed, step, rank): a resumed run makes the same."""
    random = device.generator(seed, step, rank, 1)
    batch, channels, *sides = window.target.shape
    context = (batch, denoiser.context_frames, channels, *sides)
    return Draws(
        t=choice.timesteps(torch.rand(batch, generator=random), denoiser.schedule.timesteps),
        eps=torch.randn(window.target.shape, generator=random),
        level=denoiser.augmentation.draw(*torch.rand(2, batch, generator=random)),
        context_eps=torch.randn(context, generator=random),
        dropped=torch.rand(batch, generator=random) < choice.context_dropout,
        start=torch.randn(window.target.shape, generator=random),
    )


Tensors = TypeVar("Tensors", Window, Draws)
Past = tuple[Tensor, Tensor, Tensor]  # context, actions, class of the context's noise level


def to(batch: Tensors, where: torch.device) -> Tensors:
    """Every tensor of a batch, on a device."""
    return type(batch)(**{f.name: getattr(batch, f.name).to(where) for f in fields(batch)})


def rows(batch: Tensors, which: slice) -> Tensors:
    """Some rows of a batch."""
    return type(batch)(**{f.name: getattr(batch, f.name)[which] for f in fields(batch)})


@torch.no_grad()
def own_last_frames(
    denoiser: Denoiser, longer: Window, start: Float[Tensor, "b c h w"], choice: Choice
) -> Window:
    """A window whose last context frames are, in the first rows, what the denoiser makes of those
    before them, each in one step from noise: at play it sees nothing else (Bengio et al. 2015).

    ``longer`` begins ``choice.earlier`` frames before the window does. An episode's first frame
    stays real: no action led to it.
    """
    length, before_start = denoiser.context_frames, denoiser.game.before_start
    context, actions = longer.context.clone(), longer.actions
    own = choice.own_rows(len(context))
    clean = denoiser.augmentation.bucket(start.new_zeros(own))
    t, alpha_bars = denoiser.schedule.visits(1)[0], denoiser.alpha_bars
    for back in range(choice.own_in_a_row if own else 0, 0, -1):
        past = context[:own, -back - length : -back], actions[:own, -back - length : -back]
        noise = start.roll(back - 1, 0)[:own]
        made = diffusion.one_step(denoiser, noise, t, alpha_bars, *past, clean)
        led_to = diffusion.over(past[1][:, -1] != before_start, made)
        context[:own, -back] = torch.where(led_to, made, context[:own, -back])
    return replace(longer, context=context[:, -length:], actions=actions[:, -length:])


def noisy_context(
    denoiser: Denoiser, window: Window, draws: Draws
) -> tuple[Float[Tensor, "b l c h w"], Int64[Tensor, " b"]]:
    """The context with noise of the drawn level, and that level's class (§3.2.1)."""
    augmentation = denoiser.augmentation
    context = augmentation.apply(window.context, draws.context_eps, draws.level)
    return context, augmentation.bucket(draws.level)


def diffusion_loss(
    model: nn.Module,
    x0: Float[Tensor, "b c h w"],
    past: Past,
    t: Int64[Tensor, " b"],
    eps: Float[Tensor, "b c h w"],
    alpha_bars: Float[Tensor, " t"],
) -> tuple[Float[Tensor, ""], Float[Tensor, "b c h w"]]:
    """Mean squared error of the velocity at timestep ``t`` (§3.2, equation 1), and the clean
    latent that this velocity means."""
    x_t = diffusion.add_noise(x0, eps, alpha_bars[t])
    return _judged(model(x_t, t, *past), x_t, x0, eps, alpha_bars[t])


def _judged(
    v: Tensor, x_t: Tensor, x0: Tensor, eps: Tensor, alpha_bar: Tensor
) -> tuple[Float[Tensor, ""], Float[Tensor, "b c h w"]]:
    v = v.float()
    loss = F.mse_loss(v, diffusion.velocity(x0, eps, alpha_bar))
    return loss, diffusion.x0_from(v, x_t, alpha_bar)


@dataclass(frozen=True)
class Denoised:
    """What teacher forcing finds in one batch."""

    error: Float[Tensor, ""]  # mean squared, of the velocity
    x0: Float[Tensor, "b c h w"]  # the clean latents that it means
    surprise: Float[Tensor, ""] | None  # of the prior, where it was asked for


def denoised(
    model: nn.Module,
    denoiser: Denoiser,
    window: Window,
    draws: Draws,
    alpha_bars: Tensor,
    surprise: bool,
) -> Denoised:
    """The losses of teacher forcing: real context, noised and sometimes dropped, real target.

    ``model`` is ``denoiser`` as Accelerate wrapped it; ``surprise`` needs its prior.
    """
    context, level_class = noisy_context(denoiser, window, draws)
    context, level_class = drop_context(context, level_class, draws.dropped, denoiser.dropped)
    past = (context, window.actions, level_class)
    x0, t, eps = window.target, draws.t, draws.eps
    if not surprise:
        return Denoised(*diffusion_loss(model, x0, past, t, eps, alpha_bars), None)
    x_t = diffusion.add_noise(x0, eps, alpha_bars[t])
    v, surprised = model(x_t, t, *past, target=x0)
    return Denoised(*_judged(v, x_t, x0, eps, alpha_bars[t]), surprised)
