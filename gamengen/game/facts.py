"""What every later stage must know of the game that was recorded."""

from fractions import Fraction

from pydantic import BaseModel

TICS_PER_SECOND = 35  # Doom's own clock


class GameFacts(BaseModel, frozen=True, extra="forbid"):
    """What every later stage must know of the game, and never asks params.yaml for."""

    scenario: str  # name of one of ViZDoom's own, or the path of a .cfg
    buttons: list[str]
    actions: list[list[int]]  # per action, which buttons are down (0 or 1)
    action_names: list[str]  # "TURN_LEFT+ATTACK"; the action with no button down is "NOTHING"
    tics_per_frame: int  # of 1/35 s
    action_tics: int  # for how many tics the agent holds an action
    height: int  # pixels
    width: int
    supersampling: int = 1  # drawn so many times as high and wide, then averaged
    variables: list[str]  # names of the columns recorded with every frame

    @property
    def fps(self) -> Fraction:
        """Frames a second at which the game runs in real time."""
        return Fraction(TICS_PER_SECOND, self.tics_per_frame)

    @property
    def no_action(self) -> int:
        """Index of the action that presses nothing."""
        return self.action_names.index("NOTHING")

    @property
    def before_start(self) -> int:
        """Token that stands for the action of a frame before the episode's first."""
        return len(self.actions)
