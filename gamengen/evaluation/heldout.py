"""Episodes of validation or test as pixels, latents and windows; which frames are measured."""

from collections.abc import Sequence

import torch
from jaxtyping import Int64, UInt8
from torch import Tensor

from gamengen.data.episodes import Episodes
from gamengen.data.index import Entry, Split
from gamengen.data.latents import Latents, Window, Windows, require_same_games
from gamengen.data.positions import Position
from gamengen.model.autoencoder import Autoencoder, to_float, to_uint8
from gamengen.runtime import device
from gamengen.runtime.errors import InputError


class Heldout:
    """Everything that is known of held-out frames, on the device that measures.

    Raises InputError when episodes and latents are not of the same games, or have none of the
    split.
    """

    def __init__(
        self,
        episodes: Episodes,
        latents: Latents,
        autoencoder: Autoencoder,
        context_frames: int,
        where: torch.device,
        split: Split,
    ) -> None:
        require_same_games(episodes, latents)
        self.episodes, self.latents, self.autoencoder = episodes, latents, autoencoder
        self.windows = Windows(latents, split, context_frames, targets=1)
        self.entries = self.windows.entries  # with at least one frame to predict
        self.recorded = {entry.id: entry for entry in episodes.entries}
        self.where = where

    def number(self, place: Position) -> int:
        """The episode's position among the held-out ones."""
        return self.entries.index(place[0])

    def pixels(self, place: Position, begin: int, end: int) -> UInt8[Tensor, "n h w 3"]:
        """Real frames of a place's episode, counted from the frame to be predicted."""
        entry, frame = place
        rows = self.episodes.frames(self.recorded[entry.id], frame + begin, frame + end)
        return torch.from_numpy(rows).to(self.where)

    def actions(self, place: Position, count: int) -> Int64[Tensor, " n"]:
        """Recorded actions from the one that leads to the frame to be predicted on."""
        entry, frame = place
        rows = self.latents.actions(entry, frame - 1, frame - 1 + count)
        return torch.from_numpy(rows).long()

    def window(self, places: Sequence[Position]) -> Window:
        """What the denoiser sees at each place."""
        read = self.windows.read(places)
        return Window(read.frames.to(self.where), read.actions.to(self.where))

    def ceiling(self, place: Position, count: int) -> UInt8[Tensor, "n h w 3"]:
        """Real frames from the predicted one on, through the autoencoder: nothing gets closer."""
        entry, frame = place
        latents = self.latents.latents(entry, frame, frame + count)
        return self.show(torch.from_numpy(latents).float().to(self.where))

    @torch.no_grad()
    def through(self, frames: UInt8[Tensor, "n h w 3"]) -> UInt8[Tensor, "n h w 3"]:
        """Pictures through the autoencoder, by way of latents as they are stored."""
        return self.show(self.autoencoder.encode(to_float(frames)).half().float())

    @torch.no_grad()
    def show(self, latents: Tensor) -> UInt8[Tensor, "n h w 3"]:
        """Latents as the 8-bit pictures that a player would see.

        Raises InputError where one is not finite: as a picture that would be black.
        """
        pictures = self.autoencoder.decode(latents)
        for name, values in (("latent", latents), ("decoded frame", pictures)):
            if not values.isfinite().all().cpu():
                raise InputError(
                    f"a {name} is not finite: train with a lower learning_rate.peak, or see which "
                    f"of denoiser, student and decoder is broken ({self.latents.folder} is not)"
                )
        return to_uint8(pictures)


def sample_starts(entries: Sequence[Entry], size: int, frames: int, seed: int) -> list[Position]:
    """First frames of rollouts that the recorded episode outlasts, spread evenly over episodes.

    At random in each, never twice; rollouts of one frame are frames to predict.
    Raises InputError when no held-out episode is long enough.
    """
    if size == 0:
        return []
    long = [(entry, entry.length - frames) for entry in entries if entry.length > frames]
    if not long:
        longest = max(entry.length for entry in entries)
        raise InputError(
            f"params.yaml: evaluate: a rollout of {frames} frames needs a held-out episode of at "
            f"least {frames + 1}; the longest has {longest}: ask for fewer frames"
        )
    return _spread(long, size, seed)


def _spread(choices: Sequence[tuple[Entry, int]], size: int, seed: int) -> list[Position]:
    """Round robin over episodes; each gives frames 1..n in an order of its own."""
    first = torch.randperm(len(choices), generator=device.generator(seed)).tolist()
    orders = [
        torch.randperm(choices[i][1], generator=device.generator(seed, i)).tolist() for i in first
    ]
    places: list[Position] = []
    for turn in range(max(count for _, count in choices)):
        for i, order in zip(first, orders, strict=True):
            if turn < len(order) and len(places) < size:
                places.append((choices[i][0], order[turn] + 1))
        if len(places) == size:
            break
    return places


def batches(places: Sequence[Position], size: int) -> list[Sequence[Position]]:
    """Places in batches; which process takes one changes nothing in it."""
    return [places[begin : begin + size] for begin in range(0, len(places), size)]
