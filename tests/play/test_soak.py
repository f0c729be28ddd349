"""Slow readers take nothing from fast ones, nor memory without end."""

from pathlib import Path

from gamengen.play.source import Source
from tests.play.players import Players
from tests.play.soak import run


def test_slow_readers(source: Source, tmp_path: Path) -> None:
    among_fast = run(source, tmp_path, Players(fast=3, seconds=4))
    among_slow = run(source, tmp_path, Players(fast=2, slow=1, seconds=4))
    assert among_slow.gap(99) < 1.5 * among_fast.gap(99) + 30
    assert among_slow.seen.slow_frames > 0
    assert among_slow.gained < 20
    assert among_slow.failures == []


def test_hostile_players(source: Source, tmp_path: Path) -> None:
    """Every seat is given back (or ``run`` fails), and the server fails at nothing."""
    found = run(source, tmp_path, Players(fast=1, hostile=2, seconds=4))
    assert found.seen.hostile_messages > 100
    assert len(found.seen.gaps) > 10
    assert found.failures == []
