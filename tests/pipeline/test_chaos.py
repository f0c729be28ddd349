"""The short version of ``python -m tests.chaos``."""

import subprocess
import sys

import pytest

from tests.tiny import ROOT

MOUNT = ["unshare", "--map-root-user", "--mount", "true"]


def test_killed_twice_it_ends_as_undisturbed() -> None:
    if subprocess.run(MOUNT, capture_output=True, check=False).returncode:
        pytest.skip("no namespace for a small disk here")
    command = [sys.executable, "-m", "tests.chaos", "--kills", "2", "--fills", "0", "autoencoder"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "2 kills, 1 completed, 0 wrong" in done.stdout
