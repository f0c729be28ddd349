"""Schedule, v-prediction, noise augmentation: pure functions for training and sampling alike.

Symbols: ``x0`` a clean latent or residual, ``eps`` unit Gaussian noise,
``x_t = sqrt(alpha_bar) x0 + sqrt(1 - alpha_bar) eps`` and
``v = sqrt(alpha_bar) eps - sqrt(1 - alpha_bar) x0`` (Salimans & Ho 2022, appendix D).
"""

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Literal, Self

import torch
from jaxtyping import Float, Int64
from pydantic import ConfigDict, Field, model_validator
from pydantic.dataclasses import dataclass
from torch import Tensor, nn

from gamengen.runtime.settings import Settings

BETA_START, BETA_END = 0.00085, 0.012  # Stable Diffusion's
MAX_FINAL_ALPHA_BAR = 0.01  # at the last timestep, where samplers begin


class NoiseSchedule(Settings):
    """The signal power ``alpha_bar`` at each of ``timesteps`` noise levels, least noise first.

    ``cosine`` is ``cos^2`` of the time (Nichol & Dhariwal 2021, equation 17, without offset):
    half of its timesteps have less noise than signal, the last is noise alone. ``scaled-linear``
    is Stable Diffusion's, where a trace of the data is left at the last; ``zero-snr`` is the same
    so rescaled that none is (Lin et al. 2024, algorithm 1).
    """

    kind: Literal["cosine", "scaled-linear", "zero-snr"]
    timesteps: int = Field(ge=2, le=10**5)

    @model_validator(mode="after")
    def _ends_in_noise(self) -> Self:
        with torch.device("cpu"):  # also where a network is built without memory
            left = float(self.alpha_bars()[-1])
        if left > MAX_FINAL_ALPHA_BAR:
            raise ValueError(
                f"timesteps: {self.timesteps}: too few for {self.kind}, which has {left:.0%} of "
                "the signal left at the last one, where samplers begin; Stable Diffusion has 1000"
            )
        return self

    def alpha_bars(self) -> Float[Tensor, " t"]:
        """Cumulated signal power at each timestep."""
        if self.kind == "cosine":
            time = torch.arange(1, self.timesteps, dtype=torch.float64) / self.timesteps
            return torch.cat([(time * torch.pi / 2).cos() ** 2, torch.zeros(1)]).float()
        ends = BETA_START**0.5, BETA_END**0.5
        betas = torch.linspace(*ends, self.timesteps, dtype=torch.float64) ** 2
        alpha_bars = (1 - betas).cumprod(0)
        if self.kind == "zero-snr":
            root = alpha_bars.sqrt()
            root = (root - root[-1]) * root[0] / (root[0] - root[-1])
            alpha_bars = root**2
        return alpha_bars.float()

    def sampling_timesteps(self, steps: int, shift: float = 1.0) -> list[int]:
        """The timesteps of a sampler, from noise to picture, as Python ints.

        They begin at the very last one ("trailing": Lin et al. 2024, section 3.3). Stable Diffusion
        1.4's own, "leading", would begin a single step at timestep 1, as if noise were a picture.
        A ``shift`` above 1 moves the others towards noise (Esser et al. 2024, equation 23).
        """
        if not 1 <= steps <= self.timesteps:
            raise ValueError(f"steps: {steps}: must lie between 1 and {self.timesteps}")
        even = [1 - i / steps for i in range(steps)]
        return [round(self.timesteps * shift * t / (1 + (shift - 1) * t)) - 1 for t in even]


def append_dims(values: Float[Tensor, " b"], like: Float[Tensor, "b ..."]) -> Tensor:
    """A value per row, shaped to multiply ``like``."""
    return values.view(-1, *[1] * (like.ndim - 1))


def to_residual(
    x0: Float[Tensor, "b c h w"], context: Float[Tensor, "b l c h w"], std: float | None
) -> Float[Tensor, "b c h w"]:
    """What is diffused: the change since the last context frame, noise included, over ``std``.

    For real, clean context it has unit variance, and v-prediction is then EDM's preconditioning
    (Karras et al. 2022, table 1, with ``sigma_data = std``); noisy or generated context has more.
    Where ``std`` is None the latent itself is diffused, as in the paper.
    """
    return x0 if std is None else (x0 - context[:, -1]) / std


def from_residual(
    y0: Float[Tensor, "b c h w"], context: Float[Tensor, "b l c h w"], std: float | None
) -> Float[Tensor, "b c h w"]:
    """The latent that a residual leads to: the inverse of ``to_residual``."""
    return y0 if std is None else context[:, -1] + std * y0


def add_noise(x0: Tensor, eps: Tensor, alpha_bar: Float[Tensor, " b"]) -> Tensor:
    """``x_t`` of the forward process; of predicted ``x0`` and ``eps``, a DDIM step to ``alpha_bar``
    (Song et al. 2021, equation 12, eta 0)."""
    ab = append_dims(alpha_bar, x0)
    return ab.sqrt() * x0 + (1 - ab).sqrt() * eps


def v_target(x0: Tensor, eps: Tensor, alpha_bar: Float[Tensor, " b"]) -> Tensor:
    """``v``, the target of v-prediction."""
    ab = append_dims(alpha_bar, x0)
    return ab.sqrt() * eps - (1 - ab).sqrt() * x0


def x0_from(v: Tensor, x_t: Tensor, alpha_bar: Float[Tensor, " b"]) -> Tensor:
    """The clean latent that ``v`` predicts at ``x_t``."""
    ab = append_dims(alpha_bar, x_t)
    return ab.sqrt() * x_t - (1 - ab).sqrt() * v


