"""DVC does with the pipeline what its user expects."""

import json
import os
import re
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from tests.conftest import call
from tests.pipeline.conftest import Dvc
from tests.tiny import merged

STAGES = ["collect", "autoencoder", "encode", "train", "decoder", "distill", "evaluate"]


def ran(log: str) -> list[str]:
    return re.findall(r"^Running stage '(\w+)':", log, re.MULTILINE)


def flat(metrics: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested metrics under names as ``dvc metrics`` gives them."""
    found: dict[str, Any] = {}
    for name, value in metrics.items():
        found |= (
            flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {prefix + name: value}
        )
    return found


def change(project: Path, changes: dict[str, object]) -> None:
    yaml = YAML()
    params = project / "params.yaml"
    yaml.dump(merged(yaml.load(params), changes), params)


def test_all_stages_run_and_leave_nothing_half_done(reproduced: Path) -> None:
    log = (reproduced / "repro.log").read_text()
    assert ran(log) == STAGES
    assert "Traceback" not in log
    assert "Warning" not in log
    data = {path.name for path in (reproduced / "data").iterdir() if path.name[0] != "."}
    made = {"episodes", "autoencoder", "latents", "denoiser", "decoder", "student"}
    assert data - {"pretrained", "tensorboard"} == made
    left = [*reproduced.glob("data/.resume/*"), *reproduced.rglob(".partial-*")]
    assert left == []
    assert (reproduced / "report/index.html").stat().st_size > 0


def test_metrics_are_in_plain_words(reproduced: Path) -> None:
    metrics = json.loads((reproduced / "metrics.json").read_text())
    for section in (metrics["teacher_forced"], metrics["autoregressive"]):
        for model in ("student", "steps_3", "copy_last", "autoencoder"):
            assert {"psnr_pooled", "lpips_alex", "lpips_vgg"} <= section[model].keys()
    assert "moving" in metrics["teacher_forced"]
    assert metrics["fvd_16"] is None
    assert metrics["fvd_32"] is None
    assert "weights" in metrics["fvd_reason"]


def test_second_run_does_nothing_within_ten_seconds(project: Path, dvc: Dvc) -> None:
    dvc("status")  # the copied files are new to DVC
    began = time.monotonic()
    assert ran(dvc("repro")) == []
    assert time.monotonic() - began < 10
    assert call(["git", "status", "--porcelain"], project, os.environ) == ""


def test_a_section_concerns_its_own_stage_alone(project: Path, dvc: Dvc) -> None:
    params = YAML(typ="safe").load(project / "params.yaml")
    for stage in STAGES:
        key, value = next((k, v) for k, v in params[stage].items() if isinstance(v, int))
        change(project, {stage: {key: value + 1}})
        assert list(json.loads(dvc("status", "--json"))) == [stage]
        change(project, {stage: {key: value}})
    assert json.loads(dvc("status", "--json")) == {}


def test_code_concerns_the_stages_that_import_it(project: Path, dvc: Dvc) -> None:
    with (project / "gamengen/model/distillation.py").open("a") as code:
        code.write("# changed\n")
    assert list(json.loads(dvc("status", "--json"))) == ["distill"]


def test_experiment_reruns_the_stage_and_what_depends_on_it(project: Path, dvc: Dvc) -> None:
    before = json.loads((project / "metrics.json").read_text())
    log = dvc("exp", "run", "-S", "train.context_frames=2")
    assert ran(log) == ["train", "distill", "evaluate"]
    assert "train.context_frames" in dvc("params", "diff")
    after = json.loads((project / "metrics.json").read_text())
    assert after["teacher_forced"]["copy_last"] == before["teacher_forced"]["copy_last"]
    told = json.loads(dvc("metrics", "diff", "--json"))["metrics.json"]
    old, new = flat(before), flat(after)
    assert told.keys() == {name for name in new if old.get(name) != new[name]}
    assert any(".student." in name for name in told)
    plots = json.loads(dvc("plots", "diff", "--json"))
    declared = YAML(typ="safe").load(project / "dvc.yaml")["plots"]
    assert set(plots["data"]) == {path for plot in declared for path in plot}
    assert all(found[0]["revisions"] == ["workspace", "HEAD"] for found in plots["data"].values())
    assert "errors" not in plots
    assert all(stage in dvc("dag") for stage in STAGES)


def test_interrupt_ends_cleanly_and_the_next_run_goes_on(
    project: Path, environment: dict[str, str]
) -> None:
    change(project, {"train": {"schedule": {"steps": 100000, "checkpoint_every": 20}}})
    process = subprocess.Popen(
        ["dvc", "repro", "--single-item", "train"],
        cwd=project,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        while not list(project.glob("data/.resume/denoiser-*/checkpoint.safetensors")):
            assert process.poll() is None, process.communicate()[0]
            time.sleep(0.1)
    finally:
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does, to all of them
    log, _ = process.communicate(timeout=60)
    assert process.returncode not in (0, None)
    assert "interrupted; the same command goes on from the last checkpoint" in log
    assert "Traceback" not in log
    assert not (project / "data/denoiser").exists()
    again = subprocess.Popen(
        ["dvc", "repro", "--single-item", "train"],
        cwd=project,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    assert again.stdout
    try:
        assert any(re.search(r"resumed at step \d+ of 100000", line) for line in again.stdout)
    finally:
        os.killpg(again.pid, signal.SIGINT)
    again.communicate(timeout=60)
