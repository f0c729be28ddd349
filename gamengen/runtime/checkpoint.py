"""Save and resume, the same on every back end: tensors on the CPU, safetensors, rename."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.optim import Optimizer

from gamengen.runtime.errors import InputError
from gamengen.runtime.replacing import replacing

Part = nn.Module | Optimizer | dict[str, Tensor]


def save(path: Path, step: int, parts: Mapping[str, Part], notes: str = "") -> None:
    """Write modules, optimizers and dictionaries of tensors as they are after ``step`` steps.

    Raises InputError, and leaves what was saved before, where a number is not finite.
    """
    state = {name: value.contiguous().clone() for name, value in tensors(parts).items()}
    require_finite(state, f"{path}, step {step}")
    scalars = {name: value for name, value in _flat(parts) if not isinstance(value, Tensor)}
    metadata = {"step": str(step), "scalars": json.dumps(scalars), "notes": notes}
    with replacing(path) as partial:
        save_file(state, partial, metadata | {"sha256": _digest(state, metadata)})


def load(path: Path, parts: Mapping[str, Part]) -> tuple[int, str]:
    """Put back what ``save`` wrote, in place; its step and notes, 0 and none without a file.

    Raises InputError when the file is damaged or holds other parts than asked for.
    """
    if not path.exists():
        return 0, ""
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
            names = list(file.keys())
            state = {name: file.get_tensor(name) for name in names}
        if metadata.pop("sha256", None) != _digest(state, metadata):
            raise ValueError("its SHA-256 is another")
    except (SafetensorError, ValueError) as error:
        raise InputError(
            f"{path}: damaged checkpoint ({error}); delete it to start again"
        ) from error
    values: dict[str, object] = {**state, **json.loads(metadata["scalars"])}
    for name, part in parts.items():
        own = {k.removeprefix(f"{name}/"): v for k, v in values.items() if k.startswith(f"{name}/")}
        _restore(part, own, f"{path}, part {name}")
    return int(metadata["step"]), metadata["notes"]


def tensors(parts: Mapping[str, Part]) -> dict[str, Tensor]:
    """Every tensor that a checkpoint of these parts holds, on the CPU."""
    return {name: value.detach().cpu() for name, value in _flat(parts) if isinstance(value, Tensor)}


def not_finite(state: Mapping[str, Tensor]) -> list[str]:
    """Names of the tensors that hold a NaN or an infinity."""
    # A sum tells in a tenth of the time; it may overflow, where the second look says no.
    return [
        name
        for name, value in state.items()
        if not (value.sum().isfinite() or value.isfinite().all())
    ]


def require_finite(state: Mapping[str, Tensor], where: str) -> None:
    """Raise InputError, naming where and what, unless every number is finite."""
    if found := not_finite(state):
        raise InputError(
            f"{where}: {len(found)} of {len(state)} tensors are not finite, the first is {found[0]}"
        )


def _digest(state: Mapping[str, Tensor], metadata: Mapping[str, str]) -> str:
    digest = hashlib.sha256(json.dumps(metadata, sort_keys=True).encode())
    for name in sorted(state):
        value = state[name]
        digest.update(f"{name} {value.dtype} {[*value.shape]}".encode())
        digest.update(value.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _flat(parts: Mapping[str, Part]) -> Iterator[tuple[str, object]]:
    for name, part in parts.items():
        if isinstance(part, Optimizer):
            for i, slots in part.state_dict()["state"].items():
                yield from ((f"{name}/{i}/{key}", value) for key, value in slots.items())
        else:
            state = part.state_dict() if isinstance(part, nn.Module) else part
            yield from ((f"{name}/{key}", value) for key, value in state.items())


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
