import numpy as np
import pytest
import torch
import torch.nn.functional as F

from gamengen import principal
from gamengen.small_autoencoder import SmallAutoencoder


def patches(count: int = 40) -> torch.Tensor:
    """Correlated maps of twelve channels, as many as 2 x 2 pixels have."""
    torch.manual_seed(0)
    mix = torch.randn(12, 12) * torch.logspace(0, -2, 12)[:, None]
    return torch.einsum("nkhw,kc->nchw", torch.randn(count, 12, 5, 6), mix) + torch.randn(12, 1, 1)


def project(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    return torch.einsum("nchw,kc->nkhw", x, weight) + bias.view(1, -1, 1, 1)


@pytest.mark.parametrize("whitening", [0.0, 0.5, 1.0])
def test_components_are_those_of_numpys_singular_values(whitening: float) -> None:
    x = patches()
    z = project(x, *principal.components(x, 4, whitening))
    rows = z.movedim(1, -1).flatten(0, 2).double().numpy()
    everything = x.movedim(1, -1).flatten(0, 2).double().numpy()
    centred = everything - everything.mean(0)
    _, values, basis = np.linalg.svd(centred, full_matrices=False)
    variances = values[:4] ** 2 / len(centred)
    np.testing.assert_allclose(rows.mean(0), 0, atol=1e-4)
    expected = np.diag(variances ** (1 - whitening))
    np.testing.assert_allclose(np.cov(rows.T, bias=True), expected, atol=2e-3 * expected.max())
    cosines = np.corrcoef((centred @ basis[:4].T).T, rows.T)[:4, 4:]
    np.testing.assert_allclose(np.abs(cosines), np.eye(4), atol=1e-3)


def test_expansion_misses_what_numpys_least_squares_misses() -> None:
    x = patches()
    z = project(x, *principal.components(x, 4, 0.5))
    weight, bias = principal.expansion(z, x, 3)
    padded = F.pad(z, (1, 1, 1, 1), mode="replicate")
    found = F.conv2d(padded, weight, bias)
    a = F.unfold(padded, 3).transpose(1, 2).flatten(0, 1)
    a = torch.cat([a, torch.ones(len(a), 1)], 1).double().numpy()
    b = x.movedim(1, -1).flatten(0, 2).double().numpy()
    best = a @ np.linalg.lstsq(a, b, rcond=None)[0]
    rows = found.movedim(1, -1).flatten(0, 2).double().numpy()
    np.testing.assert_allclose(rows, best, atol=1e-3 * b.std())


@pytest.mark.parametrize(("fold", "widths"), [(4, (8,)), (2, (8, 8))])
def test_pictures_of_few_components_come_back_exactly(fold: int, widths: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    net = SmallAutoencoder(4, fold, widths, encoder_blocks=None, decoder_blocks=1)
    cells = torch.einsum("nkhw,kc->nchw", torch.randn(30, 4, 6, 8), torch.randn(4, 48))
    frames = F.pixel_shuffle(cells + torch.randn(48, 1, 1), 4)
    net.fit(frames, whitening=0.5)
    with torch.no_grad():
        found, latents = net(frames, torch.zeros(30, 4, 6, 8))
    assert latents.shape == (30, 4, 6, 8)
    torch.testing.assert_close(found, frames, atol=2e-3, rtol=1e-3)
