"""Stage 7: what the models are worth on held-out episodes, as numbers, pictures and a page."""

import json
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from pydantic import Field, PositiveInt
from tqdm import tqdm

from gamengen import artifact, device
from gamengen import report as pages
from gamengen.autoencoder import Autoencoder, require_same_encoder
from gamengen.denoiser import Denoiser, load_denoiser, require_match
from gamengen.episodes import Episodes, GameFacts
from gamengen.errors import InputError
from gamengen.latents import Latents
from gamengen.metrics import autoregressive, fvd, obedience, summary, teacher_forced
from gamengen.metrics.heldout import Heldout, Place, batches, sample_starts, sample_targets
from gamengen.metrics.model import Model
from gamengen.metrics.picture import PictureDistance
from gamengen.metrics.shards import Shards, Table
from gamengen.sampler import Sampler, Sampling
from gamengen.stage import StageParams, run


class Guidance(StageParams):
    """How a model is sampled, but for its steps."""

    guidance: float = Field(ge=1)  # on past frames; 1 is none
    context_noise: float = Field(ge=0)


class TeacherForced(StageParams):
    """One frame ahead of real frames."""

    frames: PositiveInt  # over all held-out episodes, evenly
    teacher_steps: list[PositiveInt]
    moving_below: float  # dB of copy-last: what counts as a moving frame


class Autoregressive(StageParams):
    """Frames after frames, with the recorded actions."""

    rollouts: PositiveInt
    frames: PositiveInt
    teacher_steps: list[PositiveInt]  # FVD is of these too
    shown: PositiveInt  # how many of them the report shows: the liveliest


class Actions(StageParams):
    """One action held, by the student; 0 starts: not measured."""

    starts: int = Field(ge=0)
    frames: int = Field(ge=3)
    recorded: PositiveInt  # recorded frames per action to compare with


class Params(StageParams):
    """What is measured, and on how much."""

    seed: int
    batch_size: PositiveInt
    teacher: Guidance
    student: Guidance
    lpips_vgg: bool  # LPIPS by VGG16 too
    teacher_forced: TeacherForced
    autoregressive: Autoregressive
    actions: Actions
    fvd: fvd.FvdSource


def main(
    params: Params,
    episodes: Path,
    latents: Path,
    decoder: Path,
    denoiser: Path,
    student: Path,
    metrics: Path,
    report: Path,
) -> None:
    """Measure on held-out frames only; write metrics.json and the report's folder."""
    accelerator = device.start()
    where = accelerator.device
    encoded = Latents(latents)
    autoencoder = Autoencoder.load(decoder).to(where)
    require_same_encoder(encoded.autoencoder.encoder, autoencoder.facts.encoder, latents, decoder)
    teacher, pupil = (load_denoiser(folder).to(where) for folder in (denoiser, student))
    require_match(teacher, denoiser, encoded)
    require_match(pupil, student, encoded)
    require_same_context(teacher, pupil, denoiser, student)
    forced = models(params, teacher, pupil, params.teacher_forced.teacher_steps)
    played = models(params, teacher, pupil, params.autoregressive.teacher_steps)
    held = Heldout(Episodes(episodes), encoded, autoencoder, teacher.context_frames, where)
    plan = make_plan(params, held)
    i3d = fvd.open_i3d(params.fvd, where)
    distance = PictureDistance(where, params.lpips_vgg)

    with artifact.whole(report, accelerator) as folder:
        shards = Shards(folder / ".shards", accelerator)
        bench = Bench(params, held, distance, shards, plan)
        with bench.progress(forced, played, i3d is not None):
            table, examples = bench.teacher_forced(forced)
            curves, videos = bench.autoregressive(played)
            features = bench.features(played, i3d) if i3d else None
            actions = bench.actions(played[0])
        forced_names = ["copy_last", *(model.name for model in forced), "autoencoder"]
        played_names = ["copy_last", *(model.name for model in played), "autoencoder"]
        moving_below = params.teacher_forced.moving_below
        told = {
            "teacher_forced": summary.teacher_forced(table, forced_names, moving_below),
            "autoregressive": summary.autoregressive(curves, played_names),
            **summary.fvd_distances(features, played_names),
            "actions": actions,
        }
        steps = summary.per_step(curves, played_names)
        if accelerator.is_main_process:
            shutil.rmtree(shards.folder)
            per_model = summary.per_model(told["teacher_forced"], forced_names)
            summary.write_csv(folder / "teacher_forced.csv", per_model)
            summary.write_csv(folder / "autoregressive.csv", steps)
            found = pages.Findings(
                told=told,
                game=encoded.game,
                params=params.model_dump(),
                forced=forced_names,
                played=played_names,
                curves=steps,
                examples=examples,
                videos=videos,
                shown=[(entry.id, frame) for entry, frame in plan.shown],
            )
            pages.write(folder, found)
    if accelerator.is_main_process:
        write_metrics(metrics, told)
        accelerator.print(summary.in_words(told))


