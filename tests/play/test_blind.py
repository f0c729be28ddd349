"""Answers in a file, and what they say."""

import json
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from gamengen.model.diffusion import Sampling
from gamengen.play import blind, trials
from gamengen.play.blind import Answers, Record, in_words, verdicts, wilson
from gamengen.play.dream import Settings
from gamengen.runtime.errors import InputError


def test_settings_in_words() -> None:
    told = Settings("teacher", Sampling(4, 1.5, context_noise=0.1, shift=2.5, order=2))
    assert trials.in_words(told) == "teacher, 4 steps, guidance 1.5, noise 0.1, shift 2.5, order 2"
    assert trials.in_words(Settings("student", Sampling(1))) == "student, 1 step"


def record(**changes: Any) -> Record:
    told: dict[str, Any] = {
        "at": datetime(2026, 1, 1, tzinfo=UTC),
        "rater": "a",
        "kind": "clips",
        "seconds": 1.6,
        "scenario": "striped_world",
        "episode": "0002",
        "frame": 5,
        "model": "student, 1 step",
        "truth": "left",
        "choice": "left",
    }
    return Record.model_validate(told | changes)


@pytest.mark.parametrize(
    ("right", "count", "low", "high"),
    [  # Newcombe 1998, table I, method 3: 95 %
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0000, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_intervals_as_published(right: int, count: int, low: float, high: float) -> None:
    assert wilson(right, count) == pytest.approx((low, high), abs=6e-5)
    assert wilson(count - right, count) == pytest.approx((1 - high, 1 - low), abs=6e-5)


def test_no_interval_of_nothing() -> None:
    with pytest.raises(ValueError, match="0 of 0"):
        wilson(0, 0)


def test_the_papers_percentages() -> None:
    told = [record(choice="left")] * 58 + [record(choice="right", rater="b")] * 42
    (verdict,) = verdicts(told)
    assert verdict.raters == 2
    text = in_words(verdict)
    assert "real game chosen 58 of 100 times by 2, 58 % [48, 67]" in text
    assert text.endswith("the paper's raters: 58 %")


def test_play_cut_short_is_left_out_and_models_are_kept_apart() -> None:
    active = {"kind": "active", "seconds": 20.0, "truth": "neural"}
    told = [
        record(**active, choice="neural", knew_after=2.0),
        record(**active, choice="neural", knew_after=5.0),
        record(**active, choice="real"),
        record(**active, choice="neural", cut_short=True),
        record(**active, choice="real", model="teacher, 4 steps"),
    ]
    student, teacher = verdicts(told)
    assert (student.right, student.count, student.cut_short) == (2, 3, 1)
    assert student.knew_after == 3.5
    assert (teacher.right, teacher.count, teacher.knew_after) == (0, 1, None)


def test_trials_that_were_all_cut_short_are_not_passed_over() -> None:
    active = {"kind": "active", "seconds": 10.0, "truth": "neural", "choice": "neural"}
    (verdict,) = verdicts([record(**active, cut_short=True)] * 2)
    assert (verdict.count, verdict.cut_short) == (0, 2)
    assert in_words(verdict).endswith(": 2 left out: the real game had ended")


def test_clips_after_play_are_kept_apart() -> None:
    told = [record(), record(after=300.0), record(after=300.0, choice="right")]
    at_once, later = verdicts(told)
    assert (at_once.count, later.count, later.right) == (1, 2, 1)
    assert in_words(later).startswith("two clips of 1.6 s after 5 minutes of play (student")
    assert in_words(later).endswith("the paper's raters: 50 %")


def test_records_from_before_there_was_play_before_clips(answers: Answers) -> None:
    told = json.loads(record().model_dump_json())
    del told["after"]
    answers.path.write_text(json.dumps(told) + "\n")
    assert answers.read() == [record(after=0.0)]


def test_the_command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "blind.jsonl"
    monkeypatch.setattr(sys, "argv", ["blind", str(path)])
    with pytest.raises(SystemExit, match="make play"):
        blind.main()
    for choice in ("left", "left", "right"):
        Answers(path).append(record(choice=choice))
    blind.main()
    assert "2 of 3 times" in capsys.readouterr().out
    with path.open("a") as file:
        file.write("{}\n")
    with pytest.raises(InputError, match=r"blind\.jsonl:4: not an answer"):
        Answers(path).read()


def test_answers_do_not_grow_without_bound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answers = Answers(tmp_path / "blind.jsonl")
    monkeypatch.setattr(blind, "MOST", 300)
    for _ in range(2):
        answers.append(record())
    with pytest.raises(InputError, match="move it away"):
        answers.append(record())
    assert len(answers.read()) == 2


def test_answers_that_cannot_be_written_are_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=r"file/blind\.jsonl: .*: no answer can be kept"):
        Answers(tmp_path / "file" / "blind.jsonl").append(record())
