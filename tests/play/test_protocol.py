"""What a page may say; whatever else it says is refused by name."""

import contextlib
import json
import math
import random
from typing import Any

import numpy as np
import pytest

from gamengen.play import protocol
from gamengen.play.picture import MAX_PIXELS, from_jpeg, from_png, to_jpeg
from gamengen.play.protocol import BadMessage, parse
from tests.play.fuzz import GOOD, mangled
from tests.play.player import png


@pytest.mark.parametrize("message", GOOD, ids=lambda message: message["type"])
def test_good_messages(message: dict[str, Any]) -> None:
    assert parse(json.dumps(message)).type == message["type"]


@pytest.mark.parametrize(
    ("message", "named"),
    [
        ('{"type": "jump"}', "jump"),
        ("[]", "message"),
        ("{", "JSON"),
        ('{"type": "pause"}', "paused"),
        ('{"type": "pause", "paused": 1}', "paused"),
        ('{"type": "begin", "start": -1}', "start"),
        ('{"type": "begin", "start": 0, "path": "/etc"}', "path"),
        ('{"type": "save", "format": "../../x"}', "format"),
        ('{"type": "trial", "kind": "clips", "seconds": 1.6, "rater": "<b>"}', "rater"),
        ('{"type": "trial", "kind": "clips", "seconds": 1.6, "after": -1}', "after"),
        ('{"type": "keys", "held": [' + '"A",' * 40 + '"A"]}', "held"),
        ('{"type": "pause", "paused": false' + " " * 5000 + "}", "4096"),
    ],
)
def test_bad_messages_are_named(message: str, named: str) -> None:
    with pytest.raises(BadMessage, match=named):
        parse(message)


@pytest.mark.parametrize("field", ["steps", "guidance", "context_noise", "shift", "order"])
@pytest.mark.parametrize("value", [-1, 1e9, math.nan, math.inf, "1", None])
def test_settings_have_ranges(field: str, value: object) -> None:
    with pytest.raises(BadMessage, match=field):
        parse(json.dumps(GOOD[4] | {field: value}))


def test_fuzz() -> None:
    """Random bytes, random JSON, good messages gone wrong: parsed or refused, never else."""
    chance = random.Random(0)
    refusals = [refusal(mangled(chance)) for _ in range(3000)]
    assert 100 < refusals.count("") < 2900
    assert max(map(len, refusals)) < 400


def refusal(text: str) -> str:
    """Why a message is refused; empty if it is not."""
    try:
        parse(text)
    except BadMessage as error:
        return str(error)
    return ""


def test_pictures_come_in_at_the_games_size() -> None:
    red = np.full((64, 64, 3), (255, 0, 0), np.uint8)
    frame = from_png(png(red), 32, 48)
    assert frame.shape == (32, 48, 3)
    assert (frame == (255, 0, 0)).all()


def test_pictures_are_bounded_before_decoding(monkeypatch: pytest.MonkeyPatch) -> None:
    huge = png(np.zeros((1, MAX_PIXELS + 1, 3), np.uint8))
    assert len(huge) < protocol.MAX_PICTURE
    from PIL.PngImagePlugin import PngImageFile

    monkeypatch.setattr(PngImageFile, "load", lambda _: pytest.fail("decoded"))
    with pytest.raises(BadMessage, match="pixels"):
        from_png(huge, 32, 48)
    with pytest.raises(BadMessage, match="bytes"):
        from_png(bytes(protocol.MAX_PICTURE + 1), 32, 48)


def test_damaged_pictures_are_refused() -> None:
    chance = random.Random(0)
    good = png(np.random.default_rng(0).integers(0, 256, (32, 48, 3)).astype(np.uint8))
    for _ in range(300):
        bad = bytearray(good)
        for _ in range(chance.randrange(1, 20)):
            bad[chance.randrange(len(bad))] = chance.randrange(256)
        with contextlib.suppress(BadMessage):
            assert from_png(bytes(bad[: chance.randrange(len(bad))]), 32, 48).shape == (32, 48, 3)
    with pytest.raises(BadMessage, match="PNG"):
        from_png(to_jpeg(np.zeros((32, 48, 3), np.uint8)), 32, 48)


def test_frames_survive_the_way_out() -> None:
    ramp = np.linspace(0, 255, 48).astype(np.uint8)[None, :, None].repeat(32, 0).repeat(3, 2)
    assert np.abs(from_jpeg(to_jpeg(ramp)).astype(int) - ramp).max() < 12
