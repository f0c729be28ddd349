"""Stage 7: what the models are worth on unseen episodes, as numbers, pictures and a page."""

import json
from functools import partial
from pathlib import Path

from gamengen.data.encoding import require_same_encoder
from gamengen.data.episodes import Episodes
from gamengen.data.latents import Latents
from gamengen.evaluation import (
    actions_read,
    enemies,
    enemies_read,
    fvd,
    inverse_dynamics,
    jobs,
    long_play,
    plan,
    room,
    shards,
    status_bar,
    summary,
    teacher_forced,
)
from gamengen.evaluation import player as model
from gamengen.evaluation.heldout import Heldout
from gamengen.evaluation.instruments import Instruments
from gamengen.evaluation.metrics import PictureDistance
from gamengen.evaluation.params import Params
from gamengen.evaluation.report import page
from gamengen.model.autoencoder import Autoencoder
from gamengen.model.denoiser import load_denoiser, require_match
from gamengen.runtime import device, output
from gamengen.runtime.replacing import replacing
from gamengen.runtime.resume import resume_folder
from gamengen.runtime.stage import run


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
    teacher, student_net = (load_denoiser(folder).to(where) for folder in (denoiser, student))
    require_match(teacher, denoiser, latents, encoded.autoencoder, encoded.game)
    require_match(student_net, student, latents, encoded.autoencoder, encoded.game)
    model.require_same_context(teacher, student_net, denoiser, student)
    one, many = params.teacher_forced, params.autoregressive
    distilled = [model.student(student_net)] if student != denoiser else []
    one_frame = [*distilled, *model.teachers(teacher, one.teacher_steps)]
    rollout = [*distilled, *model.teachers(teacher, many.teacher_steps)]
    # What distilling adds to taking a single step.
    single = distilled and teacher.sampling.steps > 1
    control = model.teachers(teacher, [1]) if single else []
    default = [*distilled, *control, model.as_played(teacher)]
    recorded, context = Episodes(episodes), teacher.context_frames
    teacher_forced.require_watched(recorded)
    held = Heldout(recorded, encoded, autoencoder, context, where, params.split)
    chosen = plan.make(held, params)
    i3d = fvd.open_i3d(params.fvd, where)
    asked = {entry.id for batch in (*chosen.targets, *chosen.starts) for entry, _ in batch}
    looked_at = [entry for entry in recorded.of(params.split) if entry.id in asked]

    resume = resume_folder(params, [episodes, latents, decoder, denoiser, student], report)
    learning = seed, resume, accelerator
    seen = enemies.sightings(recorded, looked_at)
    tools = Instruments(
        PictureDistance(where),
        seen,
        inverse_dynamics.learn(recorded, params.inverse_dynamics, *learning),
        enemies_read.learn(recorded, params.enemies_read, seen, *learning),
        status_bar.learn(recorded, params.status_bar, seed, where),
    )
    tables = shards.run(
        [
            *jobs.one_frame_ahead(held, chosen, one_frame, tools, seed),
            *jobs.rollouts(held, chosen, rollout, many.frames, tools, seed + 1),
            *jobs.features(held, chosen, rollout, i3d, seed + 2),
            *jobs.actions(held, chosen, default, params.actions.frames, tools, seed + 3),
            *room.jobs(held, chosen.turn_back_starts, default, params.room, tools, seed + 5),
            *long_play.jobs(
                held, chosen.long_play_starts, default, params.long_play, tools, seed + 4
            ),
        ],
        resume,
        accelerator,
    )
    names = summary.Names(one_frame, rollout, default)
    measured = summary.metrics_of(
        tables, encoded.game, params, autoencoder.facts.perceptual, chosen.actions, names
    )
    with output.atomic_output(report, accelerator) as folder:
        if accelerator.is_main_process:
            found = page.Findings(
                metrics=measured,
                game=encoded.game,
                params=params.model_dump(),
                names=names,
                curves=summary.per_step(tables["rollouts"], names.rollout),
                confusions=actions_read.confusions(
                    tables["rollouts"], names.rollout, len(encoded.game.actions)
                ),
                examples=tables["examples"],
                videos=shards.with_prefix("video", tables["rollouts"]),
                shown=[
                    (entry.id, frame, held.actions((entry, frame), many.frames).tolist())
                    for entry, frame in chosen.report_starts
                ],
            )
            per_model = summary.per_model(measured["teacher_forced"], names.one_frame)
            summary.write_csv(folder / "teacher_forced.csv", per_model)
            summary.write_csv(folder / "autoregressive.csv", found.curves)
            page.write(folder, found)
            with replacing(metrics) as written:
                written.write_text(json.dumps(measured, indent=2) + "\n")
    accelerator.print(summary.in_words(measured))


cli = partial(run, "evaluate", Params, main)

if __name__ == "__main__":
    cli()
