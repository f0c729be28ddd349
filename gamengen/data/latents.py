"""Encoded episodes: latents and actions in Zarr, and the windows a denoiser is trained on."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Float16, Int32, Int64
from pydantic import FiniteFloat
from torch import Tensor
from zarr.codecs import Crc32cCodec

from gamengen.data.columns import open_column, read_rows, written
from gamengen.data.encoding import AutoencoderConfig
from gamengen.data.episodes import Episodes
from gamengen.data.index import Entry, Index, Split, of_split, read_index
from gamengen.data.positions import Position, Positions, Share
from gamengen.data.rows import Rows
from gamengen.data.splits import Selection
from gamengen.runtime.errors import InputError

ROWS_PER_CHUNK = 64
ROWS_PER_SHARD = 4096
CHUNKS_KEPT = 4096  # 2.7 GB at Stable Diffusion's latent size


class LatentIndex(Index, frozen=True, extra="forbid"):
    """The content of ``index.json``: whose latents these are, of which game."""

    autoencoder: AutoencoderConfig
    change_std: FiniteFloat  # root mean square of a training latent's change from frame to frame

    @property
    def columns(self) -> list[str]:
        return ["latents", "actions"]


class LatentWriter:
    """Writes the latents of whole episodes to one store of a known number of rows.

    Rows wait in memory until they fill a shard, so that no shard is written twice.
    """

    def __init__(self, path: Path, rows: int, shape: tuple[int, int, int]) -> None:
        self.path, self.rows = path, rows
        self.remedy = f"delete {path.parent} to encode again"
        self.latents, self.actions = (
            open_column(
                path,
                name,
                self.remedy,
                shape=(rows, *inner),
                chunks=(ROWS_PER_CHUNK, *inner),
                shards=(ROWS_PER_SHARD, *inner),
                dtype=kind,
                compressors=Crc32cCodec(),
            )
            for name, inner, kind in (("latents", shape, "float16"), ("actions", (), "int32"))
        )
        for column in (self.latents, self.actions):
            column.resize((rows, *column.shape[1:]))

    @property
    def written(self) -> int:
        """How many rows, from the first on, an earlier run has written."""
        names = ("latents", "actions")
        return min(written(self.path, name, self.rows, self.remedy) for name in names)

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
        self.change_std = index.change_std

    def of(self, split: Split, longer_than: int = 0) -> list[Entry]:
        """Episodes of a split with more than so many frames. Raises InputError if none."""
        return of_split(self.entries, split, self.folder, longer_than)

    def latents(self, entry: Entry, begin: int, end: int) -> Float16[np.ndarray, "n c h w"]:
        """Normalised latents of frames ``[begin, end)``."""
        rows = entry.rows(begin, end)
        chunks = range(rows.start // ROWS_PER_CHUNK, -(-rows.stop // ROWS_PER_CHUNK))
        read = [read_chunk(self.folder / entry.store, chunk) for chunk in chunks]
        offset = chunks.start * ROWS_PER_CHUNK
        together = read[0] if len(read) == 1 else np.concatenate(read)
        return together[rows.start - offset : rows.stop - offset].copy()

    def actions(self, entry: Entry, begin: int, end: int) -> Int32[np.ndarray, " n"]:
        """Actions taken at frames ``[begin, end)``."""
        return read_actions(self.folder / entry.store)[entry.rows(begin, end)].copy()


def require_same_games(episodes: Episodes, latents: Latents) -> None:
    """Raise InputError unless the latents are those of the episodes."""
    seen = [(e.id, e.length, e.split) for e in episodes.entries]
    encoded = [(e.id, e.length, e.split) for e in latents.entries]
    if sorted(seen) != sorted(encoded) or episodes.game != latents.game:
        only = sorted({e[0] for e in seen} ^ {e[0] for e in encoded})[:3]
        detail = f"e.g. {only}" if only else "lengths, splits or the game's facts differ"
        raise InputError(
            f"{latents.folder}: {len(encoded)} episodes, {episodes.folder} has {len(seen)} "
            f"({detail}); encode again with: dvc repro encode"
        )


def change_std(folder: Path, entries: Iterable[Entry], pairs: int = 1024) -> float:
    """Root mean square of the change from frame to frame, over training pairs spread evenly.

    Raises InputError when nothing changes: there is nothing to learn.
    """
    train = [entry for entry in entries if entry.split == "train"]
    rows = [(entry.store, entry.start + i) for entry in train for i in range(1, entry.length)]
    squares = []
    for store, row in rows[:: max(1, len(rows) // pairs)]:
        before, after = read_rows(folder / store, "latents", slice(row - 1, row + 1)).astype(float)
        squares.append(np.square(after - before).mean())
    if not squares or np.mean(squares) == 0:
        raise InputError(f"{folder}: no training frame differs from the one before it")
    return float(np.sqrt(np.mean(squares)))


@lru_cache(maxsize=CHUNKS_KEPT)
def read_chunk(store: Path, chunk: int) -> Float16[np.ndarray, "n c h w"]:
    """One chunk of latents, kept: reading a window through Zarr costs more than training on it."""
    first = chunk * ROWS_PER_CHUNK
    rows: np.ndarray = read_rows(store, "latents", slice(first, first + ROWS_PER_CHUNK))
    rows.flags.writeable = False
    return rows


@cache
def read_actions(store: Path) -> Int32[np.ndarray, " n"]:
    actions: np.ndarray = read_rows(store, "actions", slice(None))
    actions.flags.writeable = False
    return actions


@dataclass(frozen=True)
class Window:
    """Consecutive latents of an episode in each row, and the actions between them (§3.2).

    ``actions[:, i]`` was taken at ``frames[:, i]`` and led to the next one.
    """

    frames: Float[Tensor, "b f c h w"]
    actions: Int64[Tensor, "b g"]  # g = f - 1

    @property
    def context(self) -> Float[Tensor, "b g c h w"]:
        """The context of a window of one target: every frame but the last."""
        return self.frames[:, :-1]

    @property
    def target(self) -> Float[Tensor, "b c h w"]:
        """The target of a window of one: the last frame."""
        return self.frames[:, -1]


class Windows:
    """Runs of ``targets`` frames of a split, each with the ``context_frames`` that led to it.

    A run may begin at any frame but the first of its episode: what is missing before an episode's
    start is its first frame, standing still.
    """

    def __init__(
        self,
        latents: Latents,
        split: Split,
        context_frames: int,
        targets: int,
        selection: Selection | None = None,
        where: torch.device | str = "cpu",
    ) -> None:
        """On ``where`` the windows are kept, if it has room for them."""
        self.latents, self.context_frames, self.targets = latents, context_frames, targets
        found = latents.of(split, longer_than=targets)
        self.entries = selection.of(found) if selection else found
        self.first_targets = Positions(self.entries, first=1, left_out=targets - 1)
        self.rows = Rows(self.entries, latents.latents, where)
        self.taken = Rows(self.entries, latents.actions, where)

    def __len__(self) -> int:
        return len(self.first_targets)

    def read(self, first_targets: Iterable[Position]) -> Window:
        """Windows whose first targets are the given frames, padded as by ``pad_history``."""
        places = list(first_targets)
        first = torch.tensor([frame for _, frame in places])
        numbers = first[:, None] + torch.arange(-self.context_frames, self.targets)
        rows = numbers.clamp_min(0).tolist()
        flat = [(entry, n) for (entry, _), row in zip(places, rows, strict=True) for n in row]
        frames, taken = self.rows.at(flat).float(), self.taken.at(flat).long()
        actions = taken.unflatten(0, numbers.shape)[:, :-1]
        real = (numbers >= 0)[:, :-1].to(actions.device)
        return Window(
            frames.unflatten(0, numbers.shape),
            torch.where(real, actions, self.latents.game.before_start),
        )

    def draw(self, share: Share, seed: int, step: int) -> Window:
        """Uniformly drawn windows: each a pure function of (seed, step, row of the batch)."""
        return self.read(self.first_targets.draw(share, seed, step))


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
