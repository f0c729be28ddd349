"""The sampler against a case with a known answer."""

import pytest
import torch
from torch import Tensor

from gamengen import diffusion
from gamengen.diffusion import Augmentation, NoiseSchedule
from gamengen.sampler import Sampler, Sampling


class Gaussian:
    """The exact velocity where every latent is Gaussian, of one mean and variance."""

    schedule = NoiseSchedule(
        timesteps=1000,
        beta_start=0.00085,
        beta_end=0.012,
        zero_terminal_snr=True,
    )
    augmentation = Augmentation(highest=0.7, buckets=10, clean_bucket=True)
    dropped = 11
    mean, variance = torch.tensor(2.0), torch.tensor(0.09)

    def __call__(
        self, x_t: Tensor, t: Tensor, context: Tensor, actions: Tensor, level_class: Tensor, /
    ) -> Tensor:
        alpha_bar = self.schedule.alpha_bars()[t]
        return diffusion.gaussian_velocity(x_t, self.mean, self.variance, alpha_bar)[0]


@pytest.mark.parametrize("temperature", [0.0, 0.7, 1.0])
def test_temperature_scales_a_gaussians_deviation(temperature: float) -> None:
    """DDIM carries noise along straight quantiles: ``x0 = mean + temperature std noise``."""
    torch.manual_seed(0)
    net = Gaussian()
    noise, context = torch.randn(2, 3, 4, 5), torch.zeros(2, 1, 3, 4, 5)
    sampler = Sampler(net, Sampling(steps=500, temperature=temperature))
    sampled = sampler.next_latent(context, torch.zeros(2, 1, dtype=torch.int64), noise)
    expected = net.mean + temperature * net.variance.sqrt() * noise
    torch.testing.assert_close(sampled, expected, atol=0.02, rtol=0)
