"""Distribution matching on Gaussians, where every score has a closed form."""

import pytest
import torch
from torch import Tensor, nn

from gamengen.model import diffusion, distillation

TIMESTEPS = 100


def alpha_bars() -> Tensor:
    return torch.linspace(0.999, 0.01, TIMESTEPS, dtype=torch.float64)


def gaussian_velocity(mean: float, std: float, x_t: Tensor, alpha_bar: Tensor) -> Tensor:
    """The optimal velocity for data N(mean, std^2): the conditional expectation of v."""
    ab = diffusion.append_dims(alpha_bar, x_t)
    variance = ab * std**2 + 1 - ab
    centred = x_t - ab.sqrt() * mean
    eps = (1 - ab).sqrt() * centred / variance
    x0 = mean + ab.sqrt() * std**2 * centred / variance
    return ab.sqrt() * eps - (1 - ab).sqrt() * x0


@pytest.mark.parametrize("alpha_bar", [0.1, 0.5, 0.9])
def test_eps_difference_is_the_gradient_of_kl(alpha_bar: float) -> None:
    """Size and sign, against the closed form of KL between the two diffused Gaussians."""
    real, fake, std = 2.0, -1.0, 0.5
    ab = torch.full((1000,), alpha_bar, dtype=torch.float64)
    x_t = torch.randn(1000, 1, 1, 1, dtype=torch.float64)
    difference = distillation.eps_difference(
        gaussian_velocity(real, std, x_t, ab), gaussian_velocity(fake, std, x_t, ab), x_t, ab
    )
    # d/d(fake mean) of KL = ab (fake - real) / variance; score = -eps / sqrt(1 - ab), and the
    # chain rule through x_t = sqrt(ab) x0 + ... gives the factor sqrt(ab) / sqrt(1 - ab).
    mean = torch.tensor(fake, dtype=torch.float64, requires_grad=True)
    variance = alpha_bar * std**2 + 1 - alpha_bar
    kl = (alpha_bar * (mean - real) ** 2) / (2 * variance)
    (gradient,) = torch.autograd.grad(kl, mean)
    scaled = difference * (alpha_bar / (1 - alpha_bar)) ** 0.5
    torch.testing.assert_close(scaled, torch.full_like(scaled, float(gradient)))
    assert float(gradient) < 0, "descending must move the fake mean up, towards the real one"


def test_no_gradient_where_the_student_is_the_teacher() -> None:
    ab = torch.full((8,), 0.4)
    x_t, v = torch.randn(2, 8, 2, 3, 3)
    assert distillation.eps_difference(v, v, x_t, ab).abs().max() == 0


def test_dmd_loss_has_the_gradient_it_is_given() -> None:
    sample = torch.randn(3, 2, 4, 4, requires_grad=True)
    gradient = torch.randn(3, 2, 4, 4)
    distillation.dmd_loss(sample, gradient).backward()
    assert sample.grad is not None
    torch.testing.assert_close(sample.grad, gradient / sample.numel())


def test_weight_turns_the_difference_of_noises_into_one_of_clean_latents() -> None:
    torch.manual_seed(0)
    ab = torch.tensor([0.2, 0.8], dtype=torch.float64)
    x_t, v_real, v_fake, sample = torch.randn(4, 2, 3, 4, 4, dtype=torch.float64)
    x0_real, x0_fake = (diffusion.x0_from(v, x_t, ab) for v in (v_real, v_fake))
    weight = diffusion.append_dims(distillation.dmd_weight(sample, x0_real, ab), sample)
    weighted = weight * distillation.eps_difference(v_real, v_fake, x_t, ab)
    error = (sample - x0_real).abs().mean((1, 2, 3), keepdim=True)
    torch.testing.assert_close(weighted, (x0_fake - x0_real) / error)


def test_inner_timesteps_keep_their_distance_from_the_ends() -> None:
    t = distillation.inner_timesteps(torch.tensor([0, 500, 999]), 1000, 0.02)
    assert t.tolist() == [20, 500, 979]


class Affine(nn.Module):
    """One-dimensional student and fake score: a Gaussian of learned mean and standard deviation."""

    def __init__(self, mean: float, std: float) -> None:
        super().__init__()
        self.mean = nn.Parameter(torch.tensor(mean, dtype=torch.float64))
        self.log_std = nn.Parameter(torch.tensor(std, dtype=torch.float64).log())


def test_student_learns_the_teachers_distribution() -> None:
    """Generator N(-1, 0.3) -> N(2, 0.8), its score net trained all along on its samples."""
    torch.manual_seed(0)
    real_mean, real_std, bars = 2.0, 0.8, alpha_bars()
    student, fake = Affine(-1.0, 0.3), Affine(-1.0, 0.3)
    student_optimizer = torch.optim.Adam(student.parameters(), lr=0.02)
    fake_optimizer = torch.optim.Adam(fake.parameters(), lr=0.05)

    def teacher(x_t: Tensor, t: Tensor) -> Tensor:
        return gaussian_velocity(real_mean, real_std, x_t, bars[t])

    def velocity(x_t: Tensor, t: Tensor) -> Tensor:
        std = fake.log_std.exp()
        ab = diffusion.append_dims(bars[t], x_t)
        variance = ab * std**2 + 1 - ab
        centred = x_t - ab.sqrt() * fake.mean
        eps = (1 - ab).sqrt() * centred / variance
        x0 = fake.mean + ab.sqrt() * std**2 * centred / variance
        return ab.sqrt() * eps - (1 - ab).sqrt() * x0

    for _ in range(600):
        z, eps, eps_fake = torch.randn(3, 256, 1, 1, 1, dtype=torch.float64)
        t, t_fake = torch.randint(TIMESTEPS, (2, 256))
        sample = student.mean + student.log_std.exp() * z
        gradient = distillation.dmd_gradient(teacher, velocity, sample.detach(), eps, t, bars[t])
        student_optimizer.zero_grad()
        distillation.dmd_loss(sample, gradient).backward()
        student_optimizer.step()
        x0 = sample.detach()
        x_t = diffusion.add_noise(x0, eps_fake, bars[t_fake])
        target = diffusion.v_target(x0, eps_fake, bars[t_fake])
        fake_optimizer.zero_grad()
        (velocity(x_t, t_fake) - target).square().mean().backward()
        fake_optimizer.step()
    assert float(student.mean.detach()) == pytest.approx(real_mean, abs=0.15)
    assert float(student.log_std.detach().exp()) == pytest.approx(real_std, abs=0.15)
