"""Encoded episodes: latents and actions in Zarr, and the windows a denoiser is trained on."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path

import numpy as np
import torch
import zarr
from jaxtyping import Float, Float16, Int32, Int64
from pydantic import BaseModel
from torch import Tensor

from gamengen import device
from gamengen.autoencoder import Facts
from gamengen.episodes import Entry, GameFacts, Split, open_array, read_index
from gamengen.errors import InputError

ROWS_PER_CHUNK = 64
ROWS_PER_SHARD = 4096
CHUNKS_KEPT = 4096  # 2.7 GB at Stable Diffusion's latent size


class LatentIndex(BaseModel, frozen=True, extra="forbid"):
    """The content of ``index.json``: whose latents these are, of which game."""

    game: GameFacts
    autoencoder: Facts
    entries: list[Entry]


class LatentWriter:
    """Writes the latents of whole episodes to one store of a known number of rows.

    Rows wait in memory until they fill a shard, so that no shard is written twice.
    """

    def __init__(self, path: Path, rows: int, shape: tuple[int, int, int]) -> None:
        group = zarr.open_group(path, mode="a")
        self.latents, self.actions = (
            group.require_array(
                name,
                shape=(rows, *inner),
                chunks=(ROWS_PER_CHUNK, *inner),
                shards=(ROWS_PER_SHARD, *inner),
                dtype=kind,
                compressors=None,
            )
            for name, inner, kind in (("latents", shape, "float16"), ("actions", (), "int32"))
        )

    def write(
        self, row: int, latents: Float16[np.ndarray, "n c h w"], actions: Int32[np.ndarray, " n"]
    ) -> None:
        """Write rows from ``row`` on."""
        self.latents[row : row + len(latents)] = latents
        self.actions[row : row + len(actions)] = actions


class Latents:
    """Reads a folder of encoded episodes by its index."""

    def __init__(self, folder: Path) -> None:
        """Raises InputError when the index is missing or damaged, or a file truncated."""
        self.folder = folder
        index = read_index(folder, LatentIndex, "dvc repro encode")
        self.game, self.autoencoder, self.entries = index.game, index.autoencoder, index.entries

    def of(self, split: Split, longer_than: int = 0) -> list[Entry]:
        """Episodes of a split with more than so many frames. Raises InputError if none."""
        entries = [e for e in self.entries if e.split == split and e.length > longer_than]
        if not entries:
            raise InputError(
                f"{self.folder}/index.json: no episode of more than {longer_than} frames in split "
                f"{split!r}; raise collect.frames"
            )
        return entries

    def latents(self, entry: Entry, begin: int, end: int) -> Float16[np.ndarray, "n c h w"]:
        """Normalised latents of frames ``[begin, end)``."""
        self._check(entry, begin, end)
        first, last = entry.start + begin, entry.start + end
        chunks = range(first // ROWS_PER_CHUNK, -(-last // ROWS_PER_CHUNK))
        rows = [read_chunk(self.folder / entry.store, chunk) for chunk in chunks]
        offset = chunks.start * ROWS_PER_CHUNK
        together = rows[0] if len(rows) == 1 else np.concatenate(rows)
        return together[first - offset : last - offset].copy()

    def actions(self, entry: Entry, begin: int, end: int) -> Int32[np.ndarray, " n"]:
        """Actions taken at frames ``[begin, end)``."""
        self._check(entry, begin, end)
        actions = read_actions(self.folder / entry.store)
        return actions[entry.start + begin : entry.start + end].copy()

    def _check(self, entry: Entry, begin: int, end: int) -> None:
        if not 0 <= begin <= end <= entry.length:
            raise IndexError(f"rows [{begin}, {end}) of episode {entry.id} of {entry.length}")


@lru_cache(maxsize=CHUNKS_KEPT)
def read_chunk(store: Path, chunk: int) -> Float16[np.ndarray, "n c h w"]:
    """One chunk of latents, kept: reading a window through Zarr costs more than training on it."""
    first = chunk * ROWS_PER_CHUNK
    rows: np.ndarray = open_array(store, "latents")[first : first + ROWS_PER_CHUNK]
    rows.flags.writeable = False
    return rows


@cache
def read_actions(store: Path) -> Int32[np.ndarray, " n"]:
    """All actions of a store."""
    actions: np.ndarray = open_array(store, "actions")[:]
    actions.flags.writeable = False
    return actions


@dataclass(frozen=True)
class Window:
    """What the denoiser sees, and what it should make of it (§3.2).

    ``context[:, i]`` is the frame at which ``actions[:, i]`` was taken; the last action leads
    to ``target``.
    """

    context: Float[Tensor, "b l c h w"]
    actions: Int64[Tensor, "b l"]
    target: Float[Tensor, "b c h w"]


class Windows:
    """Every frame of a split but the first of its episode, with the frames that led to it."""

    def __init__(self, latents: Latents, split: Split, context_frames: int) -> None:
        self.latents, self.context_frames = latents, context_frames
        self.entries = latents.of(split, longer_than=1)
        self.ends = np.cumsum([entry.length - 1 for entry in self.entries])

    def __len__(self) -> int:
        return int(self.ends[-1])

    def locate(self, index: int) -> tuple[Entry, int]:
        """The episode of a window, and its target's frame in it."""
        which = int(np.searchsorted(self.ends, index, side="right"))
        before = int(self.ends[which - 1]) if which else 0
        return self.entries[which], index - before + 1

    def read(self, places: Sequence[tuple[Entry, int]]) -> Window:
        """Windows whose targets are the given frames."""
        return stack([self._one(entry, frame) for entry, frame in places])

    def draw(self, size: int, seed: int, step: int, rank: int) -> Window:
        """A batch of uniformly drawn windows: a pure function of (seed, step, rank)."""
        random = device.generator(seed, step, rank)
        indices = torch.randint(len(self), (size,), generator=random).tolist()
        return self.read([self.locate(index) for index in indices])

    def _one(self, entry: Entry, frame: int) -> Window:
        begin = max(0, frame - self.context_frames)
        latents = torch.from_numpy(self.latents.latents(entry, begin, frame + 1).astype(np.float32))
        actions = torch.from_numpy(self.latents.actions(entry, begin, frame).astype(np.int64))
        context, padded = pad_history(
            latents[:-1], actions, self.context_frames, self.latents.game.before_start
        )
        return Window(context[None], padded[None], latents[-1:])


def pad_history(
    frames: Float[Tensor, "*b n c h w"],
    actions: Int64[Tensor, "*b n"],
    length: int,
    before_start: int,
) -> tuple[Float[Tensor, "*b l c h w"], Int64[Tensor, "*b l"]]:
    """The last ``length`` frames and actions of a history that may be shorter.

    Before an episode's start its first frame stands still, with an action token of its own;
    the same in training, sampling and play.
    """
    missing = length - actions.shape[-1]
    if missing <= 0:
        return frames[..., -length:, :, :, :], actions[..., -length:]
    still = frames[..., :1, :, :, :].repeat_interleave(missing, -4)
    nothing = actions.new_full((*actions.shape[:-1], missing), before_start)
    return torch.cat([still, frames], -4), torch.cat([nothing, actions], -1)


def stack(windows: Sequence[Window]) -> Window:
    """Windows behind one another in one batch."""
    return Window(
        torch.cat([w.context for w in windows]),
        torch.cat([w.actions for w in windows]),
        torch.cat([w.target for w in windows]),
    )
