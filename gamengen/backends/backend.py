"""What a back end supplies, and the choice of one by name."""

from collections.abc import Callable
from importlib.util import find_spec
from typing import Protocol

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from gamengen.backends.compiled import Compiled
from gamengen.backends.eager import Eager
from gamengen.model.autoencoder import Autoencoder
from gamengen.model.denoiser import Denoiser
from gamengen.model.sampler import DenoiserFn
from gamengen.runtime import device
from gamengen.runtime.device import Format, Precision
from gamengen.runtime.errors import InputError

Picture = Callable[[Float[Tensor, "1 c h w"]], UInt8[Tensor, "h w 3"]]

THREADS = torch.get_num_threads()
NAMES = ("eager", "compile", "xla", "openvino")


class Backend(Protocol):
    """Makes the two functions that play calls for every frame.

    Both take and give tensors on ``where``. What is built is built at the first call of a batch
    size, or when it is asked for.
    """

    name: str
    where: torch.device
    per_thread: bool  # whether each thread that plays must warm it up

    @property
    def precision(self) -> Format:
        """Of its arithmetic."""

    def velocity(self, denoiser: Denoiser) -> DenoiserFn:
        """The denoiser, as it runs here."""

    def picture(self, decoder: Autoencoder) -> Picture:
        """A latent's 8-bit picture."""


def open_backend(name: str, precision: Precision = "auto") -> Backend:
    """The back end of that name on this machine's device.

    ``auto`` is the faster of bfloat16 and float32 there. Raises InputError when this machine lacks
    what it needs.
    """
    if name not in NAMES:
        raise InputError(f"back end {name!r}: there are {', '.join(NAMES)}")
    torch.set_num_threads(THREADS)
    if device.on_xla() != (name == "xla"):
        found = "is set" if device.on_xla() else "is not set"
        raise InputError(f"back end {name!r}: PJRT_DEVICE {found}: it decides whether XLA is used")
    if name == "openvino":
        return _open_openvino(precision)
    where = device.start().device
    resolved = device.resolve(precision, where)
    if name == "compile":
        return Compiled(where, resolved)
    return Eager(where, resolved, name)


def default_backend() -> str:
    """The back end to play on: XLA's where it is used, compiled on a GPU, OpenVINO on a CPU."""
    if device.on_xla():
        return "xla"
    if torch.cuda.is_available():
        return "compile"
    return "openvino" if find_spec("openvino") else "eager"


def _open_openvino(precision: Precision) -> Backend:
    try:
        from gamengen.backends.openvino import OpenVino
    except ImportError as error:
        raise InputError(
            f"back end 'openvino': {error}; install it with: uv sync --extra openvino"
        ) from None
    backend = OpenVino(precision)
    # Torch shifts the context between two calls. Threads of its own would then wait for more,
    # spinning, on the cores that OpenVINO's next call needs: one frame in a hundred took twice
    # to four times as long.
    torch.set_num_threads(1)
    return backend
