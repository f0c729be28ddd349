"""Messages that a page may say, and what becomes of them by chance."""

import json
import math
import random
from typing import Any


def settings_fields(**changes: Any) -> dict[str, Any]:
    """The fields of a good settings message, some of them others."""
    good = {"model": "teacher", "steps": 4, "guidance": 1.5, "context_noise": 0.1}
    return good | {"shift": 2.0, "order": 2} | changes


GOOD: list[dict[str, Any]] = [
    {"type": "keys", "held": ["ATTACK"]},
    {"type": "begin", "start": 0, "beside": True},
    {"type": "pause", "paused": False},
    {"type": "pace", "unlimited": True},
    {"type": "settings", **settings_fields()},
    {"type": "seen", "number": 7},
    {"type": "save", "format": "mp4"},
    {"type": "trial", "kind": "clips", "seconds": 1.6, "after": 0, "rater": "A. B"},
    {"type": "answer", "choice": "left"},
    {"type": "leave"},
]
JUNK: list[Any] = [None, True, -1, 0, 2**64, 1e308, math.inf, math.nan, "", "x" * 99, [], [[]], {}]


def mangled(chance: random.Random) -> str:
    """Random bytes, random JSON, good messages, and such gone wrong."""
    kind = chance.randrange(4)
    if kind == 0:
        return chance.randbytes(chance.randrange(200)).decode(errors="replace")
    message = dict(chance.choice(GOOD))
    if kind == 1:
        message[chance.choice([*message, "extra"])] = chance.choice(JUNK)
    text = json.dumps(message)
    if kind == 2:
        at = chance.randrange(len(text))
        text = text[:at] + chance.choice('{}[]",:0 \0é') + text[at + chance.randrange(2) :]
    return "[" * 2000 + text if chance.random() < 0.01 else text
