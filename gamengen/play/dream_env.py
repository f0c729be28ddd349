"""The dream as a gymnasium environment: an agent can play, or be trained, inside the model."""

from collections.abc import Callable, Sequence
from copy import copy
from typing import Any

import gymnasium
import numpy as np

from gamengen.game.engine import Frame, History
from gamengen.play.dream import Dream

Reward = Callable[[Frame, int], float]  # of the frame that came, after the action that led to it


class DreamEnv(gymnasium.Env[Frame, np.int64]):
    """A Dream with the scenario's own actions; observations are its frames, uint8 [h, w, 3].

    The model predicts neither rewards nor an episode's end. So ``reward`` must come from
    outside, a function of the frame and the action that led to it (0 unless given), and an
    episode is never terminated, only truncated after ``length`` frames. One starts from one of
    ``histories``, drawn by the environment's own seed, which also seeds the dream's noise.
    ``dream`` is copied, its networks are not: several environments and a player may share one.
    """

    metadata = {"render_modes": ["rgb_array"]}

    def __init__(
        self,
        dream: Dream,
        histories: Sequence[History],
        length: int = 1050,  # a minute at two tics a frame
        reward: Reward = lambda frame, action: 0.0,
        render_mode: str | None = None,
    ) -> None:
        if not histories:
            raise ValueError("histories: none; an episode needs one to start from")
        if render_mode not in (None, *self.metadata["render_modes"]):
            raise ValueError(f"render_mode: {render_mode!r}: must be None or 'rgb_array'")
        facts = dream.facts
        self.dream, self.histories, self.length, self.reward = (
            copy(dream),
            histories,
            length,
            reward,
        )
        self.render_mode = render_mode
        self.begun = False
        self.metadata = self.metadata | {"render_fps": float(facts.fps)}
        self.action_space = gymnasium.spaces.Discrete(len(facts.actions))
        self.observation_space = gymnasium.spaces.Box(
            0, 255, (facts.height, facts.width, 3), np.uint8
        )

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Frame, dict[str, Any]]:
        super().reset(seed=seed)
        history = self.histories[int(self.np_random.integers(len(self.histories)))]
        self.dream.seed = int(self.np_random.integers(2**31))
        self.begun = True
        return self.dream.start(history), {"seed": history.seed, "frame": len(history.actions)}

    def step(self, action: np.int64) -> tuple[Frame, float, bool, bool, dict[str, Any]]:
        self._require_begun()
        frame = self.dream.step(int(action))
        truncated = self.dream.frames_since_real >= self.length
        return frame, float(self.reward(frame, int(action))), False, truncated, {}

    def render(self) -> Frame | None:
        self._require_begun()
        return self.dream.frame.copy() if self.render_mode == "rgb_array" else None

    def _require_begun(self) -> None:
        if not self.begun:
            raise gymnasium.error.ResetNeeded("no episode has begun: call reset() first")

    def close(self) -> None:
        self.dream.close()
