"""A mean with what makes it readable: its 95 % interval and the number of values."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from scipy.special import stdtrit


@dataclass(frozen=True)
class Estimate:
    """``mean`` of ``count`` values; the truth lies within ``mean +- margin`` 19 times in 20.

    ``margin`` is None where a single episode tells nothing of the others.
    """

    mean: float
    margin: float | None
    count: int


def estimate(values: Float[np.ndarray, " n"], episodes: Int[np.ndarray, " n"]) -> Estimate:
    """The mean of values drawn from episodes, with a cluster-robust interval.

    Frames of one episode resemble each other, so the episodes, not the frames, are taken as
    independent (Liang & Zeger 1986), with Student's t at (episodes - 1) degrees of freedom.

    Raises ValueError when there are no values.
    """
    if len(values) == 0:
        raise ValueError("an estimate of no values")
    mean = float(values.mean())
    names, which = np.unique(episodes, return_inverse=True)
    clusters = len(names)
    if clusters < 2:
        return Estimate(mean, None, len(values))
    sums = np.bincount(which, weights=values - mean)
    error = float(np.sqrt((sums**2).sum() * clusters / (clusters - 1)) / len(values))
    return Estimate(mean, student_975(clusters - 1) * error, len(values))


def ratio(
    above: Float[np.ndarray, " n"],
    below: Float[np.ndarray, " n"],
    episodes: Int[np.ndarray, " n"],
) -> Estimate:
    """The sum of ``above`` over the sum of ``below``, with the interval of its linearisation.

    Where ``below`` is 0 there was nothing to see: it counts for no episode. Raises ValueError when
    it is 0 everywhere.
    """
    there = below != 0
    above, below = above[there].astype(np.float64), below[there].astype(np.float64)
    episodes = episodes[there]
    if not there.any():
        raise ValueError("a ratio to nothing")
    found = float(above.sum() / below.sum())
    apart = estimate((above - found * below) / below.mean(), episodes)
    return Estimate(found, apart.margin, apart.count)


def student_975(freedom: int) -> float:
    """97.5 % quantile of Student's t."""
    return float(stdtrit(freedom, 0.975))
