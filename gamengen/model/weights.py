"""A model as the pipeline made it: what is needed to play it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from gamengen.data.encoding import require_same_encoder
from gamengen.model.autoencoder import Autoencoder
from gamengen.model.denoiser import Denoiser, load_denoiser
from gamengen.runtime.errors import InputError

Role = Literal["student", "teacher"]
OWN, SHIPPED = Path("data"), Path("data/pretrained")


def newest() -> Path:
    """The folder of the model to play: what ``make repro`` made, else what ships."""
    return OWN if (OWN / "denoiser").is_dir() and (OWN / "decoder").is_dir() else SHIPPED


@dataclass(frozen=True)
class Weights:
    """Both denoisers, and the decoder that shows their latents."""

    teacher: Denoiser
    student: Denoiser
    decoder: Autoencoder

    @property
    def distilled(self) -> bool:
        """Whether there is a student besides the denoiser."""
        return self.student is not self.teacher

    @property
    def first(self) -> Role:
        """Who plays unless told otherwise."""
        return "student" if self.distilled else "teacher"

    def denoiser(self, role: Role) -> Denoiser:
        return self.student if role == "student" else self.teacher


def load_weights(data: Path) -> Weights:
    """Read ``decoder``, ``denoiser`` and ``student`` from a model's folder.

    Where nothing was distilled the denoiser plays the student's role too, in one step. Raises
    InputError when the pipeline has not made them yet, or they are of different runs.
    """
    if not data.is_dir():
        raise InputError(f"{data}: no such folder")
    if (data / "config.json").is_file():
        raise InputError(f"{data}: one network; name the folder it is in: {data.parent}")
    missing = [str(data / name) for name in ("decoder", "denoiser") if not (data / name).is_dir()]
    if missing:
        raise InputError(f"{', '.join(missing)}: nothing to play yet; make it with: make repro")
    decoder = Autoencoder.load(data / "decoder")
    teacher = student = load_denoiser(data / "denoiser")
    if (data / "student").is_dir():
        student = load_denoiser(data / "student")
    for net, name in ((teacher, "denoiser"), (student, "student")):
        theirs, ours = str(net.config["autoencoder"]), decoder.facts.encoder_sha256
        require_same_encoder(theirs, ours, data / name, data / "decoder")
    if student.game != teacher.game:
        raise InputError(
            f"{data / 'student'}/config.json: game: not that of {data / 'denoiser'}; distill again "
            "with: dvc repro distill"
        )
    return Weights(teacher, student, decoder)
