"""One run at a time in a folder, whoever starts it."""

import os
import signal
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path

import pytest

from flows import pipeline
from flows.lock import held, require_right
from gamengen.runtime.errors import InputError
from tests.tiny import ROOT

HOLD = [sys.executable, "-m", "flows.lock"]
WAIT = ["sh", "-c", "echo held; read forever"]


def start(folder: Path, *command: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [*HOLD, *command],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_second_run_is_told_who_holds_the_folder_and_changes_nothing(folder: Path) -> None:
    (folder / "params.yaml").write_text("train: {seed: 1}\n")
    with start(folder, *WAIT) as first:
        assert first.stdout is not None
        assert first.stdout.readline() == "held\n"
        who = rf"in use by process {first.pid} since 20.*: sh -c .*read forever"
        with pytest.raises(InputError, match=who):
            pipeline.pipeline.fn(["train.seed=2"])
        second = start(folder, "echo", "not held")
        printed, said = second.communicate()
        assert second.returncode == 2
        assert printed == ""
        assert f"error: {folder}: in use by process {first.pid}" in said
        first.communicate("\n")
    assert first.returncode == 0
    assert (folder / "params.yaml").read_text() == "train: {seed: 1}\n"
    with held("me"):  # it is free again
        pass


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("dvc exp run -S train.seed=3 --set-param evaluate.batch_size=2 --temp", None),
        ("dvc exp run -S params.yaml:train.seed=3 -S train.unet.widths=[32,64]", None),
        ("dvc exp run --queue -S train.seed=3,4", None),
        ("dvc exp run --help", None),
        ("dvc exp run -S", None),
        ("dvc repro -S whatever", None),
        ("dvc exp run --set-param=evaluate.batch_size=many", r"evaluate\.batch_size: 'many'"),
        ("/a/dvc experiments run --set-par evaluate.seed=x", r"evaluate\.seed: 'x'"),
        (
            "dvc exp run -n deep -Strain.unet.blockz=2",
            r"blockz: no key of params\.yaml; nearest: t",
        ),
        ("dvc exp run -S train.seed=range(1,4)", r"overrides: "),
    ],
)
def test_overrides_of_an_experiment_are_checked_before_it_runs(
    words: str, said: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    with nullcontext() if said is None else pytest.raises(InputError, match=said):
        require_right(words.split())


@pytest.mark.parametrize("orphan", [False, True])
def test_a_dead_run_holds_nothing_whatever_it_leaves_behind(folder: Path, orphan: bool) -> None:
    waits = ["sh", "-c", "sleep 600 & echo $!; read forever"] if orphan else WAIT
    with start(folder, *waits) as first:
        assert first.stdout is not None
        left = first.stdout.readline()
        first.send_signal(signal.SIGKILL)
        first.wait()
        try:
            with held("me"):
                assert f"process {os.getpid()} since" in (folder / ".running").read_text()
        finally:
            if orphan:
                os.kill(int(left), signal.SIGTERM)


def test_the_flow_holds_it_from_before_the_first_write_to_the_end(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused = []

    def another(*_: object) -> dict[str, list[str]]:
        second = start(folder, "true")
        second.communicate()
        refused.append(second.returncode)
        return {}

    for name in ("set_params", "upstream_of", "publish"):
        monkeypatch.setattr(pipeline, name, another)
    pipeline.pipeline.fn(["train.seed=2"])
    assert refused == [2, 2, 2]


def test_make_repro_takes_the_lock() -> None:
    made = subprocess.run(
        ["make", "-n", "--no-print-directory", "repro"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert made.stdout.splitlines()[-1] == "python -m flows.lock dvc repro"


@pytest.mark.parametrize(
    ("cut", "says"),
    [
        ("record", "'outs'"),
        ("whole record", "not 'NoneType'"),
        ("rwlock", "JSON structure is corrupted"),
        ("first lock file", "'./dvc.lock' validation failed"),
        ("later lock file", "'./dvc.lock' validation failed"),
    ],
)
def test_a_full_disk_under_dvcs_own_files_breaks_no_later_run(
    folder: Path, cut: str, says: str
) -> None:
    (folder / "given").write_text("something")
    (folder / "dvc.yaml").write_text(
        "stages: {copy: {cmd: cp given made, deps: [given], outs: [made]}}\n"
    )
    dvc = [sys.executable, "-m", "dvc"]
    subprocess.run([*dvc, "init", "--no-scm", "--quiet"], check=True)
    subprocess.run([*dvc, "repro"], check=True)
    lock = (folder / "dvc.lock").read_text()
    (record,) = (folder / ".dvc/cache/runs").glob("*/*/*")
    text = record.read_text()
    if cut == "rwlock":
        (folder / ".dvc/tmp/rwlock").write_text('{"given": {"read": [{"pid": 1, "cmd')
    elif "record" in cut:
        record.unlink()
    if cut == "record":
        record.with_name(".cut.tmp").write_text(text[: text.index("outs:")])
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    if cut == "later lock file":
        subprocess.run([*HOLD, *dvc, "status"], check=True, env=environment)
    (folder / "dvc.lock").unlink()
    if "lock file" in cut:
        (folder / "dvc.lock").write_text("" if "first" in cut else lock[: lock.index("cmd")])
    (folder / "made").unlink()
    alone = subprocess.run([*dvc, "repro"], capture_output=True, text=True)
    assert says in alone.stderr, "DVC has mended it: a part of flows.lock can go"
    again = [*HOLD, *dvc, "repro"]
    said = subprocess.run(again, check=True, env=environment, capture_output=True, text=True)
    assert (folder / "made").exists()
    assert (folder / "dvc.lock").read_text() == lock
    if "lock file" in cut:
        assert ("copy is back" if "later" in cut else "is removed") in said.stderr
        assert "Running stage" not in said.stdout, "DVC's cache has what ran"


def test_a_merge_of_lock_files_is_left_to_its_user(folder: Path) -> None:
    merged = "schema: '2.0'\n<<<<<<< mine\nstages: {}\n=======\n>>>>>>> theirs\n"
    (folder / "dvc.lock").write_text(merged)
    with held("me"):
        assert (folder / "dvc.lock").read_text() == merged
