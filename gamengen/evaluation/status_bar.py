"""Are the numbers right? Ammunition and health, read from Doom's status bar."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Bool, Float, Int64, UInt8
from pydantic import NonNegativeInt
from torch import Tensor

from gamengen.data.episodes import Episodes
from gamengen.data.positions import Position
from gamengen.evaluation.heldout import Heldout
from gamengen.evaluation.learning import some_episodes
from gamengen.evaluation.scores import Nested, write
from gamengen.evaluation.shards import Table, with_prefix
from gamengen.evaluation.statistics import ratio
from gamengen.runtime.settings import Settings

# On Doom's screen of 320 x 200 (st_stuff.c): where a number's last digit ends, and its digits.
RIGHT = {"SELECTED_WEAPON_AMMO": 44, "HEALTH": 90}
SCREEN_WIDTH, SCREEN_HEIGHT, TOP, HEIGHT, WIDTH, PLACES = 320, 200, 171, 16, 14, 3
BAR_HEIGHT = 32
BLANK = 10  # the glyph before the first digit
READABLE = 0.9  # of the game's own frames: who reads fewer of them reads nothing


class StatusBarParams(Settings):
    """0 frames: not measured."""

    frames: NonNegativeInt  # of the split "train" from which digits are learned, in whole episodes


@dataclass(frozen=True)
class StatusBar:
    """Mean pictures of a glyph, one of each place where it was seen, and which glyph it is.

    All serve for every place: a digit looks the same wherever it stands, but for its background.
    """

    glyphs: Int64[Tensor, " g"]
    templates: Float[Tensor, "g d"]
    commonest: Mapping[str, int]  # the commonest number in training

    def read(self, frames: UInt8[Tensor, "*n h w 3"], variable: str) -> Int64[Tensor, "*n"]:
        """The number of each frame, by the nearest templates; -1 where it is not one."""
        pixels = cells(frames, variable)
        far = torch.cdist(pixels.reshape(1, -1, pixels.shape[-1]), self.templates[None])
        glyphs = self.glyphs[far[0].argmin(1)].reshape(pixels.shape[:-1])
        blank = glyphs == BLANK
        powers = 10 ** torch.arange(PLACES - 1, -1, -1, device=glyphs.device)
        number = (glyphs.masked_fill(blank, 0) * powers).sum(-1)
        is_one = (blank[..., :-1] | ~blank[..., 1:]).all(-1) & ~blank[..., -1]
        return torch.where(is_one, number, -1)


def bar_of(frames: UInt8[Tensor, "*n h w 3"]) -> UInt8[Tensor, "*n bar w 3"]:
    """The whole bar: it is as wide as the picture, at its bottom."""
    height, width = frames.shape[-3:-1]
    return frames[..., height - max(1, round(BAR_HEIGHT * width / SCREEN_WIDTH)) :, :, :]


def cells(frames: UInt8[Tensor, "*n h w 3"], variable: str) -> Float[Tensor, "*n places d"]:
    """The pixels of each digit of a number. The bar is as wide as the picture, at its bottom."""
    height, width = frames.shape[-3:-1]
    scale = width / SCREEN_WIDTH
    top = height - round((SCREEN_HEIGHT - TOP) * scale)
    high, wide = max(1, round(HEIGHT * scale)), max(1, round(WIDTH * scale))
    right = round(RIGHT[variable] * scale)
    strip = frames[..., top : top + high, right - PLACES * wide : right, :].float()
    return rearrange(strip, "... h (p w) c -> ... p (h w c)", p=PLACES)


def spelled(number: int) -> list[int]:
    """The glyphs of a number; the bar shows none below zero."""
    digits = [int(digit) for digit in str(max(0, number))]
    return [BLANK] * (PLACES - len(digits)) + digits


def learn(
    episodes: Episodes, params: StatusBarParams, seed: int, where: torch.device
) -> StatusBar | None:
    """Templates from training frames; None where they were not asked for, or Doom has no such bar.

    The bar is drawn up to a tic before the variables are read, so that of each number only those
    first digits count that it has in common with the one of the frame before.
    """
    variables = [name for name in RIGHT if name in episodes.game.variables]
    if params.frames == 0 or not variables:
        return None
    sums: dict[tuple[str, int, int], Tensor] = {}
    seen: Counter[tuple[str, int]] = Counter()
    for entry in some_episodes(episodes, params.frames, seed):
        frames = torch.from_numpy(episodes.frames(entry))
        for variable in variables:
            values = episodes.variable(entry, variable)
            pixels = cells(frames, variable)
            seen.update((variable, max(0, int(value))) for value in values)
            legible = values < 10**PLACES
            for number in (legible[1:] & legible[:-1]).nonzero()[0] + 1:
                before, after = (spelled(int(value)) for value in values[number - 1 : number + 1])
                for place, (glyph, now) in enumerate(zip(before, after, strict=True)):
                    if glyph != now:
                        break
                    counted = torch.cat([pixels[number, place], torch.ones(1)])
                    key = variable, place, glyph
                    sums[key] = sums.get(key, 0) + counted
    if not sums:
        return None
    glyphs, total = torch.tensor([glyph for *_, glyph in sums]), torch.stack([*sums.values()])
    commonest = {variable: number for (variable, number), _ in reversed(seen.most_common())}
    return StatusBar(glyphs.to(where), (total[:, :-1] / total[:, -1:]).to(where), commonest)


def rows(
    bar: StatusBar | None,
    held: Heldout,
    places: Sequence[Position],
    videos: Mapping[str, UInt8[Tensor, "b n h w 3"]],
) -> Table:
    """Rows of ``changed/<variable>`` ``[n]``, the frames by which a number is another than it was
    at the start, and ``<variable>/<name>`` ``[n]``, those in which it is shown as recorded."""
    table: Table = {}
    if bar is None:
        return table
    for variable in (name for name in RIGHT if name in held.episodes.game.variables):
        low, high, start = _recorded(held, places, videos["real"].shape[1], variable)
        table[f"changed/{variable}"] = (start < low) | (start > high)
        for name, video in videos.items():
            read = bar.read(video, variable).cpu().numpy()
            table[f"{variable}/{name}"] = (low <= read) & (read <= high)
        number = bar.commonest[variable]
        table[f"{variable}/usual"] = (low <= number) & (number <= high)
    return table


def _recorded(
    held: Heldout, places: Sequence[Position], count: int, variable: str
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The least and the largest number that may be shown at each frame, and that of the start."""
    values = np.stack(
        [
            held.episodes.variable(held.recorded[entry.id], variable)[frame - 1 : frame + count]
            for entry, frame in places
        ]
    ).clip(min=0)
    before, after = values[:, :-1], values[:, 1:]
    return np.minimum(before, after), np.maximum(before, after), values[:, :1]


def summary(table: Table, names: Sequence[str]) -> Nested:
    """Per number the share of changed frames that show it; null, and why, where it cannot be.

    ``usual`` always shows the commonest number of the recordings.
    """
    changed = with_prefix("changed", table)
    if not changed:
        return {"reason": "not measured: no status bar, or evaluate.status_bar.frames is 0"}
    return {variable: _summary(table, variable, changed[variable], names) for variable in changed}


def _summary(
    table: Table, variable: str, changed: Bool[np.ndarray, "b n"], names: Sequence[str]
) -> Nested:
    out: Nested = {"frames": int(changed.sum())}
    if not changed.any():
        return out | {"reason": "it never changes there"}
    shown = with_prefix(variable, table)
    episodes = table["episode"].repeat(changed.shape[1])
    for name in ("real", *names, "usual"):
        right = (shown[name] & changed).ravel()
        write(out, name, ratio(right, changed.ravel(), episodes), 3)
        if out["real"] < READABLE:
            words = (
                f"read right in {out['real']:.0%} of the game's own frames: too small to be read"
            )
            return out | dict.fromkeys(names) | {"reason": words}
    return out
