from pathlib import Path

import pytest
import torch

from gamengen.denoiser import load_denoiser
from gamengen.latents import Latents, Windows
from gamengen.objective import Choice, own_last_frames
from gamengen.sampler import Sampler, Sampling
from stages import train
from tests import tiny


@pytest.mark.parametrize("in_a_row", [1, 2])
def test_own_frames_are_those_that_one_step_samples_at_play(made: Path, in_a_row: int) -> None:
    torch.manual_seed(0)
    denoiser = load_denoiser(made / "denoiser").eval()
    torch.nn.init.normal_(denoiser.unet.conv_out.weight)  # it starts at zero
    window = Windows(Latents(made / "latents"), "train", denoiser.context_frames).draw(4, 0, 0, 0)
    real = window.context.clone()
    start = torch.randn_like(window.target)
    choice = Choice(context_dropout=0.1, timestep_bias=1.0, own_frames=0.5, own_in_a_row=in_a_row)
    seen = own_last_frames(denoiser, window, start, choice)

    sampler = Sampler(denoiser, Sampling(steps=1))
    expected = real[:2].clone()
    for back in range(in_a_row, 0, -1):
        first = expected[:, :1].repeat(1, back, 1, 1, 1)
        context = torch.cat([first, expected[:, :-back]], 1)
        actions = window.actions[:2].roll(back, 1)
        actions[:, :back] = denoiser.game.before_start
        noise = start.roll(back - 1, 0)[:2]
        expected[:, -back] = sampler.next_latent(context, actions, noise)
    torch.testing.assert_close(seen.context[:2], expected)
    made_frames = expected[:, -in_a_row:] - real[:2, -in_a_row:]
    assert (made_frames.abs().flatten(2).amax(2) > 0.1).all()

    assert torch.equal(window.context, real)
    assert torch.equal(seen.context[2:], real[2:])
    assert torch.equal(seen.actions, window.actions)
    assert torch.equal(seen.target, window.target)
    none = choice.model_copy(update={"own_frames": 0.0})
    assert own_last_frames(denoiser, window, start, none) is window


def test_own_frames_need_a_real_one_before_them() -> None:
    given = tiny.params(train.Params, "train").model_dump()
    given["draws"] |= {"own_frames": 0.5, "own_in_a_row": given["context_frames"]}
    with pytest.raises(ValueError, match=r"draws\.own_in_a_row: .* must be below context_frames"):
        train.Params.model_validate(given)
    given["draws"]["own_frames"] = 0.0
    train.Params.model_validate(given)
