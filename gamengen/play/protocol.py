"""The page's protocol: every message that it may send, with its bounds, and what it is sent."""

import json
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from gamengen.game.engine import Frame

MAX_TEXT = 4096  # characters of one message
MAX_PICTURE = 512 * 1024  # bytes of an edited picture
MAX_STEPS = 16
MAX_GUIDANCE = 5.0
MAX_SHIFT = 10
MAX_BUTTONS = 32
BLOCK = 1 << 16  # bytes: blind frames all fit one


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


class SetPace(Message):
    """As fast as it can, or no faster than the game."""

    type: Literal["pace"]
    unlimited: bool


class SetSampling(Message):
    """How the model makes its next frames."""

    type: Literal["settings"]
    model: Literal["student", "teacher"]
    steps: Annotated[int, Field(ge=1, le=MAX_STEPS)]
    guidance: Annotated[float, Field(ge=1, le=MAX_GUIDANCE)]  # 1 is none
    context_noise: Annotated[float, Field(ge=0, le=1)]
    shift: Annotated[float, Field(ge=1, le=MAX_SHIFT)]
    order: Annotated[int, Field(ge=1, le=2)]


class Seen(Message):
    """A frame has been received: another may be sent."""

    type: Literal["seen"]
    number: Annotated[int, Field(ge=0, lt=2**53)]


class Save(Message):
    """Send the last minute as a file."""

    type: Literal["save"]
    format: Literal["mp4", "gif"]


class Trial(Message):
    """The next trial of a blind test: two clips of so many seconds, or so many of play.

    ``after`` is for how many seconds the model has played before its clip.
    """

    type: Literal["trial"]
    kind: Literal["clips", "active"]
    seconds: Annotated[float, Field(gt=0, le=120)]
    after: Annotated[float, Field(ge=0, le=600)] = 0
    rater: Annotated[str, Field(max_length=40, pattern=r"^[\w .-]*$")] = ""


class Answer(Message):
    """Which it was: the real clip's side, or what was played."""

    type: Literal["answer"]
    choice: Literal["left", "right", "real", "neural"]


class Leave(Message):
    """End a blind test, and go back to playing."""

    type: Literal["leave"]


AnyMessage = Annotated[
    Keys | Begin | Pause | SetPace | SetSampling | Seen | Save | Trial | Answer | Leave,
    Field(discriminator="type"),
]
Command = AnyMessage | Frame  # a frame is an edited picture
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
        detail = error.errors(include_url=False, include_context=False, include_input=False)[0]
        where = ".".join(str(part) for part in detail["loc"]) or "message"
        # A location can quote what was sent: an unknown field's own name.
        raise BadMessage(f"{where[:80]}: {detail['msg'][:200]}") from None


@dataclass(frozen=True)
class Shown:
    """A frame for the page: its pictures, its header, whether it is padded to hide its size."""

    pictures: list[bytes]
    header: dict[str, Any] = field(default_factory=dict)
    padded: bool = False


Tell = Callable[[dict[str, Any]], None]  # sends a notice to the page


def pack(header: Mapping[str, Any], pictures: Sequence[bytes], padded: bool = False) -> bytes:
    """Length of the header (4 bytes, little-endian), header as JSON, then the pictures.

    ``sizes`` in the header tells the pictures apart. ``padded`` fills up to whole blocks, so
    that a message's length does not tell a real picture from a smoother one.
    """
    sized = json.dumps({**header, "sizes": [len(picture) for picture in pictures]}).encode()
    message = struct.pack("<I", len(sized)) + sized + b"".join(pictures)
    return message + bytes(-len(message) % BLOCK) if padded else message
