"""What is recorded of a scenario: its buttons, the actions they make, its variables."""

from collections.abc import Sequence
from itertools import combinations

from gamengen.game.doom import COUNTERS, Resolution, Supersampling, buttons_of
from gamengen.game.facts import GameFacts
from gamengen.runtime.errors import InputError

NOTHING = "NOTHING"
GAME = {"scenario", "resolution", "supersampling", "max_buttons", "tics_per_frame", "action_tics"}
VARIABLES = [
    *("HEALTH", "ARMOR", "DEAD", *COUNTERS),
    # The four kinds of ammunition, each by the slot of a weapon that fires it.
    *("AMMO2", "AMMO3", "AMMO5", "AMMO6"),
    *("SELECTED_WEAPON", "SELECTED_WEAPON_AMMO", *(f"WEAPON{slot}" for slot in range(1, 8))),
    *("POSITION_X", "POSITION_Y", "POSITION_Z", "ANGLE"),
]
# At most one button of each group is down at a time: together they undo one another.
EXCLUSIVE = [
    {"TURN_LEFT", "TURN_RIGHT", "TURN180"},
    {"MOVE_LEFT", "MOVE_RIGHT"},
    {"MOVE_FORWARD", "MOVE_BACKWARD"},
    {"MOVE_UP", "MOVE_DOWN"},
    {"LOOK_UP", "LOOK_DOWN"},
    {"JUMP", "CROUCH"},
    {"SELECT_NEXT_ITEM", "SELECT_PREV_ITEM"},
    {f"SELECT_WEAPON{slot}" for slot in range(10)} | {"SELECT_NEXT_WEAPON", "SELECT_PREV_WEAPON"},
]


def game_facts(
    scenario: str,
    resolution: Resolution,
    supersampling: Supersampling,
    max_buttons: int,
    tics_per_frame: int,
    action_tics: int,
) -> GameFacts:
    """What a scenario offers, without starting it.

    Raises InputError when the scenario does not exist or has only analog buttons.
    """
    offered = buttons_of(scenario)
    # A delta button is an analog axis (a mouse): its value is a number, not up or down.
    buttons = [name for name in offered if not name.endswith("_DELTA")]
    if not buttons:
        raise InputError(
            f"params.yaml: collect.scenario: {scenario!r}: offers only analog buttons "
            f"({', '.join(offered)}); give its .cfg buttons such as TURN_LEFT"
        )
    pressed = button_combinations(buttons, max_buttons)
    width, height = (int(side) for side in resolution.split("x"))
    return GameFacts(
        scenario=scenario,
        buttons=buttons,
        actions=[[int(name in down) for name in buttons] for down in pressed],
        action_names=["+".join(down) or NOTHING for down in pressed],
        tics_per_frame=tics_per_frame,
        action_tics=action_tics,
        height=height,
        width=width,
        supersampling=supersampling,
        variables=VARIABLES,
    )


def button_combinations(buttons: Sequence[str], most: int) -> list[tuple[str, ...]]:
    """Every set of at most ``most`` buttons with no contradictory pair; the empty one first."""
    return [
        down
        for size in range(min(most, len(buttons)) + 1)
        for down in combinations(buttons, size)
        if all(len(group.intersection(down)) <= 1 for group in EXCLUSIVE)
    ]
