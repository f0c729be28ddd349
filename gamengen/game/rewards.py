"""What the agent is rewarded for: the terms of the paper's A.5, as pure functions."""

from collections.abc import Mapping, Set
from math import floor

from pydantic import Field

from gamengen.runtime.settings import Settings

Variables = Mapping[str, float]
Area = tuple[int, int]

WEAPONS = [f"WEAPON{slot}" for slot in range(1, 8)]
AMMUNITION = ["AMMO2", "AMMO3", "AMMO5", "AMMO6"]  # bullets, shells, rockets, cells


class Weights(Settings):
    """What each event is worth; ``area_size`` is the side of an area, in map units."""

    player_hit: float
    player_death: float
    enemy_hit: float
    enemy_kill: float
    pick_up: float
    secret: float
    new_area: float
    new_area_distance: float
    area_size: float = Field(ge=1)
    health: float
    armor: float
    ammo_gained: float
    ammo_spent: float


def area_of(variables: Variables, size: float) -> Area:
    """The square of the map, ``size`` map units wide, in which the player stands."""
    return floor(variables["POSITION_X"] / size), floor(variables["POSITION_Y"] / size)


def rewards(
    before: Variables, after: Variables, visited: Set[Area], first: Area, weights: Weights
) -> dict[str, float]:
    """The reward of each term between two moments of an episode (A.5); their sum is the reward.

    ``visited`` are the areas seen up to ``before``; ``first`` is the one the episode began in,
    from which a new area's L1 distance is counted, in areas.
    """

    def gained(*names: str) -> float:
        return sum(after[name] - before[name] for name in names)

    area = area_of(after, weights.area_size)
    distance = abs(area[0] - first[0]) + abs(area[1] - first[1])
    new_area = weights.new_area * (1 + weights.new_area_distance * distance)
    ammo = gained(*AMMUNITION)
    return {
        "player_hit": weights.player_hit * gained("HITS_TAKEN"),
        "player_death": weights.player_death * gained("DEATHCOUNT"),
        "enemy_hit": weights.enemy_hit * gained("HITCOUNT"),
        "enemy_kill": weights.enemy_kill * gained("KILLCOUNT"),
        "pick_up": weights.pick_up * (gained("ITEMCOUNT") + max(0.0, gained(*WEAPONS))),
        "secret": weights.secret * gained("SECRETCOUNT"),
        "new_area": 0.0 if area in visited else new_area,
        "health": weights.health * gained("HEALTH"),
        "armor": weights.armor * gained("ARMOR"),
        "ammo": weights.ammo_gained * max(0.0, ammo) + weights.ammo_spent * min(0.0, ammo),
    }