@dataclass(frozen=True)
class Plan:
    """Which frames are measured: a function of the seed and the held-out episodes alone."""

    targets: list[Sequence[Place]]  # batches of frames to predict from real ones
    starts: list[Sequence[Place]]  # batches of first frames of rollouts
    shown: list[Place]  # the starts whose rollouts the report shows
    videos: list[Sequence[Place]]  # batches of first frames of the videos for FVD
    replays: list[Sequence[Place]]  # batches of first frames to hold an action from


def make_plan(params: Params, held: Heldout) -> Plan:
    """Choose the frames. Raises InputError when no held-out episode is long enough."""
    most, seed, frames = params.batch_size, params.seed, params.autoregressive.frames
    starts = sample_starts(held.entries, params.autoregressive.rollouts, frames, seed + 1)
    videos = params.fvd.videos if params.fvd.weights else 0
    return Plan(
        targets=batches(sample_targets(held.entries, params.teacher_forced.frames, seed), most),
        starts=batches(starts, most),
        shown=autoregressive.liveliest(held, starts, frames, params.autoregressive.shown),
        videos=batches(sample_starts(held.entries, videos, max(fvd.LENGTHS), seed + 2), most),
        replays=batches(
            sample_starts(held.entries, params.actions.starts, params.actions.frames, seed + 3),
            most,
        ),
    )


