import pytest
import torch

from gamengen import moves
from gamengen.autoencoder import Autoencoder, Facts
from gamengen.errors import InputError
from gamengen.small_autoencoder import SmallAutoencoder

SIDE = 4


def pictures(count: int) -> torch.Tensor:
    """Noise, of mean zero as normalised latents are."""
    half = torch.rand(count // 2, 3, 32, 48) * 2 - 1
    return torch.cat([half, -half])


@pytest.fixture(scope="module")
def whole() -> Autoencoder:
    """A linear autoencoder that keeps everything: 48 channels of 4 x 4 pixels of 3 colours."""
    torch.manual_seed(0)
    net = SmallAutoencoder(3 * SIDE**2, SIDE, (8,), None, 1)
    net.fit(pictures(16), 1.0)
    facts = Facts(
        kind="small",
        height=32,
        width=48,
        downsampling=SIDE,
        latent_channels=3 * SIDE**2,
        latent_mean=[0.0] * 3 * SIDE**2,
        latent_std=[0.7] * 3 * SIDE**2,
        encoder="linear",
    )
    return Autoencoder(net.eval().requires_grad_(False), facts)


@pytest.mark.parametrize("parts", [1, 2, 4])
def test_a_latent_moves_as_its_picture_does(whole: Autoencoder, parts: int) -> None:
    """Exactly, by any number of pixels, where nothing is lost in the latent."""
    torch.manual_seed(1)
    seen, other = pictures(24), pictures(4)
    maps = moves.fit(whole, whole.encode(seen), parts)
    moved = moves.between(whole.encode(other), maps)
    assert len(moved) == parts
    for part, found in enumerate(moved):
        expected = whole.encode(other.roll(-part * SIDE // parts, -1))
        torch.testing.assert_close(found[..., :-1], expected[..., :-1], atol=1e-3, rtol=1e-3)


def test_a_cell_that_does_not_divide_is_refused(whole: Autoencoder) -> None:
    with pytest.raises(InputError, match=r"train\.prior\.parts: 3: must divide a cell of 4 pixels"):
        moves.fit(whole, torch.zeros(1, 48, 8, 12), 3)
