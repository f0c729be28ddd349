"""Stage 1: train an agent on Doom, and keep every frame it sees on the way (§3.1, A.5)."""

import time
from collections import Counter
from functools import partial
from math import ceil
from pathlib import Path
from typing import Literal, Self

import numpy as np
from accelerate import Accelerator
from pydantic import Field, NonNegativeInt, PositiveInt, model_validator
from stable_baselines3 import PPO
from stable_baselines3.common.logger import Logger, TensorBoardOutputFormat

from gamengen.collection.agent import AgentSettings, Choose, new_agent, play, train
from gamengen.collection.collection import Collection, Policy, last_state, write_rewards
from gamengen.collection.recording import Rules, Writer, start_games
from gamengen.data.episodes import EpisodeWriter
from gamengen.data.index import Entry, Index, write_index
from gamengen.data.splits import Shares, split
from gamengen.game.doom import Game, Resolution, Supersampling, game_files, own_files
from gamengen.game.facts import GameFacts
from gamengen.game.scenario import GAME, game_facts
from gamengen.runtime import device
from gamengen.runtime.errors import InputError
from gamengen.runtime.output import atomic_output, link, require_space
from gamengen.runtime.resume import resume_folder
from gamengen.runtime.stage import StageParams, run

AGENT_BYTES = 200_000_000  # with its optimizer; twice while a checkpoint replaces another


