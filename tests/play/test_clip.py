"""The last minute as a video, and a film of scripted keys."""

import io
import sys
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from gamengen.play import showcase
from gamengen.play.clip import SECONDS, Recorder, encode, last_stretch
from gamengen.play.picture import to_jpeg

RATE = Fraction(35, 2)


def moments(count: int, pictures: int) -> list[tuple[bytes, ...]]:
    frame = np.full((120, 160, 3), 90, np.uint8)
    return [(to_jpeg(frame),) * pictures for _ in range(count)]


def test_the_recorder_forgets_what_is_older_than_a_minute() -> None:
    recorder = Recorder(17.5)
    for number in range(2000):
        recorder.add([b"%d" % number])
    assert len(recorder.moments) == SECONDS * 17.5
    assert recorder.moments[-1] == (b"1999",)


def test_a_film_has_no_empty_half() -> None:
    alone, beside = moments(40, 1), moments(20, 2)
    assert last_stretch([*alone, *beside], RATE) == beside
    assert last_stretch([*alone, *beside, *alone[:3]], RATE) == beside, "the real game was lost"
    assert last_stretch(alone[:3], RATE) == alone[:3]


def test_mp4_at_the_games_rate() -> None:
    data = encode(moments(35, 2), RATE, "mp4", lambda: True)
    with av.open(io.BytesIO(data)) as video:
        stream = video.streams.video[0]
        assert stream.average_rate == RATE
        assert (stream.width, stream.height) == (4 * (160 + 4 + 160), 480)
        assert sum(1 for _ in video.decode(stream)) == 35


def test_gif_at_the_games_rate() -> None:
    shades = [(to_jpeg(np.full((32, 48, 3), 5 * n, np.uint8)),) for n in range(35)]
    with Image.open(io.BytesIO(encode(shades, RATE, "gif", lambda: True))) as gif:
        assert gif.n_frames == 35
        lasting = 0
        for n in range(gif.n_frames):
            gif.seek(n)
            lasting += gif.info["duration"]
    assert lasting == 2000


def test_nobody_waits_for_a_clip_that_is_not_wanted() -> None:
    assert encode(moments(3, 1), RATE, "mp4", lambda: False) == b""


def test_a_film_of_a_model_that_is_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = ["showcase", str(tmp_path), "--model", str(tmp_path / "none")]
    monkeypatch.setattr(sys, "argv", told)
    with pytest.raises(SystemExit, match=r"error: .*none: no such folder"):
        showcase.main()
