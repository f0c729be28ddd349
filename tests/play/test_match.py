"""The real game beside the dream; it may crash, the dream goes on."""

import numpy as np
import pytest

from gamengen.play.match import Match
from gamengen.play.source import Source
from tests.play.worlds import StripedWorld


@pytest.fixture
def match(source: Source) -> Match:
    return Match(source.new_dream(), source.new_real)


def test_both_start_from_one_frame_and_take_the_same_actions(source: Source, match: Match) -> None:
    entry, frame = source.starts()[0]
    history = source.history(entry, frame)
    real, dreamt = match.start(history, beside=True)
    np.testing.assert_array_equal(real, dreamt)
    real, dreamt = match.step(source.facts.action_names.index("TURN_LEFT"))
    np.testing.assert_array_equal(real, np.roll(history.frames[-1], 3, 1))
    assert dreamt.shape == real.shape
    match.close()
    assert StripedWorld.alive == 0


def test_a_crash_restarts_the_real_game_alone(source: Source, match: Match) -> None:
    history = source.history(*source.starts()[0])
    match.start(history, beside=True)
    match.step(1)
    StripedWorld.crashes = 1
    frames = match.step(2)
    assert len(frames) == 2
    assert match.restarts == 1
    assert match.dream.frames_since_real == 2
    assert match.real.replayed == len(history.actions) + 2  # to the very frame it was lost at
    assert len(match.step(0)) == 2
    match.close()
    assert StripedWorld.alive == 0


def test_a_game_that_cannot_be_started_leaves_the_dream(source: Source, match: Match) -> None:
    StripedWorld.broken = True
    assert len(match.start(source.history(*source.starts()[0]), beside=True)) == 1
    assert "no such game" in match.lost
    assert len(match.step(0)) == 1
    match.close()
