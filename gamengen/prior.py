"""What the last frame tells of the next: a linear filter per action, fitted in closed form."""

import torch
import torch.nn.functional as F
from einops import einsum, rearrange
from jaxtyping import Float, Int64
from torch import Tensor

REACH = (1, 3)  # latent rows and columns on either side that a cell's change depends on
NEIGHBOURS = (2 * REACH[0] + 1) * (2 * REACH[1] + 1)
RIDGE = 0.01  # of the number of equations: what is seen rarely is taken to stand still


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


def predict(
    last: Float[Tensor, "b c h w"],
    action: Int64[Tensor, " b"],
    weight: Float[Tensor, "a h k c"],
) -> Float[Tensor, "b c h w"]:
    """The next latent, as far as a linear map of the last one tells under an action."""
    change = einsum(neighbourhood(last), weight[action], "b k h w, b h k c -> b c h w")
    return last + change


def fit(
    last: Float[Tensor, "b c h w"],
    action: Int64[Tensor, " b"],
    target: Float[Tensor, "b c h w"],
    actions: int,
) -> Float[Tensor, "a h k c"]:
    """Ridge regression of the change in one frame, for every action and row of the latent.

    The rows have filters of their own: the status bar stands still while the wall slides.
    """
    channels, height = last.shape[1:3]
    weight = torch.zeros(actions, height, NEIGHBOURS * channels, channels)
    for number in range(actions):
        rows = action == number
        x = rearrange(neighbourhood(last[rows]), "b k h w -> h (b w) k")
        y = rearrange(target[rows] - last[rows], "b c h w -> h (b w) c")
        gram = (x.mT @ x).double()
        ridge = (RIDGE * x.shape[1] + 1e-6) * torch.eye(x.shape[2], dtype=torch.float64)
        weight[number] = torch.linalg.solve(gram + ridge, (x.mT @ y).double()).float()
    return weight
