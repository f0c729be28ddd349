"""Is the room still there? The view after turning away and back, against the one before."""

from collections.abc import Sequence
from contextlib import closing

import numpy as np
from jaxtyping import UInt8
from pydantic import NonNegativeInt, PositiveInt
from torch import Tensor

from gamengen.data.positions import Position
from gamengen.evaluation import action_following, autoregressive
from gamengen.evaluation.heldout import Heldout
from gamengen.evaluation.instruments import NO_GAME, Instruments
from gamengen.evaluation.metrics import PictureDistance
from gamengen.evaluation.player import Model, Progress
from gamengen.evaluation.scores import Nested, score
from gamengen.evaluation.shards import Batch, Job, Table, with_prefix
from gamengen.game.facts import GameFacts
from gamengen.game.real_game import RealGame
from gamengen.runtime.settings import Settings

TURNS = ("TURN_LEFT", "TURN_RIGHT")
NO_TURNS = "not measured: the game has no TURN_LEFT and TURN_RIGHT"


class RoomParams(Settings):
    """Turn away for so many frames, and back for as many; 0 starts: not measured."""

    starts: NonNegativeInt
    away: PositiveInt  # frames


def keys(game: GameFacts, away: int) -> list[int] | None:
    """The actions: away and back, each after a frame without any.

    Doom turns slowly until a turn key has been down for a while, whichever it is: without the
    pause the way back would begin fast and lead too far. None where the game has no such actions.
    """
    if not all(name in game.action_names for name in TURNS):
        return None
    left, right = (game.action_names.index(name) for name in TURNS)
    return [game.no_action, *[left] * away, game.no_action, *[right] * away]


def jobs(
    held: Heldout,
    batches: Sequence[Batch],
    models: Sequence[Model],
    params: RoomParams,
    tools: Instruments,
    seed: int,
) -> list[Job]:
    """Job ``room``; none where the game cannot be played, or cannot turn away and back."""
    actions = keys(held.latents.game, params.away)
    if actions is None or tools.sightings is None or not batches:
        return []

    def job(number: int, batch: Batch, progress: Progress) -> Table:
        with closing(RealGame(held.latents.game)) as game:
            real, lasted = action_following.played(held, game, batch, actions)
        given, count = (actions, real), len(actions)
        found = autoregressive.rollouts(
            held, models, batch, count, progress, seed, number, played=given
        )
        found["copy_last"] = real[:, :1].expand_as(real)  # the start itself
        table = measure(found, held, batch, params.away, tools.distance)
        return table | {"whole": lasted == len(actions)}

    return [Job("room", batches, len(actions) * sum(model.passes for model in models), job)]


def measure(
    videos: dict[str, UInt8[Tensor, "b n h w 3"]],
    held: Heldout,
    places: Sequence[Position],
    away: int,
    distance: PictureDistance,
) -> Table:
    """Rows of ``episode``, ``away/<name>/<metric>``, ``back/<name>/<metric>``: how far the view
    when turned away, and after coming back, is from the real one at the start."""
    start = videos["real"][:, 0]
    table: Table = {"episode": np.array([held.number(place) for place in places])}
    for when, frame in (("away", away), ("back", -1)):
        found = distance({name: video[:, frame] for name, video in videos.items()}, start)
        table |= {f"{when}/{key}": values for key, values in found.items()}
    return table


def summary(
    table: Table | None, names: Sequence[str], game: GameFacts, params: RoomParams
) -> Nested:
    """Per name ``away_<metric>`` and ``back_<metric>``, of starts that the real game outlasts."""
    if params.starts == 0:
        return {"reason": "not measured: evaluate.room.starts is 0"}
    if table is None:
        return {"reason": NO_TURNS if keys(game, params.away) is None else NO_GAME}
    whole = table["whole"]
    out: Nested = {"starts": int(whole.sum())}
    if not whole.any():
        return out | {"reason": "the game was over each time before it had turned back"}
    for name in ("real", "autoencoder", "copy_last", *names):
        out[name] = {}
        for when in ("away", "back"):
            of_name = with_prefix(name, with_prefix(when, table))
            found = {metric: values[whole] for metric, values in of_name.items()}
            out[name] |= score(found, table["episode"][whole], f"{when}_{{}}")
    return out
