"""A game that records itself while it is played: a gymnasium environment with its own store."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from jaxtyping import UInt8
from pydantic import BaseModel, Field

from gamengen.collection.collection import Policy, Progress, Running
from gamengen.collection.games import Games
from gamengen.data.episodes import Episode, EpisodeWriter, Row
from gamengen.data.index import Entry
from gamengen.game.doom import Game, averaged
from gamengen.game.facts import GameFacts
from gamengen.game.rewards import Area, Weights, area_of, rewards
from gamengen.runtime.settings import Settings, Size

HEIGHT, WIDTH = 120, 160  # of the pictures the agent sees (A.5)


class Rules(Settings):
    """How a game is played, whoever plays it."""

    episode_tics: int = Field(gt=0, le=10**6)  # eight hours
    repeat_probability: float = Field(ge=0, lt=1)
    past_actions: Size
    reward: Weights
    reward_scale: float = Field(gt=0, le=1000)


class Writer(BaseModel, frozen=True, extra="forbid"):
    """Who records: game ``number`` of ``count``, into ``store``; seeds follow from these."""

    folder: Path
    store: str
    number: int
    count: int
    games: int  # in this process: the agent takes so many steps at once
    seed: int

    def episode_seed(self, episode: int) -> int:
        """Seed of this writer's n-th episode; no two episodes of a collection share one."""
        return (self.seed * 1_000_003 + episode * self.count + self.number) % 2**31


