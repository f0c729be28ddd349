"""What a page may say: every message in full, with its bounds."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

MAX_TEXT = 4096  # characters of one message
MAX_PICTURE = 512 * 1024  # bytes of an edited picture
MAX_STEPS = 16
MAX_GUIDANCE = 5.0
MAX_TEMPERATURE = 1.5
MAX_BUTTONS = 32


class Message(BaseModel):
    """Base of all messages: typed strictly, no unknown fields, no infinities."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


Button = Annotated[str, Field(max_length=40)]


class Keys(Message):
    """The buttons now held, from the oldest press to the newest."""

    type: Literal["keys"]
    held: Annotated[list[Button], Field(max_length=MAX_BUTTONS)]


class Begin(Message):
    """Play from a start point; ``beside`` the real game, or alone."""

    type: Literal["begin"]
    start: Annotated[int, Field(ge=0, lt=10_000)]
    beside: bool = False


class Pause(Message):
    """Stand still, or go on."""

    type: Literal["pause"]
    paused: bool


class Pace(Message):
    """As fast as it can, or no faster than the game."""

    type: Literal["pace"]
    unlimited: bool


class Settings(Message):
    """How the model makes its next frames."""

    type: Literal["settings"]
    model: Literal["student", "teacher"]
    steps: Annotated[int, Field(ge=1, le=MAX_STEPS)]
    guidance: Annotated[float, Field(ge=1, le=MAX_GUIDANCE)]  # 1 is none
    context_noise: Annotated[float, Field(ge=0, le=1)]
    temperature: Annotated[float, Field(ge=0, le=MAX_TEMPERATURE)]


class Seen(Message):
    """A frame has been received: another may be sent."""

    type: Literal["seen"]
    number: Annotated[int, Field(ge=0, lt=2**53)]


class Save(Message):
    """Send the last minute as a file."""

    type: Literal["save"]
    format: Literal["mp4", "gif"]


class Trial(Message):
    """The next trial of a blind test: two clips of so many seconds, or so many of play."""

    type: Literal["trial"]
    kind: Literal["clips", "active"]
    seconds: Annotated[float, Field(gt=0, le=120)]
    rater: Annotated[str, Field(max_length=40, pattern=r"^[\w .-]*$")] = ""


class Answer(Message):
    """Which it was: the real clip's side, or what was played."""

    type: Literal["answer"]
    choice: Literal["left", "right", "real", "neural"]


class Leave(Message):
    """End a blind test, and go back to playing."""

    type: Literal["leave"]


AnyMessage = Annotated[
    Keys | Begin | Pause | Pace | Settings | Seen | Save | Trial | Answer | Leave,
    Field(discriminator="type"),
]
_messages: TypeAdapter[AnyMessage] = TypeAdapter(AnyMessage)


class BadMessage(ValueError):
    """A message that is refused; its text may be shown to whoever sent it."""


def parse(text: str) -> AnyMessage:
    """A page's message. Raises BadMessage saying which field is wrong and what it may be."""
    if len(text) > MAX_TEXT:
        raise BadMessage(f"a message of {len(text)} characters: at most {MAX_TEXT}")
    try:
        return _messages.validate_json(text)
    except ValidationError as error:
        told = error.errors(include_url=False, include_context=False, include_input=False)[0]
        where = ".".join(str(part) for part in told["loc"]) or "message"
        # A location can quote what was sent: an unknown field's own name.
        raise BadMessage(f"{where[:80]}: {told['msg'][:200]}") from None
