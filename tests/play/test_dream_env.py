import numpy as np
import pytest
import torch
from gymnasium.error import ResetNeeded
from stable_baselines3 import PPO
from stable_baselines3.common.env_checker import check_env

from gamengen.backends.eager import Eager
from gamengen.data.episodes import Episodes, recorded_history
from gamengen.play.dream import Dream
from gamengen.play.dream_env import DreamEnv
from tests.dreams import Made


@pytest.fixture
def env(playable: Made) -> DreamEnv:
    episodes = Episodes(playable.data / "episodes")
    dream = Dream(playable.weights, Eager(torch.device("cpu")))
    histories = [
        recorded_history(episodes, entry, frame, dream.context_frames)
        for entry in episodes.of("test")
        for frame in (0, 10)
    ]
    return DreamEnv(dream, histories, length=6)


def test_it_is_a_gymnasium_environment(env: DreamEnv) -> None:
    check_env(env)


def test_the_actions_are_the_scenarios_and_episodes_end_by_length_alone(env: DreamEnv) -> None:
    assert env.action_space.n == len(env.dream.facts.actions)
    env.reset(seed=3)
    for n in range(1, 7):
        _, reward, terminated, truncated, _ = env.step(np.int64(n % 4))
        assert (reward, terminated, truncated) == (0.0, False, n == 6)


def test_a_seed_decides_start_and_dream(env: DreamEnv) -> None:
    def play(seed: int) -> list[np.ndarray]:
        first, _ = env.reset(seed=seed)
        return [first, *(env.step(np.int64(1))[0] for _ in range(3))]

    for one, again in zip(play(3), play(3), strict=True):
        np.testing.assert_array_equal(one, again)
    assert any(not np.array_equal(a, b) for a, b in zip(play(3), play(4), strict=True))


def test_environments_that_share_a_dream_do_not_disturb_each_other(env: DreamEnv) -> None:
    other, dream = DreamEnv(env.dream, env.histories, length=4), env.dream
    env.reset(seed=3)
    alone = [env.step(np.int64(1)) for _ in range(6)]
    env.reset(seed=3)
    for n, (frame, *told) in enumerate(alone):
        if n % 4 == 0:
            other.reset(seed=5)
        other.step(np.int64(2))
        ours, *ours_told = env.step(np.int64(1))
        np.testing.assert_array_equal(ours, frame)
        assert ours_told == told
    assert (dream.frames_since_real, other.dream.frames_since_real) == (6, 2)
    assert other.dream.weights is dream.weights


def test_the_reward_is_the_callers(env: DreamEnv) -> None:
    env.reward = lambda frame, action: float(frame[0, 0, 0]) + action
    env.reset(seed=0)
    frame, reward, *_ = env.step(np.int64(2))
    assert reward == float(frame[0, 0, 0]) + 2


def test_no_history_is_refused(env: DreamEnv) -> None:
    with pytest.raises(ValueError, match="histories: none"):
        DreamEnv(env.dream, [])


def test_what_cannot_be_rendered_is_refused(env: DreamEnv) -> None:
    with pytest.raises(ValueError, match="render_mode: 'human': must be None or 'rgb_array'"):
        DreamEnv(env.dream, env.histories, render_mode="human")


def test_it_is_reset_before_anything_else(env: DreamEnv) -> None:
    with pytest.raises(ResetNeeded, match="reset"):
        env.step(np.int64(0))
    with pytest.raises(ResetNeeded, match="reset"):
        env.render()


def test_a_picture_is_the_callers_own(env: DreamEnv) -> None:
    seen = DreamEnv(env.dream, env.histories, render_mode="rgb_array")
    frame = seen.reset(seed=0)[0].copy()
    shown = seen.render()
    np.testing.assert_array_equal(shown, frame)
    shown[:] = 255 - shown
    np.testing.assert_array_equal(seen.render(), frame)


def test_ppo_trains_inside_it(env: DreamEnv) -> None:
    agent = PPO("CnnPolicy", env, n_steps=8, batch_size=8, n_epochs=1, device="cpu", seed=0)
    before = agent.policy.action_net.weight.detach().clone()
    agent.learn(16)
    assert agent.num_timesteps == 16
    assert not torch.equal(agent.policy.action_net.weight, before)
