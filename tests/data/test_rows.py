import time
from pathlib import Path

import numpy as np
import pytest
import torch

from gamengen.data.episodes import Episodes
from gamengen.data.latents import Latents, Windows
from gamengen.data.loader import Loader
from gamengen.data.positions import Positions, Share
from gamengen.data.rows import Rows
from gamengen.runtime import device
from tests.artifacts import make_autoencoder, make_episodes, make_latents


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("rows")
    episodes = make_episodes(folder / "episodes", episodes=9, length=12)
    make_latents(folder / "latents", episodes, make_autoencoder(folder / "autoencoder"))
    return folder


@pytest.fixture
def roomy(monkeypatch: pytest.MonkeyPatch) -> None:
    """The CPU as an accelerator with room for everything."""
    monkeypatch.setattr(device, "room", lambda _: 2**40)


def test_rows_that_are_kept_are_those_of_the_store(folder: Path, roomy: None) -> None:
    episodes = Episodes(folder / "episodes")
    entries = episodes.of("train")
    kept, positions = Rows(entries, episodes.frames, "cpu"), Positions(entries)
    assert kept.kept is not None
    assert len(kept.kept) == len(positions)
    drawn = positions.draw(Share(20), 1, 2)
    assert np.array_equal(kept.at(drawn).numpy(), episodes.batch(drawn))


def test_without_room_rows_are_read(folder: Path) -> None:
    episodes = Episodes(folder / "episodes")
    entries = episodes.of("train")
    rows = Rows(entries, episodes.frames, "cpu")
    assert rows.kept is None
    drawn = Positions(entries).draw(Share(20), 1, 2)
    assert np.array_equal(rows.at(drawn).numpy(), episodes.batch(drawn))


@pytest.mark.parametrize(("context", "targets"), [(1, 1), (3, 2), (20, 1)])
def test_every_window_is_the_same_from_kept_rows(
    folder: Path, monkeypatch: pytest.MonkeyPatch, context: int, targets: int
) -> None:
    latents = Latents(folder / "latents")
    read = Windows(latents, "train", context, targets)
    monkeypatch.setattr(device, "room", lambda _: 2**40)
    kept = Windows(latents, "train", context, targets)
    everywhere = [read.first_targets.locate(n) for n in range(len(read))]
    expected, found = read.read(everywhere), kept.read(everywhere)
    assert read.rows.kept is None
    assert kept.rows.kept is not None
    assert found.frames.dtype == expected.frames.dtype
    assert torch.equal(found.frames, expected.frames)
    assert torch.equal(found.actions, expected.actions)


def test_several_readers_keep_the_order_of_the_steps() -> None:
    def batch_at(step: int) -> int:
        time.sleep(0.02 if step % 3 == 0 else 0)
        return step * step

    assert list(Loader(batch_at, range(3, 20), readers=4)) == [(n, n * n) for n in range(3, 20)]
