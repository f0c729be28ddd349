"""Which held-out frames are measured: a function of the seed and the recordings alone."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Protocol

from pydantic import AfterValidator, Field, NonNegativeInt, PositiveInt

from gamengen.evaluation import autoregressive, fvd, room
from gamengen.evaluation.heldout import Heldout, Place, batches, sample_starts, sample_targets
from gamengen.evaluation.long_play import LongPlay
from gamengen.game.facts import GameFacts
from gamengen.runtime.settings import Settings


def once_each(steps: list[int]) -> list[int]:
    """The same numbers. Raises ValueError where one comes twice: it names a row of a table."""
    if len(set(steps)) < len(steps):
        raise ValueError("each number once")
    return steps


Steps = Annotated[list[PositiveInt], Field(min_length=1), AfterValidator(once_each)]


class TeacherForced(Settings):
    """One frame ahead of real frames."""

    frames: PositiveInt  # over all episodes of the split, evenly
    teacher_steps: Steps


class Autoregressive(Settings):
    """Frames after frames, with the recorded actions."""

    rollouts: PositiveInt
    frames: int = Field(ge=2)
    teacher_steps: Steps  # FVD is of these too
    shown: PositiveInt  # how many of them the report shows: the liveliest


class Actions(Settings):
    """One action held, by the game and by each model as it is played; 0 starts: not measured."""

    starts: NonNegativeInt
    frames: int = Field(ge=3)


class Asked(Protocol):
    """The groups of evaluate's parameters that choose frames."""

    @property
    def teacher_forced(self) -> TeacherForced: ...
    @property
    def autoregressive(self) -> Autoregressive: ...
    @property
    def actions(self) -> Actions: ...
    @property
    def room(self) -> room.Asked: ...
    @property
    def long_play(self) -> LongPlay: ...
    @property
    def fvd(self) -> fvd.FvdSource: ...


@dataclass(frozen=True)
class Plan:
    """Batches of frames to predict, or of first frames to go on from."""

    targets: Sequence[Sequence[Place]]
    starts: Sequence[Sequence[Place]]
    shown: Sequence[Place]  # the first of the starts: those whose recordings move most
    videos: Sequence[Sequence[Place]]  # for FVD; none without weights
    replays: Sequence[Sequence[Place]]  # to hold each action from
    rooms: Sequence[Sequence[Place]]  # to turn away and back from
    long: Sequence[Sequence[Place]]  # to play for long from
    actions: Sequence[int]  # those of at most one button

    @property
    def entries(self) -> set[str]:
        """Ids of the episodes of whose frames it must be known what is in sight."""
        return {entry.id for batch in (*self.targets, *self.starts) for entry, _ in batch}


def make(
    held: Heldout,
    asked: Asked,
    batch_size: int,
    seed: int,
) -> Plan:
    """Choose the frames. Raises InputError when no held-out episode is long enough."""
    entries, forced, played, actions = (
        held.entries,
        asked.teacher_forced,
        asked.autoregressive,
        asked.actions,
    )
    targets = sample_targets(entries, forced.frames, seed)
    starts = sample_starts(entries, played.rollouts, played.frames, seed + 1)
    shown = autoregressive.liveliest(held, starts, played.frames, played.shown)
    videos = asked.fvd.videos if asked.fvd.weights else 0
    video_starts = sample_starts(entries, videos, max(fvd.LENGTHS), seed + 2)
    replays = sample_starts(entries, actions.starts, actions.frames, seed + 3)
    long = sample_starts(entries, asked.long_play.rollouts, 1, seed + 4)
    around = sample_starts(entries, asked.room.starts, 2 + 2 * asked.room.away, seed + 5)
    return Plan(
        targets=batches(targets, batch_size),
        starts=batches(shown + [place for place in starts if place not in shown], batch_size),
        shown=shown,
        videos=batches(video_starts, batch_size),
        replays=batches(replays, batch_size),
        rooms=batches(around, batch_size),
        long=batches(long, batch_size),
        actions=single_actions(held.latents.game) if replays else [],
    )


def single_actions(game: GameFacts) -> list[int]:
    """Actions of at most one button."""
    return [index for index, buttons in enumerate(game.actions) if sum(buttons) <= 1]
