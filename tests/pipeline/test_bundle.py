"""The bundle for a machine without network: what is in it, and that its script runs and resumes."""

import os
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from flows import bundle
from gamengen.runtime.errors import InputError
from tests.artifacts import own_game
from tests.tiny import ROOT, tiny_params, write_params

HERE = f"{sys.version_info.major}.{sys.version_info.minor}"
TINY = ["autoencoder.source=null", "collect.games=1"]


@pytest.fixture(autouse=True)
def _no_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where this runs they are installed."""

    def nothing(archive: Path, *_: object) -> None:
        (archive.parent / "nothing").mkdir()
        with tarfile.open(archive, "w:xz") as file:
            file.add(archive.parent / "nothing", "nothing")

    monkeypatch.setattr(bundle, "pack", nothing)
    monkeypatch.chdir(ROOT)


def test_its_script_runs_the_stages_and_skips_what_is_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bundle, "STAGES", ("collect", "autoencoder"))
    bundle.bundle(tmp_path / "bundle", TINY, HERE)
    write_params(tmp_path / "bundle/params.yaml", {})
    kept = {
        k: v for k, v in os.environ.items() if not k.startswith(("PJRT_", "USE_TORCH", "LAUNCH"))
    }

    def run() -> str:
        done = subprocess.run(
            ["sh", str(tmp_path / "bundle/run.sh"), "results"],
            cwd=tmp_path,
            env=kept | {"PYTHON": sys.executable, "OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    printed = run()
    assert "== collect" in printed
    assert "== autoencoder" in printed
    assert {path.name for path in (tmp_path / "results").iterdir()} == {"autoencoder"}
    assert (tmp_path / "bundle/data/episodes/index.json").is_file()
    assert "==" not in run()


@pytest.mark.parametrize(
    ("python", "said"),
    [
        (
            "3.99",
            f"error: Python {HERE}, but the packages are for 3.99: name one, PYTHON=python3.99",
        ),
        (HERE, "error: not in this bundle, and not here either: no_such_module"),
    ],
)
def test_a_machine_that_cannot_run_it_is_told_so_first(
    python: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bundle, "MODULES", "torch no_such_module")
    bundle.bundle(tmp_path / "bundle", TINY, python)
    done = subprocess.run(
        ["sh", str(tmp_path / "bundle/run.sh"), str(tmp_path / "results")],
        env=os.environ | {"PYTHON": sys.executable},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, said in done.stderr) == (1, True), done.stderr


def test_wrong_numbers_are_refused_and_leave_nothing(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="collect"):
        bundle.bundle(tmp_path / "bundle", ["collect.frames=1"], "3.12")
    assert list(tmp_path.iterdir()) == []
    bundle.bundle(tmp_path / "bundle", TINY, "3.12")
    with pytest.raises(InputError, match="is there already"):
        bundle.bundle(tmp_path / "bundle", TINY, "3.12")


def test_a_bundle_that_is_too_large_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bundle, "LARGEST", 1000)
    with pytest.raises(InputError, match="more than 0"):
        bundle.bundle(tmp_path / "bundle", TINY, "3.12")


def test_a_package_that_would_be_missing_there_is_named(tmp_path: Path) -> None:
    info = tmp_path / "stores-1.2.dist-info"
    info.mkdir()

    def needs(*lines: str) -> None:
        required = "".join(f"Requires-Dist: {line}\n" for line in lines)
        (info / "METADATA").write_text(f"Name: stores\nVersion: 1.2\n{required}")

    needs("numpy>=2", "pygame-ce", 'pandas; extra == "tables"', 'tomli; python_version < "3.12"')
    bundle.require_whole(tmp_path, "3.12")
    with pytest.raises(InputError, match=r"stores 1\.2, which Python 3\.11 gets, needs tomli"):
        bundle.require_whole(tmp_path, "3.11")
    needs("numpy", "Message.Spec>=1")
    with pytest.raises(InputError, match=r"needs Message\.Spec: add it"):
        bundle.require_whole(tmp_path, "3.12")


def test_it_carries_what_its_numbers_ask_for() -> None:
    numbers = tiny_params({"decoder": {"perceptual": []}, "autoencoder": {"perceptual": []}})
    packages, backbones = bundle.asked_for(numbers)
    assert ("diffusers" in packages, backbones) == (False, {"alex"})
    numbers["train"]["unet"]["kind"] = "stable-diffusion"
    numbers["decoder"]["perceptual"] = [{"backbone": "vgg"}]
    packages, backbones = bundle.asked_for(numbers)
    assert ("diffusers" in packages, backbones) == (True, {"alex", "vgg"})


def test_it_carries_files_that_its_numbers_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project, numbers = tmp_path / "project", tmp_path / "params.yaml"
    (project / "given").mkdir(parents=True)
    own_game(project / "maps")
    monkeypatch.chdir(project)
    write_params(numbers, {"collect": {"scenario": "maps/mine.cfg"}, "train": {"init": "given"}})
    assert {*map(str, bundle.named(numbers))} == {"maps/mine.cfg", "maps/mine.wad", "given"}
    (tmp_path / "elsewhere").mkdir()
    write_params(numbers, {"autoencoder": {"init": "../elsewhere"}})
    with pytest.raises(InputError, match=r"elsewhere: outside of .*project: a bundle carries"):
        bundle.named(numbers)


def test_a_deployment_is_named() -> None:
    assert "train.schedule.steps=6500" in bundle.of_deployment("day")
    assert bundle.of_deployment(None) == []
    with pytest.raises(InputError, match=r"--deployment night: there are cpu, day, gpu, "):
        bundle.of_deployment("night")
