"""Wrong values for the keys of params.yaml, made by rule from the right ones."""

from collections.abc import Iterator
from dataclasses import dataclass
from math import inf, nan
from typing import Any

HUGE = (1e30, 10**30, -(10**30))
NEVER = (nan, inf, -inf, *HUGE, "many", "1", True, [], [1], {}, {"a": 1})  # for a number
NUMBERS = (*NEVER, None, 0, -1, 0.5, -0.5, 1.5)
WORDS = ("", "nowhere", 3, -1, nan, True, None, [], {})
SWITCHES = (None, 0, 1, 2, 1.5, nan, "no", "true", "maybe", [], {})
GROUPS = (None, [], 3, "many", True, {})


@dataclass(frozen=True)
class Slip:
    """A wrong value at a key, ``train.noise.timesteps``; or one that looks wrong."""

    key: str
    value: Any
    is_wrong: bool  # beyond doubt

    def __str__(self) -> str:
        return f"{self.key}={self.value!r}"

    @property
    def changes(self) -> dict[str, Any]:
        """As they are laid over params.yaml."""
        nested = self.value
        for name in reversed(self.key.split(".")):
            nested = {name: nested}
        return nested


def slips(params: Any, key: str = "") -> Iterator[Slip]:
    """Every slip of every key under ``key``: of groups, lists, numbers, words and switches."""
    if isinstance(params, dict):
        for name, value in params.items():
            yield from slips(value, f"{key}.{name}" if key else name)
        values: tuple[Any, ...] = GROUPS[:-1] if key else ()  # an empty one changes nothing
        wrong = values
    elif isinstance(params, list):
        values = (*lists(params), None, 3, "many", True, {"a": 1})
        wrong = (None, 3, "many", True, {"a": 1}, [nan], [inf], [None], ["many"], [10**30], [-1])
    elif isinstance(params, bool):
        values, wrong = SWITCHES, SWITCHES
    elif isinstance(params, int | float):
        values, wrong = NUMBERS, NEVER
    else:
        values, wrong = WORDS, (3, -1, nan, True, [], {"a": 1})
    yield from (Slip(key, value, any(value is each for each in wrong)) for value in values)


def lists(right: list[Any]) -> Iterator[list[Any]]:
    """Empty, one, unsorted, doubled, and of wrong elements."""
    yield from ([], right[:1], right[::-1], [*right, *right[:1]])
    yield from ([value] for value in (0, -1, 130, nan, inf, None, "many", 10**30, True, []))
