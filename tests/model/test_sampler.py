"""The sampler against a case with a known answer."""

import pytest
import torch
from torch import Tensor

from gamengen.model import diffusion
from gamengen.model.diffusion import Augmentation, NoiseSchedule, Sampling
from gamengen.model.sampler import Sampler


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


@pytest.mark.parametrize("temperature", [0.0, 0.7, 1.0])
def test_temperature_scales_a_gaussians_standard_deviation(temperature: float) -> None:
    """DDIM carries noise along straight quantiles: ``x0 = mean + temperature std noise``."""
    torch.manual_seed(0)
    net = Gaussian()
    noise, context = torch.randn(2, 3, 4, 5), torch.zeros(2, 1, 3, 4, 5)
    sampler = Sampler(net, Sampling(steps=500, temperature=temperature))
    sampled = sampler.next_latent(context, torch.zeros(2, 1, dtype=torch.int64), noise)
    expected = net.mean + temperature * net.variance.sqrt() * noise
    torch.testing.assert_close(sampled, expected, atol=0.02, rtol=0)


def test_context_noise_that_is_told_but_not_given_is_refused() -> None:
    """Or the network would be told of a noise that is not there."""
    sampler = Sampler(Gaussian(), Sampling(steps=1, context_noise=0.1))
    context, actions = torch.zeros(2, 1, 3, 4, 5), torch.zeros(2, 1, dtype=torch.int64)
    with pytest.raises(ValueError, match=r"context_noise: 0\.1: needs context_eps"):
        sampler.next_latent(context, actions, torch.randn(2, 3, 4, 5))
