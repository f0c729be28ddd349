"""One frame ahead of the real past: every model against copy-last and the ceiling (§5.1)."""

from collections.abc import Sequence

import numpy as np
from torch import Tensor

from gamengen.data.positions import Position
from gamengen.evaluation import status_bar
from gamengen.evaluation.enemies import Sightings
from gamengen.evaluation.heldout import Heldout
from gamengen.evaluation.metrics import PictureDistance, decibels, squared_error
from gamengen.evaluation.moving import moves
from gamengen.evaluation.shards import Table


def measure(
    pictures: dict[str, Tensor],
    held: Heldout,
    places: Sequence[Position],
    sightings: Sightings | None,
    distance: PictureDistance,
) -> Table:
    """Rows of ``episode``, ``moving`` and ``<name>/<metric>``, one per place.

    ``pictures`` are ``uint8 [b, h, w, 3]``: one frame of what ``autoregressive.rollouts`` gives;
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
