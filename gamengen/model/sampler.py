"""The next frame, and frames after it: DDIM or its second order, with guidance on past frames."""

from collections.abc import Callable, Iterator
from itertools import pairwise

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from gamengen.model import diffusion
from gamengen.model.denoiser import Denoiser
from gamengen.model.diffusion import Sampling

# Called as a Denoiser is, and computes the same: ``(x_t, t, context, actions, level_class)`` to
# the velocity at ``x_t``.
DenoiserFn = Callable[..., Float[Tensor, "b c h w"]]


class RollingContext:
    """The rolling context: one buffer of latents and one of actions, shifted in place.

    ``actions[:, i]`` was taken at ``context[:, i]``; the last leads to the next latent. The
    buffers are copies at fixed addresses (CUDA graphs need that); the caller's tensors do not
    change.
    """

    def __init__(self, context: Float[Tensor, "b l c h w"], actions: Int64[Tensor, "b l"]) -> None:
        self.context, self.actions = context.clone(), actions.clone()
        # Memory cannot be copied onto itself with an offset: it goes by way of these.
        self.shifted, self.shifted_actions = context.clone(), actions.clone()

    def push(self, latent: Float[Tensor, "b c h w"]) -> None:
        """Make ``latent`` the last frame; the oldest is forgotten."""
        for buffer, shifted in ((self.context, self.shifted), (self.actions, self.shifted_actions)):
            shifted[:, :-1].copy_(buffer[:, 1:])
            buffer.copy_(shifted)
        self.context[:, -1].copy_(latent)


class Sampler:
    """Samples next latents with one denoiser; every timestep is a Python int.

    A one-step student is sampled the same way, with ``steps=1``: it was trained to be right
    at the first timestep of that schedule.
    """

    def __init__(
        self, denoiser: Denoiser, sampling: Sampling, velocity: DenoiserFn | None = None
    ) -> None:
        """``velocity`` is the denoiser as it runs on a back end, unless it runs itself."""
        self.denoiser, self.sampling = denoiser, sampling
        self.velocity = velocity or denoiser
        self.timesteps = denoiser.noise_schedule.sampling_timesteps(sampling.steps, sampling.shift)
        alpha_bars = denoiser.noise_schedule.alpha_bars()
        self.alpha_bars = [float(alpha_bars[t]) for t in self.timesteps] + [1.0]
        self.ahead = [0.0] * sampling.steps
        if sampling.order == 2:
            self.ahead = diffusion.extrapolation(self.alpha_bars)

    @torch.no_grad()
    def next_latent(
        self,
        context: Float[Tensor, "b l c h w"],
        actions: Int64[Tensor, "b l"],
        noise: Float[Tensor, "b c h w"],
        context_eps: Float[Tensor, "b l c h w"] | None = None,
    ) -> Float[Tensor, "b c h w"]:
        """The latent that follows, from unit Gaussian ``noise``.

        ``context_eps`` is the noise to add at level ``sampling.context_noise``: ValueError where
        that is above 0 and there is none.
        """
        noise_level = self.sampling.context_noise
        level = torch.full((len(context),), noise_level, device=context.device)
        level_class = self.denoiser.augmentation.bucket(level)
        if noise_level > 0:
            if context_eps is None:
                raise ValueError(f"context_noise: {noise_level}: needs context_eps")
            context = self.denoiser.augmentation.apply(context, context_eps, level)
        condition = context, actions, level_class
        guidance, null_class = self.sampling.guidance, self.denoiser.null_context_class
        x_t, before = noise, noise
        for t, (now, then), weight in zip(
            self.timesteps, pairwise(self.alpha_bars), self.ahead, strict=True
        ):
            alpha_bar = torch.full((len(x_t),), now, device=x_t.device)
            v = guided_velocity(self.velocity, x_t, t, *condition, guidance, null_class)
            x0 = predicted = diffusion.x0_from(v, x_t, alpha_bar)
            eps = diffusion.eps_from(v, x_t, alpha_bar)
            if weight:  # both move, so that x_t is still what they make
                ahead = weight * (predicted - before)
                x0, eps = predicted + ahead, eps - (now / (1 - now)) ** 0.5 * ahead
            before = predicted
            x_t = diffusion.add_noise(x0, eps, torch.full_like(alpha_bar, then))
        return diffusion.from_residual(x_t, context, self.denoiser.residual_std)

    def draw(
        self, context: Float[Tensor, "b l c h w"], generator: torch.Generator
    ) -> tuple[Float[Tensor, "b c h w"], Float[Tensor, "b l c h w"] | None]:
        """Noise to start from, and noise for the context where its level is above 0.

        The generator moves on alike at every level: what models start from is the same. Noise is
        drawn on the CPU, so that every device dreams the same from one seed. It goes to the device
        without waiting for it: CUDA takes a copy of pageable memory before it returns.
        """
        where = context.device
        noise = torch.randn(context[:, 0].shape, generator=generator)
        seed = int(torch.randint(2**62, (), generator=generator))
        eps = None
        if self.sampling.context_noise > 0:
            own = torch.Generator().manual_seed(seed)
            eps = torch.randn(context.shape, generator=own).to(where, non_blocking=True)
        return noise.to(where, non_blocking=True), eps

    def step(
        self, past: RollingContext, action: Int64[Tensor, " b"], generator: torch.Generator
    ) -> Float[Tensor, "b c h w"]:
        """The latent that ``action`` leads to; it becomes the last of ``past``."""
        past.actions[:, -1].copy_(action)
        noise, eps = self.draw(past.context, generator)
        latent = self.next_latent(past.context, past.actions, noise, eps)
        past.push(latent)
        return latent

    def rollout(
        self,
        context: Float[Tensor, "b l c h w"],
        past_actions: Int64[Tensor, "b l"],
        actions: Int64[Tensor, "b n"],
        generator: torch.Generator,
    ) -> Iterator[Float[Tensor, "b c h w"]]:
        """Autoregressive latents, one per action in ``actions``: each becomes context.

        ``past_actions[:, i]`` was taken at ``context[:, i]``, except that the last is replaced
        by the first of ``actions``: the one that leads out of the last context frame.
        """
        past = RollingContext(context, past_actions)
        for n in range(actions.shape[1]):
            yield self.step(past, actions[:, n], generator)


def guided_velocity(
    velocity: DenoiserFn,
    x_t: Float[Tensor, "b c h w"],
    t: int | Int64[Tensor, " b"],
    context: Float[Tensor, "b l c h w"],
    actions: Int64[Tensor, "b l"],
    level_class: Int64[Tensor, " b"],
    guidance: float,
    null_context_class: int,
) -> Float[Tensor, "b c h w"]:
    """Classifier-free guidance on past frames only (§3.2.2): both branches in one batch.

    ``null_context_class`` is the class of a context that was dropped;
    ``v = v_without + guidance * (v_with - v_without)``; at weight 1 there is one branch.
    """
    batch = len(x_t)
    time = torch.full((batch,), t, device=x_t.device) if isinstance(t, int) else t
    if guidance == 1.0:
        return velocity(x_t, time, context, actions, level_class)
    without = torch.full_like(level_class, null_context_class)
    both = velocity(
        torch.cat([x_t, x_t]),
        torch.cat([time, time]),
        torch.cat([context, torch.zeros_like(context)]),
        torch.cat([actions, actions]),
        torch.cat([level_class, without]),
    )
    v_with, v_without = both.chunk(2)
    return v_without + guidance * (v_with - v_without)
