"""The best linear autoencoder of folded pixels, in closed form: principal components."""

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float
from torch import Tensor

CHUNK = 32  # frames at once


def components(
    patches: Float[Tensor, "n c h w"], count: int, whitening: float
) -> tuple[Float[Tensor, "count c"], Float[Tensor, " count"]]:
    """Weight and bias by which a 1x1 convolution gives the first principal components.

    A component of variance ``s`` is divided by ``s ** (whitening / 2)``: 0 keeps the pixels'
    metric, with 1 all components vary alike.
    """
    parts = map(_rows, patches.split(CHUNK))
    products = torch.stack([a.T @ a for a in parts]).sum(0)
    covariance, mean = products[:-1, :-1], products[-1, :-1] / products[-1, -1]
    covariance = covariance / products[-1, -1] - torch.outer(mean, mean)
    variances, vectors = torch.linalg.eigh(covariance)
    scales = variances[-count:].clamp_min(1e-12) ** (-whitening / 2)
    weight = (vectors[:, -count:] * scales).flip(1).T
    return weight.float(), -(weight @ mean).float()


def expansion(
    latents: Float[Tensor, "n k h w"], patches: Float[Tensor, "n c h w"], side: int
) -> tuple[Float[Tensor, "c k side side"], Float[Tensor, " c"]]:
    """Weight and bias of the convolution that gives ``patches`` from ``latents`` with the least
    mean square error; ``side`` is its kernel's, beyond the edge the edge goes on."""
    past, size = side // 2, latents.shape[1] * side**2 + 1
    gram = torch.zeros(size, size, dtype=torch.float64)
    cross = torch.zeros(size, patches.shape[1], dtype=torch.float64)
    for z, x in zip(latents.split(CHUNK), patches.split(CHUNK), strict=True):
        around = F.unfold(F.pad(z, (past,) * 4, mode="replicate"), side)
        a = _rows(around.unflatten(2, z.shape[2:]))
        gram += a.T @ a
        cross += a.T @ _rows(x)[:, :-1]
    ridge = 1e-9 * gram.diagonal().mean() * torch.eye(size, dtype=torch.float64)
    solved = torch.linalg.solve(gram + ridge, cross).float()
    return solved[:-1].T.unflatten(1, (-1, side, side)), solved[-1]


def _rows(maps: Float[Tensor, "n c h w"]) -> Float[Tensor, "rows c1"]:
    """Every cell as a row, with a one at its end, in double precision."""
    rows = rearrange(maps, "n c h w -> (n h w) c").double()
    return torch.cat([rows, torch.ones_like(rows[:, :1])], 1)
