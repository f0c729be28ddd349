"""OpenVINO on CPUs, float32: the networks converted once, at static shapes."""

import warnings
from collections.abc import Callable

import openvino
import torch
from torch import Tensor, nn
from torch.jit._trace import TracerWarning

from gamengen.autoencoder import Autoencoder, to_uint8
from gamengen.denoiser import Denoiser
from gamengen.sampler import Velocity

# Snippets, OpenVINO's own kernel fusion, crash the compiler on this attention in float32
# (2026.4.1, AVX-512 without AMX).
CONFIG = {"PERFORMANCE_HINT": "LATENCY", "SNIPPETS_MODE": "DISABLE"}


class Shown(nn.Module):
    """The decoder up to 8-bit pixels."""

    def __init__(self, decoder: Autoencoder) -> None:
        super().__init__()
        self.decoder = decoder

    def forward(self, latent: Tensor) -> Tensor:
        return to_uint8(self.decoder.decode(latent))[0]


class Request:
    """One compiled model with one output, called with tensors on the CPU."""

    def __init__(self, model: openvino.Model) -> None:
        config = CONFIG | {
            "INFERENCE_PRECISION_HINT": "f32",  # else bfloat16, where the CPU has it
            "INFERENCE_NUM_THREADS": torch.get_num_threads(),
        }
        self.request = openvino.Core().compile_model(model, "CPU", config).create_infer_request()

    def __call__(self, *inputs: Tensor) -> Tensor:
        arrays = [value.contiguous().numpy() for value in inputs]
        found = self.request.infer(arrays, share_inputs=True, share_outputs=True)
        return torch.from_numpy(found[0]).clone()  # the request writes its next output there


class OpenVinoVelocity:
    """A denoiser, converted when a batch size is first seen."""

    def __init__(self, denoiser: Denoiser, build: Callable[[int], openvino.Model]) -> None:
        self.schedule, self.augmentation = denoiser.schedule, denoiser.augmentation
        self.dropped = denoiser.dropped
        self.build = build
        self.requests: dict[int, Request] = {}

    def __call__(self, *inputs: Tensor) -> Tensor:
        batch = len(inputs[0])
        if batch not in self.requests:
            self.requests[batch] = Request(self.build(batch))
        return self.requests[batch](*inputs)


class OpenVino:
    """Runs both networks through OpenVINO's CPU plugin, on as many threads as torch."""

    name, precision = "openvino", "fp32"
    where = torch.device("cpu")

    def velocity(self, denoiser: Denoiser) -> Velocity:
        denoiser = denoiser.to(self.where)
        return OpenVinoVelocity(denoiser, lambda batch: convert_denoiser(denoiser, batch))

    def picture(self, decoder: Autoencoder) -> Callable[[Tensor], Tensor]:
        return Request(convert_decoder(decoder.to(self.where)))


def convert_denoiser(denoiser: Denoiser, batch: int) -> openvino.Model:
    """The denoiser as an OpenVINO model for batches of one size."""
    frames = denoiser.context_frames
    x_t = torch.zeros(batch, *denoiser.latent_shape)
    numbers = torch.zeros(batch, dtype=torch.int64)
    context = torch.zeros(batch, frames, *denoiser.latent_shape)
    actions = torch.zeros(batch, frames, dtype=torch.int64)
    return convert(denoiser, (x_t, numbers, context, actions, numbers))


def convert_decoder(decoder: Autoencoder) -> openvino.Model:
    """The decoder as an OpenVINO model: a latent in, 8-bit pixels out."""
    return convert(Shown(decoder), (torch.zeros(1, *decoder.facts.latent_shape),))


def convert(net: nn.Module, inputs: tuple[Tensor, ...]) -> openvino.Model:
    """A network as an OpenVINO model, at exactly the shapes of ``inputs``."""
    with warnings.catch_warnings(), torch.no_grad():
        # Branches on shapes, which are static.
        warnings.simplefilter("ignore", TracerWarning)
        return openvino.convert_model(
            net, example_input=inputs, input=[list(value.shape) for value in inputs]
        )
