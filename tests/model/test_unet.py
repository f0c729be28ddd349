import pytest
import torch

from gamengen.model.unet import UNet


def a_unet(blocks: int = 1, widths: tuple[int, ...] = (8, 16, 24)) -> UNet:
    """With something in the layers that are zero at first."""
    torch.manual_seed(0)
    net = UNet(5, 3, widths, blocks, embedding_dim=12, head_dim=8)
    for parameter in net.parameters():
        if not parameter.any():
            torch.nn.init.normal_(parameter, std=0.1)
    return net.eval()


def test_at_first_it_says_nothing() -> None:
    net = UNet(5, 3, (8, 16), 1, embedding_dim=12, head_dim=8)
    assert not net(torch.randn(2, 5, 8, 12), torch.randn(2, 12)).any()


@pytest.mark.parametrize("blocks", [1, 2])
@pytest.mark.parametrize("widths", [(8,), (8, 16), (8, 16, 24)])
@torch.no_grad()
def test_every_cell_and_the_embedding_reach_every_cell(
    blocks: int, widths: tuple[int, ...]
) -> None:
    net, x, embedding = a_unet(blocks, widths), torch.randn(1, 5, 8, 12), torch.randn(1, 12)
    before = net(x, embedding)
    assert before.shape == (1, 3, 8, 12)
    corner = x.clone()
    corner[..., 0, 0] += 1
    assert (net(corner, embedding) != before).all(), "attention sees the whole picture"
    assert (net(x, embedding + 1) != before).all()


@torch.no_grad()
def test_rows_do_not_see_each_other_and_memory_formats_agree() -> None:
    net, x, embedding = a_unet(), torch.randn(3, 5, 8, 12), torch.randn(3, 12)
    together = net(x, embedding)
    torch.testing.assert_close(together[1:2], net(x[1:2], embedding[1:2]), atol=1e-5, rtol=1e-4)
    last = net.to(memory_format=torch.channels_last)(
        x.contiguous(memory_format=torch.channels_last), embedding
    )
    torch.testing.assert_close(last, together, atol=1e-5, rtol=1e-4)
