"""Slow readers take nothing from fast ones, nor memory without end."""

from pathlib import Path

from gamengen.play.source import Source
from tests.play.soak import run


def test_slow_readers(source: Source, tmp_path: Path) -> None:
    among_fast = run(source, tmp_path, fast=3, slow=0, seconds=4)
    among_slow = run(source, tmp_path, fast=2, slow=1, seconds=4)
    assert among_slow.gap(99) < 1.5 * among_fast.gap(99) + 30
    assert among_slow.slow_frames > 0
    assert among_slow.gained < 20