class Bench:
    """The measurements, each over this process's share of the plan."""

    def __init__(
        self, params: Params, held: Heldout, distance: PictureDistance, shards: Shards, plan: Plan
    ) -> None:
        self.params, self.held, self.distance = params, held, distance
        self.shards, self.plan = shards, plan
        self.single = single_actions(held.latents.game)

    @contextmanager
    def progress(
        self, forced: Sequence[Model], played: Sequence[Model], videos: bool
    ) -> Iterator[None]:
        """A bar over network passes, with the time left."""
        params, plan = self.params, self.plan
        every = sum(model.passes for model in played)
        passes = size(plan.targets) * sum(model.passes for model in forced)
        passes += size(plan.starts) * params.autoregressive.frames * every
        passes += size(plan.videos) * max(fvd.LENGTHS) * every * videos
        held_down = len(self.single) * params.actions.frames
        passes += size(plan.replays) * held_down * played[0].passes
        with tqdm(
            total=-(-passes // self.shards.count),
            unit="pass",
            disable=self.shards.rank != 0,
            mininterval=5,
            dynamic_ncols=True,
        ) as self.bar:
            yield

    def teacher_forced(self, models: Sequence[Model]) -> tuple[Table, Table]:
        """Distances of every predicted frame; the moving pictures of the first batch."""
        self.bar.set_description("one frame ahead")
        tables: dict[int, Table] = {}
        examples: Table = {}
        for number, places in self.shards.mine(self.plan.targets):
            pictures = teacher_forced.predictions(
                self.held, models, places, self.bar.update, self.params.seed, number
            )
            tables[number] = teacher_forced.measure(pictures, self.held, places, self.distance)
            if number == 0:
                below = self.params.teacher_forced.moving_below
                moving = torch.from_numpy(tables[0]["copy_last/psnr"] < below)
                examples = {k: v.cpu()[moving].numpy() for k, v in pictures.items()}
        return self.shards.gather("teacher_forced", tables, size(self.plan.targets)), examples

    def autoregressive(self, models: Sequence[Model]) -> tuple[Table, Table]:
        """Distances of every frame of every rollout; the videos the report shows."""
        self.bar.set_description("rollouts")
        frames, seed = self.params.autoregressive.frames, self.params.seed + 1
        tables: dict[int, Table] = {}
        shown: dict[int, Table] = {}
        for number, places in self.shards.mine(self.plan.starts):
            videos = autoregressive.rollouts(
                self.held, models, places, frames, self.bar.update, seed, number
            )
            tables[number] = autoregressive.measure(videos, self.held, places, self.distance)
            for row, place in enumerate(places):
                if place in self.plan.shown:
                    rank = self.plan.shown.index(place)
                    shown[rank] = {k: v[row : row + 1].cpu().numpy() for k, v in videos.items()}
                    shown[rank]["actions"] = self.held.actions(place, frames)[None].numpy()
        table = self.shards.gather("autoregressive", tables, size(self.plan.starts))
        return table, self.shards.gather("shown", shown, len(self.plan.shown))

    def features(self, models: Sequence[Model], i3d: fvd.I3D) -> Table:
        """I3D features of real videos and of every model's."""
        self.bar.set_description("videos for FVD")
        tables: dict[int, Table] = {}
        for number, places in self.shards.mine(self.plan.videos):
            videos = autoregressive.rollouts(
                self.held, models, places, max(fvd.LENGTHS), self.bar.update,
                self.params.seed + 2, number,
            )  # fmt: skip
            tables[number] = fvd.measure(videos, i3d)
        return self.shards.gather("features", tables, size(self.plan.videos))

    def actions(self, model: Model) -> summary.Nested:
        """How the picture moves while one action is held, and how the game's does."""
        self.bar.set_description("actions")
        names = self.held.latents.game.action_names
        settings, seed = self.params.actions, self.params.seed + 3
        if settings.starts == 0:
            return {"reason": "evaluate.actions.starts is 0"}
        replays: dict[str, Table] = {}
        for action in self.single:
            tables = {
                number: obedience.replay(
                    self.held, model, places, action, settings.frames, self.bar.update, seed, number
                )
                for number, places in self.shards.mine(self.plan.replays)
            }
            total = size(self.plan.replays)
            replays[names[action]] = self.shards.gather(f"action-{action}", tables, total)
        real = {
            names[action]: obedience.recorded(self.held, action, settings.recorded)
            for action in self.single
        }
        return summary.actions(real, replays, self.held.latents.game.width)


def models(params: Params, teacher: Denoiser, pupil: Denoiser, steps: list[int]) -> list[Model]:
    """The student, then the teacher at every step count.

    Raises InputError when a model cannot be sampled so.
    """
    made = []
    for name, net, settings, count in [
        ("student", pupil, params.student, 1),
        *((f"steps_{n}", teacher, params.teacher, n) for n in steps),
    ]:
        if count > net.schedule.timesteps:
            raise InputError(
                f"params.yaml: evaluate: teacher_steps: {count}: the denoiser has "
                f"{net.schedule.timesteps} timesteps"
            )
        if settings.context_noise > net.augmentation.highest:
            raise InputError(
                f"params.yaml: evaluate: context_noise: {settings.context_noise}: {name} was "
                f"trained with at most {net.augmentation.highest}"
            )
        sampling = Sampling(count, settings.guidance, settings.context_noise)
        made.append(Model(name, Sampler(net, sampling)))
    return made


def require_same_context(teacher: Denoiser, pupil: Denoiser, denoiser: Path, student: Path) -> None:
    """Raise InputError unless both see equally far back."""
    if teacher.context_frames != pupil.context_frames:
        raise InputError(
            f"{student}/config.json: context_frames: {pupil.context_frames}, but {denoiser} has "
            f"{teacher.context_frames}; distill again with: dvc repro distill"
        )


def single_actions(game: GameFacts) -> list[int]:
    """Actions of at most one button."""
    return [index for index, buttons in enumerate(game.actions) if sum(buttons) <= 1]


def size(batched: Sequence[Sequence[Place]]) -> int:
    """Places in all batches."""
    return sum(len(batch) for batch in batched)


def write_metrics(path: Path, told: summary.Nested) -> None:
    """Write metrics.json whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".partial-{path.name}")
    beside.write_text(json.dumps(told, indent=2) + "\n")
    os.replace(beside, path)


def cli() -> None:
    """Run from the command line: see gamengen.stage.run."""
    run("evaluate", Params, main)


if __name__ == "__main__":
    cli()
