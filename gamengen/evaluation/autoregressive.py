"""Frames after frames from a real start, with the real actions (§5.1, figure 6)."""

from collections.abc import Sequence

import numpy as np
import torch
from einops import rearrange, repeat
from jaxtyping import UInt8
from torch import Tensor

from gamengen.data.positions import Position
from gamengen.evaluation.enemies import Sightings, contrast
from gamengen.evaluation.heldout import Heldout
from gamengen.evaluation.metrics import PictureDistance
from gamengen.evaluation.player import Model, Progress, roll_out
from gamengen.evaluation.shards import Table


def rollouts(
    held: Heldout,
    models: Sequence[Model],
    places: Sequence[Position],
    frames: int,
    progress: Progress,
    *seeds: int,
    played: tuple[Sequence[int], UInt8[Tensor, "b n h w 3"]] | None = None,
) -> dict[str, Tensor]:
    """Videos ``uint8 [b, frames, h, w, 3]`` that begin at each place.

    ``real``, ``copy_last`` (the last real frame before the start, held), ``autoencoder`` (the
    real frames through it), then the models. ``played`` are other actions than the recorded ones,
    and what the game showed under them.
    """
    window = held.window(places)
    last = torch.cat([held.pixels(place, -1, 0) for place in places])
    if played is None:
        actions = torch.stack([held.actions(place, frames) for place in places])
        real = torch.stack([held.pixels(place, 0, frames) for place in places])
        ceiling = [held.ceiling(place, frames) for place in places]
    else:
        actions, real = torch.tensor(played[0]).expand(len(places), -1), played[1]
        ceiling = [held.through(video) for video in real]
    videos = {
        "real": real,
        "copy_last": repeat(last, "b h w c -> b n h w c", n=frames),
        "autoencoder": torch.stack(ceiling),
    }
    for model in models:
        videos[model.name] = roll_out(model, held.show, window, actions, progress, *seeds)
    return videos


def compared_steps(frames: int) -> list[int]:
    """The steps whose pictures are compared, from 1: the first two, every fourth and the last.

    LPIPS by VGG16 of all of them would take longer than everything else that is measured.
    """
    return sorted({1, min(2, frames), *range(4, frames + 1, 4), frames})


def measure(
    videos: dict[str, Tensor], held: Heldout, places: Sequence[Position], distance: PictureDistance
) -> Table:
    """Rows of ``episode``, ``step``, ``motion`` and ``<name>/<metric>`` ``[steps]``, one per
    rollout."""
    compared = compared_steps(videos["real"].shape[1])
    table: Table = {
        "episode": np.array([held.number(place) for place in places]),
        "motion": np.array([change(video) for video in videos["real"]]),
        "step": np.tile(compared, (len(places), 1)),
    }
    shown = dict(videos)
    real = shown.pop("real")
    steps = [
        distance({name: video[:, n - 1] for name, video in shown.items()}, real[:, n - 1])
        for n in compared
    ]
    return table | {key: np.stack([step[key] for step in steps], 1) for key in steps[0]}


def enemies(
    videos: dict[str, Tensor], places: Sequence[Position], sightings: Sightings | None
) -> Table:
    """Rows of ``enemies/<name>`` ``[frames]``: covariance with the real enemies' pixels; of
    ``real`` the variance."""
    if sightings is None:
        return {}
    table: Table = {}
    for name, shown in videos.items():
        rows = []
        for row, (entry, frame) in enumerate(places):
            boxes = sightings[entry.id][frame : frame + shown.shape[1]]
            rows.append(contrast(shown[row], videos["real"][row], boxes)[0])
        table[f"enemies/{name}"] = np.stack(rows)
    return table


def change(video: Tensor) -> float:
    """Mean squared change of a video ``[n, h, w, 3]`` from frame to frame."""
    flat = rearrange(video.float(), "n h w c -> n (h w c)")
    return float((flat[1:] - flat[:-1]).square().mean())


def liveliest(held: Heldout, places: Sequence[Position], frames: int, count: int) -> list[Position]:
    """The starts whose real videos move most, of as many episodes as there are.

    Chosen by the recording alone, before any model is run.
    """
    ranked = sorted(places, key=lambda place: -change(held.pixels(place, 0, frames)))
    first = {place[0].id: place for place in reversed(ranked)}
    return sorted(ranked, key=lambda place: place is not first[place[0].id])[:count]
