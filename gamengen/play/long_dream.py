"""Minutes of the model's own play, under recorded actions, and clips taken from it."""

import random
from collections.abc import Callable, Iterator

from gamengen.data.index import Entry
from gamengen.game.engine import History
from gamengen.play import questions
from gamengen.play.match import Match
from gamengen.play.protocol import Tell
from gamengen.play.source import Source


class LongDream:
    """One dream for many clips: it goes on from one to the next until it is too old."""

    def __init__(
        self,
        source: Source,
        match: Match,
        chance: random.Random,
        tell: Tell,
        wanted: Callable[[], bool],
    ) -> None:
        """Playing stops when nothing is ``wanted``."""
        self.source, self.match, self.chance = source, match, chance
        self.tell, self.wanted = tell, wanted
        self.history: History | None = None  # where it began

    def ready(self, after: float, clip: int) -> bool:
        """Play until ``after`` seconds are over and ``clip`` frames more may follow.

        False when it was stopped. It begins anew when a clip would make it older than ``OLDEST``,
        or another dream has begun since.
        """
        least, most = round(after * self.source.fps), round(questions.OLDEST * self.source.fps)
        dream = self.match.dream
        if self.match.history is not self.history or dream.frames_since_real + clip > most:
            self._begin()
        while dream.frames_since_real < least:
            if not self.wanted():
                return False
            self.match.step(next(self.actions))
            if dream.frames_since_real % max(1, least // 100) == 0:
                share = round(dream.frames_since_real / least, 2)
                what = f"the model plays {after / 60:g} minutes first"
                self.tell({"type": "making", "what": what, "share": share})
        return True

    def _begin(self) -> None:
        entries = [entry for entry in self.source.episodes.of("test") if entry.length > 1]
        entry = self.chance.choice(entries)
        frame = self.chance.randrange(entry.length - 1)
        self.history = self.source.history(entry, frame)
        self.match.start(self.history, beside=False)
        self.actions = self._recorded(entry, frame, entries)

    def _recorded(self, entry: Entry, frame: int, entries: list[Entry]) -> Iterator[int]:
        """Actions of an episode from a frame on, then of others drawn, without an end."""
        while True:
            # At its last frame none was taken.
            yield from map(int, self.source.episodes.actions(entry)[frame:-1])
            entry, frame = self.chance.choice(entries), 0
