"""Which frames move: told by what the game did, never by how well anything predicts them."""

from gamengen.data.episodes import Episodes
from gamengen.data.positions import Position
from gamengen.evaluation.enemies import Sightings, is_speck
from gamengen.evaluation.heldout import Heldout
from gamengen.runtime.errors import InputError

WATCHED = ("ANGLE", "POSITION_X", "POSITION_Y", "POSITION_Z", "SELECTED_WEAPON")


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
