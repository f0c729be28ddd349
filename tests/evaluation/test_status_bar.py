"""Numbers of the status bar: read from the real game, and not from what does not show them."""

from typing import Any

import numpy as np
import pytest
import torch

from gamengen.data.episodes import Episodes
from gamengen.evaluation import status_bar
from gamengen.evaluation.status_bar import BLANK, RIGHT, StatusBar, StatusBarParams, learn, spelled
from tests.doom import record

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Episodes:
    splits: list[Any] = ["train", "train", "test"]
    return record(tmp_path_factory.mktemp("bar") / "episodes", splits, length=70, held=4)


@pytest.fixture(scope="module")
def bar(recorded: Episodes) -> StatusBar:
    learned = learn(recorded, StatusBarParams(frames=200), 0, CPU)
    assert learned is not None
    return learned


def test_ammunition_is_read_in_the_real_game(recorded: Episodes, bar: StatusBar) -> None:
    (entry,) = recorded.of("test")
    values = recorded.variable(entry, "SELECTED_WEAPON_AMMO")
    read = bar.read(torch.from_numpy(recorded.frames(entry)), "SELECTED_WEAPON_AMMO").numpy()
    low, high = np.minimum(values[:-1], values[1:]), np.maximum(values[:-1], values[1:])
    assert len(np.unique(values)) > 50
    assert ((low <= read[1:]) & (read[1:] <= high)).all()
    assert len(np.unique(read)) > 50, "the number itself, not its neighbourhood"


def test_a_number_has_no_blank_within(bar: StatusBar) -> None:
    cells = {
        int(glyph): template for glyph, template in zip(bar.glyphs, bar.templates, strict=True)
    }
    cases = [([BLANK, 1, 2], 12), ([BLANK] * 3, -1), ([1, BLANK, 2], -1), ([2, 0, 0], 200)]
    for glyphs, wanted in cases:
        frame = torch.zeros(1, 120, 160, 3, dtype=torch.uint8)
        strip = torch.stack([cells[glyph].reshape(8, 7, 3) for glyph in glyphs], 1)
        right = RIGHT["HEALTH"] // 2
        frame[0, 106:114, right - 21 : right] = strip.reshape(8, 21, 3).round().to(torch.uint8)
        assert bar.read(frame, "HEALTH").tolist() == [wanted]


def test_numbers_as_glyphs() -> None:
    assert spelled(200) == [2, 0, 0]
    assert spelled(7) == [BLANK, BLANK, 7]
    assert spelled(-16) == [BLANK, BLANK, 0]


def test_numbers_of_more_digits_than_are_shown_are_not_learned_from(
    recorded: Episodes, bar: StatusBar, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = Episodes.variable
    monkeypatch.setattr(Episodes, "variable", lambda *told: shown(*told) + 900)
    learned = learn(recorded, StatusBarParams(frames=200), 0, CPU)
    assert learned is not None
    assert 9 in learned.glyphs
    monkeypatch.setattr(Episodes, "variable", lambda *told: shown(*told) + 1000)
    assert learn(recorded, StatusBarParams(frames=200), 0, CPU) is None


def test_shares_are_of_frames_whose_number_changed() -> None:
    table = {
        "episode": np.array([0, 1]),
        "changed/HEALTH": np.array([[False, True, True], [False, True, True]]),
        "HEALTH/real": np.array([[True, True, True], [False, True, True]]),
        "HEALTH/usual": np.array([[True, False, False], [True, False, False]]),
        "HEALTH/steps_1": np.array([[True, True, False], [True, False, False]]),
    }
    told = status_bar.summary(table, ["steps_1"])["HEALTH"]
    assert (told["frames"], told["real"], told["steps_1"]) == (4, 1.0, 0.25)
    assert told["usual"] == 0
    table["HEALTH/real"][0] = False
    told = status_bar.summary(table, ["steps_1"])["HEALTH"]
    assert told["steps_1"] is None
    assert told["reason"] == "read right in 50% of the game's own frames: too small to be read"
    table["changed/HEALTH"][:] = False
    assert status_bar.summary(table, ["steps_1"])["HEALTH"]["reason"] == "it never changes there"


def test_it_is_not_measured_where_it_was_not_asked_for(recorded: Episodes) -> None:
    assert learn(recorded, StatusBarParams(frames=0), 0, CPU) is None
    assert "status_bar.frames is 0" in status_bar.summary({}, [])["reason"]
