from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from torch import Tensor, nn

from gamengen.data.latents import Latents, Window, Windows
from gamengen.data.positions import Share
from gamengen.model import diffusion
from gamengen.model.denoiser import Denoiser, load_denoiser
from gamengen.model.diffusion import Sampling
from gamengen.model.sampler import Sampler
from gamengen.training import objective
from gamengen.training.objective import Objective, RandomInputs
from stages import train
from tests.artifacts import awake
from tests.tiny import params

TARGETS = 3
OBJECTIVE = Objective(targets=TARGETS, single_target_share=0.25, terminal_share=1.0)


class Spy(nn.Module):
    """Remembers what a denoiser was asked."""

    def __init__(self, denoiser: Denoiser) -> None:
        super().__init__()
        self.denoiser, self.asked = denoiser, list[Any]()

    def forward(self, x_t: Tensor, t: Tensor, context: Tensor, *rest: Tensor) -> Tensor:
        self.asked.append((context, *rest))
        return self.denoiser(x_t, t, context, *rest)


@pytest.fixture
def denoiser(made: Path) -> Denoiser:
    found = awake(load_denoiser(made / "denoiser"))
    found.augmentation = found.augmentation.model_copy(update={"context_dropout": 0.0})
    return found


def drawn(made: Path, denoiser: Denoiser) -> tuple[Window, RandomInputs]:
    windows = Windows(Latents(made / "latents"), "train", denoiser.context_frames, TARGETS)
    window = windows.draw(Share(4), 0, 0)
    return window, objective.draw(window, denoiser, 1.0, Share(4), 0, 0)


def test_later_targets_see_what_the_sampler_would_have_made(made: Path, denoiser: Denoiser) -> None:
    """Predicted from pure noise and a clean context, a prediction is a sample in one step."""
    window, random = drawn(made, denoiser)
    random.level.zero_()
    spy, length = Spy(denoiser), denoiser.context_frames
    with torch.no_grad():
        losses = list(
            objective.self_generated_context_losses(spy, denoiser, window, random, TARGETS)
        )
    assert len(losses) == TARGETS
    sampler = Sampler(denoiser, Sampling(steps=1))
    context = window.frames[:, :length]
    for n in range(TARGETS):
        seen, actions, _ = spy.asked[n]
        torch.testing.assert_close(seen, context)
        assert torch.equal(actions, window.actions[:, n : n + length])
        latent = sampler.next_latent(context, actions, random.eps[:, n])
        residual = (window.frames[:, length + n] - context[:, -1]) / denoiser.residual_std
        error = (latent - context[:, -1]) / denoiser.residual_std - residual
        torch.testing.assert_close(losses[n], error.square().mean())
        context = torch.cat([context[:, 1:], latent[:, None]], 1)


def test_no_gradient_reaches_an_earlier_prediction(made: Path, denoiser: Denoiser) -> None:
    window, random = drawn(made, denoiser)
    *_, last = objective.self_generated_context_losses(denoiser, denoiser, window, random, 2)
    (alone,) = torch.autograd.grad(last, [denoiser.net.unet.conv_out.weight])
    contexts = Spy(denoiser)
    list(objective.self_generated_context_losses(contexts, denoiser, window, random, 2))
    context, actions, level_class = (part.detach() for part in contexts.asked[1])
    residual = diffusion.to_residual(
        window.frames[:, denoiser.context_frames + 1], context, denoiser.residual_std
    )
    loss, _ = objective.velocity_loss(
        denoiser,
        residual,
        (context, actions, level_class),
        random.t[:, 1],
        random.eps[:, 1],
        denoiser.alpha_bars,
    )
    (expected,) = torch.autograd.grad(loss, [denoiser.net.unet.conv_out.weight])
    torch.testing.assert_close(alone, expected)


def test_noise_on_the_context_is_that_of_its_frame_and_told_to_the_denoiser(
    made: Path, denoiser: Denoiser
) -> None:
    window, random = drawn(made, denoiser)
    random.level.fill_(0.5)
    spy, length = Spy(denoiser), denoiser.context_frames
    with torch.no_grad():
        list(objective.self_generated_context_losses(spy, denoiser, window, random, 2))
    (first, _, classes), (second, _, _) = spy.asked
    noise = first - window.frames[:, :length]
    torch.testing.assert_close(noise, 0.5 * random.context_eps[:, :length])
    torch.testing.assert_close(second[:, :-1], first[:, 1:])
    assert torch.equal(classes, denoiser.augmentation.bucket(random.level))


def test_a_share_of_rows_starts_where_samplers_do(made: Path, denoiser: Denoiser) -> None:
    windows = Windows(Latents(made / "latents"), "train", denoiser.context_frames, TARGETS)
    window = windows.draw(Share(256), 0, 0)
    last = denoiser.noise_schedule.timesteps - 1
    drawn = objective.draw(window, denoiser, 0.35, Share(256), 0, 0)
    assert float((drawn.t == last).float().mean()) == pytest.approx(0.35, abs=0.06)
    assert len(drawn.t.unique()) > 90
    assert (objective.draw(window, denoiser, 1.0, Share(256), 0, 0).t == last).all()


def test_training_begins_with_one_target() -> None:
    assert [OBJECTIVE.targets_at(step, 8) for step in range(8)] == [1, 1, 3, 3, 3, 3, 3, 3]


def test_no_gradient_is_computed_inside_autocast(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inside, backward = [], Accelerator.backward

    def watched(self: Accelerator, loss: Tensor) -> None:
        inside.append(torch.is_autocast_enabled("cpu"))
        backward(self, loss)

    monkeypatch.setattr(Accelerator, "backward", watched)
    settings = params(train.Params, "train", precision="bf16")
    train.main(settings, made / "latents", made / "autoencoder", tmp_path / "out")
    assert inside
    assert not any(inside)


def test_a_row_has_the_same_random_inputs_whoever_trains_on_it(
    made: Path, denoiser: Denoiser
) -> None:
    windows = Windows(Latents(made / "latents"), "train", denoiser.context_frames, TARGETS)

    def inputs(share: Share) -> RandomInputs:
        return objective.draw(windows.draw(share, 3, 7), denoiser, 0.35, share, 3, 7)

    whole, halves = inputs(Share(6)), [inputs(Share(6, slice(i, i + 3))) for i in (0, 3)]
    for name, value in vars(whole).items():
        assert torch.equal(value, torch.cat([getattr(half, name) for half in halves])), name
