"""OpenVINO in 8-bit integers: quantised after training, on what play visits, and kept."""

import contextlib
import hashlib
import json
import logging
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import nncf
import openvino
import torch
from torch import Tensor

from gamengen.backends.openvino import (
    CONFIG,
    OpenVino,
    convert_decoder,
    convert_denoiser,
)
from gamengen.data.index import read_index
from gamengen.data.latents import LatentIndex, Latents, Windows
from gamengen.model.autoencoder import Autoencoder
from gamengen.model.denoiser import Denoiser
from gamengen.model.diffusion import Sampling
from gamengen.model.sampler import RollingContext, Sampler
from gamengen.model.weights import Weights
from gamengen.runtime import device
from gamengen.runtime.replacing import replacing

CACHE = Path(".cache/int8")
# Arithmetic around the networks, such as the residual's, stays float32; the U-Net and the
# decoder are modules of these names.
OUTSIDE = r"^(?!__module\.(net\.unet|decoder\.net)\.).*"
STARTS, FRAMES, DECODED = 6, 2, 64


class OpenVinoInt8(OpenVino):
    """Both networks with 8-bit weights and activations, calibrated on recorded play.

    Quantised models are kept in ``cache``, by what they were made from; making one takes about
    a minute.
    """

    name, precision = "openvino-int8", "int8"

    def __init__(self, latents: Path, cache: Path = CACHE) -> None:
        super().__init__()
        self.latents, self.cache = latents, cache

    def denoiser_model(self, denoiser: Denoiser, batch: int) -> openvino.Model:
        return self._kept(
            f"denoiser-{identity(denoiser, self.latents)}-{batch}",
            lambda: convert_denoiser(denoiser, batch),
            lambda: inputs_in_play(denoiser, self.latents, batch),
        )

    def decoder_model(self, decoder: Autoencoder) -> openvino.Model:
        return self._kept(
            f"decoder-{identity(decoder, self.latents)}",
            lambda: convert_decoder(decoder),
            lambda: recorded(self.latents),
        )

    def _kept(
        self,
        name: str,
        convert: Callable[[], openvino.Model],
        samples: Callable[[], Iterable[list[Tensor]]],
    ) -> openvino.Model:
        path = self.cache / f"{name}.xml"
        if not path.is_file():
            made = quantise(convert(), samples())
            # The weights lie beside it, under the same name: they must be there first.
            with replacing(path) as partial:
                openvino.save_model(made, partial, compress_to_fp16=False)
                partial.with_suffix(".bin").replace(path.with_suffix(".bin"))
        return openvino.Core().read_model(path)


def quantise(model: openvino.Model, samples: Iterable[list[Tensor]]) -> openvino.Model:
    """A model in 8 bits: ranges of its activations as found on ``samples``."""
    arrays = [[value.numpy() for value in sample] for sample in samples]
    nncf.set_log_level(logging.ERROR)
    with without_snippets(), contextlib.redirect_stdout(sys.stderr):  # its progress bars
        return nncf.quantize(
            model,
            nncf.Dataset(arrays),
            preset=nncf.QuantizationPreset.MIXED,
            subset_size=len(arrays),
            ignored_scope=nncf.IgnoredScope(patterns=[OUTSIDE], validate=False),
        )


class CoreWithoutSnippets(openvino.Core):
    """Compiles with the configuration that does not crash."""

    def compile_model(self, model: Any, device_name: Any = None, config: Any = None) -> Any:
        return super().compile_model(model, device_name, {**(config or {}), **CONFIG})


@contextlib.contextmanager
def without_snippets() -> Iterator[None]:
    """NNCF compiles by itself and takes no configuration for it."""
    core, openvino.Core = openvino.Core, CoreWithoutSnippets
    try:
        yield
    finally:
        openvino.Core = core


def calibrated(denoiser: Denoiser) -> list[Sampling]:
    """How the denoiser is sampled for calibration: as at play, in one step, and guided."""
    played = denoiser.sampling
    found = [played, replace(played, steps=1)]
    if denoiser.augmentation.context_dropout > 0:
        found.append(replace(played, guidance=1.5))
    return found


def inputs_in_play(denoiser: Denoiser, latents: Path, batch: int) -> list[list[Tensor]]:
    """Inputs of the denoiser in short rollouts from recorded starts, in batches of ``batch``.

    From the second frame on the context holds the model's own frames.
    """
    visited: list[list[Tensor]] = []

    def velocity(*inputs: Tensor) -> Tensor:
        visited.append([value.clone() for value in inputs])
        return denoiser(*inputs)

    random = device.generator(0)
    windows = Windows(Latents(latents), "train", denoiser.context_frames, targets=1)
    for start in range(STARTS):
        window = windows.draw(1, 0, start, 0)
        for sampling in calibrated(denoiser):
            past = RollingContext(window.context, window.actions)
            for frame in range(FRAMES):
                action = window.actions[:, frame - FRAMES]
                Sampler(denoiser, sampling, velocity).step(past, action, random)
    if batch == 1:
        return [
            [value[row : row + 1] for value in inputs]
            for inputs in visited
            for row in range(len(inputs[0]))
        ]
    return [inputs for inputs in visited if len(inputs[0]) == batch]


def recorded(latents: Path) -> list[list[Tensor]]:
    """Single latents of recorded frames."""
    windows = Windows(Latents(latents), "train", 1, targets=1)
    return [[windows.draw(1, 1, number, 0).target] for number in range(DECODED)]


def identity(net: torch.nn.Module, latents: Path) -> str:
    """What a quantised network depends on: weights, calibration, versions; as a short name.

    Raises InputError where there are no latents to calibrate on.
    """
    digest = hashlib.sha256()
    visited = [asdict(s) for s in calibrated(net)] if isinstance(net, Denoiser) else []
    key = [OUTSIDE, STARTS, FRAMES, DECODED, visited, version("openvino"), version("nncf")]
    digest.update(json.dumps(key).encode())
    digest.update(read_index(latents, LatentIndex, "dvc repro encode").model_dump_json().encode())
    for name, value in sorted(net.state_dict().items()):
        digest.update(f"{name}{tuple(value.shape)}".encode())
        digest.update(value.detach().cpu().float().numpy().tobytes())
    return digest.hexdigest()[:16]


def loss_file(weights: Weights, latents: Path, cache: Path = CACHE) -> Path:
    """Where the measured loss of a quantised model is kept: beside it."""
    nets = (weights.teacher, weights.student, weights.decoder)
    return cache / f"loss-{'-'.join(identity(net, latents) for net in nets)}.json"
