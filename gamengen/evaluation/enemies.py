"""What is left of the enemies: their contrast in predicted frames, inside the real ones' boxes."""

from contextlib import closing

import numpy as np
from jaxtyping import Float, UInt8
from torch import Tensor

from gamengen.data.episodes import Episodes
from gamengen.data.index import Entry
from gamengen.game.doom import Box, Game
from gamengen.runtime.errors import InputError

MARGIN = 2  # pixels of background around a box
SMALLEST = 4  # pixels along each side; what is smaller is a speck
Sightings = dict[str, list[list[Box]]]  # where enemies are, in each frame of an episode by its id
AFTER = (1, 4, 16, 64)  # own frames at which it is reported


def sightings(episodes: Episodes, entries: list[Entry]) -> Sightings | None:
    """Play episodes again and look; None where ViZDoom does not have the game.

    Raises InputError when an episode does not come out as it was recorded.
    """
    try:
        game = Game(episodes.game, enemies=True)
    except InputError:
        return None
    with closing(game):
        return {entry.id: _look(game, episodes, entry) for entry in entries}


def _look(game: Game, episodes: Episodes, entry: Entry) -> list[list[Box]]:
    frame = game.start(entry.seed)
    found = [game.enemies]
    for action in episodes.actions(entry)[: entry.length - 1]:
        frame = game.step(int(action))
        found.append(game.enemies)
    require_recorded(frame, episodes, entry, entry.length - 1)
    return found


def require_recorded(
    frame: UInt8[np.ndarray, "h w 3"], episodes: Episodes, entry: Entry, number: int
) -> None:
    """Raise InputError unless an episode that is played again has come to the recorded frame."""
    if not np.array_equal(frame, episodes.frames(entry, number, number + 1)[0]):
        raise InputError(
            f"{episodes.folder}: episode {entry.id} is another when it is played again; was it "
            "recorded by another ViZDoom? collect again with: dvc repro collect"
        )


def is_speck(box: Box) -> bool:
    """Whether an enemy is too small to be told from what is around it."""
    return min(box[2:]) < SMALLEST


def contrast(
    shown: UInt8[Tensor, "n h w 3"], real: UInt8[Tensor, "n h w 3"], boxes: list[list[Box]]
) -> tuple[Float[np.ndarray, " n"], Float[np.ndarray, " n"]]:
    """Covariance of shown and real pixels inside the boxes of each frame, and the real variance.

    Each box has its own mean taken away. The ratio is the share of the enemies' contrast that is
    left: 1 where they are drawn as they are, 0 where there is background alone.
    """
    covariance, variance = np.zeros(len(boxes)), np.zeros(len(boxes))
    for n, seen in enumerate(boxes):
        pair = shown[n].cpu().numpy().astype(float), real[n].cpu().numpy().astype(float)
        for x, y, width, height in (box for box in seen if not is_speck(box)):
            rows = slice(max(0, y - MARGIN), y + height + MARGIN)
            columns = slice(max(0, x - MARGIN), x + width + MARGIN)
            ours, theirs = (p[rows, columns] - p[rows, columns].mean((0, 1)) for p in pair)
            covariance[n] += (ours * theirs).sum()
            variance[n] += np.square(theirs).sum()
    return covariance, variance
