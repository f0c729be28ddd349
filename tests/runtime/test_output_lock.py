"""One process works towards an output; when it is made, another may."""

import subprocess
import sys
from pathlib import Path

from gamengen.runtime import device, lock, output
from tests.tiny import ROOT

LOCK = "from pathlib import Path; from gamengen.runtime import lock; import sys; "
LOCK += "lock.lock_output(Path(sys.argv[1]))"


def another_locks(out: Path) -> str:
    """What another process says; nothing when it has the lock."""
    command = [sys.executable, "-c", LOCK, str(out)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True).stderr


def test_an_output_is_locked_until_it_is_made(tmp_path: Path) -> None:
    out = tmp_path / "out"
    for _ in range(2):  # the same process, interrupted and started again
        lock.lock_output(out)
    assert f"{out}: in use by process" in another_locks(out)
    with output.atomic_output(out, device.start()) as folder:
        (folder / "made").touch()
    assert not lock.lock_of(out).exists()
    assert another_locks(out) == ""
