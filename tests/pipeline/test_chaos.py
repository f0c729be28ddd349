"""The short version of ``python -m tests.chaos``."""

import subprocess
import sys

import pytest

from tests.tiny import ROOT

MOUNT = ["unshare", "--map-root-user", "--mount", "mount", "-t", "tmpfs", "tmpfs", "/mnt"]


def test_killed_twice_and_on_a_full_disk_it_ends_as_undisturbed() -> None:
    if subprocess.run(MOUNT, capture_output=True, check=False).returncode:
        pytest.skip("no small disk can be mounted here")
    command = [sys.executable, "-m", "tests.chaos", "--kills", "2", "--fills", "1", "autoencoder"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "2 kills" in done.stdout
    assert "1 full disks" in done.stdout
