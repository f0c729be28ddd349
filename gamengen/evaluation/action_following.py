"""Are actions obeyed? How the picture moves while one action is held, against the real game."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from einops import rearrange, repeat
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from gamengen.evaluation.heldout import Heldout, Place
from gamengen.evaluation.player import Model, Progress, roll_out
from gamengen.evaluation.shards import Table

BAND = (0.30, 0.50)  # rows of the picture: around the horizon, above the gun
STILL = 1 / 160  # of the width: less movement than this is none
FARTHEST = 1 / 4  # of the width: no frame moves farther
FEWEST = 20  # recorded frames of an action, below which nothing is said of it


def horizontal_shift(
    before: UInt8[Tensor, "b h w 3"], after: UInt8[Tensor, "b h w 3"]
) -> Float[np.ndarray, " b"]:
    """How far the scene moved to the right between two pictures, in pixels.

    One-dimensional phase correlation along the rows of the middle band (Kuglin & Hines 1975):
    cross-spectra are summed over rows, whitened, cut at half the highest frequency, and the
    peak is refined by a parabola.
    """
    width = before.shape[2]
    spectra = [_spectrum(picture) for picture in (before, after)]
    cross = (spectra[0].conj() * spectra[1]).sum(1)
    white = cross / cross.abs().clamp(min=1e-6)
    white[:, white.shape[1] // 2 :] = 0
    correlation = torch.fft.irfft(white, n=width)
    reach = int(width * FARTHEST)
    near = torch.cat([correlation[:, -reach:], correlation[:, : reach + 1]], 1)
    peak = near.argmax(1).clamp(1, 2 * reach - 1)
    left, top, right = (near.gather(1, (peak + d)[:, None])[:, 0] for d in (-1, 0, 1))
    bend = left - 2 * top + right
    refined = torch.where(bend < 0, 0.5 * (left - right) / bend, 0.0).clamp(-0.5, 0.5)
    # Two flat pictures correlate everywhere alike: nothing is seen to move.
    seen = cross.abs().sum(1) > 1e-3
    return torch.where(seen, peak - reach + refined, 0.0).numpy()


def _spectrum(pictures: Tensor) -> Tensor:
    height, width = pictures.shape[1:3]
    band = pictures[:, int(BAND[0] * height) : int(BAND[1] * height)].cpu().float().mean(-1)
    band = band - band.mean(-1, keepdim=True)
    return torch.fft.rfft(band * torch.hann_window(width, periodic=False))


@dataclass(frozen=True)
class Recorded:
    """How the real game moved while an action was held, over pairs of held-out frames.

    ``decoded`` are the shifts of the same pairs through the autoencoder, whose pictures are all
    that a model can show: some movement is lost in them.
    """

    shifts: Float[np.ndarray, " n"]
    decoded: Float[np.ndarray, " n"]
    episodes: Int[np.ndarray, " n"]

    @property
    def usual(self) -> float:
        """The median shift, pixels to the right."""
        return float(np.median(self.shifts))


def recorded(held: Heldout, action: int, most: int) -> Recorded | None:
    """Shifts of held-out frames at which ``action`` was taken, and before which it was too.

    None where there are too few to say how the game answers.
    """
    shifts: list[np.ndarray] = []
    decoded: list[np.ndarray] = []
    episodes: list[int] = []
    for number, entry in enumerate(held.entries):
        actions = held.latents.actions(entry, 0, entry.length)[:-1]
        frames = 1 + np.flatnonzero((actions[1:] == action) & (actions[:-1] == action))
        for frame in frames[: -(-most // len(held.entries))]:
            place = entry, int(frame)
            for pair, into in (
                (held.pixels(place, 0, 2), shifts),
                (held.ceiling(place, 2), decoded),
            ):
                into.append(horizontal_shift(pair[:1], pair[1:]))
            episodes.append(number)
    if len(shifts) < FEWEST:
        return None
    return Recorded(np.concatenate(shifts), np.concatenate(decoded), np.array(episodes))


def replay(
    held: Heldout,
    model: Model,
    places: Sequence[Place],
    action: int,
    frames: int,
    progress: Progress,
    *seeds: int,
) -> Table:
    """Rows of ``episode`` and ``shift`` ``[frames - 1]`` while the model is given one action."""
    window = held.window(places)
    held_down = torch.full((len(places), frames), action)
    video = roll_out(model, held.show, window, held_down, progress, *seeds)
    shifts = horizontal_shift(
        rearrange(video[:, :-1], "b n h w c -> (b n) h w c"),
        rearrange(video[:, 1:], "b n h w c -> (b n) h w c"),
    )
    return {
        "episode": np.array([held.number(place) for place in places]),
        "shift": rearrange(shifts, "(b n) -> b n", b=len(places)),
    }


def moves_alike(shifts: np.ndarray, usual: float, width: int) -> np.ndarray:
    """Per frame 1.0 where it moves as the game usually does: left, right or not at all."""
    still = STILL * width
    return (_direction(shifts, still) == _direction(np.array(usual), still)).astype(np.float64)


def _direction(shifts: np.ndarray, still: float) -> np.ndarray:
    return np.where(np.abs(shifts) < still, 0, np.sign(shifts))


def flatten(table: Table) -> tuple[np.ndarray, np.ndarray]:
    """All shifts of a replay in one row, and the episode each belongs to."""
    shifts = table["shift"]
    return shifts.ravel(), repeat(table["episode"], "b -> (b n)", n=shifts.shape[1])
