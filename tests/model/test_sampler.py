"""The sampler against a case with a known answer."""

import pytest
import torch
from torch import Tensor

from gamengen.model import diffusion
from gamengen.model.diffusion import Augmentation, NoiseSchedule, Sampling
from gamengen.model.sampler import Sampler

COSINE = NoiseSchedule(kind="cosine", timesteps=1000)


class Gaussian:
    """The exact velocity where every latent is Gaussian, of one mean and variance."""

    noise_schedule = NoiseSchedule(kind="zero-snr", timesteps=1000)
    augmentation = Augmentation(max_level=0.7, buckets=10, clean_share=0.3, context_dropout=0.1)
    residual_std = None
    null_context_class = 11
    mean, variance = torch.tensor(2.0), torch.tensor(0.09)

    def __call__(
        self, x_t: Tensor, t: Tensor, context: Tensor, actions: Tensor, level_class: Tensor, /
    ) -> Tensor:
        ab = diffusion.append_dims(self.noise_schedule.alpha_bars()[t], x_t)
        centred = (x_t - ab.sqrt() * self.mean) / (ab * self.variance + 1 - ab)
        x0 = self.mean + ab.sqrt() * self.variance * centred
        return ab.sqrt() * (1 - ab).sqrt() * centred - (1 - ab).sqrt() * x0


def sample(net: Gaussian, sampling: Sampling) -> tuple[Tensor, Tensor]:
    """Noise, and what is sampled from it."""
    torch.manual_seed(0)
    noise, context = torch.randn(2, 3, 4, 5), torch.zeros(2, 1, 3, 4, 5)
    taken = torch.zeros(2, 1, dtype=torch.int64)
    return noise, Sampler(net, sampling).next_latent(context, taken, noise)


def test_a_gaussian_is_sampled_along_its_quantiles() -> None:
    """DDIM carries noise along straight lines: ``x0 = mean + std noise``."""
    net = Gaussian()
    noise, sampled = sample(net, Sampling(steps=500))
    expected = net.mean + net.variance.sqrt() * noise
    torch.testing.assert_close(sampled, expected, atol=0.02, rtol=0)


@pytest.mark.parametrize(("variance", "better"), [(0.1, 1.0), (6.0, 3.0)])
def test_two_steps_keep_most_where_their_noise_is_as_large_as_the_signal(
    variance: float, better: float
) -> None:
    """With ``alpha_bar`` at the second, they keep ``sqrt(ab (1 - ab)) var / (ab var + 1 - ab)`` of
    the noise, at most where ``(1 - ab) / ab = var``: what varies much asks for a shift."""
    net, kept = Gaussian(), {}
    net.variance, net.noise_schedule = torch.tensor(variance), COSINE
    for shift in (1.0, 3.0):
        noise, sampled = sample(net, Sampling(steps=2, shift=shift))
        ab = float(COSINE.alpha_bars()[COSINE.sampling_timesteps(2, shift)[1]])
        kept[shift] = (ab * (1 - ab)) ** 0.5 * variance / (ab * variance + 1 - ab)
        torch.testing.assert_close(sampled, net.mean + kept[shift] * noise, atol=1e-4, rtol=1e-4)
    assert max(kept, key=lambda shift: kept[shift]) == better


@pytest.mark.parametrize(("variance", "shift"), [(0.1, 1.0), (1.0, 1.0), (6.0, 3.0)])
def test_four_times_the_steps_err_by_a_power_of_four_less(variance: float, shift: float) -> None:
    """The power is the solver's order; the exact flow is ``x0 = mean + std noise``."""
    net = Gaussian()
    net.variance, net.noise_schedule = torch.tensor(variance), COSINE

    def error(steps: int, order: int) -> float:
        noise, sampled = sample(net, Sampling(steps=steps, shift=shift, order=order))
        return float((sampled - net.mean - net.variance.sqrt() * noise).abs().mean())

    assert 3.5 < error(16, 1) / error(64, 1) < 4
    assert error(16, 2) / error(64, 2) > 8
    assert error(4, 2) < error(4, 1)


def test_what_varies_much_is_worth_more_than_sixteen_steps_in_four() -> None:
    """As enemies do: four steps of the second order are nearer than sixteen of the first."""
    net = Gaussian()
    net.variance, net.noise_schedule = torch.tensor(6.0), COSINE
    exact = net.mean + net.variance.sqrt() * sample(net, Sampling(steps=1))[0]
    four = sample(net, Sampling(steps=4, shift=3.0, order=2))[1]
    sixteen = sample(net, Sampling(steps=16, shift=3.0))[1]
    assert (four - exact).abs().mean() < (sixteen - exact).abs().mean()


@pytest.mark.parametrize("steps", [1, 2])
def test_the_first_step_and_the_last_keep_their_own_prediction(steps: int) -> None:
    one, two = (sample(Gaussian(), Sampling(steps=steps, order=order))[1] for order in (1, 2))
    assert torch.equal(one, two)


def test_steps_that_fall_on_one_timestep_change_nothing() -> None:
    """Rounding makes some of sixteen out of a hundred, moved far towards noise, the same."""
    net = Gaussian()
    net.noise_schedule = NoiseSchedule(kind="cosine", timesteps=100)
    assert len(set(net.noise_schedule.sampling_timesteps(16, 10.0))) < 16
    assert sample(net, Sampling(steps=16, shift=10.0, order=2))[1].isfinite().all()


def test_context_noise_that_is_told_but_not_given_is_refused() -> None:
    """Or the network would be told of a noise that is not there."""
    sampler = Sampler(Gaussian(), Sampling(steps=1, context_noise=0.1))
    context, actions = torch.zeros(2, 1, 3, 4, 5), torch.zeros(2, 1, dtype=torch.int64)
    with pytest.raises(ValueError, match=r"context_noise: 0\.1: needs context_eps"):
        sampler.next_latent(context, actions, torch.randn(2, 3, 4, 5))
