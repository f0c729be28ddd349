"""Schedule, v-prediction, noise augmentation: pure functions for training and sampling alike.

Symbols: ``x0`` a clean latent, ``eps`` unit Gaussian noise, ``x_t = sqrt(alpha_bar) x0 +
sqrt(1 - alpha_bar) eps``, ``v = sqrt(alpha_bar) eps - sqrt(1 - alpha_bar) x0`` (Salimans & Ho
2022, appendix D).
"""

import torch
from jaxtyping import Float, Int64
from pydantic import BaseModel
from torch import Tensor, nn


class NoiseSchedule(BaseModel, frozen=True, extra="forbid"):
    """Stable Diffusion's scaled-linear betas; with ``zero_terminal_snr`` the last step is pure
    noise (Lin et al. 2024, algorithm 1), without it a trace of the picture is left."""

    timesteps: int
    beta_start: float
    beta_end: float
    zero_terminal_snr: bool

    def alpha_bars(self) -> Float[Tensor, " t"]:
        """Cumulated signal power at each timestep."""
        span = (self.beta_start**0.5, self.beta_end**0.5)
        betas = torch.linspace(*span, self.timesteps, dtype=torch.float64) ** 2
        alpha_bars = (1 - betas).cumprod(0)
        if self.zero_terminal_snr:
            root = alpha_bars.sqrt()
            root = (root - root[-1]) * root[0] / (root[0] - root[-1])
            alpha_bars = root**2
        return alpha_bars.float()

    def visits(self, steps: int) -> list[int]:
        """The timesteps of a sampler, from noise to picture, as Python ints.

        They begin at the very last one ("trailing": Lin et al. 2024, section 3.3). Stable Diffusion
        1.4's own, "leading", would begin a single step at timestep 1, as if noise were a picture.
        """
        if not 1 <= steps <= self.timesteps:
            raise ValueError(f"steps: {steps}: must lie between 1 and {self.timesteps}")
        return [round(self.timesteps * (1 - i / steps)) - 1 for i in range(steps)]


def over(alpha_bar: Float[Tensor, " b"], like: Float[Tensor, "b ..."]) -> Tensor:
    """A value per row, shaped to multiply ``like``."""
    return alpha_bar.view(-1, *[1] * (like.ndim - 1))


def add_noise(x0: Tensor, eps: Tensor, alpha_bar: Float[Tensor, " b"]) -> Tensor:
    """``x_t`` of the forward process."""
    ab = over(alpha_bar, x0)
    return ab.sqrt() * x0 + (1 - ab).sqrt() * eps


def velocity(x0: Tensor, eps: Tensor, alpha_bar: Float[Tensor, " b"]) -> Tensor:
    """``v``, the target of v-prediction."""
    ab = over(alpha_bar, x0)
    return ab.sqrt() * eps - (1 - ab).sqrt() * x0


def x0_from(v: Tensor, x_t: Tensor, alpha_bar: Float[Tensor, " b"]) -> Tensor:
    """The clean latent that ``v`` predicts at ``x_t``."""
    ab = over(alpha_bar, x_t)
    return ab.sqrt() * x_t - (1 - ab).sqrt() * v


def eps_from(v: Tensor, x_t: Tensor, alpha_bar: Float[Tensor, " b"]) -> Tensor:
    """The noise that ``v`` predicts at ``x_t``."""
    ab = over(alpha_bar, x_t)
    return ab.sqrt() * v + (1 - ab).sqrt() * x_t


def ddim_step(x0: Tensor, eps: Tensor, alpha_bar: Float[Tensor, " b"]) -> Tensor:
    """Deterministic DDIM (Song et al. 2021, equation 12, eta 0): on to a lower noise level."""
    return add_noise(x0, eps, alpha_bar)


def one_step(
    model: nn.Module, start: Float[Tensor, "b c h w"], t: int, alpha_bars: Tensor, *past: Tensor
) -> Float[Tensor, "b c h w"]:
    """The clean latent that one evaluation at timestep ``t`` predicts: a sample in one step,
    where ``t`` is the sampler's first. ``model`` gives velocities."""
    time = torch.full((len(start),), t, device=start.device)
    return x0_from(model(start, time, *past).float(), start, alpha_bars[time])


def gaussian_velocity(
    x_t: Tensor, mean: Tensor, variance: Tensor, alpha_bar: Float[Tensor, " b"]
) -> tuple[Tensor, Tensor]:
    """Expectation and deviation of ``v`` at ``x_t`` if ``x0`` were Gaussian.

    With ``d = alpha_bar * variance + 1 - alpha_bar`` the expectation is
    ``sqrt(1 - alpha_bar) (sqrt(alpha_bar) (1 - variance) x_t - mean) / d`` and the deviation
    ``sqrt(variance / d)``: finite at every noise level. ``variance`` broadcasts against ``x_t``.
    """
    ab = over(alpha_bar, x_t)
    d = ab * variance + 1 - ab
    expected = (1 - ab).sqrt() * (ab.sqrt() * (1 - variance) * x_t - mean) / d
    return expected, (variance / d).sqrt()


class Augmentation(BaseModel, frozen=True, extra="forbid"):
    """Noise on the context (§3.2.1): ``context + level * eps``, level uniform in [0, highest).

    The level is told to the denoiser as one of ``buckets`` embeddings. Bucket 0 is for levels
    of exactly zero when ``clean_bucket``, so that clean context never shares an embedding with
    nearly clean.
    """

    highest: float
    buckets: int
    clean_bucket: bool

    @property
    def embeddings(self) -> int:
        """Number of embeddings the denoiser needs."""
        return self.buckets + int(self.clean_bucket)

    def draw(self, u: Float[Tensor, " b"], v: Float[Tensor, " b"]) -> Float[Tensor, " b"]:
        """Levels from two uniform numbers in [0, 1): every embedding is as likely as another."""
        clean = (
            (v < 1 / self.embeddings)
            if self.clean_bucket
            else torch.zeros_like(v, dtype=torch.bool)
        )
        return torch.where(clean, 0.0, (1 - u) * self.highest)

    def bucket(self, level: Float[Tensor, " b"]) -> Int64[Tensor, " b"]:
        """Index of each level's embedding."""
        index = (level / self.highest * self.buckets).long().clamp(0, self.buckets - 1)
        return torch.where(level > 0, index + 1, 0) if self.clean_bucket else index

    def levels(self) -> Float[Tensor, " k"]:
        """The level that each embedding stands for: the middle of its bucket."""
        middles = (torch.arange(self.buckets) + 0.5) * self.highest / self.buckets
        return torch.cat([torch.zeros(int(self.clean_bucket)), middles])

    def apply(
        self, context: Float[Tensor, "b l c h w"], eps: Tensor, level: Float[Tensor, " b"]
    ) -> Tensor:
        """The context with noise of the given level added."""
        return context + over(level, context) * eps
