"""The real game as an engine: ViZDoom, replayed to where play begins."""

from gamengen.game import doom
from gamengen.game.engine import Frame, History
from gamengen.game.facts import GameFacts


class RealGame:
    """Doom is deterministic: the seed and the actions of a history lead to its last frame.

    Once the episode is over the last frame stands still. An engine that hangs is ended, and fails
    as one that has died: whoever plays is not to wait for it longer than for a new one.
    """

    PATIENCE = 10.0  # seconds

    def __init__(self, facts: GameFacts) -> None:
        self.facts = facts
        self.game = doom.Game(facts, patience=self.PATIENCE)

    @property
    def over(self) -> str | None:
        return self.game.over

    def start(self, history: History) -> Frame:
        self.frame = self.game.start(history.seed)
        for action in history.actions:
            self.step(int(action))
        return self.frame

    def step(self, action: int) -> Frame:
        if self.game.over is None:
            self.frame = self.game.step(action)
        return self.frame

    def close(self) -> None:
        self.game.close()
