"""One frame ahead of the real past: every model against copy-last and the ceiling (§5.1)."""

from collections.abc import Sequence

import numpy as np
from torch import Tensor

from gamengen.data.episodes import Episodes
from gamengen.data.positions import Position
from gamengen.evaluation import status_bar
from gamengen.evaluation.enemies import Sightings, is_speck
from gamengen.evaluation.heldout import Heldout
from gamengen.evaluation.metrics import PictureDistance, decibels, squared_error
from gamengen.evaluation.shards import Table
from gamengen.runtime.errors import InputError

# Of a game: what moves is told by it, never by how well anything predicts it.
WATCHED = ("ANGLE", "POSITION_X", "POSITION_Y", "POSITION_Z", "SELECTED_WEAPON")


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
    if any(name in held.episodes.game.variables for name in status_bar.RIGHT):
        for name, frames in shown.items():
            error = squared_error(status_bar.bar_of(frames), status_bar.bar_of(real))
            table[f"{name}/psnr_status_bar"] = decibels(error)
    return table


def moves(held: Heldout, place: Position, sightings: Sightings | None) -> bool:
    """Whether the player turned, walked or changed weapon on the way to the frame to be predicted,
    or an enemy is in sight there."""
    entry, frame = place
    recorded = held.recorded[entry.id]
    for name in WATCHED:
        before, after = held.episodes.variable(recorded, name)[frame - 1 : frame + 1]
        if before != after:
            return True
    if sightings is None:
        return False
    return not all(map(is_speck, sightings[entry.id][frame]))


def require_watched(episodes: Episodes) -> None:
    """Raise InputError unless the recording tells where the player is and looks."""
    lacks = [name for name in WATCHED if name not in episodes.game.variables]
    if lacks:
        raise InputError(
            f"{episodes.folder}/index.json: variables: {', '.join(lacks)} were not recorded, so "
            "which frames move cannot be told; collect again with: dvc repro"
        )
