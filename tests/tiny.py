"""params.yaml with tiny numbers: tests/tiny.yaml laid over it."""

from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel
from ruamel.yaml import YAML

ROOT = Path(__file__).parent.parent
Settings = TypeVar("Settings", bound=BaseModel)


def merged(base: Any, changes: Any) -> Any:
    """``base`` with ``changes`` laid over it, key by key."""
    if not isinstance(base, dict) or not isinstance(changes, dict):
        return changes
    return base | {key: merged(base.get(key), value) for key, value in changes.items()}


def tiny_params(changes: dict[str, Any]) -> dict[str, Any]:
    """All sections at tiny size, with further changes."""
    yaml = YAML(typ="safe", pure=True)
    real, tiny = (yaml.load(path) for path in (ROOT / "params.yaml", ROOT / "tests/tiny.yaml"))
    return merged(merged(real, tiny), changes)


def write_params(path: Path, changes: dict[str, Any]) -> None:
    """A params.yaml at tiny size."""
    YAML().dump(tiny_params(changes), path)


def params(kind: type[Settings], section: str, /, **changes: Any) -> Settings:
    """One stage's Params at tiny size."""
    return kind.model_validate(tiny_params({section: changes})[section])
