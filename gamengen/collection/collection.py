"""Where a collection stands: its games, its agent, its rewards; survives a kill."""

import csv
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from pydantic import BaseModel
from stable_baselines3 import PPO
from stable_baselines3.common.vec_env import VecEnv
from tqdm import tqdm

from gamengen.data.index import Entry
from gamengen.runtime.checksums import require_sound, seal
from gamengen.runtime.interrupt import Interrupt
from gamengen.runtime.replacing import replacing

Policy = Literal["training", "trained", "random"]


class Running(BaseModel, frozen=True, extra="forbid"):
    """An episode in progress: its actions bring it back."""

    policy: Policy
    agent_step: int
    actions: list[int]


class Progress(BaseModel, frozen=True, extra="forbid"):
    """Where a game and its store stand: what a checkpoint keeps of it."""

    entries: list[Entry] = []  # of the episodes that are over; how many gives the next one's seed
    steps: int = 0  # actions taken by an agent in training
    finishing: bool = False
    policy: Policy | None = None  # of episodes to come; None: the one that the game is started with
    running: Running | None = None

    @property
    def idle(self) -> bool:
        """Whether it plays no more."""
        return self.finishing and self.running is None

    @property
    def rows(self) -> int:
        """Of the store: frames of the episodes that are over."""
        return sum(entry.length for entry in self.entries)


class RewardRow(BaseModel, frozen=True, extra="forbid"):
    """Mean reward, by A.5 and unscaled, of the episodes that ended up to a step."""

    step: int
    episodes: int
    mean_episode_reward: float


class State(BaseModel, frozen=True, extra="forbid"):
    """What a checkpoint says of everything but the agent."""

    steps: int = 0
    frames: int = 0
    rewards: list[RewardRow] = []
    ended: list[float] = []  # rewards of the episodes since the last row
    games: list[Progress]


class Collection:
    """One process's share of a collection, checkpointed into ``folder``.

    Every checkpoint is a folder of its own that appears by a rename: the agent, the random
    generators and the state of the games. An interrupt is honoured between two rollouts of
    training, and between two steps of play, after a checkpoint; a second one at once.
    """

    def __init__(self, folder: Path, games: int, frames: int, every: int, quiet: bool) -> None:
        self.folder, self.every = folder, every
        self.saved = latest(folder)
        new = State(games=[Progress() for _ in range(games)])
        self.state = new if self.saved is None else last_state(folder)
        self.steps, self.frames = self.state.steps, self.state.frames
        self.rewards = [*self.state.rewards]
        self.first_frames, self.pauses = self.frames, 0
        self.ended = [*self.state.ended]
        self.interrupt = Interrupt(insist=True)
        self.all_idle = all(game.idle for game in self.state.games)
        self.bar = tqdm(
            total=max(frames, self.frames),
            initial=self.frames,
            unit=" frames",
            disable=quiet,
            mininterval=5,
            dynamic_ncols=True,
        )

    def __enter__(self) -> "Collection":
        self.interrupt.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self.interrupt.__exit__()
        self.bar.close()

    @property
    def saved_agent(self) -> Path | None:
        """The agent of the newest checkpoint, where there was one already."""
        agent = self.saved and self.saved / "agent.zip"
        return agent if agent and agent.exists() else None

    def restore_random(self) -> None:
        """Put the global generators back where the checkpoint left them."""
        assert self.saved is not None
        with np.load(self.saved / "random.npz") as kept:
            torch.set_rng_state(torch.from_numpy(kept["torch"]))
            np.random.set_state(("MT19937", kept["numpy"], int(kept["position"]), 0, 0.0))  # noqa: NPY002

    def count(self, infos: Sequence[dict[str, Any]]) -> None:
        """Count one step of every game. Raises OSError when a game could not write."""
        for info in infos:
            if "error" in info:
                raise info["error"]
        added = sum(info["frames"] for info in infos)
        self.steps += len(infos)
        self.frames += added
        self.ended += [info["episode_reward"] for info in infos if "episode_reward" in info]
        self.all_idle = all(info["idle"] for info in infos)
        self.bar.update(added)

    def close_row(self) -> None:
        """Add a row to the reward curve where episodes have ended since the last one."""
        if not self.ended:
            return
        mean = float(np.mean(self.ended))
        row = RewardRow(step=self.steps, episodes=len(self.ended), mean_episode_reward=mean)
        self.rewards, self.ended = [*self.rewards, row], []
        self.bar.set_postfix({"mean reward": f"{mean:.0f}"}, refresh=False)

    def pause(self, games: VecEnv, agent: PPO | None) -> None:
        """Between two rollouts: checkpoint when it is time to, or asked to stop."""
        self.pauses += 1
        if self.interrupt.asked or self.pauses % self.every == 0:
            self.save(games, agent)
        if self.interrupt.asked:
            raise KeyboardInterrupt

    def save(self, games: VecEnv, agent: PPO | None) -> None:
        """Checkpoint now; older checkpoints go once the new one is whole."""
        progress = games.env_method("checkpoint")
        for answer in progress:
            if isinstance(answer, OSError):
                raise answer
        self.state = State(
            steps=self.steps,
            frames=self.frames,
            rewards=self.rewards,
            ended=self.ended,
            games=progress,
        )
        number = 1 + (int(self.saved.name.split("-")[1]) if self.saved else 0)
        saved = self.folder / f"checkpoint-{number}"
        with replacing(saved) as partial:
            partial.mkdir()
            (partial / "state.json").write_text(self.state.model_dump_json())
            _, key, position, *_ = np.random.get_state()  # noqa: NPY002
            np.savez(
                partial / "random.npz",
                torch=torch.get_rng_state().numpy(),
                numpy=np.asarray(key),
                position=np.asarray(position),
            )
            if agent is not None:
                agent.save(partial / "agent.zip")
            seal(partial)
        if self.saved is not None:
            shutil.rmtree(self.saved)
        self.saved = saved


def latest(folder: Path) -> Path | None:
    found = folder.glob("checkpoint-*")
    return max(found, key=lambda path: int(path.name.split("-")[1]), default=None)


def last_state(folder: Path) -> State:
    """What the newest checkpoint of a process says. Raises InputError when it is damaged."""
    saved = latest(folder)
    assert saved is not None, f"{folder}: no checkpoint"
    require_sound(saved, "dvc repro collect")
    return State.model_validate_json((saved / "state.json").read_text())


def write_rewards(path: Path, states: Sequence[State]) -> None:
    """The reward curve of every process as CSV."""
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["step", "mean_episode_reward", "episodes", "process"])
        for process, state in enumerate(states):
            writer.writerows(
                [row.step, f"{row.mean_episode_reward:.1f}", row.episodes, process]
                for row in state.rewards
            )
