"""What is played: the artifacts of the pipeline, loaded once and shared by all sessions."""

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from gamengen.backends.backend import Backend
from gamengen.data.episodes import Episodes, recorded_history
from gamengen.data.index import Entry
from gamengen.data.replay import load_episodes
from gamengen.game.engine import Engine, History
from gamengen.game.facts import GameFacts
from gamengen.game.real_game import RealGame
from gamengen.model.weights import Role, load_weights
from gamengen.play.dream import Dream, Settings, defaults
from gamengen.play.pace import in_time
from gamengen.play.turns import Turns
from gamengen.runtime.errors import InputError

MAX_STARTS = 24


@dataclass(frozen=True)
class Source:
    """New engines, and the test episodes from which they start."""

    facts: GameFacts
    episodes: Episodes
    context_frames: int
    max_noise: float  # that the model was trained with in its context
    guided: bool  # whether it was trained without context too
    new_dream: Callable[[], Dream]
    new_real: Callable[[], Engine]
    defaults: Mapping[Role, Settings]
    first: Role  # which of them a page begins with
    filming: threading.Lock = field(default_factory=threading.Lock)  # one film is made at a time

    @property
    def fps(self) -> float:
        """Frames a second at which the game runs in real time."""
        return float(self.facts.fps)

    def history(self, entry: Entry, frame: int) -> History:
        """How a recorded episode got to one of its frames."""
        return recorded_history(self.episodes, entry, frame, self.context_frames)

    def starts(self) -> list[tuple[Entry, int]]:
        """Start points: a moment a third into every test episode, of at most 24."""
        entries = [entry for entry in self.episodes.of("test") if entry.length > 1]
        chosen = entries[:: -(-len(entries) // MAX_STARTS)]
        return [(entry, entry.length // 3) for entry in chosen]


def load(
    data: Path, backend: Backend, new_real: Callable[[GameFacts], Engine] = RealGame
) -> Source:
    """What ``make repro`` made. Raises InputError, with that remedy, where it has made nothing."""
    data = data.resolve()  # starting ViZDoom changes the folder for a moment
    weights, episodes = load_weights(data), load_episodes(data)
    if episodes.game != weights.teacher.game:
        raise InputError(
            f"{data}: its episodes are of another game, or recorded otherwise, than those that "
            "the denoiser learned from: finish make repro, or play with --model data/pretrained"
        )
    turns = Turns()
    # All sessions share what a back end builds: built now, no page waits for it. What it records
    # for each thread a session records when it begins.
    dream = Dream(weights, backend)
    dream.warm_up()
    as_played = defaults(weights)
    if not weights.distilled:
        del as_played["student"]
    # Before any episode is played again, which takes a core.
    as_played = {role: in_time(dream, how) for role, how in as_played.items()}
    source = Source(
        facts=episodes.game,
        episodes=episodes,
        context_frames=weights.teacher.context_frames,
        max_noise=weights.teacher.augmentation.max_level,
        guided=weights.teacher.augmentation.context_dropout > 0,
        new_dream=lambda: Dream(weights, backend, as_played[weights.first], turns=turns),
        new_real=lambda: new_real(episodes.game),
        defaults=as_played,
        first=weights.first,
    )
    source.history(*source.starts()[0])  # where episodes are played again, the game must start
    return source
