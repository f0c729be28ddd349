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
    weight = prior.fit(last, action, rows_slide(last, action), actions=2)
    unseen, taken = torch.randn(50, 2, 4, 8), torch.randint(2, (50,))
    found = prior.predict(unseen, taken, weight)
    # The ridge shrinks what the data say by one per cent.
    torch.testing.assert_close(found, rows_slide(unseen, taken), atol=0.1, rtol=0)


def test_an_action_never_seen_changes_nothing() -> None:
    last, action = torch.randn(100, 2, 4, 8), torch.zeros(100, dtype=torch.long)
    weight = prior.fit(last, action, torch.randn_like(last), actions=2)
    assert torch.equal(prior.predict(last, action + 1, weight), last)


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
