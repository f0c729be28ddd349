"""Fréchet video distance (Unterthiner et al. 2018) on I3D features of Kinetics-400."""

import hashlib
import os
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Float, UInt8
from pydantic import Field, NonNegativeInt, model_validator
from torch import Tensor

from gamengen.evaluation.shards import Table
from gamengen.runtime.errors import InputError
from gamengen.runtime.settings import Settings

LENGTHS = (16, 32)  # frames, as in the paper (§5.1)
NO_WEIGHTS = "no I3D weights given: set evaluate.fvd.weights (path or URL) and evaluate.fvd.sha256"


class FvdSource(Settings):
    """Where I3D comes from: a TorchScript file, which is a program, so its checksum is pinned."""

    weights: str | None  # path or URL
    sha256: str | None = Field(pattern="^[0-9a-f]{64}$")
    videos: NonNegativeInt  # rollouts of 32 frames

    @model_validator(mode="after")
    def _pinned(self) -> "FvdSource":
        if self.weights is not None and self.sha256 is None:
            raise ValueError(
                f"weights: {self.weights!r}: without sha256: TorchScript can run code; pin it"
            )
        if self.weights is not None and self.videos < 2:
            raise ValueError(f"videos: {self.videos}: a covariance needs at least 2")
        return self


class I3D:
    """Features of videos as every published FVD computes them: rescaled and resized inside."""

    def __init__(self, file: Path, device: torch.device) -> None:
        """Raises InputError when the file is not TorchScript."""
        try:
            self.net = torch.jit.load(str(file), map_location=device).eval()
        except RuntimeError as error:
            raise InputError(f"{file}: not a TorchScript file: {error}") from error

    @torch.no_grad()
    def __call__(self, video: UInt8[Tensor, "b t h w 3"]) -> Float[np.ndarray, "b d"]:
        pixels = rearrange(video, "b t h w c -> b c t h w").float()
        features = self.net(pixels, rescale=True, resize=True, return_features=True)
        return features.double().cpu().numpy()


def open_i3d(source: FvdSource, device: torch.device) -> I3D | None:
    """The network, or None where no weights are given.

    Raises InputError when the file is missing, cannot be downloaded or has another checksum.
    """
    if source.weights is None or source.sha256 is None:
        return None
    file = _local(source.weights)
    require_file(file, source.sha256)
    return I3D(file, device)


def require_file(file: Path, sha256: str) -> None:
    """Raise InputError unless the file is there, and is the one that was meant."""
    if not file.is_file():
        raise InputError(f"{file}: missing; evaluate.fvd.weights names a TorchScript file or a URL")
    found = hashlib.sha256(file.read_bytes()).hexdigest()
    if found != sha256:
        raise InputError(
            f"{file}: sha256 is {found}, evaluate.fvd.sha256 says {sha256}: not the file that was "
            "meant"
        )


def _local(weights: str) -> Path:
    if "://" not in weights:
        return Path(weights)
    name = f"i3d-{hashlib.sha256(weights.encode()).hexdigest()[:16]}.pt"
    file = Path(torch.hub.get_dir()) / "gamengen" / name
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        beside = file.with_suffix(f".{os.getpid()}")
        try:
            urllib.request.urlretrieve(weights, beside)
        except (urllib.error.URLError, OSError) as error:
            raise InputError(
                f"evaluate.fvd.weights: {weights}: cannot be downloaded ({error}); give the path "
                "of a file instead"
            ) from error
        os.replace(beside, file)
    return file


def measure(videos: Mapping[str, Tensor], i3d: I3D) -> Table:
    """Rows of ``<name>/<length>``: features of the first 16 and 32 frames of each video."""
    return {
        f"{name}/{length}": i3d(video[:, :length])
        for name, video in videos.items()
        for length in LENGTHS
    }


def frechet_distance(a: Float[np.ndarray, "n d"], b: Float[np.ndarray, "m d"]) -> float:
    """Squared Fréchet distance of Gaussians fitted to two sets of features.

    ``|mu_a - mu_b|^2 + Tr(S_a + S_b - 2 (S_a S_b)^(1/2))`` in float64. The trace of the root is
    the sum of the square roots of the eigenvalues of ``S_a^(1/2) S_b S_a^(1/2)``, which is
    symmetric, so that no general matrix root is needed.
    """
    a, b = a.astype(np.float64), b.astype(np.float64)
    cov_a, cov_b = np.cov(a.T), np.cov(b.T)
    values, vectors = np.linalg.eigh(cov_a)
    root = (vectors * np.sqrt(values.clip(min=0))) @ vectors.T
    shared = np.sqrt(np.linalg.eigvalsh(root @ cov_b @ root).clip(min=0)).sum()
    apart = ((a.mean(0) - b.mean(0)) ** 2).sum()
    return float(max(0.0, apart + np.trace(cov_a) + np.trace(cov_b) - 2 * shared))
