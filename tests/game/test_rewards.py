import pytest

from gamengen.game.rewards import Weights, area_of, rewards
from gamengen.game.scenario import VARIABLES
from tests.tiny import tiny_params

# The paper's A.5, as committed.
WEIGHTS = Weights.model_validate(tiny_params({})["collect"]["rules"]["reward"])
STILL = dict.fromkeys(VARIABLES, 0.0) | {"HEALTH": 100.0, "AMMO2": 50.0, "WEAPON2": 1.0}
HERE = {(0, 0)}


def earned(**changes: float) -> dict[str, float]:
    """The terms that are not zero when some variables change by so much."""
    after = STILL | {name: STILL[name] + change for name, change in changes.items()}
    terms = rewards(STILL, after, HERE, (0, 0), WEIGHTS)
    return {name: value for name, value in terms.items() if value}


def test_nothing_happening_is_worth_nothing():
    assert earned() == {}


@pytest.mark.parametrize(
    ("changes", "terms"),
    [
        ({"HITS_TAKEN": 2}, {"player_hit": -200}),
        ({"DEATHCOUNT": 1}, {"player_death": -5000}),
        ({"HITCOUNT": 3}, {"enemy_hit": 900}),
        ({"KILLCOUNT": 2}, {"enemy_kill": 2000}),
        ({"ITEMCOUNT": 1}, {"pick_up": 100}),
        ({"WEAPON3": 1}, {"pick_up": 100}),
        ({"ITEMCOUNT": 1, "WEAPON3": 1}, {"pick_up": 200}),
        ({"WEAPON2": -1}, {}),  # a weapon lost is no pick-up
        ({"SECRETCOUNT": 1}, {"secret": 500}),
        ({"HEALTH": 25}, {"health": 250}),
        ({"HEALTH": -12}, {"health": -120}),
        ({"ARMOR": 100}, {"armor": 1000}),
        ({"ARMOR": -3}, {"armor": -30}),
        ({"AMMO2": 10}, {"ammo": 100}),
        ({"AMMO2": -1}, {"ammo": -1}),
        ({"AMMO2": -1, "AMMO3": 4}, {"ammo": 30}),
        ({"SELECTED_WEAPON": 1, "SELECTED_WEAPON_AMMO": -50}, {}),  # another weapon in hand
        ({"POSITION_X": 255}, {}),
        ({"POSITION_X": 256}, {"new_area": 30}),  # 20 * (1 + 0.5 * 1)
        ({"POSITION_X": -1, "POSITION_Y": 600}, {"new_area": 50}),  # 20 * (1 + 0.5 * (1 + 2))
    ],
)
def test_each_term(changes: dict[str, float], terms: dict[str, float]):
    assert earned(**changes) == pytest.approx(terms)


def test_an_area_is_new_once():
    after = STILL | {"POSITION_X": 300.0}
    assert rewards(STILL, after, HERE | {(1, 0)}, (0, 0), WEIGHTS)["new_area"] == 0


def test_the_distance_is_counted_from_where_the_episode_began():
    after = STILL | {"POSITION_X": 300.0}
    assert rewards(STILL, after, HERE, (4, 1), WEIGHTS)["new_area"] == 20 * (1 + 0.5 * (3 + 1))


def test_areas_are_squares_of_the_map():
    place = {"POSITION_X": -0.5, "POSITION_Y": 511.9}
    assert area_of(place, 256) == (-1, 1)
