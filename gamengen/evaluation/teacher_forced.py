"""One frame ahead of the real past: every model against copy-last and the ceiling (§5.1)."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from gamengen.data.positions import Position
from gamengen.evaluation import status_bar
from gamengen.evaluation.enemies import Sightings
from gamengen.evaluation.heldout import Heldout
from gamengen.evaluation.metrics import PictureDistance, decibels, squared_error
from gamengen.evaluation.moving import moves
from gamengen.evaluation.player import Model, Progress, predict
from gamengen.evaluation.shards import Table


def predictions(
    held: Heldout,
    models: Sequence[Model],
    places: Sequence[Position],
    progress: Progress,
    *seeds: int,
) -> dict[str, Tensor]:
    """Pictures ``uint8 [b, h, w, 3]`` at each place.

    ``real``, ``copy_last``, ``autoencoder`` (the real frame through it), then the models.
    """
    window = held.window(places)
    pictures = {
        "real": torch.cat([held.pixels(place, 0, 1) for place in places]),
        "copy_last": torch.cat([held.pixels(place, -1, 0) for place in places]),
        "autoencoder": held.show(window.target),
    }
    for model in models:
        pictures[model.name] = held.show(predict(model, window, *seeds))
        progress(len(places) * model.passes)
    return pictures


def measure(
    pictures: dict[str, Tensor],
    held: Heldout,
    places: Sequence[Position],
    sightings: Sightings | None,
    distance: PictureDistance,
) -> Table:
    """Rows of ``episode``, ``moving`` and ``<name>/<metric>``, one per place.

    ``psnr_status_bar`` is the PSNR of Doom's status bar alone, where the game has one.
    """
    table: Table = {
        "episode": np.array([held.number(place) for place in places]),
        "moving": np.array([moves(held, place, sightings) for place in places]),
    }
    shown = dict(pictures)
    real = shown.pop("real")
    table |= distance(shown, real)
    if status_bar.is_shown(held.episodes.game):
        for name, frames in shown.items():
            error = squared_error(status_bar.bar_of(frames), status_bar.bar_of(real))
            table[f"{name}/psnr_status_bar"] = decibels(error)
    return table
