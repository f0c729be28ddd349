"""Distribution matching distillation (DMD, Yin et al. 2024) to one step (§3.3.2)."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor

from gamengen.model import diffusion
from gamengen.model.diffusion import Augmentation, NoiseSchedule, Sampling
from gamengen.runtime.errors import InputError

ConditionedDenoiserFn = Callable[[Tensor, Tensor], Tensor]


def eps_difference(
    v_real: Float[Tensor, "b c h w"],
    v_fake: Float[Tensor, "b c h w"],
    x_t: Float[Tensor, "b c h w"],
    alpha_bar: Float[Tensor, " b"],
) -> Float[Tensor, "b c h w"]:
    """``eps_real - eps_fake``: the paper's gradient of the student's sample.

    The score is ``-eps / sqrt(1 - alpha_bar)``, so this is, up to a positive factor, the
    gradient of KL(fake || real) with respect to the sample: descending it moves the sample
    towards what the teacher finds likelier than the student's own distribution does.
    """
    eps_real = diffusion.eps_from(v_real, x_t, alpha_bar)
    eps_fake = diffusion.eps_from(v_fake, x_t, alpha_bar)
    return eps_real - eps_fake


def dmd_weight(
    sample: Float[Tensor, "b c h w"],
    x0_real: Float[Tensor, "b c h w"],
    alpha_bar: Float[Tensor, " b"],
) -> Float[Tensor, " b"]:
    """Weight of each row's gradient (Yin et al. 2024, equation 8).

    ``sqrt((1 - alpha_bar) / alpha_bar)`` turns a difference of noises into one of clean
    latents, the teacher's mean error scales it, so that every noise level counts alike.
    """
    error = (sample - x0_real).abs().flatten(1).mean(1)
    return ((1 - alpha_bar) / alpha_bar).sqrt() / error.clamp_min(1e-3)


def dmd_loss(
    sample: Float[Tensor, "b c h w"], gradient: Float[Tensor, "b c h w"]
) -> Float[Tensor, ""]:
    """A loss whose gradient with respect to ``sample`` is ``gradient`` over the element count."""
    return 0.5 * F.mse_loss(sample, (sample - gradient).detach(), reduction="sum") / sample.numel()


@torch.no_grad()
def dmd_gradient(
    teacher: ConditionedDenoiserFn,
    fake: ConditionedDenoiserFn,
    sample: Float[Tensor, "b c h w"],
    eps: Float[Tensor, "b c h w"],
    t: Int64[Tensor, " b"],
    alpha_bar: Float[Tensor, " b"],
) -> Float[Tensor, "b c h w"]:
    """The weighted gradient of the student's samples at one noise level each.

    ``teacher`` and ``fake`` are called ``(x_t, t)`` and give velocities; the teacher's is
    already guided.
    """
    x_t = diffusion.add_noise(sample, eps, alpha_bar)
    v_real, v_fake = teacher(x_t, t), fake(x_t, t)
    weight = dmd_weight(sample, diffusion.x0_from(v_real, x_t, alpha_bar), alpha_bar)
    return diffusion.append_dims(weight, sample) * eps_difference(v_real, v_fake, x_t, alpha_bar)


def inner_timesteps(t: Int64[Tensor, " b"], timesteps: int, share: float) -> Int64[Tensor, " b"]:
    """Uniform timesteps squeezed away from both ends by ``share`` of their range.

    At the ends the two scores carry no difference (pure noise) or no reliable one (no noise).
    """
    low, high = share * (timesteps - 1), (1 - share) * (timesteps - 1)
    return (low + t.double() / (timesteps - 1) * (high - low)).round().long()


def require_distillable(
    schedule: NoiseSchedule, augmentation: Augmentation, guidance: float, level_margin: float
) -> None:
    """Raise InputError unless a teacher trained so can be distilled so.

    ``dmd_weight`` divides by the signal's power, which must be left at every level.
    """
    try:
        diffusion.require_sampleable(Sampling(1, guidance), schedule, augmentation, "distill.")
    except ValueError as error:
        raise InputError(f"params.yaml: {error}") from None
    ends = torch.tensor([0, schedule.timesteps - 1])
    levels = inner_timesteps(ends, schedule.timesteps, level_margin)
    if (schedule.alpha_bars()[levels] == 0).any():
        raise InputError(
            f"params.yaml: distill.level_margin: {level_margin}: must be larger: it leaves a "
            f"timestep of noise alone among the {schedule.timesteps} of train.noise.timesteps"
        )
