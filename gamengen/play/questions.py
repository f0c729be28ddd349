"""What the blind test offers and asks: the words of the page and of the printed sheet."""

from dataclasses import asdict, dataclass
from typing import Any

from gamengen.play import protocol
from gamengen.play.protocol import BadMessage

CLIPS, ACTIVE = "clips", "active"
SECONDS = {CLIPS: (1.6, 3.2), ACTIVE: (10.0, 20.0, 60.0)}  # of clips, the paper's
AFTER = {CLIPS: (0.0, 300.0), ACTIVE: (0.0,)}  # seconds that the model has played before
OLDEST = 600.0  # seconds of play, after which the model begins anew

INVITATION = "Can you tell the model from the game? Ten trials make a fair try."
QUESTIONS = {CLIPS: "Which one is the real game?", ACTIVE: "Which is it?"}
# To choose from: as records name it, and as the page does.
OPTIONS = {
    CLIPS: {"left": "Left", "right": "Right"},
    ACTIVE: {"real": "The real game", "neural": "The model"},
}


@dataclass(frozen=True)
class Offer:
    """A kind of trial that may be asked for."""

    kind: str
    seconds: float  # of each clip, or of play at most
    after: float  # seconds

    @property
    def text(self) -> str:
        """On the page's button."""
        if self.kind == ACTIVE:
            return f"Play up to {self.seconds:g} s: game or model?"
        age = f" after {self.after / 60:g} minutes of play" if self.after else ""
        return f"Two clips of {self.seconds:g} s{age}: which is real?"


def offers(*kinds: str) -> list[Offer]:
    """Those of some kinds, or all that there are, as the page lists them."""
    return [
        Offer(kind, seconds, after)
        for kind in kinds or SECONDS
        for after in AFTER[kind]
        for seconds in SECONDS[kind]
    ]


def require_offered(asked: protocol.Trial) -> None:
    """Raises BadMessage for a trial that is not offered."""
    for name, value, offered in (
        ("seconds", asked.seconds, SECONDS[asked.kind]),
        ("after", asked.after, AFTER[asked.kind]),
    ):
        if value not in offered:
            raise BadMessage(f"{name}: {value:g}: one of {offered}")


def for_page() -> dict[str, Any]:
    """What the page must know of it."""
    return {
        "invitation": INVITATION,
        "offers": [{**asdict(offer), "text": offer.text} for offer in offers()],
        "questions": QUESTIONS,
        "options": OPTIONS,
    }
