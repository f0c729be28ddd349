"""Studies: the real thing on a tiny project, what is refused before it runs, what is concluded."""

import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from ruamel.yaml import YAML

from flows import experiments as runner
from flows import study as flow
from flows.experiments import Result, Run
from flows.studies import Study, read_study, require_measured
from flows.study_page import cell, sentence
from gamengen.runtime.errors import InputError
from gamengen.runtime.stage import read_yaml
from tests.tiny import ROOT

TOLD: dict[str, Any] = {
    "asks": "Which frames are easier?",
    "limits": "It shows nothing.",
    "overrides": [
        *("evaluate.actions.starts=0", "evaluate.long_play.rollouts=0"),
        *("evaluate.autoregressive.rollouts=1", "evaluate.autoregressive.frames=2"),
        *("evaluate.teacher_forced.frames=4", "evaluate.teacher_forced.teacher_steps=[3]"),
    ],
    "columns": [
        {"name": "PSNR", "unit": "dB", "read": "teacher_forced.{of}.psnr"},
        {"name": "LPIPS", "read": "autoregressive.{of}.lpips_vgg_last"},
    ],
    "rows": [
        {"name": "some", "overrides": ["evaluate.seed=1"], "of": "steps_3", "paper": [31.0, None]},
        {"name": "others", "overrides": ["evaluate.seed=2"], "of": "steps_3"},
    ],
    "compare": ["some", "others"],
}
BROKEN = {"name": "broken", "overrides": ["train.init=/nowhere"], "of": "steps_3"}
CURVE = {"file": "report/autoregressive.csv", "x": "step", "y": "{of}_psnr"}
Ask = Callable[[dict[str, Any]], Path]


@pytest.fixture
def ask(project: Path, environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Ask:
    """Writes a study into studies.yaml of the project, and answers it there."""
    monkeypatch.chdir(project)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)

    def run(study: dict[str, Any]) -> Path:
        YAML().dump({"mine": study}, project / "studies.yaml")
        return flow.answer("mine")

    return run


def size_of(picture: Path) -> tuple[int, int]:
    with Image.open(picture) as opened:
        return opened.size


def test_a_study_is_run_once_and_told_with_its_failure(
    project: Path, ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    params = (project / "params.yaml").read_bytes()
    page = ask(TOLD | {"rows": [*TOLD["rows"], BROKEN], "curve": CURVE}).read_text()
    rows = {line.split(" | ")[0][2:]: line for line in page.splitlines() if line[:2] == "| "}
    assert re.search(r"failed: train: .*/nowhere", rows["broken"])
    names = dict(re.findall(r"`([a-z-]+)` \((\w{7})\)", page))
    assert names.keys() == {"mine-some", "mine-others"}
    for name, rev in names.items():
        shown = subprocess.run(["git", "show", f"{rev}:metrics.json"], capture_output=True)
        told = json.loads(shown.stdout)["teacher_forced"]["steps_3"]
        margin = f" ± {told['psnr_95']:.2f}" if "psnr_95" in told else ""
        assert f"| {told['psnr']:.2f}{margin} |" in rows[name[5:]]
    assert "| 31.00 |" in rows["some"]
    assert re.search(r"PSNR: some against others: (high|low)er by \d", page)
    assert "It shows nothing." in page
    assert size_of(project / "docs/studies/mine.png") > (500, 300)
    assert (project / "params.yaml").read_bytes() == params

    monkeypatch.setattr(flow, "run_all", lambda runs, taken: pytest.fail(f"{len(runs)} run again"))
    again = ask(TOLD).read_text()
    assert "failed" not in again
    assert rows["some"] in again
    assert size_of(project / "docs/studies/mine.png") > (500, 300)

    monkeypatch.setattr(
        flow, "run_all", lambda runs, taken: {r.name: Result("", "", {}, "x") for r in runs}
    )
    with (project / "gamengen/evaluation/statistics.py").open("a") as code:
        code.write("# changed\n")
    assert ask(TOLD).read_text().count("failed: x") == 4


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"overrides": ["evaluate.sede=1"]}, r"mine: some: overrides: .*sede"),
    ({"overrides": ["evaluate.batch_size=0"]}, r"some: params.yaml: evaluate.batch_size: 0"),
    (
        {"columns": [{"name": "a", "read": "teacher_forced.psnrr"}]},
        r"some: .*psnrr.*nearest: teacher_forced\.[a-z0-9_]+\.psnr, ",
    ),
    ({"overrides": ["evaluate.teacher_forced.teacher_steps=[1]"]}, r"some: .*3 is not measured"),
    ({"compare": ["some", "none"]}, r"mine: .*'none'.*no such row"),
    ({"colums": []}, r"mine.colums"),
]


