"""LPIPS without a download is LPIPS: its heads are lpips's own, its backbones ImageNet's."""

import hashlib
import pickle
from pathlib import Path

import lpips
import numpy as np
import pytest
import torch
from torch import nn

from gamengen.runtime.errors import InputError
from gamengen.training import perceptual
from gamengen.training.perceptual import (
    Backbone,
    PerceptualLoss,
    PerceptualTerm,
    load_lpips,
    perceptual_distance,
)

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def net() -> nn.Module:
    return load_lpips("alex")


def test_its_heads_equal_those_that_lpips_ships(net: nn.Module) -> None:
    shipped = Path(lpips.__file__).parent / "weights" / "v0.1" / "alex.pth"
    for name, weights in torch.load(shipped, map_location="cpu", weights_only=True).items():
        assert torch.equal(net.state_dict()[name], weights)


def test_the_same_picture_is_at_no_distance_and_worse_ones_are_farther(net: nn.Module) -> None:
    random = torch.Generator().manual_seed(0)
    a = torch.rand(1, 3, 64, 64, generator=random) * 2 - 1
    noise = torch.randn(1, 3, 64, 64, generator=random)
    distances = [float(perceptual_distance(net, a, a + level * noise)) for level in (0, 0.1, 0.5)]
    assert distances[0] == 0
    assert 0 < distances[1] < distances[2] < 1.5


def test_its_edges_are_trained(net: nn.Module) -> None:
    """A random backbone's first filters are white noise; ImageNet's are smooth."""
    kernels = next(m for m in net.modules() if isinstance(m, nn.Conv2d)).weight
    neighbours = (kernels[..., 1:] * kernels[..., :-1]).mean() / kernels.square().mean()
    assert neighbours > 0.5


@pytest.mark.parametrize(
    ("backbone", "name"), [("alex", "alexnet.half.npy"), ("vgg", "vgg16.half.npy")]
)
def test_its_copy_in_half_precision_measures_the_same(
    backbone: Backbone, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    random = torch.Generator().manual_seed(0)
    a, b = torch.rand(2, 2, 3, 64, 64, generator=random) * 2 - 1
    expected = perceptual_distance(load_lpips(backbone), a, b)
    perceptual.save_half(backbone, tmp_path)
    monkeypatch.setattr(perceptual, "weights_file", lambda name: tmp_path / name)
    torch.testing.assert_close(
        perceptual_distance(load_lpips(backbone), a, b), expected, rtol=1e-3, atol=0
    )
    (tmp_path / name).write_bytes(b"no array")
    with pytest.raises(InputError, match=rf"{name}: sha256 is .*, expected"):
        load_lpips(backbone)


def test_a_changed_file_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(perceptual.WEIGHTS, "alex", ("alexnet.ckpt", "0" * 64))
    with pytest.raises(InputError, match=r"alexnet\.ckpt: sha256 is .*, expected 0000"):
        load_lpips("alex")


def test_a_pickle_that_could_run_code_is_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "evil.ckpt"
    file.write_bytes(pickle.dumps({"params": {"AlexNet": {"layer": Path("x")}}}))
    checksum = hashlib.sha256(file.read_bytes()).hexdigest()
    monkeypatch.setitem(perceptual.WEIGHTS, "alex", ("evil.ckpt", checksum))
    monkeypatch.setattr(perceptual, "weights_file", lambda name: tmp_path / name)
    with pytest.raises(InputError, match="a pickle that names pathlib"):
        load_lpips("alex")


def test_values_are_those_of_the_published_implementation(net: nn.Module) -> None:
    """The definition, written out: normalised features, squared difference, heads, means."""
    random = torch.Generator().manual_seed(1)
    a, b = (torch.rand(2, 3, 64, 80, generator=random) * 2 - 1 for _ in "ab")
    shift = torch.tensor([-0.030, -0.088, -0.188]).view(1, 3, 1, 1)
    scale = torch.tensor([0.458, 0.448, 0.450]).view(1, 3, 1, 1)
    total = torch.zeros(2)
    features = [net.net((x - shift) / scale) for x in (a, b)]
    for one, two, head in zip(*features, net.lins, strict=True):
        one, two = (x / x.norm(dim=1, keepdim=True).clamp(min=1e-10) for x in (one, two))
        total += head((one - two) ** 2).mean(dim=(1, 2, 3))
    assert np.allclose(perceptual_distance(net, a, b), total, atol=1e-5)
    torch.testing.assert_close(perceptual_distance(net, a, b), net(a, b).flatten())


def test_a_loss_weighs_its_networks_and_its_gradient_reaches_what_was_made() -> None:
    random = torch.Generator().manual_seed(2)
    made, real = (torch.rand(2, 3, 64, 80, generator=random) * 2 - 1 for _ in "ab")
    made.requires_grad_()
    terms = [
        PerceptualTerm(backbone="alex", weight=0.5, share=1.0, crop=None),
        PerceptualTerm(backbone="vgg", weight=0.25, share=0.5, crop=32),
    ]
    loss = PerceptualLoss(terms)
    found = loss(made, real, step=1)
    whole = perceptual_distance(loss.nets[0], made, real).mean()
    torch.testing.assert_close(found["lpips_alex"], whole)
    weighted = 0.5 * found["lpips_alex"] + 0.25 * found["lpips_vgg"]
    torch.testing.assert_close(found["lpips"], weighted)
    (grown,) = torch.autograd.grad(found["lpips_vgg"], [made])
    assert (grown != 0).any(1).flatten(1).sum(1).tolist() == [0, 32 * 32], "row 1, a square"
    assert all(not p.requires_grad for p in loss.parameters())
    assert PerceptualLoss([])(made, real, 0)["lpips"] == 0


@pytest.mark.parametrize(
    ("share", "rows"), [(1.0, list(range(8))), (0.25, [0, 4]), (0.3, [0, 2, 5]), (0.01, [0])]
)
def test_a_share_of_a_batch_is_compared_and_never_none(share: float, rows: list[int]) -> None:
    term = PerceptualTerm(backbone="alex", weight=0.5, share=share, crop=None)
    assert term.rows(8, step=0, where=CPU).tolist() == rows
    assert term.rows(8, step=9, where=CPU).tolist() == [(row + 1) % 8 for row in rows]


@pytest.mark.parametrize("batch", [1, 4, 8])
def test_every_row_is_compared_as_often(batch: int) -> None:
    term = PerceptualTerm(backbone="alex", weight=0.5, share=0.25, crop=None)
    compared = torch.cat([term.rows(batch, step, CPU) for step in range(batch)])
    assert len(set(compared.bincount().tolist())) == 1
