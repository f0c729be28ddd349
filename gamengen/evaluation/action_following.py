"""Are actions obeyed? How the picture moves while one action is held, against the real game."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from einops import rearrange, repeat
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from gamengen.data.episodes import recorded_history
from gamengen.data.positions import Position
from gamengen.evaluation.enemies import require_recorded
from gamengen.evaluation.heldout import Heldout
from gamengen.evaluation.shards import Table
from gamengen.game.engine import Engine

BAND = (0.30, 0.50)  # rows of the picture: around the horizon, above the gun
STILL = 1 / 160  # of the width: less movement than this is none
FARTHEST = 1 / 4  # of the width: no frame moves farther


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


def played(
    held: Heldout, game: Engine, places: Sequence[Position], actions: Sequence[int]
) -> tuple[UInt8[Tensor, "b n h w 3"], Int[np.ndarray, " b"]]:
    """The game itself from each place on, under the same actions.

    Also how many frames came before it was over, after which it stands still. Raises InputError
    when an episode does not come to the place as it was recorded.
    """
    shown, lasted = [], []
    for entry, frame in places:
        recorded = held.recorded[entry.id]
        begun = game.start(recorded_history(held.episodes, recorded, frame - 1, 1))
        require_recorded(begun, held.episodes, recorded, frame - 1)
        video, going_on = [], 0
        for action in actions:
            video.append(game.step(action))
            going_on += game.over is None
        shown.append(torch.from_numpy(np.stack(video)))
        lasted.append(going_on)
    return torch.stack(shown).to(held.where), np.array(lasted)


def measure(
    found: Mapping[str, Tensor],
    lasted: Int[np.ndarray, " b"],
    held: Heldout,
    places: Sequence[Position],
) -> Table:
    """Rows of ``episode``, ``<name>/shift`` ``[n - 1]``, and ``over`` ``[n - 1]``: where the real
    game was."""
    count = found["real"].shape[1]
    table: Table = {
        "episode": np.array([held.number(place) for place in places]),
        "over": np.arange(1, count)[None] >= lasted[:, None],
    }
    for name, video in found.items():
        shifts = horizontal_shift(
            rearrange(video[:, :-1], "b n h w c -> (b n) h w c"),
            rearrange(video[:, 1:], "b n h w c -> (b n) h w c"),
        )
        table[f"{name}/shift"] = rearrange(shifts, "(b n) -> b n", b=len(places))
    return table


def moves_alike(shifts: np.ndarray, median: float, width: int) -> np.ndarray:
    """Per frame 1.0 where it moves as the game usually does: left, right or not at all."""
    still = STILL * width
    return (_direction(shifts, still) == _direction(np.array(median), still)).astype(np.float64)


def _direction(shifts: np.ndarray, still: float) -> np.ndarray:
    return np.where(np.abs(shifts) < still, 0, np.sign(shifts))


def flatten(table: Table, name: str) -> tuple[np.ndarray, np.ndarray]:
    """All shifts of one player while the game goes on, in a row, and the episode of each."""
    shifts = table[f"{name}/shift"]
    episodes = repeat(table["episode"], "b -> b n", n=shifts.shape[1])
    going_on = ~table["over"]
    return shifts[going_on], episodes[going_on]
