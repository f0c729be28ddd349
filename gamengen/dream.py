"""The model as an engine: a dream that starts from real frames and never ends."""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from gamengen.autoencoder import Autoencoder, to_float, to_uint8
from gamengen.denoiser import Denoiser, load_denoiser
from gamengen.engine import Frame, History
from gamengen.errors import InputError
from gamengen.latents import pad_history
from gamengen.sampler import Sampler, Sampling


@dataclass(frozen=True)
class Settings:
    """What may change from one frame to the next."""

    model: Literal["student", "teacher"] = "student"
    steps: int = 1
    guidance: float = 1.0
    context_noise: float = 0.0


@dataclass(frozen=True)
class Weights:
    """What all dreams of a process share."""

    autoencoder: Autoencoder
    student: Denoiser
    teacher: Denoiser

    @classmethod
    def load(cls, decoder: Path, denoiser: Path, student: Path) -> "Weights":
        """Raises InputError naming the artifact that is missing."""
        return cls(Autoencoder.load(decoder), load_denoiser(student), load_denoiser(denoiser))


@dataclass(frozen=True)
class Timings:
    """Seconds of the last step."""

    denoise: float
    decode: float


class Dream:
    """One player's context over shared weights."""

    over: str | None = None

    def __init__(self, weights: Weights, seed: int = 0) -> None:
        self.weights, self.settings = weights, Settings()
        self.facts = weights.teacher.game
        self.length = weights.teacher.context_frames
        self.generator = torch.Generator().manual_seed(seed)
        self.frames_since_real = 0
        self.timings = Timings(0.0, 0.0)

    @property
    def settings(self) -> Settings:
        """How the next frame is made; setting it raises InputError where it cannot be."""
        return self._settings

    @settings.setter
    def settings(self, told: Settings) -> None:
        highest = self.weights.teacher.augmentation.highest
        if told.context_noise > highest:
            raise InputError(f"context_noise: {told.context_noise}: at most {highest}")
        if told.model == "student" and told.steps != 1:
            raise InputError(f"steps: {told.steps}: the student takes 1")
        self._settings = told

    @torch.inference_mode()
    def start(self, history: History) -> Frame:
        """Encode the last frames, padded as in training; returns the last."""
        frames = history.frames[-self.length :]
        latents = self.weights.autoencoder.encode(to_float(torch.from_numpy(frames)))
        # The action of the last frame is not known yet: `step` gives it.
        before = history.actions[len(history.actions) + 1 - len(frames) :].astype(np.int64)
        actions = torch.from_numpy(np.append(before, self.facts.no_action))
        context, padded = pad_history(latents, actions, self.length, self.facts.before_start)
        self.context, self.actions = context[None].clone(), padded[None].clone()
        self.frames_since_real = 0
        return history.frames[-1]

    @torch.inference_mode()
    def step(self, action: int) -> Frame:
        """The frame that an action leads to."""
        began = time.perf_counter()
        self.actions[0, -1] = action
        latent = self._next()
        self.context = torch.cat([self.context[:, 1:], latent[:, None]], 1)
        nothing = torch.full_like(self.actions[:, :1], self.facts.no_action)
        self.actions = torch.cat([self.actions[:, 1:], nothing], 1)
        denoised = time.perf_counter()
        frame = to_uint8(self.weights.autoencoder.decode(latent))[0].numpy()
        self.timings = Timings(denoised - began, time.perf_counter() - denoised)
        self.frames_since_real += 1
        return frame

    @torch.inference_mode()
    def edit(self, frame: Frame, count: int) -> Frame:
        """Make a frame the last ``count`` of the history (A.4); returns it as the model sees it."""
        latent = self.weights.autoencoder.encode(to_float(torch.from_numpy(frame)[None]))
        self.context[:, -count:] = latent
        self.actions[:, -count:] = self.facts.no_action
        return to_uint8(self.weights.autoencoder.decode(latent))[0].numpy()

    def close(self) -> None:
        """Nothing is held but memory."""

    def _next(self) -> Tensor:
        told = self.settings
        denoiser = self.weights.student if told.model == "student" else self.weights.teacher
        sampling = Sampling(told.steps, told.guidance, told.context_noise)
        noise = torch.randn(self.context[:, 0].shape, generator=self.generator)
        eps = torch.randn(self.context.shape, generator=self.generator)
        return Sampler(denoiser, sampling).next_latent(self.context, self.actions, noise, eps)
