"""What the last frame tells of the next: a linear filter per action, fitted in closed form."""

import torch
import torch.nn.functional as F
from einops import einsum, rearrange
from jaxtyping import Float, Int64
from torch import Tensor

REACH = (1, 3)  # latent rows and columns on either side that a cell's future depends on
NEIGHBOURS = (2 * REACH[0] + 1) * (2 * REACH[1] + 1)
BORROWED = 0.01  # weight of other actions' frames: a rare action is taken to be like the rest


def neighbourhood(latents: Float[Tensor, "b c h w"]) -> Float[Tensor, "b k h w"]:
    """Each cell with its neighbours, in channels; slices alone, which every back end compiles."""
    height, width = latents.shape[-2:]
    rows, columns = REACH
    padded = F.pad(latents, (columns, columns, rows, rows), mode="replicate")
    shifted = [
        padded[..., y : y + height, x : x + width]
        for y in range(2 * rows + 1)
        for x in range(2 * columns + 1)
    ]
    return torch.cat(shifted, 1)


def copying(actions: int, height: int, channels: int) -> Float[Tensor, "a h k c"]:
    """Filters that predict the last latent unchanged."""
    weight = torch.zeros(actions, height, NEIGHBOURS, channels, channels)
    weight[:, :, NEIGHBOURS // 2] = torch.eye(channels)
    return rearrange(weight, "a h n d c -> a h (n d) c")


def predict(
    last: Float[Tensor, "b c h w"],
    action: Int64[Tensor, " b"],
    weight: Float[Tensor, "a h k c"],
) -> Float[Tensor, "b c h w"]:
    """The next latent, as far as a linear map of the last one tells under an action."""
    return einsum(neighbourhood(last), weight[action], "b k h w, b h k c -> b c h w")


def fit(
    last: Float[Tensor, "b c h w"],
    action: Int64[Tensor, " b"],
    target: Float[Tensor, "b c h w"],
    actions: int,
    noise: float,
) -> Float[Tensor, "a h k c"]:
    """Ridge regression of the next latent, for every action and row of the latent.

    ``noise`` is the variance of the noise to expect on the last latent: it is the ridge, and
    what keeps a rollout, which feeds predictions back, from running away. The rows have filters
    of their own: the status bar stands still while the wall slides.
    """
    grams = torch.stack([_moments(last[action == a], target[action == a]) for a in range(actions)])
    grams = grams + BORROWED * grams.sum(0)
    inputs = grams.shape[2]
    ridge = noise * len(last) / actions * last.shape[-1] * torch.eye(inputs, dtype=torch.float64)
    return torch.linalg.solve(grams[..., :inputs] + ridge, grams[..., inputs:]).float()


def _moments(
    last: Float[Tensor, "b c h w"], target: Float[Tensor, "b c h w"]
) -> Float[Tensor, "h k kc"]:
    """Second moments, per row, of a neighbourhood with itself and with the next latent."""
    x = rearrange(neighbourhood(last), "b k h w -> h (b w) k")
    y = rearrange(target, "b c h w -> h (b w) c")
    return torch.cat([x.mT @ x, x.mT @ y], -1).double()
