"""The report: pictures in their places, charts that are valid SVG, words that say what is what."""

import xml.etree.ElementTree as ElementTree
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from gamengen.evaluation.report import charts, pictures, words
from gamengen.evaluation.report.page import shares

RED, GREEN, BLUE = (
    np.full((30, 40, 3), colour, np.uint8) for colour in ([255, 0, 0], [0, 255, 0], [0, 0, 255])
)


def parsed(svg: str) -> ElementTree.Element:
    return ElementTree.fromstring(svg)  # ours


def test_a_filmstrip_has_the_real_game_above() -> None:
    videos = {"real": np.stack([RED] * 20), "student": np.stack([BLUE] * 20)}
    strip = np.asarray(pictures.filmstrip(videos, ["real", "student"], 2 / 35))
    assert strip.shape[1] == 8 * (160 + pictures.GAP) - pictures.GAP
    columns = strip[:, 80].astype(int)
    red, blue = (np.flatnonzero((columns == colour).all(1)) for colour in (RED[0, 0], BLUE[0, 0]))
    assert len(red) == len(blue) == 120
    assert red.max() < blue.min()


def test_a_short_rollout_makes_a_short_strip() -> None:
    strip = pictures.filmstrip({"real": np.stack([RED] * 3)}, ["real"], 2 / 35)
    assert strip.width == 3 * (160 + pictures.GAP) - pictures.GAP


def test_examples_show_last_next_and_predictions() -> None:
    shown = {"copy_last": RED[None], "real": GREEN[None], "student": BLUE[None]}
    sheet = np.asarray(pictures.examples(shown, ["copy_last", "student"]))
    row = sheet[60]
    assert [row[80 + column * 164].tolist() for column in range(3)] == [
        [255, 0, 0],
        [0, 255, 0],
        [0, 0, 255],
    ]


@pytest.mark.parametrize("size", [(30, 40), (31, 41), (240, 320)])
def test_the_video_plays_at_the_game_s_rate(tmp_path: Path, size: tuple[int, int]) -> None:
    shape = (1, 4, *size, 3)
    videos = {name: np.full(shape, 90, np.uint8) for name in ("real", "student", "copy_last")}
    frames = pictures.video_frames(videos, ["real", "student"], [["ATTACK"] * 4], 2 / 35)
    pictures.write_video(tmp_path / "video.mp4", frames, Fraction(35, 2))
    with av.open(str(tmp_path / "video.mp4")) as video:
        stream = video.streams.video[0]
        assert stream.codec_context.name == "h264"
        assert stream.average_rate == Fraction(35, 2)
        assert sum(1 for _ in video.decode(video=0)) == 4 + pictures.PAUSE


def test_curves_stay_in_their_chart() -> None:
    x = np.arange(1, 65) / 17.5
    series = [
        charts.Series("a <b>", "student", 30 - x, np.full(64, 100.0)),
        charts.Series("c", "copy-last", np.full(64, 21.0), None),
    ]
    svg = parsed(charts.lines(series, x, "seconds", "dB"))
    curves = [e.attrib["points"].split() for e in svg.iter("polyline")]
    assert [len(points) for points in curves] == [64, 64]
    for points in curves:
        for across, down in (map(float, point.split(",")) for point in points):
            assert charts.LEFT <= across <= charts.WIDTH
            assert 0 <= down <= charts.HEIGHT
    assert len(list(svg.iter("polygon"))) == 1


def test_dots_rise_with_the_value_and_baselines_are_lines() -> None:
    rows = [
        charts.Dot("copy-last", "copy-last", "24.00", 24.0, None, baseline=True),
        charts.Dot("student", "student", "26.00", 26.0, 0.5, baseline=False),
        charts.Dot("4 steps", "steps", "27.00", 27.0, None, baseline=False),
    ]
    svg = parsed(charts.dots(rows, "dB"))
    circles = [float(e.attrib["cx"]) for e in svg.iter("circle")]
    assert circles == sorted(circles)
    assert len([e for e in svg.iter("line") if e.attrib["class"].startswith("whisker")]) == 1
    assert any("copy-last 24.00" in (e.text or "") for e in svg.iter("text"))


def test_a_matrix_has_taken_down_and_read_across() -> None:
    found = shares(np.array([[3, 1], [0, 0]]))
    assert found.tolist() == [[0.75, 0.25], [0, 0]]
    svg = parsed(charts.matrix(found, ["NOTHING", "A<B"]))
    cells = [e.attrib for e in svg.iter("rect")]
    assert [float(cell["fill-opacity"]) for cell in cells] == [0.35, 0.15, 0.05, 0.05]
    assert [cell["y"] for cell in cells[:2]] == [cells[0]["y"]] * 2, "a row is an action taken"
    assert [e.text for e in svg.iter("text") if e.text in ("75", "25", "0")] == ["75", "25"]


def test_a_chart_of_equal_values_is_a_chart() -> None:
    flat = charts.Series("a", "student", np.full(3, 2.0), np.zeros(3))
    assert parsed(charts.lines([flat], np.arange(3.0), "s", "dB")) is not None


@pytest.mark.parametrize(("low", "high"), [(0.0, 1.0), (21.3, 36.9), (0.03, 0.052), (-3.0, 250.0)])
def test_ticks_are_few_and_round(low: float, high: float) -> None:
    ticks = charts._ticks(low, high)
    assert 3 <= len(ticks) <= 9
    assert all(low <= tick <= high for tick in ticks)


def test_names_and_numbers_in_words() -> None:
    assert words.name_in_words("steps_1") == "denoiser, 1 step"
    assert words.name_in_words("steps_16") == "denoiser, 16 steps"
    assert words.estimate_in_words({"psnr": 28.314, "psnr_95": 0.42}, "psnr", 2) == "28.31 ± 0.42"
    assert words.estimate_in_words({"psnr": -1.0}, "psnr", 1, "+") == "\N{MINUS SIGN}1.0"
    assert words.estimate_in_words({}, "psnr", 2) == ""
    assert words.PAPER_STEPS["steps_4"] == (32.58, 0.198)
    assert "copy_last" not in words.PAPER_STEPS