def eps_from(v: Tensor, x_t: Tensor, alpha_bar: Float[Tensor, " b"]) -> Tensor:
    """The noise that ``v`` predicts at ``x_t``."""
    ab = append_dims(alpha_bar, x_t)
    return ab.sqrt() * v + (1 - ab).sqrt() * x_t


def extrapolation(alpha_bars: Sequence[float]) -> list[float]:
    """How far each step of a sampler extrapolates, in units of the step before: a weight a step.

    ``alpha_bars`` are those of its steps and, last, of where it ends. A step from angle ``phi``
    (``alpha_bar = cos^2 phi``, Salimans & Ho 2022, appendix D) to a smaller one is best taken with
    the ``x0`` predicted between the two: the line through the last two predictions has it in the
    middle. Of second order where steps span similar angles, as the cosine schedule's do, for no
    more passes (as DPM-Solver++, Lu et al. 2022, whose variable, the log of signal over noise, is
    infinite where nothing is left of the data). The first step has no prediction before it; the
    last keeps its own, an error of the square of its span, made once.
    """
    angles = [math.acos(alpha_bar**0.5) for alpha_bar in alpha_bars]
    spans = [this - then for this, then in pairwise(angles)]
    # A span is 0 where rounding has given two steps one timestep: their predictions are one, too.
    inner = [span / (2 * before) if before else 0.0 for before, span in pairwise(spans)][:-1]
    return [0.0, *inner, 0.0][: len(spans)]


def predict(
    model: nn.Module,
    x_t: Float[Tensor, "b c h w"],
    t: Int64[Tensor, " b"],
    alpha_bars: Float[Tensor, " t"],
    *condition: Tensor,
) -> tuple[Float[Tensor, "b c h w"], Float[Tensor, "b c h w"]]:
    """The velocity predicted at ``x_t``, in float32, and the clean ``x0`` that it means."""
    v = model(x_t, t, *condition).float()
    return v, x0_from(v, x_t, alpha_bars[t])


# Not strict as a whole: strict settings take a dataclass only as an instance, not as a mapping.
@dataclass(frozen=True, config=ConfigDict(extra="forbid", allow_inf_nan=False, strict=False))
class Sampling:
    """How a latent is sampled; it travels with the weights, and whoever samples reads it there."""

    steps: int = Field(gt=0, strict=True)
    guidance: float = Field(default=1.0, ge=1, le=100, strict=True)  # on past frames; 1 is none
    context_noise: float = Field(default=0.0, ge=0, le=100, strict=True)  # level
    shift: float = Field(default=1.0, ge=1, le=100, strict=True)  # of timesteps, towards noise
    order: int = Field(default=1, ge=1, le=2, strict=True)  # of the solver: 1 is DDIM


class Augmentation(Settings):
    """What training does to the context: noise, ``context + level * eps`` (§3.2.1), and dropout.

    Levels are uniform in (0, max_level]. The denoiser is given the level as one of ``buckets``
    embeddings. A ``clean_share`` of rows has no noise, and with it an embedding of its own, which
    nearly clean context never shares.
    """

    max_level: float = Field(gt=0, le=100)
    buckets: int = Field(gt=0, le=10**4)
    clean_share: float = Field(ge=0, le=1)
    context_dropout: float = Field(ge=0, lt=1)  # of rows, whole contexts (§4.2): for guidance

    @property
    def embeddings(self) -> int:
        """Number of embeddings the denoiser needs."""
        return self.buckets + int(self.clean_share > 0)

    def draw(self, u: Float[Tensor, " b"], v: Float[Tensor, " b"]) -> Float[Tensor, " b"]:
        """Levels from two uniform numbers in [0, 1)."""
        return torch.where(v < self.clean_share, 0.0, (1 - u) * self.max_level)

    def bucket(self, level: Float[Tensor, " b"]) -> Int64[Tensor, " b"]:
        """Index of each level's embedding."""
        index = (level / self.max_level * self.buckets).long().clamp(0, self.buckets - 1)
        return torch.where(level > 0, index + 1, 0) if self.clean_share > 0 else index

    def apply(
        self, context: Float[Tensor, "b l c h w"], eps: Tensor, level: Float[Tensor, " b"]
    ) -> Tensor:
        """The context with noise of the given level added."""
        return context + append_dims(level, context) * eps


def require_sampleable(
    sampling: Sampling, schedule: NoiseSchedule, augmentation: Augmentation, prefix: str = ""
) -> None:
    """Raise ValueError unless a denoiser of that schedule and augmentation can be sampled so."""
    if sampling.steps > schedule.timesteps:
        raise ValueError(
            f"{prefix}steps: {sampling.steps}: must lie between 1 and {schedule.timesteps}, the "
            "timesteps it is trained with"
        )
    if sampling.guidance != 1 and augmentation.context_dropout == 0:
        raise ValueError(
            f"{prefix}guidance: {sampling.guidance}: must be 1, as no context was dropped in "
            "training (augmentation.context_dropout: 0)"
        )
    if not sampling.context_noise <= augmentation.max_level:
        raise ValueError(
            f"{prefix}context_noise: {sampling.context_noise}: must lie between 0 and "
            f"{augmentation.max_level}, the levels it is trained with (augmentation.max_level)"
        )
    if sampling.context_noise > 0 and augmentation.clean_share == 1:
        raise ValueError(
            f"{prefix}context_noise: {sampling.context_noise}: must be 0, as no context had noise "
            "in training (augmentation.clean_share: 1)"
        )
