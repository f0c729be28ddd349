"""Stage 7: what the models are worth on unseen episodes, as numbers, pictures and a page."""

from functools import partial
from pathlib import Path
from typing import Literal

from pydantic import NonNegativeInt

from gamengen.data.encoding import require_same_encoder
from gamengen.data.episodes import Episodes
from gamengen.data.latents import Latents
from gamengen.evaluation import (
    actions_read,
    enemies,
    fvd,
    inverse_dynamics,
    jobs,
    long_play,
    plan,
    room,
    shards,
    status_bar,
    summary,
)
from gamengen.evaluation import player as model
from gamengen.evaluation import report as pages
from gamengen.evaluation.heldout import Heldout
from gamengen.evaluation.instruments import Instruments
from gamengen.evaluation.metrics import Names, metrics_of
from gamengen.evaluation.moving import require_watched
from gamengen.evaluation.picture import PictureDistance
from gamengen.model.autoencoder import Autoencoder
from gamengen.model.denoiser import load_denoiser, require_match
from gamengen.runtime import artifact, device
from gamengen.runtime.settings import Size
from gamengen.runtime.stage import StageParams, run


class Params(StageParams):
    """What is measured, and on how much."""

    split: Literal["validation", "test"]  # to choose settings by, or to report
    seed: NonNegativeInt
    batch_size: Size
    teacher_forced: plan.TeacherForced
    autoregressive: plan.Autoregressive
    actions: plan.Actions
    inverse_dynamics: inverse_dynamics.Told
    status_bar: status_bar.Asked
    room: room.Asked
    long_play: long_play.LongPlay
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
    """Measure on episodes of one split; write metrics.json and the report's folder.

    Where ``student`` is ``denoiser`` itself nothing was distilled.
    """
    accelerator = device.start()
    where, seed = accelerator.device, params.seed
    encoded = Latents(latents)
    autoencoder = Autoencoder.load(decoder).to(where)
    require_same_encoder(
        encoded.autoencoder.encoder_sha256, autoencoder.facts.encoder_sha256, latents, decoder
    )
    teacher, pupil = (load_denoiser(folder).to(where) for folder in (denoiser, student))
    require_match(teacher, denoiser, latents, encoded.autoencoder, encoded.game)
    require_match(pupil, student, latents, encoded.autoencoder, encoded.game)
    model.require_same_context(teacher, pupil, denoiser, student)
    one, many, held_down = params.teacher_forced, params.autoregressive, params.actions
    distilled = [model.student(pupil)] if student != denoiser else []
    forced = [*distilled, *model.teachers(teacher, one.teacher_steps, pupil)]
    played = [*distilled, *model.teachers(teacher, many.teacher_steps, pupil)]
    players = [*distilled, model.as_played(teacher)]
    recorded, context = Episodes(episodes), teacher.context_frames
    require_watched(recorded)
    held = Heldout(recorded, encoded, autoencoder, context, where, params.split)
    chosen = plan.make(held, params, params.batch_size, seed)
    i3d = fvd.open_i3d(params.fvd, where)
    looked_at = [entry for entry in recorded.of(params.split) if entry.id in chosen.entries]

    resume = artifact.resume_folder(params, [episodes, latents, decoder, denoiser, student], report)
    tools = Instruments(
        PictureDistance(where),
        enemies.sightings(recorded, looked_at),
        inverse_dynamics.learn(recorded, params.inverse_dynamics, seed, resume, accelerator),
        status_bar.learn(recorded, params.status_bar, seed, where),
    )
    tables = shards.run(
        [
            *jobs.one_frame_ahead(held, chosen, forced, tools, seed),
            *jobs.rollouts(held, chosen, played, many.frames, tools, seed + 1),
            *jobs.features(held, chosen, played, i3d, seed + 2),
            *jobs.actions(held, chosen, players, held_down.frames, tools, seed + 3),
            *room.jobs(held, chosen.rooms, players, params.room, tools, seed + 5),
            *long_play.jobs(held, chosen.long, players, params.long_play, seed + 4),
        ],
        resume,
        accelerator,
    )
    names = Names.of(forced, played, players)
    told = metrics_of(
        tables, encoded.game, params, autoencoder.facts.perceptual, chosen.actions, names
    )
    with artifact.atomic_output(report, accelerator) as folder:
        if accelerator.is_main_process:
            found = pages.Findings(
                told=told,
                game=encoded.game,
                params=params.model_dump(),
                players=names.players,
                forced=names.forced,
                played=names.played,
                curves=summary.per_step(tables["rollouts"], names.played),
                confusions=actions_read.confusions(
                    tables["rollouts"], names.played, len(encoded.game.actions)
                ),
                examples=tables["examples"],
                videos=shards.under("video", tables["rollouts"]),
                shown=[
                    pages.Shown(entry.id, frame, held.actions((entry, frame), many.frames).tolist())
                    for entry, frame in chosen.shown
                ],
            )
            per_model = summary.per_model(told["teacher_forced"], names.forced)
            summary.write_csv(folder / "teacher_forced.csv", per_model)
            summary.write_csv(folder / "autoregressive.csv", found.curves)
            pages.write(folder, found)
            summary.write_metrics(metrics, told)
    accelerator.print(summary.in_words(told))


cli = partial(run, "evaluate", Params, main)

if __name__ == "__main__":
    cli()
