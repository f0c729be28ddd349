import pytest
import torch
from diffusers import DDIMScheduler

from gamengen.model import diffusion
from gamengen.model.diffusion import Augmentation, NoiseSchedule


def schedule(zero_snr: bool) -> NoiseSchedule:
    return NoiseSchedule(kind="zero-snr" if zero_snr else "scaled-linear", timesteps=1000)


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
def test_sampling_timesteps_are_diffusers(steps: int) -> None:
    theirs = reference(False)
    theirs.set_timesteps(steps)
    assert schedule(False).sampling_timesteps(steps) == theirs.timesteps.tolist()


def test_a_shift_moves_all_timesteps_but_the_first_towards_noise() -> None:
    """By ``s t / (1 + (s - 1) t)``: of 3, 3/4 where there was 1/2."""
    assert schedule(True).sampling_timesteps(2, shift=3.0) == [999, 749]
    assert schedule(True).sampling_timesteps(4, shift=3.0) == [999, 899, 749, 499]
    assert schedule(True).sampling_timesteps(1, shift=3.0) == [999]
    every = schedule(True).sampling_timesteps(1000, shift=100.0)
    assert min(every) >= 0
    assert every == sorted(every, reverse=True)


def test_too_many_steps_is_refused() -> None:
    with pytest.raises(ValueError, match="steps: 1001"):
        schedule(True).sampling_timesteps(1001)


def test_velocity_and_its_inverses() -> None:
    torch.manual_seed(0)
    x0, eps = torch.randn(2, 4, 3, 5, 5, dtype=torch.float64)
    alpha_bar = torch.tensor([0.0, 0.2, 0.7, 1.0], dtype=torch.float64)
    x_t, v = diffusion.add_noise(x0, eps, alpha_bar), diffusion.v_target(x0, eps, alpha_bar)
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
    timesteps = ours.sampling_timesteps(4)
    for i, t in enumerate(timesteps):
        v = torch.tanh(x) * (1 + t / 1000)
        w = torch.tanh(y) * (1 + t / 1000)
        now = alpha_bars[t : t + 1]
        # diffusers steps by a constant stride, which trailing spacing's roundings also follow here
        then = t - 1000 // 4
        x0, eps = diffusion.x0_from(v, x, now), diffusion.eps_from(v, x, now)
        following = alpha_bars[then : then + 1] if then >= 0 else torch.ones(1)
        assert i == len(timesteps) - 1 or then == timesteps[i + 1]
        x = diffusion.add_noise(x0, eps, following)
        y = theirs.step(w, t, y).prev_sample
        torch.testing.assert_close(x, y, atol=1e-4, rtol=1e-4)


def test_buckets_of_noise_levels() -> None:
    level = torch.tensor([0.0, 1e-4, 0.0699, 0.0701, 0.35, 0.6999, 0.7])
    shared = Augmentation(max_level=0.7, buckets=10, clean_share=0.0, context_dropout=0.1)
    own = Augmentation(max_level=0.7, buckets=10, clean_share=0.5, context_dropout=0.1)
    assert shared.bucket(level).tolist() == [0, 0, 0, 1, 5, 9, 9]
    assert own.bucket(level).tolist() == [0, 1, 1, 2, 6, 10, 10]
    assert (shared.embeddings, own.embeddings) == (10, 11)


def test_augmentation_adds_noise_of_the_level_asked_for() -> None:
    torch.manual_seed(0)
    augmentation = Augmentation(max_level=0.7, buckets=10, clean_share=0.5, context_dropout=0.1)
    context, eps = torch.ones(2, 8, 4, 32, 32), torch.randn(2, 8, 4, 32, 32)
    noised = augmentation.apply(context, eps, torch.tensor([0.0, 0.5]))
    assert torch.equal(noised[0], context[0])
    assert float((noised[1] - 1).std()) == pytest.approx(0.5, rel=0.02)
    assert float(noised[1].mean()) == pytest.approx(1.0, abs=0.02)


def test_the_cosine_schedule_ends_in_noise_and_halves_in_the_middle() -> None:
    """``alpha_bar = cos^2``: noise over signal is the tangent of the time."""
    alpha_bars = NoiseSchedule(kind="cosine", timesteps=1000).alpha_bars().double()
    assert alpha_bars[-1] == 0
    assert float(alpha_bars[499]) == pytest.approx(0.5)
    time = torch.arange(1, 1000, dtype=torch.float64) / 1000
    sigma = ((1 - alpha_bars[:-1]) / alpha_bars[:-1]).sqrt()
    torch.testing.assert_close(sigma, (time * torch.pi / 2).tan(), atol=1e-5, rtol=1e-3)


def test_residuals_are_undone_and_latents_stay_as_they_are_without() -> None:
    torch.manual_seed(0)
    x0, context = torch.randn(2, 4, 3, 3), torch.randn(2, 5, 4, 3, 3)
    residual = diffusion.to_residual(x0, context, 0.5)
    torch.testing.assert_close(residual, (x0 - context[:, -1]) / 0.5)
    torch.testing.assert_close(diffusion.from_residual(residual, context, 0.5), x0)
    assert diffusion.to_residual(x0, context, None) is x0
    assert diffusion.from_residual(x0, context, None) is x0


def test_the_velocity_of_a_residual_is_edms_preconditioning() -> None:
    """``D = c_skip x + c_out F`` of Karras et al. 2022, table 1, around the last frame."""
    torch.manual_seed(0)
    std, sigma = 0.4, torch.tensor([0.05, 0.4, 6.0], dtype=torch.float64)
    context, v = torch.randn(3, 1, 2, 4, 4).double(), torch.randn(3, 2, 4, 4).double()
    x = torch.randn(3, 2, 4, 4).double()  # x0 + sigma noise, in latents
    s = diffusion.append_dims(sigma, x)
    c_skip = std**2 / (s**2 + std**2)
    c_out = s * std / (s**2 + std**2).sqrt()
    last = context[:, -1]
    expected = last + c_skip * (x - last) - c_out * v  # v-prediction has the other sign

    alpha_bar = 1 / (1 + (sigma / std) ** 2)
    x_t = diffusion.append_dims(alpha_bar, x).sqrt() * (x - last) / std
    residual = diffusion.x0_from(v, x_t, alpha_bar)
    torch.testing.assert_close(diffusion.from_residual(residual, context, std), expected)


@pytest.mark.parametrize("clean", [0.0, 0.3])
def test_every_noise_embedding_is_trained(clean: float) -> None:
    """An embedding that training never draws would be noise at play."""
    torch.manual_seed(0)
    augmentation = Augmentation(max_level=0.3, buckets=10, clean_share=clean, context_dropout=0.1)
    level = augmentation.draw(*torch.rand(2, 100_000))
    assert level.min() >= 0
    assert level.max() <= 0.3
    shares = torch.bincount(augmentation.bucket(level), minlength=augmentation.embeddings) / 1e5
    expected = [clean, *[(1 - clean) / 10] * 10] if clean else [0.1] * 10
    torch.testing.assert_close(shares, torch.tensor(expected), atol=0.005, rtol=0)
