"""The player whose games become data: observation, network, PPO (§4.1, A.5)."""

from collections.abc import Callable
from typing import cast

import numpy as np
import torch
from gymnasium import spaces
from jaxtyping import Float
from pydantic import Field, PositiveInt
from stable_baselines3 import PPO
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor, NatureCNN
from stable_baselines3.common.vec_env import VecEnv
from torch import Tensor

from gamengen.collection.collection import Collection
from gamengen.collection.games import stacked
from gamengen.runtime.settings import Settings, Size

Observations = dict[str, np.ndarray]
Choose = Callable[[Observations, int], np.ndarray]  # given the steps so far


class AgentSettings(Settings):
    """PPO's numbers, and the width of its networks."""

    training_steps: PositiveInt
    rollout_steps: Size  # of each game, between two updates
    batch_size: int = Field(gt=1)
    epochs: int = Field(gt=0, le=1000)
    learning_rate: float = Field(gt=0, le=0.1)
    discount: float = Field(gt=0, le=1)
    gae_lambda: float = Field(ge=0, le=1)
    clip_range: float = Field(gt=0)
    entropy_weight: float = Field(ge=0)
    value_weight: float = Field(ge=0)
    max_gradient_norm: float = Field(gt=0)
    picture_features: Size
    hidden_units: Size


class TwoPictures(BaseFeaturesExtractor):
    """Features of frame and map, each by its own CNN (Mnih et al. 2015), and the past actions."""

    def __init__(self, observation_space: spaces.Dict, picture_features: int) -> None:
        past = int(np.prod(observation_space["actions"].shape or ()))
        super().__init__(observation_space, 2 * picture_features + past)
        self.frame = NatureCNN(observation_space["frame"], picture_features)
        self.map = NatureCNN(observation_space["map"], picture_features)

    def forward(self, observations: dict[str, Tensor]) -> Float[Tensor, "b features"]:
        """``frame`` and ``map`` in [0, 1], [b, 3, 120, 160]; ``actions`` 0 or 1, [b, n]."""
        pictures = [self.frame(observations["frame"]), self.map(observations["map"])]
        return torch.cat([*pictures, observations["actions"]], dim=1)


def new_agent(settings: AgentSettings, games: VecEnv, seed: int) -> PPO:
    """An untrained agent: shared CNNs, then actor and critic of two layers each (A.5)."""
    layers = [settings.hidden_units] * 2
    return PPO(
        "MultiInputPolicy",
        games,
        learning_rate=settings.learning_rate,
        n_steps=settings.rollout_steps,
        batch_size=settings.batch_size,
        n_epochs=settings.epochs,
        gamma=settings.discount,
        gae_lambda=settings.gae_lambda,
        clip_range=settings.clip_range,
        ent_coef=settings.entropy_weight,
        vf_coef=settings.value_weight,
        max_grad_norm=settings.max_gradient_norm,
        policy_kwargs={
            "features_extractor_class": TwoPictures,
            "features_extractor_kwargs": {"picture_features": settings.picture_features},
            "net_arch": {"pi": layers, "vf": layers},
            # eps is SB3's own; the plain Adam takes a quarter of an update here.
            "optimizer_kwargs": {"eps": 1e-5, "fused": True},
        },
        seed=seed,
        device="cpu",
    )


def train(agent: PPO, steps: int, collection: Collection, logger: Logger) -> None:
    """Train until the agent has taken ``steps`` steps, every one of them recorded."""
    agent.set_logger(logger)
    left = steps - agent.num_timesteps
    if left > 0:
        agent.learn(left, _Watched(collection), reset_num_timesteps=False)


class _Watched(BaseCallback):
    """Tells the collection of each step, and lets it checkpoint before each rollout."""

    model: PPO

    def __init__(self, collection: Collection) -> None:
        super().__init__()
        self.collection = collection
        self.threads = torch.get_num_threads()

    def _on_rollout_start(self) -> None:
        # Before a rollout rather than after one: only then has the agent learned from the last.
        self.collection.pause(self.training_env, self.model)
        # One thread chooses actions: more would wait busily on the cores that the games need.
        torch.set_num_threads(1)

    def _on_step(self) -> bool:
        self.collection.count(self.locals["infos"])
        return True

    def _on_rollout_end(self) -> None:
        torch.set_num_threads(self.threads)
        self.collection.close_row()
        for row in self.collection.rewards[-1:]:
            for name, value in row.model_dump(exclude={"step"}).items():
                self.logger.record(f"episodes/{name}", value)


def play(
    games: VecEnv,
    choose: Choose,
    frames: int,
    rollout_steps: int,
    collection: Collection,
    agent: PPO | None,
) -> None:
    """Play, without learning, until ``frames`` are recorded and every episode begun is over."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    observations = stacked(games.env_method("observation"))
    while not collection.all_idle:
        if collection.frames >= frames:
            games.env_method("finish")
        seen, _, _, infos = games.step(choose(observations, collection.steps))
        observations = cast(Observations, seen)
        collection.count(infos)
        rolled_out = collection.steps % (rollout_steps * games.num_envs) == 0
        if rolled_out:  # not where somebody interrupts: the curve is the same
            collection.close_row()
        if rolled_out or collection.interrupt.asked:
            collection.pause(games, agent)
    collection.close_row()
    torch.set_num_threads(threads)
