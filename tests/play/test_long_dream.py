"""Minutes of the model's own play: under which actions, and when it begins anew."""

import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from gamengen.game.engine import Frame
from gamengen.play import questions
from gamengen.play.long_dream import LongDream
from gamengen.play.match import Match
from gamengen.play.showcase import minute
from gamengen.play.source import Source

FRAMES = 250  # several episodes of 100 frames


def playing(source: Source, wanted: Callable[[], bool] = lambda: True) -> tuple[LongDream, Any]:
    """A long dream that has not begun, and what it has told."""
    told: list[dict[str, Any]] = []
    match = Match(source.new_dream(), source.new_real)
    match.start(source.history(*source.starts()[0]), beside=False)
    return LongDream(source, match, random.Random(0), told.append, wanted), told


def test_it_plays_actions_recorded_in_test_episodes(
    source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    dream, told = playing(source)
    taken, step = list[int](), dream.match.step
    monkeypatch.setattr(dream.match, "step", lambda action: taken.append(action) or step(action))
    assert dream.ready(FRAMES / source.fps, clip=28)
    assert len(taken) == dream.match.dream.frames_since_real == FRAMES
    assert dream.history is not None
    begun = dream.history.seed, len(dream.history.actions)
    recorded = {
        entry.seed: source.episodes.actions(entry)[:-1].tolist()
        for entry in source.episodes.of("test")
    }
    assert taken[: 99 - begun[1]] == recorded[begun[0]][begun[1] :]
    following = taken[99 - begun[1] :]
    for at in range(0, len(following), 99):
        part = following[at : at + 99]
        assert any(part == actions[: len(part)] for actions in recorded.values())
    shares = [notice["share"] for notice in told]
    assert shares == sorted(shares)
    assert 100 <= len(shares) <= 125
    assert shares[-1] >= 0.99


def test_it_goes_on_where_it_was_stopped(source: Source) -> None:
    frames = iter(range(10))
    dream, _ = playing(source, wanted=lambda: next(frames, None) is not None)
    assert not dream.ready(2.0, clip=28)
    dream.wanted = lambda: True
    begun = dream.history
    assert dream.match.dream.frames_since_real == 10
    assert dream.ready(2.0, clip=28)
    assert dream.history is begun


def test_it_begins_anew_when_old_or_when_another_has_begun(
    source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(questions, "OLDEST", 4.0)
    dream, _ = playing(source)
    assert dream.ready(2.0, clip=35)  # 2 s and as many more: just young enough
    begun = dream.history
    assert dream.ready(2.0, clip=35)
    assert dream.history is begun
    assert dream.ready(2.0, clip=36)
    assert dream.history is not begun
    begun = dream.history
    dream.match.start(source.history(*source.starts()[0]), beside=False)
    assert dream.ready(2.0, clip=28)
    assert dream.history is not begun
    assert dream.match.dream.frames_since_real == 35


def test_pictures_of_a_minute_are_as_many_seconds_apart_as_their_heads_say(
    source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gamengen.play.showcase.COLUMNS", 2)
    dream, _ = playing(source)
    match, shown, step = dream.match, {}, dream.match.step

    def noted(action: int) -> list[Frame]:
        frames = step(action)
        shown[match.dream.frames_since_real] = frames[-1]
        return frames

    monkeypatch.setattr(match, "step", noted)
    strip = np.asarray(minute(source, match))
    assert len(shown) == round(16 * source.fps)
    height, width = source.facts.height, source.facts.width
    scale = max(1, 160 // width)
    for place in range(4):
        row, column = divmod(place, 2)
        top = 48 + row * (24 + height * scale + 4)
        left = column * (width * scale + 4)
        found = strip[top : top + height * scale : scale, left : left + width * scale : scale]
        np.testing.assert_array_equal(found, shown[round(4 * (place + 1) * source.fps)])
