"""Away and back in the real game: it comes back to the same angle, whatever went before."""

from contextlib import closing

import pytest

from gamengen.evaluation import room
from gamengen.evaluation.room import NO_TURNS, RoomParams, keys
from gamengen.game.doom import Game
from gamengen.game.scenario import game_facts
from tests.artifacts import game_facts as striped_facts

FACTS = game_facts("defend_the_line", "160x120", 1, 2, 2, 4)


def test_the_game_comes_back_to_where_it_was() -> None:
    actions = keys(FACTS, 15)
    assert actions is not None
    with closing(Game(FACTS)) as game:
        for turned_before in (0, 6):
            game.start(3)
            for _ in range(turned_before):
                game.step(FACTS.action_names.index("TURN_LEFT"))
            angles = []
            for action in actions:
                game.step(action)
                angles.append(game.variables["ANGLE"])
            assert angles[15] - angles[0] > 90, "out of sight"
            assert angles[-1] == pytest.approx(angles[0])


def test_what_cannot_turn_is_not_measured() -> None:
    facts = striped_facts()
    assert keys(facts, 2) == [0, 1, 1, 0, 2, 2]
    names = ["NOTHING", "TURN_LEFT", "MOVE_RIGHT", "ATTACK"]
    other = facts.model_copy(update={"action_names": names})
    assert keys(other, 2) is None
    assert room.summary(None, [], other, RoomParams(starts=1, away=2)) == {"reason": NO_TURNS}
    none = room.summary(None, [], facts, RoomParams(starts=0, away=2))
    assert none == {"reason": "not measured: evaluate.room.starts is 0"}
