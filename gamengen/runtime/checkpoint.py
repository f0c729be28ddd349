"""Save and resume, the same on every back end: tensors on the CPU, safetensors, rename."""

import json
import os
from collections.abc import Mapping
from pathlib import Path

import torch
from diffusers import ModelMixin
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.optim import Optimizer

from gamengen.runtime.errors import InputError

Part = nn.Module | Optimizer | dict[str, Tensor]


def save(path: Path, step: int, parts: Mapping[str, Part]) -> None:
    """Write modules, optimizers and dictionaries of tensors as they are after ``step`` steps."""
    tensors: dict[str, Tensor] = {}
    scalars: dict[str, object] = {}
    for name, part in parts.items():
        for key, value in _flatten(part).items():
            if isinstance(value, Tensor):
                tensors[f"{name}/{key}"] = value.detach().cpu().contiguous().clone()
            else:
                scalars[f"{name}/{key}"] = value
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_suffix(".partial")
    save_file(tensors, beside, {"step": str(step), "scalars": json.dumps(scalars)})
    os.replace(beside, path)


def load(path: Path, parts: Mapping[str, Part]) -> int:
    """Put back what ``save`` wrote, in place, and return its step; 0 where there is no file.

    Raises InputError when the file is damaged or holds other parts than asked for.
    """
    if not path.exists():
        return 0
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata()
            names = list(file.keys())
            values: dict[str, object] = {name: file.get_tensor(name) for name in names}
    except SafetensorError as error:
        raise InputError(
            f"{path}: damaged checkpoint ({error}); delete it to start again"
        ) from error
    values |= json.loads(metadata["scalars"])
    for name, part in parts.items():
        own = {k.removeprefix(f"{name}/"): v for k, v in values.items() if k.startswith(f"{name}/")}
        _restore(part, own, f"{path}, part {name}")
    return int(metadata["step"])


def save_model(model: ModelMixin, folder: Path) -> None:
    """Write a diffusers folder (config.json and safetensors) from any back end.

    ``save_pretrained`` itself fails where weights live on XLA.
    """
    state = {k: v.detach().cpu().contiguous().clone() for k, v in model.state_dict().items()}
    model.save_config(folder)
    path = folder / "diffusion_pytorch_model.safetensors"
    save_file(state, path.with_suffix(".partial"), {"format": "pt"})
    path.with_suffix(".partial").replace(path)


def _flatten(part: Part) -> dict[str, object]:
    if isinstance(part, Optimizer):
        state = part.state_dict()["state"]
        return {f"{i}/{key}": value for i, slots in state.items() for key, value in slots.items()}
    return dict(part.state_dict() if isinstance(part, nn.Module) else part)


def _restore(part: Part, values: dict[str, object], where: str) -> None:
    if isinstance(part, Optimizer):
        slots: dict[int, dict[str, object]] = {}
        for name, value in values.items():
            index, key = name.split("/", 1)
            slots.setdefault(int(index), {})[key] = value
        # Accelerate's wrapper would send Adam's step counts to XLA, to be read back at each step.
        inner = getattr(part, "optimizer", part)
        weights = [weight for group in inner.param_groups for weight in group["params"]]
        for at, own in slots.items():
            for key, value in own.items():
                if isinstance(value, Tensor) and value.shape == weights[at].shape:
                    # In the weight's memory format: fused kernels walk both in memory order.
                    own[key] = torch.empty_like(weights[at], dtype=value.dtype).copy_(value)
        inner.load_state_dict({"state": slots, "param_groups": part.state_dict()["param_groups"]})
        return
    target = part.state_dict() if isinstance(part, nn.Module) else part
    if target.keys() != values.keys():
        different = sorted(target.keys() ^ values.keys())[:3]
        raise InputError(f"{where}: holds other tensors than this model, e.g. {different}")
    with torch.no_grad():
        for key, value in values.items():
            assert isinstance(value, Tensor)
            target[key].copy_(value)
