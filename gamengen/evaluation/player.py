"""A denoiser as it is played: its name in the tables, how it is sampled, what it shows."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from einops import rearrange
from jaxtyping import Int64, UInt8
from torch import Tensor

from gamengen.data.latents import Window
from gamengen.model.denoiser import Denoiser
from gamengen.model.sampler import Sampler
from gamengen.runtime import device
from gamengen.runtime.errors import InputError

Show = Callable[[Tensor], Tensor]  # latents -> 8-bit pictures
Progress = Callable[[int], object]  # is told how many network passes over one latent were made


@dataclass(frozen=True)
class Model:
    """A name, ``student`` or ``steps_4``, and its sampler."""

    name: str
    sampler: Sampler

    @property
    def passes(self) -> int:
        """Network passes per predicted latent; guidance doubles them."""
        sampling = self.sampler.sampling
        return sampling.steps * (1 if sampling.guidance == 1.0 else 2)


def student(net: Denoiser) -> Model:
    return Model("student", Sampler(net, net.sampling))


def as_played(net: Denoiser) -> Model:
    """The denoiser, sampled as its folder says."""
    return Model("teacher", Sampler(net, net.sampling))


def teachers(net: Denoiser, steps: Sequence[int]) -> list[Model]:
    """The denoiser, sampled in each number of steps and otherwise as its folder says.

    Raises InputError where the denoiser has fewer timesteps.
    """
    most = net.noise_schedule.timesteps
    if max(steps) > most:
        raise InputError(
            f"params.yaml: evaluate: teacher_steps: {steps}: the denoiser has {most} timesteps"
        )
    return [Model(f"steps_{n}", Sampler(net, replace(net.sampling, steps=n))) for n in steps]


def require_same_context(
    teacher: Denoiser, student_net: Denoiser, denoiser: Path, student: Path
) -> None:
    """Raise InputError unless both see equally far back."""
    if teacher.context_frames != student_net.context_frames:
        raise InputError(
            f"{student}/config.json: context_frames: {student_net.context_frames}, but {denoiser} "
            f"has {teacher.context_frames}; distill again with: dvc repro distill"
        )


def roll_out(
    model: Model,
    show: Show,
    window: Window,
    actions: Int64[Tensor, "b n"],
    progress: Progress,
    *seeds: int,
    every: int = 1,
) -> UInt8[Tensor, "b n h w 3"]:
    """Autoregressive pictures, one per action or per ``every`` so many; the same noise for every
    model."""
    random = device.generator(*seeds)
    latents = model.sampler.rollout(
        window.context, window.actions, actions.to(window.actions.device), random
    )
    frames = []
    for number, latent in enumerate(latents, 1):
        if number % every == 0:
            frames.append(show(latent))
        progress(len(latent) * model.passes)
    return rearrange(frames, "n b h w c -> b n h w c")
