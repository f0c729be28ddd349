"""What every group of parameters has in common."""

from typing import Annotated, Any

from pydantic import BaseModel, Field, field_validator

LARGEST = 10**9  # of any number: the paper's largest is a tenth of it

Size = Annotated[int, Field(gt=0, le=2**16, strict=True)]  # of a layer, a batch, a window
Depth = Annotated[int, Field(gt=0, le=64, strict=True)]  # of layers one after the other


class Settings(BaseModel, frozen=True, extra="forbid", strict=True, allow_inf_nan=False):
    """A group of parameters: immutable, no unknown keys, no defaults.

    A number is finite, no larger than ``LARGEST`` and never made of something else: ``true`` is
    not 1, nor is "1".
    """

    @field_validator("*")
    @classmethod
    def _within_reason(cls, value: Any) -> Any:
        for number in value if isinstance(value, list) else [value]:
            if isinstance(number, int | float) and abs(number) > LARGEST:
                raise ValueError(f"must lie between -{LARGEST} and {LARGEST}")
        return value
