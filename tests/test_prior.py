import torch
import torch.nn.functional as F
from einops import rearrange

from gamengen import prior
from gamengen.denoiser import load_denoiser
from gamengen.latents import Latents, Windows
from stages import train
from tests import tiny


def rows_slide(last: torch.Tensor, action: torch.Tensor) -> torch.Tensor:
    """Action 1 moves all rows but the lowest by two cells to the right; others change nothing."""
    slid = F.pad(last, (2, 0, 0, 0), mode="replicate")[..., :-2].clone()
    slid[:, :, -1] = last[:, :, -1]
    return torch.where((action == 1).view(-1, 1, 1, 1), slid, last)


def test_neighbours_are_those_of_unfold() -> None:
    latents = torch.randn(2, 3, 5, 6)
    rows, columns = prior.REACH
    padded = F.pad(latents, (columns, columns, rows, rows), mode="replicate")
    expected = F.unfold(padded, (2 * rows + 1, 2 * columns + 1))
    expected = rearrange(expected, "b (c n) (h w) -> b (n c) h w", c=3, h=5)
    assert torch.equal(prior.neighbourhood(latents), expected)


def test_a_linear_world_is_predicted_exactly() -> None:
    torch.manual_seed(0)
    last, action = torch.randn(2000, 2, 4, 8), torch.randint(2, (2000,))
    weight = prior.fit(last, action, rows_slide(last, action), actions=2, noise=1e-4)
    unseen, taken = torch.randn(50, 2, 4, 8), torch.randint(2, (50,))
    found = prior.predict(unseen, taken, weight)
    # Each action borrows a little from the other.
    torch.testing.assert_close(found, rows_slide(unseen, taken), atol=0.1, rtol=0)


def test_an_action_never_seen_is_like_the_others() -> None:
    torch.manual_seed(0)
    last, action = torch.randn(2000, 2, 4, 8), torch.ones(2000, dtype=torch.long)
    weight = prior.fit(last, action, rows_slide(last, action), actions=3, noise=1e-5)
    found = prior.predict(last, action + 1, weight)
    torch.testing.assert_close(found, rows_slide(last, action), atol=0.1, rtol=0)


def test_before_any_fit_the_last_frame_is_copied() -> None:
    last = torch.randn(3, 2, 4, 8)
    weight = prior.copying(actions=2, height=4, channels=2)
    assert torch.equal(prior.predict(last, torch.tensor([0, 1, 1]), weight), last)


def test_a_prediction_fed_back_does_not_run_away() -> None:
    """A texture that turns with noise on it, as in a game: least squares alone would grow."""
    torch.manual_seed(0)
    world = torch.randn(64, 2, 4, 9)
    last = world[..., :8] + 0.1 * torch.randn(64, 2, 4, 8)
    target = world[..., 1:] + 0.1 * torch.randn(64, 2, 4, 8)
    action = torch.zeros(64, dtype=torch.long)
    weight = prior.fit(last, action, target, actions=1, noise=0.03)
    picture = last
    for _ in range(64):
        picture = prior.predict(picture, action, weight)
    assert picture.std() < last.std()


def test_training_begins_from_the_prior_and_says_how_far_it_errs(made, tmp_path) -> None:
    latents = Latents(made / "latents")
    settings = tiny.params(train.Params, "train")
    denoiser = train.build(settings, latents)
    window = Windows(latents, "train", settings.context_frames).draw(256, 1, 0, 0)
    last, action = window.context[:, -1], window.actions[:, -1]
    error = window.target - prior.predict(last, action, denoiser.last_frame)
    copied = (window.target - last).square().mean()
    assert error.square().mean() < 0.9 * copied
    told = denoiser.config["residual_std"] ** 2
    assert 0.7 < error.square().mean() / told < 1.4
    train.save_model(denoiser, tmp_path)
    torch.testing.assert_close(load_denoiser(tmp_path).last_frame, denoiser.last_frame)
