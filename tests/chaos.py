"""Kills the pipeline, and fills its disk, at random moments: ``python -m tests.chaos``.

The same command is given again until it is done. Every file must then be, bit for bit, what an
undisturbed run makes, and a full disk must have been told in one line.
"""

import argparse
import hashlib
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from tests.conftest import clean_environment, copy_project

REPRO = [sys.executable, "-m", "flows.lock", "dvc", "repro"]
LEAVES = ("data/tensorboard/", "data/pretrained/", "data/.resume/")  # not outputs
HANGS = 900  # seconds after a kill
IN_USE = "in use by process"
FULL = re.compile(r"disk full|No space left on device|free some")
MB = 2**20
MOUNTS = "GAMENGEN_CHAOS_MOUNTS"  # set where mounting is allowed
Tell = Callable[[str], None]


@dataclass
class Result:
    """What was done to a pipeline, and what is wrong with how it ended."""

    disturbed: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    completed: int = 0


@dataclass(frozen=True)
class Pipeline:
    """A project at tiny size; its copies are run under trouble."""

    project: Path
    environment: Mapping[str, str]
    command: list[str]

    def start(self, folder: Path) -> "subprocess.Popen[str]":
        """The command in a copy, as a process group of its own."""
        with self.log(folder).open("w") as log:
            return subprocess.Popen(
                self.command,
                cwd=folder,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                text=True,
                start_new_session=True,
            )

    def run(self, folder: Path) -> tuple[int, str]:
        """The command to its end: exit status and output."""
        status = self.start(folder).wait()
        return status, self.said(folder)

    def said(self, folder: Path) -> str:
        """What was printed; a kill may cut a character in two."""
        return self.log(folder).read_text(errors="replace")

    def log(self, folder: Path) -> Path:
        """Output of the last run in a copy; never on a disk that fills."""
        return self.project.parent / f"{folder.name}.log"

    def copy(self, folder: Path) -> Path:
        """A project in which nothing was run yet."""
        return Path(shutil.copytree(self.project, folder, symlinks=True))


def made(folder: Path) -> dict[str, str]:
    """Sha256 of every output, by path."""
    files = [*folder.glob("data/**/*"), *folder.glob("report/**/*"), folder / "metrics.json"]
    names = {str(file.relative_to(folder)): file for file in files if file.is_file()}
    return {
        name: hashlib.sha256(file.read_bytes()).hexdigest()
        for name, file in names.items()
        if not name.startswith(LEAVES)
    }


def size_of(folder: Path) -> int:
    """Bytes on the disk, by blocks."""
    return sum(512 * file.lstat().st_blocks for file in folder.rglob("*"))


def differences(found: Mapping[str, str], expected: Mapping[str, str]) -> list[str]:
    """Paths that are missing, or too many, or hold something else."""
    paths = sorted(found.keys() | expected.keys())
    return [path for path in paths if found.get(path) != expected.get(path)]


def members(group: int) -> dict[int, str]:
    """Processes of a session that still run, with the names of their programs."""
    found = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            name, fields = stat.read_text().rsplit(")", 1)
        except OSError:  # it ended meanwhile
            continue
        state, _, _, session = fields.split()[:4]
        if int(session) == group and state not in "ZX":
            found[int(stat.parent.name)] = name.split("(", 1)[1]
    return found


def left_running(groups: Iterable[int]) -> list[dict[int, str]]:
    """What still runs of finished runs, a while after them."""
    until = time.monotonic() + 30
    while (left := [found for found in map(members, groups) if found]) and time.monotonic() < until:
        time.sleep(0.5)
    return left


def kill(process: "subprocess.Popen[str]", draw: random.Random) -> str:
    """SIGKILL to all processes of a run, or to one of them."""
    running = members(process.pid)
    if draw.random() < 0.5:
        os.killpg(process.pid, signal.SIGKILL)
        return f"all {len(running)} processes"
    victim = draw.choice(sorted(running or [process.pid]))
    os.kill(victim, signal.SIGKILL)
    return f"{running.get(victim)}{', the first' if victim == process.pid else ''}"


def killed(
    pipeline: Pipeline, whole: Mapping[str, str], times: int, longest: float, seed: int, tell: Tell
) -> Result:
    """Run under so many kills, one after at most ``longest`` seconds each."""
    draw, result = random.Random(seed), Result()
    while len(result.disturbed) < times and not result.wrong:
        folder = pipeline.copy(pipeline.project.parent / f"killed-{result.completed}")
        groups = under_kills(pipeline, folder, times, longest, draw, result, tell)
        result.completed += 1
        result.wrong += [f"differs: {path}" for path in differences(made(folder), whole)]
        result.wrong += [f"left running: {left}" for left in left_running(groups)]
        shutil.rmtree(folder)
    return result


