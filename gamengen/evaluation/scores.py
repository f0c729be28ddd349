"""What pictures are worth together: decibels in both ways of averaging, and LPIPS."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from gamengen.evaluation.metrics import PEAK, decibels
from gamengen.evaluation.statistics import Estimate, estimate, ratio

Nested = dict[str, Any]
Distances = Mapping[str, np.ndarray]  # ``mse`` and ``lpips_<network>``, one value per picture


def write(out: Nested, key: str, found: Estimate, digits: int) -> None:
    """Write a mean as ``key`` and half its 95 % interval, where there is one, as ``key_95``."""
    out[key] = round(found.mean, digits)
    if found.margin is not None:
        out[f"{key}_95"] = round(found.margin, digits)


def score(ours: Distances, episodes: np.ndarray, named: str = "{}") -> Nested:
    """``psnr``, ``psnr_pooled`` and ``lpips_<network>`` with their intervals.

    ``psnr`` is the mean of every picture's dB, as in the paper; ``psnr_pooled`` the dB of the mean
    squared error, in which still pictures do not outweigh those that were missed. ``named`` makes
    a key of a metric's name.
    """
    mse = ours["mse"]
    return _told(_each(ours), ratio(np.full_like(mse, PEAK), mse, episodes), episodes, named)


def gain(ours: Distances, theirs: Distances, episodes: np.ndarray, named: str) -> Nested:
    """The same, over another's score of the same pictures."""
    each, other = _each(ours), _each(theirs)
    apart = {metric: values - other[metric] for metric, values in each.items()}
    return _told(apart, ratio(theirs["mse"], ours["mse"], episodes), episodes, named)


def _each(found: Distances) -> dict[str, np.ndarray]:
    """What is averaged picture by picture."""
    rest = {metric: values for metric, values in found.items() if metric != "mse"}
    return {"psnr": decibels(found["mse"])} | rest


def _told(
    each: Mapping[str, np.ndarray], pooled: Estimate, episodes: np.ndarray, named: str
) -> Nested:
    out: Nested = {}
    write(out, named.format("psnr_pooled"), in_decibels(pooled), 2)
    for metric, values in each.items():
        digits = 2 if metric.startswith("psnr") else 4
        write(out, named.format(metric), estimate(values.astype(np.float64), episodes), digits)
    return out


def in_decibels(found: Estimate) -> Estimate:
    """A ratio of powers, with its interval to first order."""
    margin = None if found.margin is None else 10 / np.log(10) * found.margin / found.mean
    return Estimate(10 * float(np.log10(found.mean)), margin, found.count)
