from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from pydantic import ValidationError
from stable_baselines3.common.env_checker import check_env
from stable_baselines3.common.vec_env import DummyVecEnv

from gamengen.collection import agent
from gamengen.collection.agent import AgentSettings, new_agent
from gamengen.collection.collection import Collection, Progress
from gamengen.collection.recording import RecordedGame, Rules, Writer, for_agent
from gamengen.data.episodes import Episodes
from gamengen.data.index import Entry, Index, Split, write_index
from gamengen.data.splits import Shares, split
from gamengen.game.scenario import game_facts
from tests.artifacts import make_entry
from tests.tiny import tiny_params

COLLECT = tiny_params({})["collect"]
RULES = Rules.model_validate(COLLECT["rules"])
UNLIMITED = {"repeat_probability": 0.0, "episode_tics": 4000}
Make = Callable[..., RecordedGame]


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    games: list[RecordedGame] = []

    def start(
        progress: Progress | None = None, scenario: str = "defend_the_center", **rules: float
    ) -> RecordedGame:
        writer = Writer(folder=tmp_path, store="one.zarr", number=1, count=4, games=2, seed=3)
        facts = game_facts(scenario, "160x120", 1, 2, 2, 4)
        changed = RULES.model_copy(update=UNLIMITED | rules)
        games.append(RecordedGame(facts, changed, writer, "training", progress or Progress()))
        return games[-1]

    yield start
    for game in games:
        game.close()


def play(game: RecordedGame, steps: int, seed: int = 0) -> list[float]:
    """Random play; returns each step's reward."""
    random = np.random.default_rng(seed)
    earned = []
    for _ in range(steps):
        _, reward, over, late, _ = game.step(random.integers(len(game.facts.actions)))
        earned.append(reward)
        if over or late:
            game.reset()
    return earned


def progress_of(game: RecordedGame) -> Progress:
    progress = game.checkpoint()
    assert isinstance(progress, Progress)
    return progress


def recorded(game: RecordedGame) -> Episodes:
    write_index(game.writer.folder, Index(game=game.facts, entries=progress_of(game).entries))
    return Episodes(game.writer.folder)


def test_the_environment_is_one_that_stable_baselines_accepts(make: Make):
    check_env(make(), skip_render_check=True)


def test_the_agent_sees_frame_map_and_its_last_actions(make: Make):
    game = make()
    seen = game.observation()
    assert seen["frame"].shape == seen["map"].shape == (3, 120, 160)
    np.testing.assert_array_equal(seen["frame"], game.frame.transpose(2, 0, 1))
    assert (seen["frame"] != seen["map"]).any()
    assert not seen["actions"].any()
    attack, left = (game.facts.action_names.index(name) for name in ("ATTACK", "TURN_LEFT"))
    game.step(attack)
    seen = game.step(left)[0]
    past = seen["actions"].reshape(32, 3)
    assert not past[:-2].any()
    np.testing.assert_array_equal(past[-2:], [[0, 0, 1], [1, 0, 0]])


def test_larger_frames_are_averaged_for_the_agent():
    picture = np.zeros((240, 320, 3), np.uint8)
    picture[:2, :2] = [[[0, 0, 0], [100, 0, 0]], [[100, 0, 0], [200, 40, 0]]]
    np.testing.assert_array_equal(for_agent(picture)[:, 0, 0], [100, 10, 0])


