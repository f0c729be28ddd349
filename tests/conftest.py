"""A copy of the project to run things in, and the way to launch a stage."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from xdist.scheduler import LoadScopeScheduling

import gamengen  # noqa: F401  settles whether torch_xla may be seen, before anything imports it
from tests.artifacts import make_autoencoder, make_denoiser, make_episodes, make_latents
from tests.dreams import Made, make_playable, open_playable
from tests.tiny import ROOT, write_params

Launch = Callable[..., str]


# What `make quick` leaves out: launches, servers, browsers, the real game, compilers.
SLOW = (
    "tests/backends/",
    "tests/bench/",
    "tests/collection/",
    "tests/data/test_corrupt.py",
    "tests/data/test_replay.py",
    "tests/data/test_whole.py",
    "tests/evaluation/test_enemies.py",
    "tests/evaluation/test_enemies_read.py",
    "tests/evaluation/test_evaluate.py",
    "tests/evaluation/test_long_play.py",
    "tests/evaluation/test_measures_rank.py",
    "tests/evaluation/test_report.py",
    "tests/game/test_doom.py",
    "tests/model/test_autoencoder.py",
    "tests/pipeline/",
    "tests/play/",
    "tests/runtime/",
    "tests/training/test_finite.py",
)
QUICK = ("tests/pipeline/test_tour.py", "tests/play/test_keys.py", "tests/play/test_protocol.py")


# The longest, which begin first, or one of two processes ends by waiting for the other.
LONG = (
    "tests/pipeline/test_repro.py",
    "tests/pipeline/test_flow.py",
    "tests/pipeline/test_study.py",
    "tests/runtime/test_xla.py",
    "tests/pipeline/test_launch.py",
    "tests/backends/",
    "tests/evaluation/test_measures_rank.py",
    "tests/runtime/",
    "tests/pipeline/",
    "tests/collection/",
    "tests/evaluation/test_evaluate.py",
    "tests/play/",
    "tests/bench/",
)
# Whose tests share what takes long to make: these files are not divided among processes.
WHOLE = (
    "tests/data/test_replay.py",
    "tests/evaluation/test_enemies.py",
    "tests/evaluation/test_enemies_read.py",
    "tests/evaluation/test_evaluate.py",
    "tests/evaluation/test_inverse_dynamics.py",
    "tests/evaluation/test_measures_rank.py",
    "tests/evaluation/test_status_bar.py",
    "tests/game/test_doom.py",
    "tests/play/test_page.py",
    "tests/play/test_page_keyboard.py",
    "tests/play/test_page_lost.py",
    "tests/play/test_same_keys.py",
    "tests/runtime/test_processes.py",
)
PIPELINE = LONG[:3]  # of one run of the pipeline


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=place)
    for item in items:
        if item.nodeid.startswith(SLOW) and not item.nodeid.startswith(QUICK):
            item.add_marker(pytest.mark.slow)


def place(item: pytest.Item) -> int:
    """In the order in which tests begin."""
    return next((n for n, name in enumerate(LONG) if item.nodeid.startswith(name)), len(LONG))


class Together(LoadScopeScheduling):
    """What is not to be divided goes to one process, all else to whichever is free.

    pytest-xdist's own groups do nothing under pytest 9.2, which no longer lets names be changed.
    """

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.split("::")[0]
        if file in PIPELINE:
            return "pipeline"
        return file if file in WHOLE else nodeid


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Together:
    config.option.loadscopereorder = False  # the order is that of ``place``
    return Together(config, log)


@pytest.fixture(autouse=True)
def same_random_numbers() -> None:
    """Whatever ran before: tests are dealt to processes, and compare within tolerances."""
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Of a user who has nothing set up."""
    return clean_environment(tmp_path_factory.mktemp("home"))


def clean_environment(home: Path) -> dict[str, str]:
    """No DVC, Prefect or git settings of one's own."""
    theirs = ("PJRT_", "PREFECT_", "DVC_", "USE_TORCH_XLA", "LAUNCH")
    kept = {k: v for k, v in os.environ.items() if not k.startswith(theirs)}
    return kept | {
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
        "DVC_SITE_CACHE_DIR": str(home / "dvc"),
        "DVC_GLOBAL_CONFIG_DIR": str(home / "dvc-global"),
        "DVC_SYSTEM_CONFIG_DIR": str(home / "dvc-system"),
        "PREFECT_HOME": str(home / "prefect"),
        "DO_NOT_TRACK": "1",
        "OMP_NUM_THREADS": "1",
    }


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the training stages read: tiny episodes, latents, autoencoder and denoiser."""
    folder = tmp_path_factory.mktemp("made")
    episodes = make_episodes(folder / "episodes")
    autoencoder = make_autoencoder(folder / "autoencoder")
    latents = make_latents(folder / "latents", episodes, autoencoder)
    make_denoiser(folder / "denoiser", latents)
    return folder


@pytest.fixture(scope="session")
def playable_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder with a tiny model to play."""
    return make_playable(tmp_path_factory.mktemp("playable"))


@pytest.fixture
def playable(playable_data: Path) -> Made:
    """That model, read afresh."""
    return open_playable(playable_data)


@pytest.fixture
def launch(tmp_path: Path, environment: dict[str, str]) -> Launch:
    """Runs a stage under one or more processes, at tiny size; returns what it printed."""

    def run(
        stage: str,
        *paths: Path,
        changes: Mapping[str, Any] | None = None,
        processes: int = 1,
        **variables: str,
    ) -> str:
        write_params(tmp_path / "params.yaml", dict(changes or {}))
        settings = {"PYTHONPATH": str(ROOT)}
        if processes > 1:
            settings["LAUNCH"] = str(ROOT / {2: "launch/two.yaml"}[processes])
        command = [str(ROOT / "launch/accelerate"), "-m", f"stages.{stage}", *map(str, paths)]
        return call(command, tmp_path, environment | settings | variables)

    return run


def call(command: list[str], folder: Path, environment: Mapping[str, str]) -> str:
    """What a command prints; it must succeed."""
    done = subprocess.run(
        command,
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout}"
    return done.stdout


# What runs for seconds here is compiled for minutes otherwise.
QUICK_XLA = {
    "XLA_FLAGS": "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true "
    "--xla_cpu_use_fusion_emitters=false"
}


def on_xla(program: str, *arguments: str) -> dict[str, Any]:
    """What a program of the tests, run under torch_xla on the CPU, says in its last line."""
    done = subprocess.run(
        [sys.executable, "-m", program, *arguments],
        cwd=ROOT,
        env={"PATH": "/usr/bin:/bin", "PJRT_DEVICE": "CPU", "HOME": str(Path.home())} | QUICK_XLA,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    told: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return told


def copy_project(folder: Path) -> None:
    """The working tree as git would clone it, in a repository of its own, at tiny size."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split("\0")
    results = ("dvc.lock", "metrics.json")  # of the committed numbers, not of tiny ones
    for name in listed:
        if name and name not in results and (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
    write_params(folder / "params.yaml", {})
    for command in (
        ["git", "init", "--quiet", "--initial-branch=main"],
        ["git", "config", "user.name", "test"],
        ["git", "config", "user.email", "test@example.com"],
    ):
        call(command, folder, os.environ)
    commit(folder, "tiny")


def commit(folder: Path, message: str) -> None:
    """Commit everything that git does not ignore."""
    call(["git", "add", "--all"], folder, os.environ)
    call(["git", "commit", "--quiet", "--message", message], folder, os.environ)
