from pathlib import Path

import torch

from gamengen.denoiser import load_denoiser
from gamengen.latents import Latents, Windows
from gamengen.objective import own_last_frame
from gamengen.sampler import Sampler, Sampling


def test_own_frames_are_those_that_one_step_samples_at_play(made: Path) -> None:
    torch.manual_seed(0)
    denoiser = load_denoiser(made / "denoiser").eval()
    torch.nn.init.normal_(denoiser.unet.conv_out.weight)  # it starts at zero
    window = Windows(Latents(made / "latents"), "train", denoiser.context_frames).draw(4, 0, 0, 0)
    start = torch.randn_like(window.target)
    seen = own_last_frame(denoiser, window, start, 0.5)

    context = torch.cat([window.context[:2, :1], window.context[:2, :-1]], 1)
    actions = window.actions[:2].roll(1, 1)
    actions[:, 0] = denoiser.game.before_start
    expected = Sampler(denoiser, Sampling(steps=1)).next_latent(context, actions, start[:2])
    torch.testing.assert_close(seen.context[:2, -1], expected)
    assert not torch.allclose(seen.context[:2, -1], window.context[:2, -1], atol=0.1)

    assert torch.equal(seen.context[:2, :-1], window.context[:2, :-1])
    assert torch.equal(seen.context[2:], window.context[2:])
    assert torch.equal(seen.actions, window.actions)
    assert torch.equal(seen.target, window.target)
    assert own_last_frame(denoiser, window, start, 0.0) is window
