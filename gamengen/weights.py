"""A model as the pipeline made it: what is needed to play it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from gamengen.autoencoder import Autoencoder, require_same_encoder
from gamengen.checkpoint import save_model
from gamengen.denoiser import Denoiser, load_denoiser
from gamengen.errors import InputError

Role = Literal["student", "teacher"]
PARTS = ("decoder", "denoiser", "student")


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
        raise InputError(f"{', '.join(missing)}: nothing to play yet; make it with: make repro")
    decoder = Autoencoder.load(data / "decoder")
    teacher, student = (load_denoiser(data / name) for name in ("denoiser", "student"))
    for net, name in ((teacher, "denoiser"), (student, "student")):
        require_same_encoder(
            str(net.config["autoencoder"]), decoder.facts.encoder, data / name, data / "decoder"
        )
    if student.game != teacher.game:
        raise InputError(
            f"{data / 'student'}/config.json: game: not that of {data / 'denoiser'}; distill again "
            "with: dvc repro distill"
        )
    return Weights(teacher, student, decoder)


def keep(data: Path, folder: Path) -> None:
    """Copy what is played to another folder, in half precision: small enough for git."""
    weights = load_weights(data)
    weights.decoder.half().save(folder / "decoder")
    save_model(weights.teacher.half(), folder / "denoiser")
    save_model(weights.student.half(), folder / "student")


if __name__ == "__main__":
    keep(Path("data"), Path("data/pretrained"))
