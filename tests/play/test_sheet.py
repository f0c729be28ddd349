"""The printed sheet: what it says was asked, and what was answered."""

import html
import re
import sys
from pathlib import Path
from typing import Any

import pytest

from gamengen.play import questions, sheet
from gamengen.play.blind import Answers
from tests.artifacts import make_all
from tests.play.test_blind import record


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sheet") / "data"
    make_all(folder, length=40)
    return folder


def printed(model: Path, answers: Answers, monkeypatch: pytest.MonkeyPatch) -> str:
    """The sheet as the command writes it."""
    file = answers.path.parent / "sheet.html"
    told = ["sheet", str(file), "--model", str(model), "--answers", str(answers.path)]
    monkeypatch.setattr(sys, "argv", told)
    sheet.main()
    return file.read_text()


def words(page: str) -> str:
    """What is to be read of a page."""
    return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", page.split("</head>")[1])).split())


def table(page: str) -> list[list[str]]:
    rows = re.findall("<tr>(.*?)</tr>", page.split("<tbody>")[1], re.DOTALL)
    return [[words("</head>" + cell) for cell in row.split("</td>")[:-1]] for row in rows]


def test_it_says_what_the_page_asks(
    model: Path, answers: Answers, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = printed(model, answers, monkeypatch)
    said = words(page)
    for asked in [
        questions.QUESTIONS["clips"],
        questions.INVITATION,
        *questions.OPTIONS["clips"].values(),
        *[offer.text for offer in questions.offers() if offer.kind == "clips"],
        "drawn uniformly from all places of the test episodes",
        "5 to 10 minutes of play",
        "48x32 pixels, 17.5 frames a second",
    ]:
        assert asked in said
    assert not re.search(r"(src|href)=|@import|url\(", page), "it is not self-contained"


def test_it_says_when_there_are_no_answers(
    model: Path, answers: Answers, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = printed(model, answers, monkeypatch)
    assert "There are no answers yet." in words(page)
    assert [[row[0], row[-2], row[-1]] for row in table(page)] == [
        ["1.6 s", "no answers yet", "58 %"],
        ["3.2 s", "no answers yet", "60 %"],
        ["1.6 s", "no answers yet", "50 %"],
        ["3.2 s", "no answers yet", "50 %"],
    ]


def test_its_table_is_of_this_games_clips(
    model: Path, answers: Answers, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[dict[str, Any]] = [
        {"choice": "left"},
        {"choice": "right", "rater": "b"},
        {"choice": "left", "after": 300.0},
        {"scenario": "another"},
        {"kind": "active", "seconds": 10.0, "truth": "real", "choice": "real"},
    ]
    game = sheet.load_weights(model).teacher.game.scenario
    for changes in told:
        answers.append(record(**{"scenario": game} | changes))
    page = printed(model, answers, monkeypatch)
    assert "3 trials by 2 raters , 2026-01-01 (UTC)" in words(page)
    assert "no answers yet." not in words(page)
    at_once, _, later, _ = table(page)
    assert at_once[2:] == ["student, 1 step", "2", "2", "1, 50 %", "9 to 91 %", "58 %"]
    assert later[2:] == ["student, 1 step", "1", "1", "1, 100 %", "21 to 100 %", "50 %"]


def test_it_names_what_is_missing(
    tmp_path: Path, answers: Answers, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(SystemExit, match="none: no such folder"):
        printed(tmp_path / "none", answers, monkeypatch)
