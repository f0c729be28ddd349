"""Do enemies live? How much of a picture a network that learned from the game reads as enemies."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from accelerate import Accelerator
from einops import rearrange
from jaxtyping import Bool, Float, UInt8
from torch import Tensor, nn

from gamengen.data.episodes import Episodes
from gamengen.data.positions import Position
from gamengen.evaluation.enemies import AFTER, Sightings, is_speck, sightings
from gamengen.evaluation.learning import (
    LearningParams,
    averaged_to,
    descend,
    learned,
    some_episodes,
)
from gamengen.evaluation.scores import Nested, write
from gamengen.evaluation.shards import Table, with_prefix
from gamengen.evaluation.statistics import ratio
from gamengen.game.doom import Box

HEIGHT, WIDTH, CELL = 120, 160, 8  # of what it sees of any picture; it judges cell by cell
WIDTHS = (16, 32, 64)
RARE = 2.0  # weight of what is enemy in the loss: a cell in sixty. Even odds are a third covered
BATCH = 64  # pictures read at once
NOT_ASKED = "not measured: ViZDoom has no such game, or evaluate.enemies_read.steps is 0"


class EnemyReader(nn.Module):
    """Pictures to a logit a cell: above 0 where more than a third of it lies in an enemy's box."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        before = 3
        for width in WIDTHS:
            for channels, stride in ((before, 2), (width, 1)):
                layers += [
                    nn.Conv2d(channels, width, 3, stride, 1),
                    nn.GroupNorm(8, width),
                    nn.SiLU(),
                ]
            before = width
        self.net = nn.Sequential(*layers, nn.Conv2d(before, 1, 1))

    def forward(self, frames: UInt8[Tensor, "n h w 3"]) -> Float[Tensor, "n rows columns"]:
        pixels = averaged_to(frames, HEIGHT, WIDTH).movedim(-1, 1).float() / 127.5 - 1
        return self.net(pixels)[:, 0]

    @torch.no_grad()
    def area(self, video: UInt8[Tensor, "b n h w 3"]) -> Float[np.ndarray, "b n"]:
        """The share of each picture's cells that are read as enemies."""
        flat = rearrange(video, "b n h w c -> (b n) h w c")
        cells = torch.cat([self(batch) > 0 for batch in flat.split(BATCH)])
        return share(cells).reshape(video.shape[:2]).cpu().numpy()


def share(cells: Bool[Tensor, "n rows columns"]) -> Float[Tensor, " n"]:
    """Which part of the cells it is."""
    return cells.flatten(1).float().mean(1)


def covered(boxes: Sequence[Box], height: int, width: int) -> Float[Tensor, "rows columns"]:
    """How much of each cell of a picture of that size the boxes cover; specks do not count."""
    inside = torch.zeros(height, width)
    for x, y, wide, high in (box for box in boxes if not is_speck(box)):
        inside[max(0, y) : y + high, max(0, x) : x + wide] = 1
    return F.adaptive_avg_pool2d(inside[None], (HEIGHT // CELL, WIDTH // CELL))[0]


def learn(
    episodes: Episodes,
    params: LearningParams,
    seen: Sightings | None,
    seed: int,
    folder: Path,
    accelerator: Accelerator,
) -> EnemyReader | None:
    """Train on training episodes, played again to see where their enemies are; the weights are
    kept in ``folder``.

    None where it was not asked for, or where nothing is ``seen``, as ViZDoom does not have the
    game. Raises InputError where there is no episode to train on.
    """
    if params.steps == 0 or seen is None:
        return None

    def fit(net: EnemyReader) -> None:
        entries = some_episodes(episodes, params.frames, seed)
        boxes = sightings(episodes, entries)
        assert boxes is not None, "a game that was played before"
        pictures = (torch.from_numpy(episodes.frames(entry)) for entry in entries)
        frames = torch.cat([averaged_to(each, HEIGHT, WIDTH) for each in pictures])
        size = episodes.game.height, episodes.game.width
        cells = torch.stack([covered(b, *size) for e in entries for b in boxes[e.id]])
        where = next(net.parameters()).device
        rare = torch.tensor(RARE, device=where)

        def loss_of(rows: Tensor) -> Tensor:
            found = net(frames[rows].to(where))
            return F.binary_cross_entropy_with_logits(found, cells[rows].to(where), pos_weight=rare)

        descend(net, loss_of, len(frames), params, seed)

    return learned(EnemyReader, fit, seed, folder / "enemies_read.safetensors", accelerator)


def rows(
    net: EnemyReader | None,
    places: Sequence[Position],
    videos: Mapping[str, UInt8[Tensor, "b n h w 3"]],
    seen: Sightings | None,
) -> Table:
    """Rows of ``area/<name>`` ``[frames]``; ``area/boxes`` is what the game says itself."""
    if net is None or seen is None:
        return {}
    table: Table = {f"area/{name}": net.area(video) for name, video in videos.items()}
    count, *size = videos["real"].shape[1:4]
    boxes = [seen[entry.id][frame : frame + count] for entry, frame in places]
    cells = torch.stack([torch.stack([covered(b, *size) for b in row]) for row in boxes])
    return table | {"area/boxes": share(cells.flatten(0, 1) > 0.5).reshape(-1, count).numpy()}


def summary(table: Table, names: Sequence[str]) -> Nested:
    """Per stretch of the rollouts what is read as enemies, over what is so read in real frames.

    ``boxes`` is what the game itself says, and ``correlation`` how it goes with what is read in
    each real frame: how well the network reads.
    """
    area = with_prefix("area", table)
    if not area:
        return {"reason": NOT_ASKED}
    out: Nested = {"correlation": None}
    if area["real"].std() * area["boxes"].std() > 0:
        together = np.corrcoef(area["real"].ravel(), area["boxes"].ravel())
        out["correlation"] = round(float(together[0, 1]), 3)
    for first, last in pairwise((0, *AFTER)):
        if last > area["real"].shape[1]:
            break
        kept: Nested = dict.fromkeys(("boxes", *names))
        out[f"frames_{first + 1}_to_{last}"] = kept
        read = {name: values[:, first:last].sum(1) for name, values in area.items()}
        if read["real"].any():
            for name in ("boxes", *names):
                found = ratio(read[name], read["real"], table["episode"], empty=True)
                write(kept, name, found, 3)
    return out
