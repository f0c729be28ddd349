"""A minute of play: does the picture still look like the game's own?"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int64, UInt8
from pydantic import NonNegativeInt, PositiveInt, model_validator
from torch import Tensor

from gamengen.data.positions import Position
from gamengen.evaluation.fvd import frechet_distance
from gamengen.evaluation.heldout import Heldout
from gamengen.evaluation.instruments import Instruments
from gamengen.evaluation.player import Model, Progress, roll_out
from gamengen.evaluation.scores import Nested, write
from gamengen.evaluation.shards import Batch, Job, Table, with_prefix
from gamengen.evaluation.statistics import ratio
from gamengen.model.autoencoder import to_float
from gamengen.runtime.settings import Settings

LOOKS = ("brightness", "contrast", "red_green", "blue_yellow")
USUAL = (0.5, 99.5)  # percentiles of real frames between which a frame looks usual
PARTS = 4  # quarters of the play, for the distance against time


class LongPlayParams(Settings):
    """Rollouts under recorded actions, one episode's after another's; 0 rollouts: not measured."""

    rollouts: NonNegativeInt
    frames: PositiveInt
    every: PositiveInt  # of so many frames one is looked at

    @model_validator(mode="after")
    def _a_covariance_needs_two(self) -> "LongPlayParams":
        seen = self.rollouts * (self.frames // self.every // PARTS)
        if self.rollouts and seen < 2:
            raise ValueError(
                f"every: {self.every}: leaves {seen} frames of each quarter of {self.rollouts} "
                f"rollouts of {self.frames} frames to look at; there must be at least 2"
            )
        return self


def look(frames: UInt8[Tensor, "n h w 3"]) -> Float[np.ndarray, "n 4"]:
    """Brightness (mean), contrast (deviation) and two means of colour, in 8-bit levels.

    Colours are the opponent ones, ``R - G`` and ``B - (R + G) / 2``: what drifts in hue drifts
    in one of them.
    """
    red, green, blue = frames.double().unbind(-1)
    grey = (red + green + blue) / 3
    values = (
        grey.mean((1, 2)),
        grey.std((1, 2), correction=0),
        (red - green).mean((1, 2)),
        (blue - (red + green) / 2).mean((1, 2)),
    )
    return torch.stack(values, 1).cpu().numpy()


@torch.no_grad()
def features(vgg: Any, frames: UInt8[Tensor, "n h w 3"]) -> Float[np.ndarray, "n 512"]:
    """VGG16's last convolutional features, averaged over the picture.

    The weights are those of LPIPS (ImageNet), so a distance of them is not the published FID.
    """
    pictures = vgg.scaling_layer(to_float(frames))
    return vgg.net(pictures)[-1].mean((2, 3)).double().cpu().numpy()


def recorded_actions(held: Heldout, places: Sequence[Position], count: int) -> Int64[Tensor, "b n"]:
    """What was done from each place on, and after its episode's end in the next ones."""
    entries = held.entries
    rows = []
    for entry, frame in places:
        taken = [held.latents.actions(entry, frame - 1, entry.length - 1)]
        following = entries.index(entry)
        while sum(map(len, taken)) < count:
            following = (following + 1) % len(entries)
            taken.append(held.latents.actions(entries[following], 0, entries[following].length - 1))
        rows.append(torch.from_numpy(np.concatenate(taken)[:count]).long())
    return torch.stack(rows)


def jobs(
    held: Heldout,
    batches: Sequence[Batch],
    models: Sequence[Model],
    params: LongPlayParams,
    tools: Instruments,
    seed: int,
) -> list[Job]:
    """Job ``long_play``: rows of ``look/<name>``, ``features/<name>`` and, where enemies are read,
    ``area/<name>``, ``[looked at, ...]``.

    ``real`` are frames drawn from held-out episodes, as many; ``real_again`` as many others,
    which score what a perfect model would; ``copy_last`` is the start, held.
    """
    if not batches:
        return []
    vgg = tools.distance.nets["vgg"]

    def measure(number: int, batch: Batch, progress: Progress) -> Table:
        count = params.frames // params.every
        random = np.random.default_rng([seed, number])
        starts = torch.cat([held.pixels(place, -1, 0) for place in batch])
        pictures = {
            "real": torch.stack([_drawn(held, count, random) for _ in batch]),
            "real_again": torch.stack([_drawn(held, count, random) for _ in batch]),
            "copy_last": starts[:, None].expand(-1, count, -1, -1, -1),
        }
        window, actions = held.window(batch), recorded_actions(held, batch, params.frames)
        for model in models:
            pictures[model.name] = roll_out(
                model, held.show, window, actions, progress, seed, number, every=params.every
            )
        table: Table = {"episode": np.array([held.number(place) for place in batch])}
        for name, shown in pictures.items():
            table[f"look/{name}"] = np.stack([look(video) for video in shown])
            table[f"features/{name}"] = np.stack([features(vgg, video) for video in shown])
            if tools.enemies is not None:
                table[f"area/{name}"] = tools.enemies.area(shown)
        return table

    passes = params.frames * sum(model.passes for model in models)
    return [Job("long_play", batches, passes, measure)]


def _drawn(held: Heldout, count: int, random: np.random.Generator) -> UInt8[Tensor, "n h w 3"]:
    """Real frames, each from anywhere in the held-out episodes."""
    entries = held.entries
    lengths = np.array([entry.length for entry in entries])
    which = random.choice(len(entries), count, p=lengths / lengths.sum())
    places = [(entries[i], int(random.integers(lengths[i]))) for i in which]
    return torch.cat([held.pixels(place, 0, 1) for place in places])


def usual(
    real: Float[np.ndarray, "n 4"], shown: Float[np.ndarray, "m 4"]
) -> Float[np.ndarray, " 4"]:
    """Share of shown frames that look as real ones usually do, by each of ``LOOKS``."""
    low, high = np.percentile(real, USUAL, axis=0)
    return ((shown >= low) & (shown <= high)).mean(0)


def summary(table: Table | None, names: Sequence[str]) -> Nested:
    """Per name the share of usual frames, in each quarter the Fréchet distance to real frames, and
    the area of what is read as enemies, over theirs.

    ``real_again`` is the floor: other real frames, as many.
    """
    if table is None:
        return {"reason": "not measured: evaluate.long_play.rollouts is 0"}
    looks, features = with_prefix("look", table), with_prefix("features", table)
    area, real = with_prefix("area", table), _flat(features["real"])
    rollouts, looked_at = looks["real"].shape[:2]
    found: Nested = {"rollouts": rollouts, "frames_looked_at": looked_at}
    for name in ("real_again", *names):
        shares = usual(_flat(looks["real"]), _flat(looks[name])).round(3).tolist()
        parts = np.array_split(features[name], PARTS, axis=1)
        found[name] = {
            **{f"usual_{look}": share for look, share in zip(LOOKS, shares, strict=True)},
            **{
                f"frechet_{number}": round(frechet_distance(_flat(part), real), 3)
                for number, part in enumerate(parts, 1)
            },
        }
        if area and area["real"].any():
            theirs = area["real"].mean(1)
            for number, part in enumerate(np.array_split(area[name], PARTS, axis=1), 1):
                kept = ratio(part.mean(1), theirs, table["episode"], empty=True)
                write(found[name], f"enemies_{number}", kept, 3)
    return found


def _flat(rows: Float[np.ndarray, "b n d"]) -> Float[np.ndarray, "bn d"]:
    return rows.reshape(-1, rows.shape[-1])
