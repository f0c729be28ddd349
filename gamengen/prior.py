"""What is expected of the next latent before a network corrects it: the last one, moved."""

import math
from collections.abc import Iterator

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from pydantic import BaseModel, Field
from torch import Tensor

from gamengen import diffusion, moves

STILL = 0.5  # weight, before training, of a cell's own place; the others share the rest
PATCH = 3  # cells along each side that are taken to move together, for the likelihood
LEFT = 0.3  # of a channel's change in one frame: what moving it right leaves, as a variance
LOG_VARIANCE = (-5.0, 2.0)  # of what the network may say, relative to the data's


class Reach(BaseModel, frozen=True, extra="forbid"):
    """How far a cell may move in one frame: so many cells to either side, sideways by parts."""

    rows: int = Field(ge=0)
    columns: int = Field(ge=0)
    parts: int = Field(ge=1)  # steps from one column to the next
    by_actions: bool  # past actions move whole columns, before the network says where else

    @property
    def window(self) -> tuple[int, int]:
        """Places above one another and beside one another that a cell may come from."""
        return 2 * self.rows + 1, 2 * self.columns * self.parts + 1

    @property
    def places(self) -> int:
        """Number of places in that neighbourhood."""
        height, width = self.window
        return height * width


class Prior(BaseModel, frozen=True, extra="forbid"):
    """A Gaussian per cell, which the denoiser's network chooses and then corrects.

    Its mean is a mixture of the last frame's cells around it, as in dynamic filter networks (De
    Brabandere et al. 2016); its variance is that of its channel's change in one frame, times a
    factor.
    """

    reach: Reach
    std: list[float]  # per latent channel, over the training data: of a latent
    change: list[float]  # and of what one frame changes in it

    @property
    def channels(self) -> int:
        """Numbers that the network gives for each cell."""
        return self.reach.places + 1

    def still(self) -> Float[Tensor, " channels"]:
        """Those numbers before training: hardly anything moves, the variance is the data's."""
        told = torch.zeros(self.channels)
        others = self.reach.places - 1
        if others:
            told[self.reach.places // 2] = math.log(others * STILL / (1 - STILL))
        return told

    def surprise(
        self,
        target: Float[Tensor, "b c h w"],
        last: Float[Tensor, "b c h w"],
        told: Float[Tensor, "b k h w"],
        maps: moves.Maps,
    ) -> Float[Tensor, ""]:
        """How unlikely the real next latent is, a cell, if each came from one place: the negative
        log-likelihood of a mixture of Gaussians, whose weights are what the network tells, over
        that of the best place.

        The mean of a mixture is right where it is blurred; its likelihood wants the place. A
        cell's patch of ``PATCH`` x ``PATCH`` cells is judged as one, since a cell alone looks
        like many; places that no picture tells apart leave the weights as they are.
        """
        with torch.no_grad():
            scale = target.new_tensor(self.change).view(1, -1, 1, 1)
            errors = [
                ((place - target) / scale).square().mean(1)
                for place in candidates(last, maps, self.reach)
            ]
            error = F.avg_pool2d(
                torch.stack(errors, 1), PATCH, 1, PATCH // 2, count_include_pad=False
            )
            numbers = target.shape[1] * PATCH**2
            fit = -0.5 * numbers * (error - error.amin(1, keepdim=True)) / LEFT
        return -torch.logsumexp(told[:, :-1].log_softmax(1) + fit, 1).mean()

    def velocity(
        self,
        x_t: Float[Tensor, "b c h w"],
        last: Float[Tensor, "b c h w"],
        told: Float[Tensor, "b k h w"],
        maps: moves.Maps,
        noise: Float[Tensor, " b"],
        dropped: Bool[Tensor, " b"],
        alpha_bar: Float[Tensor, " b"],
    ) -> tuple[Float[Tensor, "b c h w"], Float[Tensor, "b c h w"]]:
        """Mean and deviation of ``v`` at ``x_t`` under this Gaussian.

        ``noise`` is the variance of the noise on ``last``, which is shrunk to its expectation
        first; a dropped last frame says nothing, and leaves the data's Gaussian.
        """
        power, change = (
            x_t.new_tensor(std).square().view(1, -1, 1, 1) for std in (self.std, self.change)
        )
        noise = diffusion.over(noise, x_t)
        known = power / (power + noise)
        variance = torch.where(diffusion.over(dropped, x_t), power, change + noise * known)
        variance = variance * told[:, -1:].clamp(*LOG_VARIANCE).exp()
        mean = known * moved(last, told[:, :-1], maps, self.reach)
        return diffusion.gaussian_velocity(x_t, mean, variance, alpha_bar)


def moved(
    last: Float[Tensor, "b c h w"],
    logits: Float[Tensor, "b k h w"],
    maps: moves.Maps,
    reach: Reach,
) -> Float[Tensor, "b c h w"]:
    """Every cell as a mixture of what is around it, of weights ``softmax(logits)``.

    Logits go row by row from the place above left to the one below right. By whole cells a
    mixture never leaves the range of what it mixes, so that no rollout can grow by it.
    """
    weights = logits.softmax(1)
    total = torch.zeros_like(last)
    for place, candidate in enumerate(candidates(last, maps, reach)):
        total = total + weights[:, place : place + 1] * candidate
    return total


def candidates(
    last: Float[Tensor, "b c h w"], maps: moves.Maps, reach: Reach
) -> Iterator[Float[Tensor, "b c h w"]]:
    """The last frame moved as a whole to each place of the neighbourhood."""
    rows, columns = reach.rows, reach.columns
    height, width = last.shape[-2:]
    around = [
        F.pad(part, (columns, columns, rows, rows), mode="replicate")
        for part in moves.between(last, maps)
    ]
    for place in range(reach.places):
        y, x = divmod(place, reach.window[1])
        column, part = divmod(x, reach.parts)
        yield around[part][..., y : y + height, column : column + width]
