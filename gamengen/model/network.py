"""Networks on disk: config.json and safetensors, the layout of diffusers, from any back end."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypeVar

from safetensors.torch import load_file, save_file
from torch import nn

from gamengen.runtime.checkpoint import require_finite
from gamengen.runtime.checksums import require_sound
from gamengen.runtime.errors import InputError
from gamengen.runtime.replacing import replacing

if TYPE_CHECKING:
    from diffusers import ModelMixin

WEIGHTS = "diffusion_pytorch_model.safetensors"


class Network(nn.Module):
    """A network that is built again from ``config``, the arguments of its class."""

    config: dict[str, Any]

    def to(self, *args: Any, **kwargs: Any) -> Self:
        """As of any module, whose annotation lacks ``memory_format``."""
        return super().to(*args, **kwargs)


Model = TypeVar("Model", bound="Network | ModelMixin")
Pretrained = TypeVar("Pretrained", bound="ModelMixin")


def save_model(model: "Network | ModelMixin", folder: Path) -> None:
    """Write config.json and the weights into a folder.

    Raises InputError, and leaves the folder as it was, where a weight is not finite.
    """
    state = {k: v.detach().cpu().contiguous().clone() for k, v in model.state_dict().items()}
    require_finite(state, str(folder))
    config = {"_class_name": type(model).__name__, **arguments(model.config)}
    text = json.dumps(config, indent=2, sort_keys=True)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(text + "\n")
    with replacing(folder / WEIGHTS) as partial:
        save_file(state, partial, {"format": "pt"})


def load_model(kind: type[Model], folder: Path, stage: str) -> Model:
    """Read what ``save_model`` wrote; ``stage`` made it.

    Raises InputError when a file is missing or damaged, or holds another network's weights.
    """
    for name in ("config.json", WEIGHTS):
        if not (folder / name).is_file():
            raise InputError(f"{folder / name}: missing; make it with: dvc repro {stage}")
    require_sound(folder, f"dvc repro {stage}")
    try:
        model = build(kind, folder)
        state = load_file(folder / WEIGHTS)
    except Exception as error:  # a damaged config leads anywhere
        raise InputError(f"{folder}: not a {kind.__name__}: {error}") from error
    try:
        model.load_state_dict(state)
    except RuntimeError as error:
        raise InputError(
            f"{folder / WEIGHTS}: of another network than config.json: {error}"
        ) from error
    require_finite(state, str(folder / WEIGHTS))
    return model


def build(kind: type[Model], folder: Path) -> Model:
    """The network of a folder's config.json, with new weights. Raises ValueError and others."""
    config = json.loads((folder / "config.json").read_text())
    if config["_class_name"] != kind.__name__:
        raise ValueError(f"it is a {config['_class_name']}")
    return kind(**arguments(config))


def load_pretrained(kind: type[Pretrained], source: str, part: str, key: str) -> Pretrained:
    """A model of diffusers from the hub, or from a local folder in Stable Diffusion's layout.

    It may lie in the folder itself or in its subfolder ``part``. Raises InputError, naming the
    parameter ``key``, when it is neither here nor there.
    """
    subfolder = part if not (Path(source) / "config.json").is_file() else None
    try:
        return kind.from_pretrained(source, subfolder=subfolder, low_cpu_mem_usage=False)
    except (OSError, ValueError) as error:
        raise InputError(
            f"{key}: {source!r} is neither a folder with a {kind.__name__} (config.json and "
            f"weights, here or in {part}/) nor one on the hub: {error}"
        ) from error


def arguments(config: Any) -> dict[str, Any]:
    """A config without what diffusers writes beside the class's arguments."""
    return {name: value for name, value in config.items() if not name.startswith("_")}
