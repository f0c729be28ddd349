"""Section ``evaluate`` of params.yaml: what is measured, and on how much."""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, NonNegativeInt, PositiveInt

from gamengen.evaluation.fvd import FvdSource
from gamengen.evaluation.inverse_dynamics import InverseDynamicsParams
from gamengen.evaluation.learning import LearningParams
from gamengen.evaluation.long_play import LongPlayParams
from gamengen.evaluation.room import RoomParams
from gamengen.evaluation.status_bar import StatusBarParams
from gamengen.runtime.settings import Settings, Size
from gamengen.runtime.stage import StageParams


def once_each(steps: list[int]) -> list[int]:
    """Reject duplicates: each step count names a table row."""
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


class Params(StageParams):
    """All that stage ``evaluate`` measures."""

    split: Literal["validation", "test"]  # to choose settings by, or to report
    seed: NonNegativeInt
    batch_size: Size
    teacher_forced: TeacherForced
    autoregressive: Autoregressive
    actions: Actions
    inverse_dynamics: InverseDynamicsParams
    enemies_read: LearningParams
    status_bar: StatusBarParams
    room: RoomParams
    long_play: LongPlayParams
    fvd: FvdSource