class RecordedGame(gymnasium.Env):
    """Doom as the agent sees it (A.5), every frame of it kept.

    Observation: ``frame`` and ``map``, uint8 [3, 120, 160], and ``actions``: which buttons were
    down in each of the last actions, oldest first. The agent's reward is scaled; the recorded
    one is not. A whole episode goes to the store when it ends.
    """

    def __init__(
        self, facts: GameFacts, rules: Rules, writer: Writer, policy: Policy, progress: Progress
    ) -> None:
        self.facts, self.rules, self.writer = facts, rules, writer
        self.policy: Policy = progress.policy or policy
        picture = spaces.Box(0, 255, (3, HEIGHT, WIDTH), np.uint8)
        past = spaces.MultiBinary(rules.past_actions * len(facts.buttons))
        observed: dict[str, Any] = {"frame": picture, "map": picture, "actions": past}
        self.observation_space = spaces.Dict(observed)
        self.action_space = spaces.Discrete(len(facts.actions))
        self.game = Game(facts, automap=True)
        self.traces = self.game.traces  # what is left behind where this process is killed
        self.store = EpisodeWriter(writer.folder / writer.store, facts, progress.rows)
        self.entries = [*progress.entries]
        self.steps, self.finishing = progress.steps, progress.finishing
        self.running: Running | None = None
        self.seen = {name: np.zeros(each.shape, each.dtype) for name, each in observed.items()}
        if progress.running is None:
            self._begin_next()
            return
        self._begin(progress.running)
        for action in progress.running.actions:
            self._hold(action)

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        """Begin the next episode, with its own seed; none when the game is finishing."""
        if self.running is None or self.taken:
            self._begin_next()
        return self.observation(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Hold an action, or the last one again, for ``action_tics``."""
        if self.running is None:
            return self.observation(), 0.0, False, False, {"frames": 0, "idle": True}
        action = self._chosen_or_repeated(int(action))
        before = len(self.rows)
        reward = self._hold(action)
        self.steps += self.policy == "training"
        over, late = self.game.over is not None, self.tics >= self.rules.episode_tics
        info: dict[str, Any] = self._end() if over or late else {}
        info |= {"frames": len(self.rows) - before, "idle": False}
        return self.observation(), reward * self.rules.reward_scale, over, late and not over, info

    def observation(self) -> dict[str, np.ndarray]:
        """What the agent sees now."""
        return dict(self.seen)

    def play_as(self, policy: Policy) -> None:
        """Who plays the episodes that begin from now on, after ``finish`` too."""
        self.policy, self.finishing = policy, False

    def finish(self) -> None:
        """Begin no more episodes; the one in progress is played to its end."""
        self.finishing = True

    def checkpoint(self) -> Progress | OSError:
        """Write waiting rows; returns what brings this very state back."""
        try:
            self.store.flush()
        except OSError as error:
            return error
        return Progress(
            entries=self.entries,
            steps=self.steps,
            finishing=self.finishing,
            policy=self.policy,
            running=self.running and self.running.model_copy(update={"actions": [*self.taken]}),
        )

    def close(self) -> None:
        """End the game; rows that no checkpoint knows are left to be dropped."""
        self.game.close()

    @property
    def _seed(self) -> int:
        return self.writer.episode_seed(len(self.entries))

    def _begin_next(self) -> None:
        if not self.finishing:
            steps = self.steps * self.writer.games
            self._begin(Running(policy=self.policy, agent_step=steps, actions=[]))

    def _begin(self, running: Running) -> None:
        self.running, self.tics = running, 0
        self.taken: list[int] = []
        self.frame = self.game.start(self._seed)
        self.first = area_of(self.game.variables, self.rules.reward.area_size)
        self.visited: set[Area] = {self.first}
        self.rows: list[Row] = []
        self.seen["actions"] = np.zeros_like(self.seen["actions"])
        self._look()

    def _chosen_or_repeated(self, action: int) -> int:
        if not self.taken:
            return action
        # A generator for each choice: nothing to bring back when an episode is resumed.
        draw = np.random.default_rng([self._seed, len(self.taken)])
        return self.taken[-1] if draw.random() < self.rules.repeat_probability else action

    def _hold(self, action: int) -> float:
        """Play one action; returns the reward it earned."""
        rows = self.facts.action_tics // self.facts.tics_per_frame
        earned = [self._advance(action) for _ in range(rows) if self.game.over is None]
        self.taken.append(action)
        self._look()
        past, pressed = self.seen["actions"], self.facts.actions[action]
        self.seen["actions"] = np.append(past[len(pressed) :], np.array(pressed, past.dtype))
        return sum(earned)

    def _advance(self, action: int) -> float:
        before, frame = self.game.variables, self.frame
        self.frame = self.game.step(action)
        after, weights = self.game.variables, self.rules.reward
        reward = sum(rewards(before, after, self.visited, self.first, weights).values())
        self.visited.add(area_of(after, weights.area_size))
        self.tics += self.facts.tics_per_frame
        self.rows.append(Row(frame, action, reward, before))
        return reward

    def _end(self) -> dict[str, Any]:
        """Add the terminal frame and hand the episode to the store."""
        assert self.running is not None
        self.rows.append(Row(self.frame, self.facts.no_action, 0.0, self.game.variables))
        running, self.running = self.running, None
        reward = sum(row.reward for row in self.rows)
        try:
            start = self.store.append(Episode.of(self.rows))
        except OSError as error:
            return {"episode_reward": reward, "error": error}
        entry = Entry(
            id=f"{Path(self.writer.store).stem}-{len(self.entries):06d}",
            store=self.writer.store,
            start=start,
            length=len(self.rows),
            split="train",
            seed=self._seed,
            policy=running.policy,
            agent_step=running.agent_step,
        )
        self.entries.append(entry)
        return {"episode_reward": reward}

    def _look(self) -> None:
        self.seen["frame"] = for_agent(self.frame)
        self.seen["map"] = for_agent(self.game.automap)


def for_agent(picture: UInt8[np.ndarray, "h w 3"]) -> UInt8[np.ndarray, "3 120 160"]:
    """A picture at the agent's resolution, channels first; larger ones are averaged down."""
    smaller = averaged(picture, picture.shape[0] // HEIGHT)
    return np.ascontiguousarray(smaller.transpose(2, 0, 1))


def start_games(
    facts: GameFacts,
    rules: Rules,
    writers: Sequence[Writer],
    policy: Policy,
    progress: Sequence[Progress],
) -> Games:
    """Games side by side, each with its process and its store."""
    names = [Path(writer.store).stem for writer in writers]
    made = [partial(RecordedGame, facts, rules, each, policy) for each in writers]
    return Games(names, made, progress)
