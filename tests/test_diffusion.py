import pytest
import torch
from diffusers import DDIMScheduler

from gamengen import diffusion
from gamengen.diffusion import Augmentation, NoiseSchedule


def schedule(zero_snr: bool) -> NoiseSchedule:
    return NoiseSchedule(
        timesteps=1000,
        beta_start=0.00085,
        beta_end=0.012,
        zero_terminal_snr=zero_snr,
    )


def reference(zero_snr: bool) -> DDIMScheduler:
    return DDIMScheduler(
        num_train_timesteps=1000,
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        rescale_betas_zero_snr=zero_snr,
        timestep_spacing="trailing",
        prediction_type="v_prediction",
        set_alpha_to_one=True,
        clip_sample=False,
    )


@pytest.mark.parametrize("zero_snr", [False, True])
def test_alpha_bars_are_stable_diffusions(zero_snr: bool) -> None:
    ours, theirs = schedule(zero_snr), reference(zero_snr)
    torch.testing.assert_close(ours.alpha_bars(), theirs.alphas_cumprod, atol=1e-5, rtol=1e-4)
    assert (ours.alpha_bars()[-1] == 0) == zero_snr


@pytest.mark.parametrize("steps", [1, 2, 3, 4, 7, 8, 50])
def test_visited_timesteps_are_diffusers(steps: int) -> None:
    theirs = reference(False)
    theirs.set_timesteps(steps)
    assert schedule(False).visits(steps) == theirs.timesteps.tolist()


def test_too_many_steps_is_refused() -> None:
    with pytest.raises(ValueError, match="steps: 1001"):
        schedule(True).visits(1001)


def test_velocity_and_its_inverses() -> None:
    torch.manual_seed(0)
    x0, eps = torch.randn(2, 4, 3, 5, 5, dtype=torch.float64)
    alpha_bar = torch.tensor([0.0, 0.2, 0.7, 1.0], dtype=torch.float64)
    x_t, v = diffusion.add_noise(x0, eps, alpha_bar), diffusion.velocity(x0, eps, alpha_bar)
    torch.testing.assert_close(diffusion.x0_from(v, x_t, alpha_bar), x0)
    torch.testing.assert_close(diffusion.eps_from(v, x_t, alpha_bar), eps)


@pytest.mark.parametrize("zero_snr", [False, True])
def test_ddim_is_diffusers_ddim(zero_snr: bool) -> None:
    """The whole trajectory of four steps, against diffusers' scheduler, from the same noise."""
    torch.manual_seed(0)
    ours, theirs = schedule(zero_snr), reference(zero_snr)
    theirs.set_timesteps(4)
    alpha_bars = ours.alpha_bars()
    x = y = torch.randn(1, 4, 6, 6)
    visits = ours.visits(4)
    for i, t in enumerate(visits):
        v = torch.tanh(x) * (1 + t / 1000)
        w = torch.tanh(y) * (1 + t / 1000)
        now = alpha_bars[t : t + 1]
        # diffusers steps by a constant stride, which trailing spacing's roundings also follow here
        then = t - 1000 // 4
        x0, eps = diffusion.x0_from(v, x, now), diffusion.eps_from(v, x, now)
        following = alpha_bars[then : then + 1] if then >= 0 else torch.ones(1)
        assert i == len(visits) - 1 or then == visits[i + 1]
        x = diffusion.ddim_step(x0, eps, following)
        y = theirs.step(w, t, y).prev_sample
        torch.testing.assert_close(x, y, atol=1e-4, rtol=1e-4)


def test_buckets_of_noise_levels() -> None:
    level = torch.tensor([0.0, 1e-4, 0.0699, 0.0701, 0.35, 0.6999, 0.7])
    shared = Augmentation(highest=0.7, buckets=10, clean_bucket=False)
    own = Augmentation(highest=0.7, buckets=10, clean_bucket=True)
    assert shared.bucket(level).tolist() == [0, 0, 0, 1, 5, 9, 9]
    assert own.bucket(level).tolist() == [0, 1, 1, 2, 6, 10, 10]
    assert (shared.embeddings, own.embeddings) == (10, 11)


def test_augmentation_adds_noise_of_the_level_asked_for() -> None:
    torch.manual_seed(0)
    augmentation = Augmentation(highest=0.7, buckets=10, clean_bucket=True)
    context, eps = torch.ones(2, 8, 4, 32, 32), torch.randn(2, 8, 4, 32, 32)
    noised = augmentation.apply(context, eps, torch.tensor([0.0, 0.5]))
    assert torch.equal(noised[0], context[0])
    assert float((noised[1] - 1).std()) == pytest.approx(0.5, rel=0.02)
    assert float(noised[1].mean()) == pytest.approx(1.0, abs=0.02)


def test_expected_velocity_is_the_posterior_mean() -> None:
    """Against the conditional expectations of x0 and eps for a Gaussian x0."""
    torch.manual_seed(0)
    x_t, mean = torch.randn(2, 4, 2, 3, 3, dtype=torch.float64)
    alpha_bar = torch.tensor([0.0, 0.3, 0.9, 0.999], dtype=torch.float64)
    variance = torch.tensor([0.2, 1.0, 0.5, 0.1], dtype=torch.float64)
    ab, var = diffusion.over(alpha_bar, x_t), diffusion.over(variance, x_t)
    d = ab * var + 1 - ab
    x0 = mean + ab.sqrt() * var / d * (x_t - ab.sqrt() * mean)
    eps = (1 - ab).sqrt() / d * (x_t - ab.sqrt() * mean)
    expected, deviation = diffusion.gaussian_velocity(x_t, mean, var, alpha_bar)
    torch.testing.assert_close(expected, ab.sqrt() * eps - (1 - ab).sqrt() * x0)
    # Given x_t, v = (sqrt(ab) x_t - x0) / sqrt(1 - ab): its deviation is x0's over that root.
    posterior = (var * (1 - ab) / d).sqrt() / (1 - ab).sqrt()
    torch.testing.assert_close(deviation, posterior)


def test_levels_of_embeddings_are_the_middles_of_their_buckets() -> None:
    own = Augmentation(highest=0.4, buckets=4, clean_bucket=True)
    torch.testing.assert_close(own.levels(), torch.tensor([0.0, 0.05, 0.15, 0.25, 0.35]))
    assert own.bucket(own.levels()).tolist() == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("clean", [False, True])
def test_every_noise_embedding_is_trained_alike(clean: bool) -> None:
    """An embedding that training never draws would be noise at play."""
    torch.manual_seed(0)
    augmentation = Augmentation(highest=0.3, buckets=10, clean_bucket=clean)
    level = augmentation.draw(*torch.rand(2, 100_000))
    assert level.min() >= 0
    assert level.max() <= 0.3
    shares = torch.bincount(augmentation.bucket(level), minlength=augmentation.embeddings) / 1e5
    torch.testing.assert_close(
        shares, torch.full_like(shares, 1 / augmentation.embeddings), atol=0.005, rtol=0
    )
