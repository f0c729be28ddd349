"""The same keys in the real game and in the model that the repository ships."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from gamengen.backends.backend import open_backend
from gamengen.evaluation.action_following import horizontal_shift
from gamengen.game.engine import Engine, Frame, History
from gamengen.game.real_game import RealGame
from gamengen.model.weights import Role, load_weights
from gamengen.play.dream import Dream, defaults

PRETRAINED = Path(__file__).parents[2] / "data/pretrained"
ROLES = ["student", "teacher"]
STARTS = 8
WALKED, SECOND = 24, 17  # frames of two tics


@pytest.fixture(scope="module")
def dream() -> Dream:
    return Dream(load_weights(PRETRAINED), open_backend("openvino"))


@pytest.fixture(scope="module")
def game(dream: Dream) -> Iterator[RealGame]:
    game = RealGame(dream.facts)
    yield game
    game.close()


@pytest.fixture(scope="module")
def histories(dream: Dream, game: RealGame) -> list[History]:
    """Random play with seeds that no recording had; each action is held for six frames."""
    found = []
    for seed in range(STARTS):
        random = np.random.default_rng(seed)
        actions = random.integers(len(dream.facts.actions), size=WALKED // 6).repeat(6)
        begin = game.start(History(seed, actions[:0], np.empty((0, 0, 0, 3), np.uint8)))
        frames = np.stack([begin, *(game.step(int(action)) for action in actions)])
        found.append(History(seed, actions, frames[-dream.context_frames :]))
    return found


def held(engine: Engine, history: History, action: str) -> list[Frame]:
    engine.start(history)
    number = engine.facts.action_names.index(action)
    return [engine.step(number) for _ in range(SECOND)]


def distance(a: list[Frame], b: list[Frame]) -> float:
    return float(np.mean((np.array(a, np.float32) - np.array(b, np.float32)) ** 2))


def slides(engine: Engine, histories: list[History], action: str) -> np.ndarray:
    """Optical flow of every frame while the key is held: pixels to the right."""
    videos = [[history.frames[-1], *held(engine, history, action)] for history in histories]
    frames = torch.from_numpy(np.array(videos))
    return horizontal_shift(frames[:, :-1].flatten(0, 1), frames[:, 1:].flatten(0, 1))


@pytest.mark.parametrize("role", ROLES)
def test_a_held_turn_slides_the_picture_as_the_game_does(
    dream: Dream, game: RealGame, histories: list[History], role: Role
) -> None:
    """To its side, nearly as fast, in most frames; and standing still, not at all."""
    dream.settings = defaults(dream.weights)[role]
    for action, side in (("TURN_LEFT", 1), ("TURN_RIGHT", -1)):
        ours, real = slides(dream, histories, action), slides(game, histories, action)
        assert side * np.median(real) > 5, "the game turns"
        assert 0.5 < np.median(ours) / np.median(real) < 1.5
        assert np.mean(side * ours > 1) > 0.5 > 0.25 > np.mean(side * ours < -1)
    assert abs(np.median(slides(dream, histories, "NOTHING"))) < 1


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize(("pressed", "instead"), [("ATTACK", "NOTHING"), ("NOTHING", "ATTACK")])
def test_a_second_of_one_key_leads_where_the_game_leads(
    dream: Dream,
    game: RealGame,
    histories: list[History],
    role: Role,
    pressed: str,
    instead: str,
) -> None:
    """The model's second is nearer to the game's with this key held than with the other."""
    dream.settings = defaults(dream.weights)[role]
    nearer = []
    for history in histories:
        ours = held(dream, history, pressed)
        right, wrong = held(game, history, pressed), held(game, history, instead)
        nearer.append(distance(ours, wrong) - distance(ours, right))
    assert np.mean(nearer) > 0
    assert np.mean(np.array(nearer) > 0) >= 0.75
