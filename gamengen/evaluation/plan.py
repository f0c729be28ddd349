"""Which held-out frames are measured: a function of the seed and the recordings alone."""

from collections.abc import Sequence
from dataclasses import dataclass

from gamengen.data.positions import Position
from gamengen.evaluation import autoregressive, fvd
from gamengen.evaluation.heldout import Heldout, batches, sample_starts
from gamengen.evaluation.params import Params


@dataclass(frozen=True)
class Plan:
    """Batches of frames to predict, or of first frames to go on from."""

    targets: Sequence[Sequence[Position]]
    starts: Sequence[Sequence[Position]]
    report_starts: Sequence[Position]  # the first of the starts: those whose recordings move most
    fvd_starts: Sequence[Sequence[Position]]  # none without weights
    held_action_starts: Sequence[Sequence[Position]]
    turn_back_starts: Sequence[Sequence[Position]]
    long_play_starts: Sequence[Sequence[Position]]
    actions: Sequence[int]  # those of at most one button


def make(held: Heldout, params: Params) -> Plan:
    """Choose the frames. Raises InputError when no held-out episode is long enough."""
    rollouts, actions, seed = params.autoregressive, params.actions, params.seed

    def starts(count: int, frames: int, seed: int) -> list[Sequence[Position]]:
        return batches(sample_starts(held.entries, count, frames, seed), params.batch_size)

    begins = sample_starts(held.entries, rollouts.rollouts, rollouts.frames, seed + 1)
    shown = autoregressive.liveliest(held, begins, rollouts.frames, rollouts.shown)
    others = [place for place in begins if place not in shown]
    videos = params.fvd.videos if params.fvd.weights else 0
    single = [n for n, down in enumerate(held.latents.game.actions) if sum(down) <= 1]
    return Plan(
        targets=starts(params.teacher_forced.frames, 1, seed),
        starts=batches(shown + others, params.batch_size),
        report_starts=shown,
        fvd_starts=starts(videos, max(fvd.LENGTHS), seed + 2),
        held_action_starts=starts(actions.starts, actions.frames, seed + 3),
        long_play_starts=starts(params.long_play.rollouts, 1, seed + 4),
        turn_back_starts=starts(params.room.starts, 2 + 2 * params.room.away, seed + 5),
        actions=single if actions.starts else [],
    )
