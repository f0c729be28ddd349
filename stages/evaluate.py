"""Stage 7: what the models are worth on unseen episodes, as numbers, pictures and a page."""

from functools import partial
from pathlib import Path
from typing import Literal

from pydantic import NonNegativeInt

from gamengen.data.encoding import require_same_encoder
from gamengen.data.episodes import Episodes
from gamengen.data.latents import Latents
from gamengen.evaluation import enemies, fvd, jobs, long_play, plan, shards, summary
from gamengen.evaluation import player as model
from gamengen.evaluation import report as pages
from gamengen.evaluation.heldout import Heldout
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
    require_same_encoder(encoded.autoencoder.encoder, autoencoder.facts.encoder, latents, decoder)
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
    seen = enemies.sightings(recorded, looked_at)
    distance = PictureDistance(where)

    resume = artifact.resume_folder(params, [episodes, latents, decoder, denoiser, student], report)
    tables = shards.run(
        [
            *jobs.one_frame_ahead(held, chosen, forced, distance, seen, seed),
            *jobs.rollouts(held, chosen, played, many.frames, distance, seen, seed + 1),
            *jobs.features(held, chosen, played, i3d, seed + 2),
            *jobs.actions(held, chosen, players, held_down.frames, seen, seed + 3),
            *long_play.jobs(held, chosen.long, players, params.long_play, seed + 4),
        ],
        resume,
        accelerator,
    )
    forced_names = ["copy_last", *(m.name for m in forced), "autoencoder"]
    acted_names = [m.name for m in players]
    played_names = ["copy_last", *(m.name for m in played), "autoencoder"]
    told = {
        "split": params.split,
        "lpips_in_a_loss": {net: net in autoencoder.facts.perceptual for net in ("alex", "vgg")},
        "teacher_forced": summary.teacher_forced(tables["teacher_forced"], forced_names),
        "autoregressive": summary.autoregressive(tables["rollouts"], played_names),
        "enemies": summary.enemies(tables["rollouts"], played_names),
        **summary.fvd_distances(tables.get("fvd"), played_names),
        "long_play": long_play.summary(tables.get("long_play"), ["copy_last", *acted_names]),
        "actions": summary.actions(encoded.game, tables, chosen.actions, acted_names),
    }
    with artifact.whole(report, accelerator) as folder:
        if accelerator.is_main_process:
            found = pages.Findings(
                told=told,
                game=encoded.game,
                params=params.model_dump(),
                players=acted_names,
                forced=forced_names,
                played=played_names,
                curves=summary.per_step(tables["rollouts"], played_names),
                examples=tables["examples"],
                videos=shards.under("video", tables["rollouts"]),
                shown=[
                    pages.Shown(entry.id, frame, held.actions((entry, frame), many.frames).tolist())
                    for entry, frame in chosen.shown
                ],
            )
            per_model = summary.per_model(told["teacher_forced"], forced_names)
            summary.write_csv(folder / "teacher_forced.csv", per_model)
            summary.write_csv(folder / "autoregressive.csv", found.curves)
            pages.write(folder, found)
            summary.write_metrics(metrics, told)
    accelerator.print(summary.in_words(told))


cli = partial(run, "evaluate", Params, main)

if __name__ == "__main__":
    cli()
