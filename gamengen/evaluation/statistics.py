"""A mean with what makes it readable: its 95 % interval and the number of values."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from scipy.special import stdtrit

FEWEST = 1.5  # episodes, in effect, of which an interval can be told


@dataclass(frozen=True)
class Estimate:
    """``mean`` of ``count`` values; the truth lies within ``mean +- margin`` 19 times in 20.

    ``margin`` is None where a single episode makes nearly all of it, which tells nothing of others.
    """

    mean: float
    margin: float | None
    count: int


def estimate(
    values: Float[np.ndarray, " n"],
    episodes: Int[np.ndarray, " n"],
    weights: Float[np.ndarray, " n"] | None = None,
) -> Estimate:
    """The mean of values drawn from episodes, with a cluster-robust interval.

    Frames of one episode resemble each other, so the episodes, not the frames, are taken as
    independent (Liang & Zeger 1986), with Student's t at (episodes - 1) degrees of freedom. Where
    some make more of the mean than others, by ``weights`` or by how many values they have, they
    count for as few equal ones as have the same variance (Kish 1965).

    Raises ValueError when there are no values.
    """
    if len(values) == 0:
        raise ValueError("an estimate of no values")
    mean = float(values.mean())
    names, which = np.unique(episodes, return_inverse=True)
    clusters, parts = len(names), np.bincount(which, weights)
    effective = float(parts.sum() ** 2 / np.square(parts).sum())
    if effective < FEWEST:
        return Estimate(mean, None, len(values))
    sums = np.bincount(which, weights=values - mean)
    error = float(np.sqrt((sums**2).sum() * clusters / (clusters - 1)) / len(values))
    return Estimate(mean, student_975(effective - 1) * error, len(values))


def ratio(
    above: Float[np.ndarray, " n"],
    below: Float[np.ndarray, " n"],
    episodes: Int[np.ndarray, " n"],
    empty: bool = False,
) -> Estimate:
    """The sum of ``above`` over the sum of ``below``, with the interval of its linearisation.

    Where ``below`` is 0 there was nothing to see: it counts for no episode, but where ``empty``
    ones count too, what is shown there is too much. Raises ValueError when it is 0 everywhere.
    """
    if not below.any():
        raise ValueError("a ratio to nothing")
    there = (below != 0) | empty
    above, below = above[there].astype(np.float64), below[there].astype(np.float64)
    episodes = episodes[there]
    found = float(above.sum() / below.sum())
    apart = estimate((above - found * below) / below.mean(), episodes, below)
    return Estimate(found, apart.margin, apart.count)


def student_975(freedom: float) -> float:
    """97.5 % quantile of Student's t."""
    return float(stdtrit(freedom, 0.975))
