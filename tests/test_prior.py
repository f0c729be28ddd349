import pytest
import torch
import torch.nn.functional as F

from gamengen import diffusion
from gamengen.prior import LEFT, STILL, Prior, Reach, moved

REACH = Reach(rows=1, columns=2, parts=1, by_actions=False)
WHOLE = torch.zeros(1, 3, 3, 2)  # whole cells are moved without a map


def certain(place: int, height: int = 6, width: int = 7) -> torch.Tensor:
    """Logits by which every cell comes from one place of its neighbourhood."""
    logits = torch.full((2, REACH.places, height, width), -1e4)
    logits[:, place] = 0
    return logits


@pytest.mark.parametrize(("dy", "dx"), [(0, 0), (0, 2), (0, -2), (1, 0), (-1, 1)])
def test_a_cell_comes_from_where_the_logits_say(dy: int, dx: int) -> None:
    torch.manual_seed(0)
    last = torch.randn(2, 3, 6, 7)
    place = (dy + REACH.rows) * REACH.window[1] + dx + REACH.columns
    found = moved(last, certain(place), WHOLE, REACH)
    rolled = last.roll((-dy, -dx), (2, 3))
    torch.testing.assert_close(found[..., 1:-1, 2:-2], rolled[..., 1:-1, 2:-2])