def under_kills(
    pipeline: Pipeline,
    folder: Path,
    times: int,
    longest: float,
    draw: random.Random,
    result: Result,
    tell: Tell,
) -> list[int]:
    """Run once to the end, whatever is killed; the process groups that there were."""
    process, harmed, until = pipeline.start(folder), False, time.monotonic() + HANGS
    groups = [process.pid]
    while time.monotonic() < until:
        moment = draw.uniform(0, longest) if len(result.disturbed) < times else HANGS
        try:
            status = process.wait(moment)
        except subprocess.TimeoutExpired:
            if len(result.disturbed) < times:
                result.disturbed.append(f"after {moment:.1f} s: {kill(process, draw)}")
                tell(result.disturbed[-1])
                harmed, until = True, time.monotonic() + HANGS
            continue
        log = pipeline.said(folder)
        if status == 0:
            return groups
        if not harmed and IN_USE not in log:
            result.wrong.append(f"exit status {status}:\n{log}")
            return groups
        if IN_USE in log:  # by what the killed one has left behind, which goes on
            time.sleep(1)
        process, harmed = pipeline.start(folder), False
        groups.append(process.pid)
    result.wrong.append(f"hangs {HANGS} s after the last kill:\n{pipeline.said(folder)}")
    for group in filter(members, groups):
        os.killpg(group, signal.SIGKILL)
    return groups


def filled(
    pipeline: Pipeline, whole: Mapping[str, str], written: int, times: int, seed: int, tell: Tell
) -> Result:
    """Run on a disk that is full once so many random numbers of bytes below ``written`` are."""
    draw, result = random.Random(seed), Result()
    disk = pipeline.project.parent / "disk"
    disk.mkdir()
    size = size_of(pipeline.project) + 2 * written + 2 * 1024 * MB  # stages ask for room to spare
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(disk)], check=True)
    folder, ballast = pipeline.copy(disk / "project"), disk / "ballast"
    before = shutil.disk_usage(disk).free
    for limit in sorted(draw.randrange(written) for _ in range(times)):
        process = pipeline.start(folder)
        while process.poll() is None and not ballast.exists():
            if before - shutil.disk_usage(disk).free >= limit:
                fill(ballast)
                result.disturbed.append(f"full after {limit} bytes")
            time.sleep(0.01)
        status, log = process.wait(), pipeline.said(folder)
        ballast.unlink(missing_ok=True)
        tell(f"full after {limit} bytes: exit status {status}")
        if status != 0 and not FULL.search(log):
            result.wrong.append(f"full after {limit} bytes: not told that the disk is full:\n{log}")
    status, log = pipeline.run(folder)
    result.wrong += [f"exit status {status}:\n{log}"] if status else []
    result.completed = 1
    result.wrong += [f"differs: {path}" for path in differences(made(folder), whole)]
    subprocess.run(["umount", str(disk)], check=True)
    return result


def fill(ballast: Path) -> None:
    """Leave no byte on the disk free."""
    with ballast.open("wb", buffering=0) as file, suppress(OSError):
        block = bytes(MB)
        while True:
            file.write(block)


def told(result: Result, what: str) -> str:
    """One line on how it ended, and what is wrong."""
    count = f"{len(result.disturbed)} {what}, {result.completed} completed, "
    return "\n".join([*result.wrong, f"{count}{len(result.wrong)} wrong"])


def main() -> None:
    """Run undisturbed once, then under kills and on full disks; exit status 1 if any went wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--fills", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("targets", nargs="*", help="stages; without any, the whole pipeline")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        results = chaos(Path(scratch), asked, lambda line: print(line, file=sys.stderr))
    sys.exit(any(result.wrong for result in results))


def chaos(scratch: Path, asked: argparse.Namespace, tell: Tell) -> list[Result]:
    """All that was asked for."""
    project, reference = scratch / "project", scratch / "reference"
    project.mkdir()
    copy_project(project)
    pipeline = Pipeline(project, clean_environment(scratch / "home"), [*REPRO, *asked.targets])
    pipeline.copy(reference)
    began, before = time.monotonic(), size_of(reference)
    status, log = pipeline.run(reference)
    if status != 0:
        sys.exit(f"undisturbed, but exit status {status}:\n{log}")
    seconds, written, whole = time.monotonic() - began, size_of(reference) - before, made(reference)
    print(f"undisturbed: {seconds:.0f} s, {written / MB:.1f} MB, {len(whole)} files of outputs")
    results = []
    if asked.kills:
        longest = max(5.0, seconds / 4)
        results.append(killed(pipeline, whole, asked.kills, longest, asked.seed, tell))
        print(told(results[-1], "kills"))
    if asked.fills:
        results.append(filled(pipeline, whole, written, asked.fills, asked.seed, tell))
        print(told(results[-1], "full disks"))
    return results


if __name__ == "__main__":
    if not os.environ.get(MOUNTS):  # a namespace in which a small disk can be mounted
        inside = ["unshare", "--map-root-user", "--mount", sys.executable, "-m", "tests.chaos"]
        os.execvpe(inside[0], [*inside, *sys.argv[1:]], os.environ | {MOUNTS: "1"})
    main()
