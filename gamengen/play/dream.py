"""The model as an engine: a game that is only dreamt."""

from contextlib import nullcontext
from dataclasses import dataclass, replace
from time import perf_counter

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from gamengen.backends.backend import Backend
from gamengen.data.latents import pad_history
from gamengen.game.engine import Frame, History
from gamengen.game.facts import GameFacts
from gamengen.model.autoencoder import to_float
from gamengen.model.diffusion import Sampling, require_sampleable
from gamengen.model.sampler import RollingContext, Sampler
from gamengen.model.weights import Role, Weights
from gamengen.play.turns import Turns
from gamengen.runtime import device
from gamengen.runtime.errors import InputError

CALLS_TO_RECORD = 3  # after which a CUDA graph has been recorded and run


@dataclass(frozen=True)
class Settings:
    """How the next frames are dreamt; may change between any two of them."""

    model: Role
    sampling: Sampling


def black(facts: GameFacts) -> History:
    """A black picture to start from: what is shown does not change how long a frame takes."""
    shape = 1, facts.height, facts.width, 3
    return History(0, np.zeros(0, np.int64), np.zeros(shape, np.uint8))


def defaults(weights: Weights) -> dict[Role, Settings]:
    """How each model is played unless told otherwise: as its own folder says."""
    return {
        "student": Settings("student", replace(weights.student.sampling, steps=1)),
        "teacher": Settings("teacher", weights.teacher.sampling),
    }


@dataclass(frozen=True)
class Timings:
    """Where the time of one frame went, milliseconds."""

    denoise: float
    decode: float  # to 8-bit pixels
    picture: float  # its copy to the host


