"""Which episodes are trained on, chosen by and reported on."""

from collections.abc import Sequence
from typing import Literal, Self

import numpy as np
from pydantic import BaseModel, Field, model_validator

from gamengen.data.index import Entry, Split
from gamengen.runtime.errors import InputError
from gamengen.runtime.settings import Settings

PLAYERS = {"training": "agent", "trained": "agent", "random": "random"}


class Shares(BaseModel, frozen=True, extra="forbid"):
    """How much of the episodes is kept from training."""

    validation: float = Field(gt=0, lt=1)
    test: float = Field(gt=0, lt=1)

    @model_validator(mode="after")
    def _leave_some(self) -> Self:
        if self.validation + self.test >= 1:
            raise ValueError(
                f"validation {self.validation} + test {self.test} must be less than 1, to leave "
                "episodes to train on"
            )
        return self

    def split(self, key: float) -> Split:
        """The split of an episode with this key, a number in [0, 1)."""
        if key < self.test:
            return "test"
        return "validation" if key < self.test + self.validation else "train"


def split(entries: Sequence[Entry], shares: Shares) -> list[Entry]:
    """Assign each episode to train, validation or test by a hash of its seed.

    Up to three are forced, so that no split is empty, and test and validation have an episode as
    long as the median; those may change as the collection grows. There must be three episodes.
    """
    keys = {entry.seed: float(np.random.default_rng(entry.seed).random()) for entry in entries}
    found = {seed: shares.split(key) for seed, key in keys.items()}
    order = sorted(entries, key=lambda entry: keys[entry.seed])
    median = float(np.median([entry.length for entry in entries]))
    first, *others = (entry.seed for entry in order if entry.length >= median)
    second = next((seed for seed in others if found[seed] != "test"), others[0])
    last = next(entry.seed for entry in reversed(order) if entry.seed not in (first, second))
    found |= {first: "test", second: "validation", last: "train"}
    return [entry.model_copy(update={"split": found[entry.seed]}) for entry in entries]


class Selection(Settings):
    """Which episodes of a split are used: those played by somebody, and of these a share."""

    share: float = Field(gt=0, le=1)  # spread evenly
    played_by: Literal["anyone", "agent", "random"]  # agent: in training, and finished

    def of(self, entries: Sequence[Entry]) -> list[Entry]:
        """Raises InputError where none was played so."""
        kept = [e for e in entries if self.played_by in ("anyone", PLAYERS[e.policy])]
        if not kept:
            raise InputError(
                f"params.yaml: train.data.played_by: {self.played_by}: of {len(entries)} episodes "
                "none was: see collect.policy"
            )
        return [kept[int(n / self.share)] for n in range(max(1, round(len(kept) * self.share)))]
