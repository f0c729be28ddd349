"""The whole pipeline, run once at tiny size; tests work on copies of the outcome."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import call, commit, copy_project

Dvc = Callable[..., str]


@pytest.fixture(scope="session")
def reproduced(tmp_path_factory: pytest.TempPathFactory, environment: dict[str, str]) -> Path:
    """A clone after `dvc repro`, its results committed. Read only."""
    folder = tmp_path_factory.mktemp("reproduced")
    copy_project(folder)
    (folder / "repro.log").write_text(call(["dvc", "repro"], folder, environment))
    commit(folder, "results")
    return folder


@pytest.fixture
def project(reproduced: Path, tmp_path: Path) -> Path:
    """A copy of the reproduced clone, to be changed."""
    return Path(shutil.copytree(reproduced, tmp_path / "project", symlinks=True))


@pytest.fixture
def dvc(project: Path, environment: dict[str, str]) -> Dvc:
    """Calls DVC in the project; returns what it printed."""
    return lambda *arguments: call(["dvc", *arguments], project, environment)