class Dream:
    """Starts from a history's frames; then every frame is the model's own.

    The same seed, history, actions and settings give the same frames. ``start``, ``step`` and
    ``edit`` belong to one thread, ``warm_up`` included; ``settings`` may be set from any.
    """

    over: str | None = None  # a dream never ends

    def __init__(
        self,
        weights: Weights,
        backend: Backend,
        settings: Settings | None = None,
        seed: int = 0,
        turns: Turns | None = None,
    ) -> None:
        """``backend`` runs both denoisers and the decoder; networks move to its device.

        Dreams that share it also share ``turns``.
        """
        self.weights, self.backend, self.seed = weights, backend, seed
        self.turns = turns or Turns()
        # A turn is one pass of a network. XLA computes a whole frame at its end, in one turn.
        traced = device.on_xla()
        self.whole_frame = self.turns if traced else nullcontext()
        self.facts, self.context_frames = weights.teacher.game, weights.teacher.context_frames
        self.encoder = weights.decoder.to(backend.where)
        picture = backend.picture(weights.decoder)
        self.picture = picture if traced else self.turns.each(picture)
        nets = {id(net): backend.velocity(net) for net in (weights.teacher, weights.student)}
        if not traced:
            nets = {key: self.turns.each(net) for key, net in nets.items()}
        self.velocities = {
            "teacher": nets[id(weights.teacher)],
            "student": nets[id(weights.student)],
        }
        self.settings = settings or defaults(weights)[weights.first]
        # Whether the device is waited for between the parts of a step, so that timings on an
        # accelerator say what took the time rather than how long it took to ask for it.
        self.measured = False
        self.timings = Timings(0.0, 0.0, 0.0)
        self.frames_since_real = 0

    @property
    def settings(self) -> Settings:
        """How the next frame is dreamt; setting it raises InputError where it cannot be."""
        return self._settings

    @settings.setter
    def settings(self, settings: Settings) -> None:
        sampling, denoiser = settings.sampling, self.weights.denoiser(settings.model)
        if settings.model == "student" and sampling.steps != 1:
            raise InputError(f"steps: {sampling.steps}: the student takes 1")
        try:
            require_sampleable(sampling, denoiser.noise_schedule, denoiser.augmentation)
        except ValueError as error:
            raise InputError(str(error)) from None
        self._sampler = Sampler(denoiser, sampling, self.velocities[settings.model])
        self._settings = settings

    @torch.no_grad()
    def warm_up(self) -> None:
        """Build whatever the back end builds: every network, with and without guidance."""
        net, where = self.weights.teacher, self.backend.where
        nothing = torch.tensor([self.facts.no_action]).to(where)
        # As play begins: the memory layout of what the encoder gives is part of what is built.
        past = self._past(black(self.facts))
        for velocity in set(self.velocities.values()):
            for guidance in (1.0, 2.0) if net.augmentation.context_dropout else (1.0,):
                sampler = Sampler(net, Sampling(1, guidance), velocity)
                for _ in range(CALLS_TO_RECORD):
                    with self.whole_frame:
                        self.picture(sampler.step(past, nothing, torch.Generator()))
                        device.sync()

    @torch.no_grad()
    def start(self, history: History) -> Frame:
        """Take over a history; play begins at its last frame, which is returned.

        Raises ValueError when its frames are not of this game's size.
        """
        self._require_frames(history.frames)
        self.past = self._past(history)
        self.random = device.generator(self.seed)
        self.frames_since_real = 0
        self.frame: Frame = history.frames[-1].copy()
        return self.frame

    @torch.no_grad()
    def step(self, action: int) -> Frame:
        """The frame that an action leads to."""
        if not 0 <= action < len(self.facts.actions):
            raise ValueError(f"action {action}: there are {len(self.facts.actions)}")
        # By way of a tensor: a Python number would become part of XLA's graph.
        chosen = torch.tensor([action]).to(self.backend.where, non_blocking=True)
        with self.whole_frame:
            begin = perf_counter()
            latent = self._sampler.step(self.past, chosen, self.random)
            if self.measured:
                device.sync()
                latent.cpu()
            denoised = perf_counter()
            shown = self.picture(latent)
            device.sync()
            if self.measured:
                shown[0, 0].cpu()
            decoded = perf_counter()
            self.frame = shown.cpu().numpy().copy()
            end = perf_counter()
        self.timings = Timings(
            denoise=1e3 * (denoised - begin),
            decode=1e3 * (decoded - denoised),
            picture=1e3 * (end - decoded),
        )
        self.frames_since_real += 1
        return self.frame

    @torch.no_grad()
    def edit(self, frame: Frame, count: int = 1) -> Frame:
        """Let a picture stand in for the last ``count`` frames of the history (A.4).

        It stood still under no key pressed; what is returned is how the model sees it.
        """
        self._require_frames(frame[None])
        if not 1 <= count <= self.context_frames:
            raise ValueError(f"count {count}: the model sees {self.context_frames} frames")
        latent = self._encode(frame[None])
        self.past.context[:, -count:] = latent
        self.past.actions[:, -count:] = self.facts.no_action
        with self.whole_frame:
            self.frame = self.picture(latent).cpu().numpy().copy()
        return self.frame

    def close(self) -> None:
        """Does nothing: part of the Engine interface."""

    def _past(self, history: History) -> RollingContext:
        latents = self._encode(history.frames[-self.context_frames :])
        taken = history.actions[len(history.actions) - len(latents) + 1 :]
        # The action that leads out of the last frame is not known yet.
        actions = torch.tensor([*taken, self.facts.no_action], dtype=torch.int64)
        context, actions = pad_history(
            latents, actions.to(latents.device), self.context_frames, self.facts.before_start
        )
        return RollingContext(context[None], actions[None])

    def _encode(self, frames: UInt8[np.ndarray, "m h w 3"]) -> Float[Tensor, "m c lh lw"]:
        pictures = to_float(torch.from_numpy(np.ascontiguousarray(frames)).to(self.backend.where))
        with self.turns:
            return self.encoder.encode(pictures).half().float()  # as they are stored for training

    def _require_frames(self, frames: np.ndarray) -> None:
        size = (self.facts.height, self.facts.width, 3)
        if len(frames) == 0 or frames.shape[1:] != size or frames.dtype != np.uint8:
            raise ValueError(
                f"frames: {frames.dtype} {frames.shape}: must be uint8 [m >= 1, *{size}]"
            )
