"""Many players for a while, slow and hostile ones among them: ``python -m tests.play.soak``.

The server runs in this process, the players in another. Prints how late frames are for the fast
ones, with and without others beside them, how much memory the server has gained, and what it failed
at; exit status 1 if it failed at anything.
"""

import argparse
import json
import logging
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from gamengen.play.blind import Answers
from gamengen.play.server import create_app
from gamengen.play.source import Source
from tests.play.players import Players, Seen
from tests.play.worlds import served, tiny_source, until


@dataclass
class Soak:
    """What was seen in one run."""

    seen: Seen
    memory: list[float]  # MiB of the server's process, once a second
    failures: list[str]  # of the server

    def gap(self, percent: float) -> float:
        """A percentile of the fast players' gaps between frames, milliseconds."""
        return 1000 * float(np.percentile(self.seen.gaps, percent))

    @property
    def gained(self) -> float:
        """MiB of the last quarter's median over the third quarter's.

        Each session keeps the last minute's pictures, so a run tells of a leak from its second
        minute on.
        """
        quarter = max(1, len(self.memory) // 4)
        return float(
            np.median(self.memory[-quarter:]) - np.median(self.memory[-2 * quarter : -quarter])
        )


def played(address: str, players: Players) -> tuple[Seen, list[float]]:
    """Let them play; what they saw, and this process's memory meanwhile."""
    command = [sys.executable, "-m", "tests.play.players", address, json.dumps(asdict(players))]
    memory = []
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        while True:
            try:
                said, _ = process.communicate(timeout=1)
                break
            except subprocess.TimeoutExpired:
                memory.append(resident())
    assert process.returncode == 0, "the players' own process failed"
    return Seen(**json.loads(said)), memory


def resident() -> float:
    """MiB of this process."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 2**20


class Failures(logging.Handler):
    """What is logged as an error."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(self.format(record))


def run(source: Source, folder: Path, players: Players) -> Soak:
    """One run on a server of its own."""
    # The seats of dropped players are free only once their engines are.
    most = players.fast + 2 * players.slow + 4 * players.hostile
    app = create_app(source, Answers(folder / "blind.jsonl"), most)
    failures = Failures()
    logging.getLogger().addHandler(failures)
    try:
        with served(app) as address:
            seen, memory = played(address, players)
            until(lambda: not app.state.sessions, 30)
    finally:
        logging.getLogger().removeHandler(failures)
    return Soak(seen, memory, failures.lines)


def main() -> None:
    """The command: fast players alone, then with slow ones, then with hostile ones too."""
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--players", type=int, default=16)
    asked.add_argument("--slow", type=int, default=4)
    asked.add_argument("--hostile", type=int, default=2)
    asked.add_argument("--seconds", type=float, default=60)
    asked = asked.parse_args()
    failed = []
    with tempfile.TemporaryDirectory() as folder:
        source = tiny_source(Path(folder) / "data")
        for slow, hostile in ((0, 0), (asked.slow, 0), (asked.slow, asked.hostile)):
            fast = asked.players - slow - hostile
            players = Players(fast, slow, hostile, asked.seconds)
            began = time.monotonic()
            found = run(source, Path(folder), players)
            failed += found.failures
            print(
                f"{players}: between a fast player's frames p50 {found.gap(50):.1f} ms, p99 "
                f"{found.gap(99):.1f} ms; the slow read {found.seen.slow_frames}; the hostile said "
                f"{found.seen.hostile_messages}; memory {found.memory[0]:.0f} -> "
                f"{found.memory[-1]:.0f} MiB, {found.gained:+.1f} from the third to the last "
                f"quarter; all seats given back after {time.monotonic() - began:.0f} s; "
                f"{len(found.failures)} failures",
                flush=True,
            )
    sys.exit("\n".join(failed))


if __name__ == "__main__":
    main()
