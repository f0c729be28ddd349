"""The plan's measurements as jobs."""

from collections.abc import Sequence
from contextlib import closing
from itertools import islice

from gamengen.evaluation import (
    action_following,
    actions_read,
    autoregressive,
    enemies_read,
    fvd,
    status_bar,
    teacher_forced,
)
from gamengen.evaluation.heldout import Heldout
from gamengen.evaluation.instruments import Instruments
from gamengen.evaluation.plan import Plan
from gamengen.evaluation.player import Model, Progress
from gamengen.evaluation.shards import Batch, Job, Table
from gamengen.game.real_game import RealGame

EXAMPLES = 4


def one_frame_ahead(
    held: Heldout,
    plan: Plan,
    models: Sequence[Model],
    tools: Instruments,
    seed: int,
) -> list[Job]:
    """Job ``teacher_forced``, the distances, and ``examples``, some pictures that move."""

    def measure(number: int, batch: Batch, progress: Progress) -> Table:
        ahead = autoregressive.rollouts(held, models, batch, 1, progress, seed, number)
        pictures = {name: video[:, 0] for name, video in ahead.items()}
        table = teacher_forced.measure(pictures, held, batch, tools.sightings, tools.distance)
        return table | actions_read.rows(tools.actions, held, batch, ahead)

    def show(number: int, batch: Batch, progress: Progress) -> Table:
        ahead = autoregressive.rollouts(held, models, batch, 1, progress, seed, -1)
        return {name: video[:, 0].cpu().numpy() for name, video in ahead.items()}

    passes = sum(model.passes for model in models)
    places = (place for batch in plan.targets for place in batch)
    moving = (p for p in places if teacher_forced.moves(held, p, tools.sightings))
    examples = list(islice(moving, EXAMPLES))
    return [
        Job("teacher_forced", plan.targets, passes, measure),
        Job("examples", [examples] if examples else [], passes, show),
    ]


def rollouts(
    held: Heldout,
    plan: Plan,
    models: Sequence[Model],
    frames: int,
    tools: Instruments,
    seed: int,
) -> list[Job]:
    """Job ``rollouts``: the distances, and under ``video/<name>`` what the report shows."""

    def measure(number: int, batch: Batch, progress: Progress) -> Table:
        videos = autoregressive.rollouts(held, models, batch, frames, progress, seed, number)
        table = autoregressive.measure(videos, held, batch, tools.distance)
        table |= autoregressive.enemies(videos, batch, tools.sightings)
        table |= enemies_read.rows(tools.enemies, batch, videos, tools.sightings)
        table |= actions_read.rows(tools.actions, held, batch, videos)
        table |= status_bar.rows(tools.numbers, held, batch, videos)
        shown = [row for row, place in enumerate(batch) if place in plan.report_starts]
        if shown:
            table |= {f"video/{name}": video[shown].cpu().numpy() for name, video in videos.items()}
        return table

    return [Job("rollouts", plan.starts, frames * sum(m.passes for m in models), measure)]


def features(
    held: Heldout, plan: Plan, models: Sequence[Model], i3d: fvd.I3D | None, seed: int
) -> list[Job]:
    """Job ``fvd``: I3D features of real videos and of every model's."""
    if i3d is None:
        return []
    frames = max(fvd.LENGTHS)

    def measure(number: int, batch: Batch, progress: Progress) -> Table:
        videos = autoregressive.rollouts(held, models, batch, frames, progress, seed, number)
        return fvd.measure(videos, i3d)

    return [Job("fvd", plan.fvd_starts, frames * sum(m.passes for m in models), measure)]


def actions(
    held: Heldout,
    plan: Plan,
    models: Sequence[Model],
    frames: int,
    tools: Instruments,
    seed: int,
) -> list[Job]:
    """Jobs ``action_<index>``: how the picture slides while one action is held, the game's too.

    None where there is no such game to play.
    """

    def job(action: int) -> Job:
        def measure(number: int, batch: Batch, progress: Progress) -> Table:
            with closing(RealGame(held.latents.game)) as game:
                real, lasted = action_following.played(held, game, batch, [action] * frames)
            given = [action] * frames, real
            found = autoregressive.rollouts(
                held, models, batch, frames, progress, seed, number, played=given
            )
            return action_following.measure(found, lasted, held, batch)

        passes = frames * sum(model.passes for model in models)
        return Job(f"action_{action}", plan.held_action_starts, passes, measure)

    return [job(action) for action in plan.actions if tools.sightings is not None]