def test_what_cannot_be_run_or_read_is_refused_before_anything_runs(
    ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(flow, "run_all", lambda runs, taken: pytest.fail(f"{len(runs)} run"))
    plain = TOLD | {"rows": [row | {"paper": []} for row in TOLD["rows"]]}
    for change, told in REFUSED:
        with pytest.raises(InputError, match=told):
            ask(plain | change)


def test_two_runs_of_one_name_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    rows = [
        {"name": name, "overrides": [f"evaluate.seed={seed}"]}
        for seed, name in enumerate(["-1 level", "1 level"])
    ]
    study = Study.model_validate(TOLD | {"rows": rows, "compare": ["-1 level", "1 level"]})
    with pytest.raises(InputError, match=r"mine: 1 level: .*mine-1-level.*rename"):
        study.runs("mine")


def test_a_column_of_any_group_needs_its_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    columns = [{"name": "a", "read": "enemies.after_4.steps_7"}]
    rows = [{"name": "some"}, {"name": "others"}]
    study = Study.model_validate(TOLD | {"columns": columns, "rows": rows})
    with pytest.raises(InputError, match=r"autoregressive.teacher_steps: \[1, 3\]: 7 is not mea"):
        require_measured("mine", study, study.runs("mine"), [])


def test_an_experiment_takes_no_name_of_another_row(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    monkeypatch.setattr(runner, "failure", lambda run, name: asked.append(name) or "x")
    monkeypatch.setattr(runner, "experiments", list)
    runner.run_all([Run(name, [], {}) for name in ("a", "a-2")], {"a"})
    assert asked == ["a-2", "a-2-2"]


def test_unknown_studies_and_code_are_named(project: Path, ask: Ask) -> None:
    (project / "studies.yaml").write_text("mine: {}\n")
    with pytest.raises(InputError, match="'context': no such study; there are mine"):
        flow.answer("context")
    subprocess.run(["git", "rm", "--quiet", "--cached", "stages/evaluate.py"], check=True)
    with pytest.raises(InputError, match=r"evaluate\.py: unknown to git"):
        ask(TOLD)


def test_committed_studies_can_be_run_and_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    for name in read_yaml(ROOT / "studies.yaml"):
        study = read_study(name)
        require_measured(name, study, study.runs(name), [])


def test_a_difference_within_the_intervals_may_be_chance() -> None:
    study = Study.model_validate(TOLD)

    def concluded(ours: float, theirs: float, *, seeds: int = 1, apart: float = 0.0) -> str:
        cells = {
            row.name: [
                cell(
                    study.columns[0],
                    row,
                    [
                        Result("", "r", {"teacher_forced": {"steps_3": metrics(value + n * apart)}})
                        for n in range(seeds)
                    ],
                )
            ]
            for row, value in zip(study.rows, (ours, theirs), strict=True)
        }
        return sentence(study, 0, cells)

    def metrics(value: float) -> dict[str, float]:
        return {"psnr": value, "psnr_95": 0.3}

    assert "may be chance (their intervals together are 0.42 dB)" in concluded(20.4, 20.0)
    assert "**PSNR: some against others: higher by 0.50 dB**, beyond" in concluded(20.5, 20.0)
    assert "lower by 0.50 dB**, beyond chance" in concluded(20.0, 20.5)
    assert "PSNR: some against others: the same." in concluded(20.0, 20.001)
    # Two seeds 0.2 dB apart: t(1) = 12.71 times 0.1, and the frames' 0.3; of both rows.
    assert "together are 1.85 dB" in concluded(21.0, 20.0, seeds=2, apart=0.2)
    assert "beyond chance" in concluded(21.0, 20.0, seeds=2)
