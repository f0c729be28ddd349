"""A model as the pipeline made it: what is needed to play it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from gamengen.autoencoder import Autoencoder
from gamengen.denoiser import Denoiser, load_denoiser, require_match
from gamengen.errors import InputError
from gamengen.latents import Latents

Role = Literal["student", "teacher"]
PARTS = ("latents", "decoder", "denoiser", "student")


@dataclass(frozen=True)
class Weights:
    """Both denoisers, and the decoder that shows their latents."""

    teacher: Denoiser
    student: Denoiser
    decoder: Autoencoder

    def denoiser(self, role: Role) -> Denoiser:
        """The denoiser that plays a role."""
        return self.student if role == "student" else self.teacher


def load_weights(data: Path) -> Weights:
    """Read ``decoder``, ``denoiser`` and ``student`` from the pipeline's data folder.

    Raises InputError when the pipeline has not made them yet, or they are of different runs.
    """
    missing = [str(data / name) for name in PARTS if not (data / name).is_dir()]
    if missing:
        raise InputError(f"{', '.join(missing)}: missing; make them with: make repro")
    latents = Latents(data / "latents")
    teacher, student = (load_denoiser(data / name) for name in ("denoiser", "student"))
    require_match(teacher, data / "denoiser", latents)
    require_match(student, data / "student", latents)
    return Weights(teacher, student, Autoencoder.load(data / "decoder"))