class Params(StageParams):
    """Which game, who plays it, and how much of it to keep."""

    policy: Literal["agent", "random", "both"]  # both: half the frames at random, first
    scenario: str
    resolution: Resolution
    supersampling: Supersampling
    max_buttons: int = Field(gt=0, le=10)
    tics_per_frame: int = Field(gt=0, le=35)
    action_tics: PositiveInt
    frames: PositiveInt
    shares: Shares
    seed: NonNegativeInt
    games: int = Field(gt=0, le=256)
    rules: Rules
    agent: AgentSettings
    checkpoint_every: PositiveInt

    def reads(self) -> list[Path]:
        return own_files(self.scenario)

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.action_tics % self.tics_per_frame:
            raise ValueError(
                f"action_tics: {self.action_tics}: must be a multiple of tics_per_frame: "
                f"{self.tics_per_frame}: an action begins at a frame"
            )
        if self.action_tics > self.rules.episode_tics:
            raise ValueError(
                f"action_tics: {self.action_tics}: must be no more than rules.episode_tics: "
                f"{self.rules.episode_tics}: an episode ends between two actions"
            )
        if self.policy == "random":
            return self
        steps, rollout = self.agent.training_steps, self.agent.rollout_steps * self.games
        if rollout % self.agent.batch_size:
            raise ValueError(
                f"agent.batch_size: {self.agent.batch_size}: must divide agent.rollout_steps * "
                f"games = {rollout}"
            )
        rollouts = ceil(steps / rollout)  # whole ones
        trained_on = rollouts * rollout * self.action_tics // self.tics_per_frame
        least = trained_on if self.policy == "agent" else 2 * trained_on
        if self.frames <= least:
            raise ValueError(
                f"frames: {self.frames}: must be more than {least}: agent.training_steps: {steps} "
                f"make {trained_on} in rollouts of {rollout}, and the finished agent plays too"
            )
        return self

    @property
    def random_frames(self) -> int:
        """Of ``frames``, those that are played by nobody, before an agent trains."""
        return {"agent": 0, "both": self.frames // 2, "random": self.frames}[self.policy]


def main(params: Params, episodes: Path) -> None:
    """Record ``frames`` frames of whole episodes into ``episodes``; each process its share.

    Every process trains an agent of its own, on its share of the training steps.
    """
    accelerator = device.start()
    rank, processes = accelerator.process_index, accelerator.num_processes
    facts = checked(params, episodes)
    resume = resume_folder(params, game_files(params.scenario), episodes)
    own = resume / f"{rank}-of-{processes}"
    frames, every = ceil(params.frames / processes), params.checkpoint_every
    writers = [writer(params, own, rank, processes, game) for game in range(params.games)]
    began = time.monotonic()
    with Collection(own, params.games, frames, every, quiet=rank > 0) as collection:
        if collection.saved is not None:
            accelerator.print(f"resumed at frame {collection.frames} of {frames}")
        for each, progress in zip(writers, collection.state.games, strict=True):
            EpisodeWriter(own / each.store, facts, progress.rows)  # fails now if it is damaged
        policy: Policy = "random" if params.random_frames else "training"
        games = start_games(facts, params.rules, writers, policy, collection.state.games)
        agent, rollout = None, params.agent.rollout_steps
        try:
            if policy == "random" and collection.saved_agent is None:
                choose = uniform(params, rank, len(facts.actions))
                at_random = ceil(params.random_frames / processes)
                play(games, choose, at_random, rollout, collection, agent)
                games.env_method("play_as", "training")
            if params.policy != "random":
                if collection.saved_agent is not None:
                    # Its last observation included: the games stand there too.
                    agent = PPO.load(collection.saved_agent, games, device="cpu", force_reset=False)
                    collection.restore_random()
                else:
                    agent = new_agent(params.agent, games, params.seed + rank)
                steps = ceil(params.agent.training_steps / processes)
                train(agent, steps, collection, board(accelerator, episodes))
                games.env_method("play_as", "trained")
                play(games, partial(chosen, agent), frames, rollout, collection, agent)
            collection.save(games, agent)
        finally:
            games.close()
    device.wait(accelerator)
    with atomic_output(episodes, accelerator) as folder:
        if accelerator.is_main_process:
            entries = publish(params, facts, resume, processes, folder)
    if accelerator.is_main_process:
        tell(entries, params.frames, collection, time.monotonic() - began, episodes)


def checked(params: Params, episodes: Path) -> GameFacts:
    """The game's facts, after everything that can be known to go wrong has been looked at."""
    facts = game_facts(**params.model_dump(include=GAME))
    Game(facts, automap=True).close()  # fails now if a WAD is missing
    frames = params.frames * facts.height * facts.width * 3
    agents = 2 * AGENT_BYTES if params.policy != "random" else 0
    require_space(episodes.parent, frames + agents, f"collect.frames: {params.frames}")
    return facts


def writer(params: Params, folder: Path, rank: int, processes: int, game: int) -> Writer:
    """Who records a game: its store, and its place among all the games of the collection."""
    return Writer(
        folder=folder,
        store=f"process{rank}-game{game}.zarr",
        number=rank * params.games + game,
        count=processes * params.games,
        games=params.games,
        seed=params.seed,
    )


def uniform(params: Params, rank: int, actions: int) -> Choose:
    """The random policy: a pure function of (seed, process, step)."""
    return lambda _, step: np.random.default_rng([params.seed, rank, step]).integers(
        actions, size=params.games
    )


def chosen(agent: PPO, observations: dict[str, np.ndarray], step: int) -> np.ndarray:
    """What the finished agent does: it draws from its policy, as it did in training."""
    return agent.predict(observations)[0]


def board(accelerator: Accelerator, episodes: Path) -> Logger:
    """TensorBoard for the first process, silence for the others."""
    if not accelerator.is_main_process:
        return Logger(None, [])
    folder = episodes.parent / "tensorboard" / episodes.name
    return Logger(str(folder), [TensorBoardOutputFormat(str(folder))])


def publish(
    params: Params, facts: GameFacts, resume: Path, processes: int, folder: Path
) -> list[Entry]:
    """Put every process's stores under one index; returns its entries.

    Raises InputError when there are too few episodes for three splits.
    """
    states = []
    for own in (resume / f"{rank}-of-{processes}" for rank in range(processes)):
        states.append(last_state(own))
        for store in own.glob("*.zarr"):
            link(store, folder)
    entries = [entry for state in states for game in state.games for entry in game.entries]
    if len(entries) < 3:
        raise InputError(
            f"params.yaml: collect.frames: {params.frames}: episodes: {len(entries)}, too few to "
            "train, validate and test on; raise it, or lower collect.rules.episode_tics"
        )
    entries = split(entries, params.shares)
    write_rewards(folder / "reward.csv", states)
    write_index(folder, Index(game=facts, entries=entries))
    return entries


def tell(
    entries: list[Entry], asked: int, collection: Collection, seconds: float, episodes: Path
) -> None:
    frames, splits = sum(e.length for e in entries), Counter(e.split for e in entries)
    speed = (collection.frames - collection.first_frames) / seconds
    print(
        f"{episodes}: {len(entries)} episodes ({splits['validation']} for validation, "
        f"{splits['test']} for test), {frames} frames, "
        f"{speed:.0f} frames/s in each process"
    )
    first, last = collection.rewards[0], collection.rewards[-1]
    print(
        f"mean episode reward: {first.mean_episode_reward:.0f} up to step {first.step} "
        f"({first.episodes} episodes), {last.mean_episode_reward:.0f} up to step {last.step} "
        f"({last.episodes} episodes)"
    )
    if frames < asked:
        print(f"warning: collect.frames: {asked} asked, {frames} recorded")


cli = partial(run, "collect", Params, main)

if __name__ == "__main__":
    cli()