def test_beyond_the_edge_the_edge_goes_on() -> None:
    last = torch.arange(7.0).expand(2, 1, 6, 7)
    found = moved(last, certain(REACH.places // 2 + 2), WHOLE, REACH)
    assert found[0, 0, 0].tolist() == [2, 3, 4, 5, 6, 6, 6]


def test_weights_differ_from_cell_to_cell_as_in_a_convolution_by_hand() -> None:
    torch.manual_seed(0)
    last, logits = torch.randn(2, 3, 6, 7), torch.randn(2, REACH.places, 6, 7)
    padded = F.pad(last, (2, 2, 1, 1), mode="replicate")
    cells = F.unfold(padded, REACH.window).view(2, 3, REACH.places, 6, 7)
    expected = (cells * logits.softmax(1)[:, None]).sum(2)
    torch.testing.assert_close(moved(last, logits, WHOLE, REACH), expected)


def test_no_rollout_grows_by_being_moved() -> None:
    torch.manual_seed(0)
    frame = torch.randn(2, 3, 6, 7)
    low, high = frame.amin((2, 3)), frame.amax((2, 3))
    for _ in range(64):
        frame = moved(frame, 3 * torch.randn(2, REACH.places, 6, 7), WHOLE, REACH)
    assert (frame.amin((2, 3)) >= low - 1e-5).all()
    assert (frame.amax((2, 3)) <= high + 1e-5).all()


def test_velocity_is_that_of_the_gaussian_it_tells_of() -> None:
    """A still cell, with noise on the last frame, and a context that was dropped."""
    torch.manual_seed(0)
    prior = Prior(
        reach=Reach(rows=0, columns=0, parts=1, by_actions=False),
        std=[2.0, 1.0, 0.5],
        change=[0.4, 0.8, 0.1],
    )
    x_t, last = torch.randn(2, 2, 3, 4, 5)
    told = torch.rand(2, prior.channels, 4, 5)
    last[1] = 0
    noise, dropped = torch.tensor([0.09, 0.0]), torch.tensor([False, True])
    alpha_bar = torch.tensor([0.3, 0.6])
    power = torch.tensor([2.0, 1.0, 0.5]).square()
    known = power / (power + 0.09)
    clean = torch.tensor([0.4, 0.8, 0.1]).square() + 1 / (1 / power + 1 / 0.09)
    variance = torch.stack([clean, power]).view(2, 3, 1, 1) * told[:, 1:].exp()
    mean = torch.stack([known, torch.ones(3)]).view(2, 3, 1, 1) * last
    expected = diffusion.gaussian_velocity(x_t, mean, variance, alpha_bar)
    found = prior.velocity(x_t, last, told, WHOLE, noise, dropped, alpha_bar)
    torch.testing.assert_close(found, expected)


def test_between_two_columns_a_cell_is_mapped_from_both() -> None:
    """A map of thirds, by hand: a place k / 3 to the right mixes two cells' channels."""
    torch.manual_seed(0)
    reach = Reach(rows=0, columns=1, parts=3, by_actions=False)
    last, maps = torch.randn(1, 3, 4, 7), torch.randn(3, 3, 3, 2)
    for place, (column, part) in enumerate([(-1, 0), (-1, 1), (-1, 2), (0, 0), (0, 1), (0, 2)]):
        logits = torch.full((1, reach.places, 4, 7), -1e4)
        logits[:, place] = 0
        found = moved(last, logits, maps, reach)[..., 2:-2]
        left, right = (last.roll(-column - side, 3)[..., 2:-2] for side in (0, 1))
        mixed = sum(
            torch.einsum("cd,bdhw->bchw", maps[part, :, :, side], cells)
            for side, cells in ((0, left), (1, right))
        )
        torch.testing.assert_close(found, mixed if part else left)


def test_at_first_a_cell_stays_where_it_is() -> None:
    for reach in (REACH, Reach(rows=0, columns=5, parts=4, by_actions=False)):
        weights = Prior(reach=reach, std=[1.0], change=[1.0]).still()[:-1].softmax(0)
        assert weights[reach.places // 2].item() == pytest.approx(STILL)


def test_surprise_is_a_mixtures_likelihood_over_that_of_the_best_place() -> None:
    """Of a picture moved by one cell: by hand, and its gradient is weight less posterior."""
    torch.manual_seed(0)
    reach = Reach(rows=0, columns=1, parts=1, by_actions=False)
    change = [0.5, 1.0, 2.0]
    prior = Prior(reach=reach, std=[1.0, 2.0, 4.0], change=change)
    last = torch.randn(1, 3, 7, 9)
    told = torch.randn(1, prior.channels, 7, 9).requires_grad_()
    right = last.roll(-1, 3)
    surprise = prior.surprise(right, last, told, WHOLE)
    surprise.backward()
    errors = []
    for column in (-1, 0, 1):
        off = ((last.roll(-column, 3) - right) / torch.tensor(change).view(3, 1, 1)).square()
        errors.append(F.avg_pool2d(off.mean(1), 3, 1))  # inside: the edge goes on otherwise
    likelihood = (-0.5 * 3 * 9 / LEFT * torch.stack(errors, 1)).exp()[..., 1:-1]
    weights = told[:, :-1].softmax(1)[..., 1:-1, 2:-2].detach()
    joint = weights * likelihood
    posterior = joint / joint.sum(1, keepdim=True)
    assert told.grad is not None
    found = told.grad[:, :-1, 1:-1, 2:-2] * 7 * 9
    torch.testing.assert_close(found, weights - posterior, atol=1e-5, rtol=1e-4)
    assert torch.equal(told.grad[:, -1], torch.zeros_like(told.grad[:, -1]))

    certain_of_it = torch.full((1, prior.channels, 7, 9), -1e4)
    certain_of_it[:, 2] = 0
    assert prior.surprise(right, last, certain_of_it, WHOLE) < 0.5 < surprise


def test_where_no_place_is_better_weights_are_left_alone() -> None:
    """As after a dropped context."""
    prior = Prior(reach=REACH, std=[1.0], change=[1.0])
    told = torch.randn(2, prior.channels, 6, 7).requires_grad_()
    last, target = torch.zeros(2, 3, 6, 7), torch.randn(2, 3, 6, 7)
    prior.surprise(target, last, told, WHOLE).backward()
    torch.testing.assert_close(told.grad, torch.zeros_like(told), atol=1e-7, rtol=0)
