"""FVD: the distance in closed form, and a network that is only read under its own checksum."""

import hashlib
from pathlib import Path

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch import Tensor, nn

from gamengen.evaluation import fvd, summary
from gamengen.evaluation.fvd import FvdSource, frechet_distance, open_i3d
from gamengen.runtime.errors import InputError

CPU = torch.device("cpu")


def exact(covariance: np.ndarray, mean: np.ndarray, n: int, seed: int) -> np.ndarray:
    """Samples whose own mean and covariance are exactly those."""
    white = np.random.default_rng(seed).normal(size=(n, len(mean)))
    white -= white.mean(0)
    white = white @ np.linalg.inv(np.linalg.cholesky(np.cov(white.T)).T)
    return white @ np.linalg.cholesky(covariance).T + mean


def test_gaussians_with_diagonal_covariance() -> None:
    a, b = np.array([1.0, 4.0, 9.0]), np.array([4.0, 1.0, 16.0])
    x = exact(np.diag(a), np.zeros(3), 50, 0)
    y = exact(np.diag(b), np.array([1.0, 2.0, 2.0]), 70, 1)
    expected = 9 + ((np.sqrt(a) - np.sqrt(b)) ** 2).sum()
    assert frechet_distance(x, y) == pytest.approx(expected, rel=1e-9)


def test_gaussians_that_do_not_commute() -> None:
    a, b = np.array([[2.0, 0.8], [0.8, 1.0]]), np.array([[1.0, -0.3], [-0.3, 3.0]])
    x, y = exact(a, np.zeros(2), 40, 0), exact(b, np.zeros(2), 40, 1)
    # In two dimensions Tr(M^(1/2)) = sqrt(Tr M + 2 sqrt(det M)).
    product = a @ b
    root = np.sqrt(np.trace(product) + 2 * np.sqrt(np.linalg.det(product)))
    expected = np.trace(a) + np.trace(b) - 2 * root
    assert frechet_distance(x, y) == pytest.approx(expected, rel=1e-9)


def test_invariances_with_fewer_videos_than_features() -> None:
    random = np.random.default_rng(0)
    x, y = random.normal(size=(10, 40)), 1.5 * random.normal(size=(12, 40)) + 0.3
    distance = frechet_distance(x, y)
    turn = np.linalg.qr(random.normal(size=(40, 40)))[0]
    assert distance > 0
    assert frechet_distance(y, x) == pytest.approx(distance)
    assert frechet_distance(x @ turn + 5, y @ turn + 5) == pytest.approx(distance)
    assert frechet_distance(3 * x, 3 * y) == pytest.approx(9 * distance)
    assert frechet_distance(x, x[::-1]) == pytest.approx(0, abs=1e-6)


class Detector(nn.Module):
    """Answers the calls that the published TorchScript files answer; its features are means."""

    def forward(
        self, x: Tensor, rescale: bool = False, resize: bool = False, return_features: bool = False
    ) -> Tensor:
        assert rescale
        assert resize
        assert return_features
        return x.mean(dim=[3, 4]).flatten(1)


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    path = tmp_path / "i3d.pt"
    torch.jit.script(Detector()).save(str(path))
    return path


def checksum(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_features_are_of_channels_first_pixels(weights: Path) -> None:
    net = open_i3d(FvdSource(weights=str(weights), sha256=checksum(weights), videos=2), CPU)
    assert net is not None
    video = torch.zeros(2, 3, 4, 5, 3, dtype=torch.uint8)
    video[:, 1, ..., 2] = 200
    features = net(video)
    assert features.shape == (2, 9)
    assert features[0].tolist() == [0, 0, 0, 0, 0, 0, 0, 200, 0]


def test_a_url_is_downloaded_once(
    weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    source = FvdSource(weights=weights.as_uri(), sha256=checksum(weights), videos=2)
    assert open_i3d(source, CPU) is not None
    weights.unlink()
    assert open_i3d(source, CPU) is not None


def test_wrong_weights_are_named(weights: Path, tmp_path: Path) -> None:
    found = checksum(weights)
    with pytest.raises(InputError, match=rf"i3d\.pt: sha256 is {found}, .* says {'0' * 64}"):
        open_i3d(FvdSource(weights=str(weights), sha256="0" * 64, videos=2), CPU)
    with pytest.raises(InputError, match=r"nowhere\.pt: missing"):
        open_i3d(FvdSource(weights=str(tmp_path / "nowhere.pt"), sha256="0" * 64, videos=2), CPU)
    url = (tmp_path / "nowhere.pt").as_uri()
    with pytest.raises(InputError, match=r"nowhere\.pt: cannot be downloaded"):
        open_i3d(FvdSource(weights=url, sha256="0" * 64, videos=2), CPU)
    junk = tmp_path / "junk.pt"
    junk.write_bytes(b"no program")
    with pytest.raises(InputError, match="not a TorchScript file"):
        open_i3d(FvdSource(weights=str(junk), sha256=checksum(junk), videos=2), CPU)


def test_a_program_without_a_checksum_is_refused() -> None:
    with pytest.raises(ValidationError, match="without sha256"):
        FvdSource(weights="i3d.pt", sha256=None, videos=2)


def test_without_weights_there_is_a_reason_and_no_number() -> None:
    assert open_i3d(FvdSource(weights=None, sha256=None, videos=0), CPU) is None
    told = summary.fvd_distances(None, ["student"])
    assert told["fvd_16"] is None
    assert told["fvd_32"] is None
    assert "no I3D weights" in told["fvd_reason"]


def test_a_model_that_shows_the_real_videos_is_at_no_distance(weights: Path) -> None:
    net = open_i3d(FvdSource(weights=str(weights), sha256=checksum(weights), videos=2), CPU)
    assert net is not None
    random = torch.Generator().manual_seed(0)
    real = torch.randint(0, 256, (6, 32, 8, 8, 3), dtype=torch.uint8, generator=random)
    told = summary.fvd_distances(
        fvd.measure({"real": real, "same": real.flip(0), "dark": real // 2}, net), ["same", "dark"]
    )
    assert told["fvd_16"]["same"] == told["fvd_32"]["same"] == 0
    assert told["fvd_16"]["dark"] > 1000
    assert told["fvd_videos"] == 6
