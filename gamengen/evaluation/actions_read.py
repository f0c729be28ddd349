"""Are actions obeyed? What a network that learned from the real game reads in frames."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from einops import repeat
from jaxtyping import Int, UInt8
from torch import Tensor

from gamengen.data.positions import Position
from gamengen.evaluation.heldout import Heldout
from gamengen.evaluation.inverse_dynamics import InverseDynamics
from gamengen.evaluation.scores import Nested, write
from gamengen.evaluation.shards import Table, with_prefix
from gamengen.evaluation.statistics import estimate

NOT_ASKED = "not measured: evaluate.inverse_dynamics.steps is 0"
Confusion = Int[np.ndarray, "actions actions"]  # how often: row taken, column read


def rows(
    net: InverseDynamics | None,
    held: Heldout,
    places: Sequence[Position],
    videos: Mapping[str, UInt8[Tensor, "b n h w 3"]],
) -> Table:
    """Rows of ``taken`` ``[n]``, the recorded actions, and ``read/<name>`` ``[n]``.

    Before a video come the real frames before its place, or, where the video went through the
    autoencoder, these through it too: it alone would else seem to be a change of the game.
    """
    if net is None:
        return {}
    count = videos["real"].shape[1]
    past = torch.stack([_before(held, place, net.sees - 1) for place in places])
    shown = torch.stack([held.through(frames) for frames in past])
    table: Table = {"taken": np.stack([held.actions(place, count).numpy() for place in places])}
    for name, video in videos.items():
        before = past if name in ("real", "copy_last") else shown
        table[f"read/{name}"] = net.tell(torch.cat([before, video], 1)).cpu().numpy()
    table["read/majority"] = np.full_like(table["taken"], int(net.commonest))
    return table


def _before(held: Heldout, place: Position, count: int) -> UInt8[Tensor, "n h w 3"]:
    """The real frames before a place; the episode's first stands for those before it."""
    frames = held.pixels(place, -min(count, place[1]), 0)
    missing = count - len(frames)
    return torch.cat([repeat(frames[:1], "1 h w c -> n h w c", n=missing), frames])


def summary(table: Table, names: Sequence[str], actions: int) -> Nested:
    """``accuracy`` and ``macro_f1`` of each name; ``majority`` always says the commonest action."""
    if "taken" not in table:
        return {"reason": NOT_ASKED}
    taken = table["taken"]
    episodes = table["episode"].repeat(taken.shape[1])
    out: Nested = {"frames": taken.size}
    read = with_prefix("read", table)
    for name in ("real", *names, "majority"):
        kept: Nested = {}
        write(kept, "accuracy", estimate((read[name] == taken).ravel() * 1.0, episodes), 3)
        kept["macro_f1"] = round(macro_f1(confusion(taken, read[name], actions)), 3)
        out[name] = kept
    return out


def confusions(table: Table, names: Sequence[str], actions: int) -> dict[str, Confusion]:
    """The confusion matrix of each name; none where it was not measured."""
    if "taken" not in table:
        return {}
    read = with_prefix("read", table)
    return {name: confusion(table["taken"], read[name], actions) for name in ("real", *names)}


def confusion(taken: Int[np.ndarray, "*n"], read: Int[np.ndarray, "*n"], actions: int) -> Confusion:
    """How often an action was read where one was taken."""
    found = np.zeros((actions, actions), np.int64)
    np.add.at(found, (taken.ravel(), read.ravel()), 1)
    return found


def macro_f1(found: Confusion) -> float:
    """The mean of the actions' F1: of each that was taken or read, alike."""
    said = found.sum(0) + found.sum(1)
    return float((2 * np.diag(found)[said > 0] / said[said > 0]).mean())
