"""Can a person tell the model from the game? Answers kept in a file, and what they say.

``python -m gamengen.play.blind [FILE]`` prints the paper's percentages.
"""

import argparse
import statistics
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from pydantic import AwareDatetime, BaseModel, ValidationError

from gamengen.runtime.errors import InputError

FILE = Path("data/blind.jsonl")
PAPER = {  # section 5.1: of 10 raters x 130 clips; by kind, seconds, and seconds of play before
    ("clips", 1.6, 0.0): "58 %",
    ("clips", 3.2, 0.0): "60 %",
    ("clips", 1.6, 300.0): "50 %",
    ("clips", 3.2, 300.0): "50 %",
}
MOST = 32 * 2**20  # bytes of answers: about 100,000


class Record(BaseModel, frozen=True, extra="forbid"):
    """One answered trial."""

    at: AwareDatetime
    rater: str
    kind: Literal["clips", "active"]
    seconds: float  # of each clip, or of play at most
    after: float = 0.0  # seconds that the model had played before its clip, at least
    scenario: str
    episode: str
    frame: int  # of the episode at which it begins
    model: str  # in words: "student, 1 step"
    truth: Literal["left", "right", "real", "neural"]
    choice: Literal["left", "right", "real", "neural"]
    knew_after: float | None = None  # seconds of play; None where time was up before
    cut_short: bool = False  # the real game ended, which may tell what was played

    @property
    def right(self) -> bool:
        """Whether the person told them apart."""
        return self.choice == self.truth


class Answers:
    """A file of records, one a line, to which sessions append."""

    def __init__(self, path: Path) -> None:
        self.path = path.resolve()  # starting ViZDoom changes the folder for a moment
        self.lock = threading.Lock()

    def append(self, record: Record) -> None:
        """Write one line, whole.

        Raises InputError where it cannot, or when there are too many to be a person's.
        """
        try:
            self._append(record)
        except OSError as error:
            told = f"{self.path}: {error.strerror}: no answer can be kept: name another --answers"
            raise InputError(told) from None

    def _append(self, record: Record) -> None:
        with self.lock:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            if self.path.exists() and self.path.stat().st_size > MOST:
                raise InputError(f"{self.path.name}: {MOST >> 20} MiB of answers: move it away")
            with self.path.open("a") as file:
                file.write(record.model_dump_json() + "\n")

    def read(self) -> list[Record]:
        """All records. Raises InputError naming the line that is none."""
        if not self.path.exists():
            raise InputError(f"{self.path}: no answers yet: give some on the page of: make play")
        records = []
        for number, line in enumerate(self.path.read_text().splitlines(), 1):
            try:
                records.append(Record.model_validate_json(line))
            except ValidationError as error:
                raise InputError(f"{self.path}:{number}: not an answer: {error}") from None
        return records


def wilson(right: int, count: int) -> tuple[float, float]:
    """95 % interval of a proportion (Wilson 1927); it never leaves [0, 1].

    Raises ValueError when there was nothing to count.
    """
    from scipy.stats import binomtest  # takes a second, which play would begin with

    if not 0 <= right <= count or count == 0:
        raise ValueError(f"{right} of {count}")
    low, high = binomtest(right, count).proportion_ci(method="wilson")
    return float(low), float(high)


class Verdict(BaseModel, frozen=True):
    """What trials of one kind say together."""

    kind: Literal["clips", "active"]
    seconds: float
    after: float
    model: str
    raters: int
    count: int  # 0 where all were cut short
    right: int
    low: float  # of the proportion's 95 % interval
    high: float
    knew_after: float | None  # median seconds, of those who answered while playing
    cut_short: int  # left out of the count
    paper: str | None


def verdicts(records: Sequence[Record]) -> list[Verdict]:
    """One per kind, length, play before, and model."""
    groups: dict[tuple[str, float, float, str], list[Record]] = {}
    for record in records:
        kind = record.kind, record.seconds, record.after, record.model
        groups.setdefault(kind, []).append(record)
    return [_verdict(group) for group in groups.values()]


def _verdict(group: Sequence[Record]) -> Verdict:
    first, whole = group[0], [record for record in group if not record.cut_short]
    right = sum(record.right for record in whole)
    low, high = wilson(right, len(whole)) if whole else (0.0, 1.0)
    times = [record.knew_after for record in whole if record.knew_after is not None]
    return Verdict(
        kind=first.kind,
        seconds=first.seconds,
        after=first.after,
        model=first.model,
        raters=len({record.rater for record in whole}),
        count=len(whole),
        right=right,
        low=low,
        high=high,
        knew_after=statistics.median(times) if times else None,
        cut_short=len(group) - len(whole),
        paper=PAPER.get((first.kind, first.seconds, first.after)),
    )


def in_words(verdict: Verdict) -> str:
    """``Two clips of 1.6 s (student, 1 step): real game chosen 12 of 20 times, 60 % [39, 78]``."""
    clips = verdict.kind == "clips"
    what = f"two clips of {verdict.seconds:g} s" if clips else f"{verdict.seconds:g} s of play"
    what += f" after {verdict.after / 60:g} minutes of play" if verdict.after else ""
    did = "real game chosen" if clips else "told right"
    if verdict.count == 0:
        return f"{what} ({verdict.model}): {left_out(verdict)}"
    share = 100 * verdict.right / verdict.count
    text = (
        f"{what} ({verdict.model}): {did} {verdict.right} of {verdict.count} times by "
        f"{verdict.raters}, {share:.0f} % [{100 * verdict.low:.0f}, {100 * verdict.high:.0f}]"
    )
    if verdict.knew_after is not None:
        text += f", knew after {verdict.knew_after:.1f} s (median)"
    if verdict.cut_short:
        text += f", {left_out(verdict)}"
    return text + (f"; the paper's raters: {verdict.paper}" if verdict.paper else "")


def left_out(verdict: Verdict) -> str:
    """Why some trials do not count."""
    return f"{verdict.cut_short} left out: the real game had ended"


def main() -> None:
    parser = argparse.ArgumentParser(description="What blind tests have shown so far.")
    parser.add_argument("file", type=Path, nargs="?", default=FILE)
    try:
        records = Answers(parser.parse_args().file).read()
    except InputError as error:
        sys.exit(f"error: {error}")
    print("95 % intervals (Wilson) in brackets; 50 % is chance.")
    for verdict in verdicts(records):
        print(in_words(verdict))


if __name__ == "__main__":
    main()