def test_rows_are_frames_before_their_action_and_end_in_the_terminal_one(make: Make):
    game = make()
    rewards = play(game, 300)
    episodes = recorded(game)
    first = episodes.entries[0]
    frames, actions = episodes.frames(first), episodes.actions(first)
    assert episodes.variable(first, "HEALTH")[-1] <= 0
    assert episodes.variable(first, "HEALTH")[0] == 100
    assert actions[-1] == game.facts.no_action
    assert episodes.rewards(first)[-1] == 0
    assert episodes.rewards(first)[-2] < -4000  # death, in the row of the action that led to it
    steps = -(-(first.length - 1) // 2)
    scaled = sum(rewards[:steps]) / RULES.reward_scale
    assert episodes.rewards(first).sum() == pytest.approx(scaled, rel=1e-4)
    # Played again from what is stored: seed and actions.
    again = [game.game.start(first.seed)]
    again += [game.game.step(int(action)) for action in actions[:-1]]
    np.testing.assert_array_equal(frames, again)
    assert game.game.over == "death"


def test_an_episode_that_lasts_too_long_is_cut_off_and_says_so(make: Make):
    game = make(episode_tics=40)
    ends = [game.step(0)[2:4] for _ in range(10)]
    assert ends[-1] == (False, True)
    assert not any(any(end) for end in ends[:-1])
    game.reset()
    assert progress_of(game).entries[0].length == 40 // 2 + 1
    assert recorded(game).rewards(progress_of(game).entries[0])[-1] == 0


def test_the_last_action_is_repeated_as_often_as_asked(make: Make):
    game = make(repeat_probability=0.7)
    for step in range(400):
        _, _, over, late, _ = game.step(1 + step % 2)
        if over or late:
            game.reset()
    game.finish()
    while game.running:
        game.step(0)
    changes = []
    for entry in recorded(game).entries[:-1]:
        taken = recorded(game).actions(entry)[:-1:2]
        changes.append((taken[1:] != taken[:-1]).mean())
    # Alternating choices: every change is half the time one to what it already was.
    assert 0.05 < np.mean(changes) < 0.35


def test_a_game_goes_on_from_its_checkpoint_as_if_nothing_had_happened(make: Make):
    game = make(repeat_probability=0.5)
    play(game, 150)
    kept = progress_of(game)
    assert kept.entries
    assert kept.running is not None
    assert kept.running.actions
    resumed = make(Progress.model_validate_json(kept.model_dump_json()), repeat_probability=0.5)
    for name, value in game.observation().items():
        np.testing.assert_array_equal(value, resumed.observation()[name])
    assert play(game, 100, seed=1) == play(resumed, 100, seed=1)
    assert progress_of(game) == progress_of(resumed)


def test_seeds_of_all_writers_differ(tmp_path: Path):
    writers = [
        Writer(folder=tmp_path, store="", number=number, count=4, games=2, seed=3)
        for number in range(4)
    ]
    seeds = [writer.episode_seed(episode) for writer in writers for episode in range(50)]
    assert len(set(seeds)) == len(seeds)


def test_a_finishing_game_ends_its_episode_and_begins_no_other(make: Make):
    game = make()
    game.step(0)
    game.finish()
    while game.running:
        game.step(3)
    game.reset()
    assert game.step(0)[1:] == (0.0, False, False, {"frames": 0, "idle": True})
    assert len(progress_of(game).entries) == 1


def test_the_network_is_the_papers(make: Make):
    settings = AgentSettings.model_validate(
        COLLECT["agent"] | {"picture_features": 512, "batch_size": 8, "rollout_steps": 8}
    )
    ppo = new_agent(settings, DummyVecEnv([make]), seed=1)
    policy = ppo.policy
    assert policy.features_dim == 512 + 512 + 32 * 3
    layers = [type(layer).__name__ for layer in policy.features_extractor.frame.cnn]
    assert layers.count("Conv2d") == 3
    assert policy.share_features_extractor
    for head in (policy.mlp_extractor.policy_net, policy.mlp_extractor.value_net):
        assert [type(layer).__name__ for layer in head] == ["Linear", "Tanh"] * 2
    assert ppo.gamma == settings.discount
    assert ppo.ent_coef == settings.entropy_weight
    before = [parameter.detach().clone() for parameter in policy.parameters()]
    ppo.learn(settings.rollout_steps)
    assert all((a != b).any() for a, b in zip(before, policy.parameters(), strict=True))


class Counted:
    """Two games that end an episode every three steps, and are over after 40."""

    num_envs = 2

    def __init__(self) -> None:
        self.steps = 0

    def env_method(self, name: str) -> list[Any]:
        return [Progress() if name == "checkpoint" else {"seen": np.zeros(1)}] * 2

    def step(self, actions: np.ndarray) -> tuple[Any, ...]:
        self.steps += 1
        info: dict[str, Any] = {"frames": 1, "idle": self.steps == 40}
        if self.steps % 3 == 0:
            info["episode_reward"] = float(self.steps)
        return {"seen": np.zeros((2, 1))}, None, None, [info, info]


@pytest.mark.parametrize("stopped_at", [1, 13, 16, 39])
def test_the_reward_curve_of_play_is_the_same_wherever_it_is_interrupted(
    stopped_at: int, tmp_path: Path
):
    def played(folder: Path, games: Counted, stop: int | None) -> Collection:
        folder.mkdir(exist_ok=True)
        with Collection(folder, 2, 1000, every=2, quiet=True) as collection:
            steps = count(games.steps + 1)

            def choose(*_: object) -> np.ndarray:
                collection.interrupt.asked = next(steps) == stop
                return np.zeros(2)

            agent.play(cast(Any, games), choose, 1000, 4, collection, None)
        return collection

    wanted = played(tmp_path / "straight", Counted(), None).rewards
    assert [row.step for row in wanted][:2] == [8, 16]
    games = Counted()
    with pytest.raises(KeyboardInterrupt):
        played(tmp_path / "cut", games, stopped_at)
    assert games.steps == stopped_at
    assert played(tmp_path / "cut", games, None).rewards == wanted


def entries(lengths: list[int]) -> list[Entry]:
    return [make_entry(0, length, seed) for seed, length in enumerate(lengths)]


SHARES = Shares(validation=0.1, test=0.2)


def seeds(assigned: list[Entry], name: Split) -> set[int]:
    return {entry.seed for entry in assigned if entry.split == name}


def test_the_split_is_a_function_of_the_seeds():
    assigned = split(entries([100] * 400), SHARES)
    assert 50 < len(seeds(assigned, "test")) < 110
    assert 20 < len(seeds(assigned, "validation")) < 60
    again = split(entries([100] * 400)[::-1], SHARES)
    assert again == assigned[::-1]
    smaller = split(entries([100] * 300), SHARES)
    assert smaller == assigned[:300], "a larger collection keeps every episode's split"


def test_what_was_held_out_before_there_was_validation_is_test():
    """The same hash and share: an old recording's episodes are those of a new one."""
    keys = {seed: np.random.default_rng(seed).random() for seed in range(400)}
    assigned = split(entries([100] * 400), SHARES)
    assert seeds(assigned, "test") == {seed for seed, key in keys.items() if key < SHARES.test}


@pytest.mark.parametrize("share", [0.001, 0.3, 0.499])
@pytest.mark.parametrize("lengths", [[5, 5, 200], [5, 5, 5, 200], [300, 20, 30, 100, 110]])
def test_all_splits_exist_and_long_episodes_are_kept_back(lengths: list[int], share: float):
    assigned = split(entries(lengths), Shares(validation=share, test=share))
    assert seeds(assigned, "train")
    for name in ("validation", "test"):
        assert max(e.length for e in assigned if e.split == name) >= np.median(lengths)


def test_shares_leave_some_to_train_on():
    with pytest.raises(ValidationError, match=r"validation 0.5 \+ test 0.6 must be less than 1"):
        Shares(validation=0.5, test=0.6)
