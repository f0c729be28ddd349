"""OpenVINO on CPUs: the networks converted once, at static shapes."""

import threading
import warnings
from collections.abc import Callable
from functools import cache

import openvino
import torch
from torch import Tensor, nn
from torch.jit._trace import TracerWarning

from gamengen.model.autoencoder import Autoencoder, to_uint8
from gamengen.model.denoiser import Denoiser
from gamengen.model.sampler import DenoiserFn
from gamengen.runtime import device
from gamengen.runtime.device import Format, Precision
from gamengen.runtime.errors import InputError

CONFIG: dict[Format, dict[str, str]] = {
    # Snippets, OpenVINO's own kernel fusion, crash its compiler in float32 (2026.4.1): on AVX-512
    # without AMX in an earlier U-Net's attention, on AVX2 in this one's group normalisation.
    "fp32": {"INFERENCE_PRECISION_HINT": "f32", "SNIPPETS_MODE": "DISABLE"},
    "bf16": {"INFERENCE_PRECISION_HINT": "bf16"},
}


class Shown(nn.Module):
    """The decoder up to 8-bit pixels."""

    def __init__(self, decoder: Autoencoder) -> None:
        super().__init__()
        self.decoder = decoder

    def forward(self, latent: Tensor) -> Tensor:
        return to_uint8(self.decoder.decode(latent))[0]


class Requests:
    """A network with one output, called with tensors on the CPU, by one player."""

    def __init__(self, compiled: Callable[[int], openvino.CompiledModel]) -> None:
        """``compiled`` gives the model of a batch size, when it is first seen."""
        self.request = cache(lambda batch: compiled(batch).create_infer_request())

    def __call__(self, *inputs: Tensor) -> Tensor:
        arrays = [value.contiguous().numpy() for value in inputs]
        request = self.request(len(inputs[0]))
        found = request.infer(arrays, share_inputs=True, share_outputs=True)
        return torch.from_numpy(found[0]).clone()  # the request writes its next output there


class OpenVino:
    """Runs both networks through OpenVINO's CPU plugin.

    It has as many threads as torch when it is made. What is compiled is shared by everyone who
    plays on this back end.
    """

    name, per_thread = "openvino", False
    where = torch.device("cpu")

    def __init__(self, precision: Precision = "auto") -> None:
        """Raises InputError where the CPU has no bfloat16: OpenVINO would use float32 unasked."""
        self.precision = device.resolve(precision, self.where)
        if self.precision == "bf16" and device.resolve("auto", self.where) == "fp32":
            raise InputError("precision bf16: this CPU has none; auto and fp32 are float32 here")
        self.threads = torch.get_num_threads()
        self.compiled: dict[tuple[nn.Module, int], openvino.CompiledModel] = {}
        self.lock = threading.Lock()

    def velocity(self, denoiser: Denoiser) -> DenoiserFn:
        net = denoiser.to(self.where)
        return Requests(
            lambda batch: self._compile(net, batch, lambda: convert_denoiser(net, batch))
        )

    def picture(self, decoder: Autoencoder) -> Callable[[Tensor], Tensor]:
        net, latent = decoder.to(self.where), torch.zeros(1, *decoder.facts.latent_shape)
        return Requests(
            lambda batch: self._compile(net, batch, lambda: convert(Shown(net), (latent,)))
        )

    def _compile(
        self, net: nn.Module, batch: int, build: Callable[[], openvino.Model]
    ) -> openvino.CompiledModel:
        config = CONFIG[self.precision] | {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_NUM_THREADS": self.threads,
        }
        with self.lock:
            if (net, batch) not in self.compiled:
                made = openvino.Core().compile_model(build(), "CPU", config)
                self.compiled[net, batch] = made
            return self.compiled[net, batch]


def convert_denoiser(denoiser: Denoiser, batch: int) -> openvino.Model:
    """The denoiser as an OpenVINO model for batches of one size."""
    frames = denoiser.context_frames
    x_t = torch.zeros(batch, *denoiser.latent_shape)
    numbers = torch.zeros(batch, dtype=torch.int64)
    context = torch.zeros(batch, frames, *denoiser.latent_shape)
    actions = torch.zeros(batch, frames, dtype=torch.int64)
    return convert(denoiser, (x_t, numbers, context, actions, numbers))


def convert(net: nn.Module, inputs: tuple[Tensor, ...]) -> openvino.Model:
    """A network as an OpenVINO model, at exactly the shapes of ``inputs``."""
    with warnings.catch_warnings(), torch.no_grad():
        # Branches on shapes, which are static.
        warnings.simplefilter("ignore", TracerWarning)
        return openvino.convert_model(
            net, example_input=inputs, input=[list(value.shape) for value in inputs]
        )
