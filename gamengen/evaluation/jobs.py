"""The plan's measurements as jobs."""

from collections.abc import Mapping, Sequence

from gamengen.evaluation import action_following as obedience
from gamengen.evaluation import autoregressive, fvd, teacher_forced
from gamengen.evaluation.enemies import Sightings
from gamengen.evaluation.heldout import Heldout
from gamengen.evaluation.picture import PictureDistance
from gamengen.evaluation.plan import Plan
from gamengen.evaluation.player import Model, Progress
from gamengen.evaluation.shards import Batch, Job, Table


def one_frame_ahead(
    held: Heldout, plan: Plan, models: Sequence[Model], distance: PictureDistance, seed: int
) -> list[Job]:
    """Job ``teacher_forced``, the distances, and ``examples``, some pictures."""

    def measure(number: int, batch: Batch, progress: Progress) -> Table:
        pictures = teacher_forced.predictions(held, models, batch, progress, seed, number)
        return teacher_forced.measure(pictures, held, batch, distance)

    def show(number: int, batch: Batch, progress: Progress) -> Table:
        pictures = teacher_forced.predictions(held, models, batch, progress, seed, -1)
        return {name: shown.cpu().numpy() for name, shown in pictures.items()}

    passes = sum(model.passes for model in models)
    examples = [plan.examples] if plan.examples else []
    return [
        Job("teacher_forced", plan.targets, passes, measure),
        Job("examples", examples, passes, show),
    ]


def rollouts(
    held: Heldout,
    plan: Plan,
    models: Sequence[Model],
    frames: int,
    distance: PictureDistance,
    sightings: Sightings | None,
    seed: int,
) -> list[Job]:
    """Job ``rollouts``: the distances, and under ``video/<name>`` what the report shows."""

    def measure(number: int, batch: Batch, progress: Progress) -> Table:
        videos = autoregressive.rollouts(held, models, batch, frames, progress, seed, number)
        table = autoregressive.measure(videos, held, batch, distance)
        table |= autoregressive.enemies(videos, batch, sightings)
        shown = [row for row, place in enumerate(batch) if place in plan.shown]
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

    return [Job("fvd", plan.videos, frames * sum(m.passes for m in models), measure)]


def actions(
    held: Heldout, plan: Plan, models: Mapping[str, Model], frames: int, seed: int
) -> list[Job]:
    """Jobs ``action_<index>_<player>``: how a player's picture slides while one action is held."""

    def job(action: int, player: str, model: Model) -> Job:
        def measure(number: int, batch: Batch, progress: Progress) -> Table:
            return obedience.replay(held, model, batch, action, frames, progress, seed, number)

        name = f"action_{action}_{player}"
        return Job(name, plan.replays, frames * model.passes, measure)

    return [job(action, *player) for action in plan.actions for player in models.items()]
