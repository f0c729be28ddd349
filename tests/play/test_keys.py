"""Keys for buttons, and an action for held buttons."""

import pytest

from gamengen.game.facts import GameFacts
from gamengen.game.scenario import button_combinations
from gamengen.play.keys import action_of, key_map
from tests.artifacts import game_facts


def facts(buttons: list[str], most: int) -> GameFacts:
    pressed = button_combinations(buttons, most)
    return game_facts().model_copy(
        update={
            "buttons": buttons,
            "actions": [[int(b in down) for b in buttons] for down in pressed],
            "action_names": ["+".join(down) or "NOTHING" for down in pressed],
        }
    )


MANY = ["ATTACK", "MOVE_FORWARD", "MOVE_LEFT", "MOVE_RIGHT", "TURN_LEFT", "TURN_RIGHT"]


@pytest.mark.parametrize(
    ("held", "action"),
    [
        ([], "NOTHING"),
        (["TURN_LEFT"], "TURN_LEFT"),
        (["TURN_LEFT", "TURN_RIGHT"], "TURN_RIGHT"),
        (["TURN_RIGHT", "TURN_LEFT"], "TURN_LEFT"),
        (["TURN_RIGHT", "ATTACK", "TURN_LEFT"], "ATTACK+TURN_LEFT"),
        (["ATTACK", "MOVE_FORWARD", "TURN_LEFT"], "MOVE_FORWARD+TURN_LEFT"),
        (["MOVE_LEFT", "MOVE_RIGHT", "ATTACK"], "ATTACK+MOVE_RIGHT"),
    ],
)
def test_newest_wins_where_not_all_go_together(held: list[str], action: str) -> None:
    game = facts(MANY, most=2)
    assert game.action_names[action_of(game, held)] == action


def test_never_presses_what_is_not_held() -> None:
    game = facts(MANY, most=2)
    keep = [
        i for i, name in enumerate(game.action_names) if name in ("NOTHING", "ATTACK+TURN_LEFT")
    ]
    few = game.model_copy(
        update={
            "actions": [game.actions[i] for i in keep],
            "action_names": [game.action_names[i] for i in keep],
        }
    )
    assert few.action_names[action_of(few, ["TURN_LEFT"])] == "NOTHING"


def test_arrows_and_letters_do_the_same_where_they_can() -> None:
    turns = {key.button: key.codes for key in key_map(["TURN_LEFT", "TURN_RIGHT", "ATTACK"])}
    assert turns["TURN_LEFT"] == ["ArrowLeft", "KeyA"]
    assert turns["ATTACK"] == ["Space", "ControlLeft", "ControlRight"]
    both = {key.button: key.codes for key in key_map(MANY)}
    assert both["TURN_LEFT"] == ["ArrowLeft"]
    assert both["MOVE_LEFT"] == ["KeyA"]


def test_every_button_has_a_key_of_its_own() -> None:
    buttons = [*MANY, "USE", "SELECT_WEAPON3", "ZOOM", "LAND", "ACTIVATE_SELECTED_ITEM"]
    keys = key_map(buttons)
    codes = [code for key in keys for code in key.codes]
    assert len(codes) == len(set(codes))
    assert all(key.codes and key.caps for key in keys)
    assert {key.button: key.codes[0] for key in keys}["SELECT_WEAPON3"] == "Digit3"
