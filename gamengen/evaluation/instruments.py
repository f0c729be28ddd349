"""What pictures are measured with, made ready once for all jobs."""

from dataclasses import dataclass

from gamengen.evaluation.enemies import Sightings
from gamengen.evaluation.enemies_read import EnemyReader
from gamengen.evaluation.inverse_dynamics import InverseDynamics
from gamengen.evaluation.metrics import PictureDistance
from gamengen.evaluation.status_bar import StatusBar

NO_GAME = "not measured: ViZDoom has no such game"


@dataclass(frozen=True)
class Instruments:
    """None stands for what the game does not have, or what was not asked for."""

    distance: PictureDistance
    sightings: Sightings | None  # None: ViZDoom cannot play the game, beside the models either
    actions: InverseDynamics | None
    enemies: EnemyReader | None
    numbers: StatusBar | None
