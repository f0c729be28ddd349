from pathlib import Path

import pytest
import torch

from gamengen.denoiser import load_denoiser
from gamengen.latents import Latents, Windows
from gamengen.objective import Choice, own_last_frames
from gamengen.sampler import Past, Sampler, Sampling
from stages import train
from tests import tiny


@pytest.mark.parametrize("in_a_row", [1, 2, 4])
def test_own_frames_are_those_that_a_rollout_makes(made: Path, in_a_row: int) -> None:
    """In one step, from real frames; more in a row than the context holds are none too many."""
    torch.manual_seed(0)
    denoiser = load_denoiser(made / "denoiser").eval()
    torch.nn.init.normal_(denoiser.unet.conv_out.weight)  # it starts at zero
    length, choice = denoiser.context_frames, half_own(in_a_row)
    assert choice.earlier == in_a_row
    windows = Windows(Latents(made / "latents"), "train", length + in_a_row)
    entry = max(windows.entries, key=lambda entry: entry.length)
    longer = windows.read([(entry, frame) for frame in range(20, 24)])
    real, start = longer.context.clone(), torch.randn_like(longer.target)
    seen = own_last_frames(denoiser, longer, start, choice)

    past = Past(real[:2, :length], longer.actions[:2, :length])
    sampler = Sampler(denoiser, Sampling(steps=1))
    expected = real[:2]
    for made_before in range(in_a_row):
        at = length + made_before
        past.act(longer.actions[:2, at - 1])
        noise = start.roll(in_a_row - 1 - made_before, 0)[:2]
        expected[:, at] = sampler.next_latent(past.context, past.actions, noise)
        past.push(expected[:, at])
    torch.testing.assert_close(seen.context[:2], expected[:, -length:])
    made_frames = expected[:, -in_a_row:] - longer.context[:2, -in_a_row:]
    assert (made_frames.abs().flatten(2).amax(2) > 0.1).all()

    assert torch.equal(seen.context[2:], longer.context[2:, -length:])
    assert torch.equal(seen.actions, longer.actions[:, -length:])
    assert torch.equal(seen.target, longer.target)


def test_an_episodes_first_frame_stays_real(made: Path) -> None:
    denoiser = load_denoiser(made / "denoiser").eval()
    torch.nn.init.normal_(denoiser.unet.conv_out.weight)
    windows = Windows(Latents(made / "latents"), "train", denoiser.context_frames + 2)
    longer = windows.read([(windows.entries[0], 2)] * 2)
    seen = own_last_frames(denoiser, longer, torch.randn_like(longer.target), half_own(2))
    assert torch.equal(seen.context[0, :-1], longer.context[0, -denoiser.context_frames : -1])
    assert not torch.equal(seen.context[0, -1], longer.context[0, -1])


def half_own(in_a_row: int) -> Choice:
    return Choice(context_dropout=0.1, timestep_bias=1.0, own_frames=0.5, own_in_a_row=in_a_row)


def test_without_own_frames_a_window_is_as_it_was_read(made: Path) -> None:
    denoiser = load_denoiser(made / "denoiser")
    window = Windows(Latents(made / "latents"), "train", denoiser.context_frames).draw(4, 0, 0, 0)
    none = half_own(2).model_copy(update={"own_frames": 0.0})
    assert none.earlier == 0
    seen = own_last_frames(denoiser, window, torch.randn_like(window.target), none)
    assert torch.equal(seen.context, window.context)
    assert torch.equal(seen.actions, window.actions)


def test_own_frames_in_no_row_are_refused() -> None:
    given = tiny.params(train.Params, "train").model_dump()
    given["draws"]["own_frames"], given["microbatch_size"] = 0.5, 1
    with pytest.raises(
        ValueError, match=r"draws\.own_frames: 0\.5: of 1 rows at a time it is none"
    ):
        train.Params.model_validate(given)
    given["draws"]["own_frames"] = 0.0
    train.Params.model_validate(given)
