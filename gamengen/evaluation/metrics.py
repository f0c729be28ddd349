"""The content of metrics.json, from the tables of all jobs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from gamengen.evaluation import actions_read, long_play, room, status_bar, summary
from gamengen.evaluation.player import Model
from gamengen.evaluation.scores import Nested
from gamengen.evaluation.shards import Table
from gamengen.game.facts import GameFacts


class Asked(Protocol):
    """What of evaluate's parameters the metrics repeat, or give as a reason."""

    @property
    def split(self) -> Literal["validation", "test"]: ...
    @property
    def room(self) -> room.Asked: ...


@dataclass(frozen=True)
class Names:
    """Of whom tables tell: one frame ahead, in rollouts, and as they are played."""

    forced: list[str]  # baselines included
    played: list[str]  # the same
    players: list[str]

    @classmethod
    def of(
        cls, forced: Sequence[Model], played: Sequence[Model], players: Sequence[Model]
    ) -> "Names":
        """The models' names; copy-last before and the autoencoder after them."""
        each = [[model.name for model in models] for models in (forced, played, players)]
        ahead, rollouts = (["copy_last", *names, "autoencoder"] for names in each[:2])
        return cls(ahead, rollouts, each[2])


def metrics_of(
    tables: Mapping[str, Table],
    game: GameFacts,
    asked: Asked,
    perceptual: Sequence[str],
    held_down: Sequence[int],
    names: Names,
) -> Nested:
    """``perceptual`` are the LPIPS networks that a loss saw; ``held_down`` the actions held."""
    forced, rollouts, actions = tables["teacher_forced"], tables["rollouts"], len(game.actions)
    return {
        "split": asked.split,
        "lpips_in_a_loss": {net: net in perceptual for net in ("alex", "vgg")},
        "teacher_forced": summary.teacher_forced(forced, names.forced),
        "autoregressive": summary.autoregressive(rollouts, names.played),
        "enemies": summary.enemies(rollouts, names.played),
        **summary.fvd_distances(tables.get("fvd"), names.played),
        "status_bar": status_bar.summary(rollouts, names.played),
        "room": room.summary(tables.get("room"), names.players, game, asked.room),
        "long_play": long_play.summary(tables.get("long_play"), ["copy_last", *names.players]),
        "actions_read": {
            "teacher_forced": actions_read.summary(forced, names.forced, actions),
            "autoregressive": actions_read.summary(rollouts, names.played, actions),
        },
        "actions": summary.actions(game, tables, held_down, names.players),
    }
