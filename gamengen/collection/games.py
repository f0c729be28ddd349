"""Games side by side, each in a process of its own, as Stable-Baselines3 plays them."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from stable_baselines3.common.vec_env import VecEnv
from stable_baselines3.common.vec_env.base_vec_env import VecEnvIndices, VecEnvStepReturn

from gamengen.collection.game_process import GameProcess, Make

CLOSE_LIMIT = 10.0  # seconds


class Games(VecEnv):
    """Games that are gymnasium environments. A death of one is seen by none who plays them."""

    def __init__(self, names: Sequence[str], make: Sequence[Make], checkpoints: Sequence[Any]):
        """Raises InputError when a game cannot be started."""
        self.games: list[GameProcess] = []
        try:
            for game in zip(names, make, checkpoints, strict=True):
                self.games.append(GameProcess(*game))
            begun = [game.spaces() for game in self.games]
            super().__init__(len(begun), *begun[0])
        except BaseException:
            self.close()
            raise

    def step_async(self, actions: np.ndarray) -> None:
        for game, action in zip(self.games, actions, strict=True):
            game.ask("step", action)

    def step_wait(self) -> VecEnvStepReturn:
        answers = [game.answer() for game in self.games]
        observations, rewards, dones, infos = zip(*answers, strict=True)
        return stacked(observations), np.stack(rewards), np.stack(dones), [*infos]

    def reset(self) -> dict[str, np.ndarray]:
        return stacked([observation for observation, _ in self.env_method("reset")])

    def env_method(
        self,
        method_name: str,
        *method_args: Any,
        indices: VecEnvIndices = None,
        **method_kwargs: Any,
    ) -> list[Any]:
        chosen = [self.games[index] for index in self._get_indices(indices)]
        for game in chosen:
            game.ask(method_name, *method_args, **method_kwargs)
        return [game.answer() for game in chosen]

    def get_attr(self, attr_name: str, indices: VecEnvIndices = None) -> list[Any]:
        return self.env_method("__getattribute__", attr_name, indices=indices)

    def set_attr(self, attr_name: str, value: Any, indices: VecEnvIndices = None) -> None:
        self.env_method("__setattr__", attr_name, value, indices=indices)

    def env_is_wrapped(self, wrapper_class: Any, indices: VecEnvIndices = None) -> list[bool]:
        return [False for _ in self._get_indices(indices)]

    def close(self) -> None:
        """End all games; what they are still busy with is not waited for."""
        for game in self.games:
            game.connection.close()  # which tells them, at once
        for game in self.games:
            game.end(CLOSE_LIMIT)
        self.games = []


def stacked(observations: Sequence[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """One batch of the observations of several games."""
    return {name: np.stack([each[name] for each in observations]) for name in observations[0]}
