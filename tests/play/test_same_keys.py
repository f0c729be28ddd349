"""The same keys in the real game and in the model that the repository ships."""

from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch

from gamengen.backends.backend import open_backend
from gamengen.evaluation.action_following import horizontal_shift
from gamengen.game.engine import Engine, History
from gamengen.game.real_game import RealGame
from gamengen.model.weights import Role, load_weights
from gamengen.play.dream import Dream, defaults

PRETRAINED = Path(__file__).parents[2] / "data/pretrained"
ROLES = ["student", "teacher"]
STARTS = 8
WALKED, SECOND = 24, 17  # frames of two tics
Held = Callable[[Role | None, str], np.ndarray]


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


@pytest.fixture(scope="module")
def held(dream: Dream, game: RealGame, histories: list[History]) -> Held:
    """What is seen from every start while a key is held, played once: uint8 [starts, n, h, w, 3].

    By the game, or by a role of the model.
    """

    @cache
    def play(player: Role | None, action: str) -> np.ndarray:
        engine: Engine = game
        if player is not None:
            engine, dream.settings = dream, defaults(dream.weights)[player]
        number = engine.facts.action_names.index(action)
        videos = []
        for history in histories:
            engine.start(history)
            videos.append([engine.step(number) for _ in range(SECOND)])
        return np.array(videos)

    return play


def distances(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Mean squared difference, one per start."""
    return ((a.astype(np.float32) - b.astype(np.float32)) ** 2).mean((1, 2, 3, 4))


def slides(videos: np.ndarray, histories: list[History]) -> np.ndarray:
    """Optical flow of every frame: pixels to the right."""
    before = np.array([history.frames[-1:] for history in histories])
    frames = torch.from_numpy(np.concatenate([before, videos], 1))
    return horizontal_shift(frames[:, :-1].flatten(0, 1), frames[:, 1:].flatten(0, 1))


@pytest.mark.parametrize("role", ROLES)
def test_a_held_turn_slides_the_picture_as_the_game_does(
    held: Held, histories: list[History], role: Role
) -> None:
    """To its side, nearly as fast, in most frames; and standing still, not at all."""
    for action, side in (("TURN_LEFT", 1), ("TURN_RIGHT", -1)):
        ours, real = (slides(held(player, action), histories) for player in (role, None))
        assert side * np.median(real) > 5, "the game turns"
        assert 0.5 < np.median(ours) / np.median(real) < 1.5
        assert np.mean(side * ours > 1) > 0.5 > 0.25 > np.mean(side * ours < -1)
    assert abs(np.median(slides(held(role, "NOTHING"), histories))) < 1


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize(("pressed", "instead"), [("ATTACK", "NOTHING"), ("NOTHING", "ATTACK")])
def test_a_second_of_one_key_leads_where_the_game_leads(
    held: Held, role: Role, pressed: str, instead: str
) -> None:
    """The model's second is nearer to the game's with this key held than with the other."""
    ours, right, wrong = held(role, pressed), held(None, pressed), held(None, instead)
    nearer = distances(ours, wrong) - distances(ours, right)
    assert np.mean(nearer) > 0
    assert np.mean(nearer > 0) >= 0.75
