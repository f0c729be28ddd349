"""CPU, CUDA or XLA: the only module that asks which."""

import os
from datetime import timedelta
from importlib.metadata import version
from importlib.util import find_spec
from typing import Literal

import torch
from accelerate import Accelerator, InitProcessGroupKwargs
from torch import Tensor, nn
from torch.optim import Optimizer

from gamengen.runtime.errors import InputError

Format = Literal["fp32", "bf16"]
Precision = Literal["auto", "fp32", "bf16"]
# How long a process waits for another, which may have hours more to do: torch's own limits of 10
# and 30 minutes are for collectives that all enter together.
PATIENCE = timedelta(days=7)
PAIRS = {"2.9": "2.9"}  # torch and torch_xla releases that work together


def on_xla() -> bool:
    """Whether tensors live on an XLA device; so it is exactly when PJRT_DEVICE names one."""
    return bool(os.environ.get("PJRT_DEVICE"))


def start() -> Accelerator:
    """The process's Accelerator, after checking that what it will run on fits together.

    Raises InputError when torch and torch_xla do not pair, or XLA_USE_BF16 would turn master
    weights, optimizer moments and EMA into bfloat16.
    """
    if any(os.environ.get(name, "0") != "0" for name in ("XLA_USE_BF16", "XLA_DOWNCAST_BF16")):
        raise InputError(
            "XLA_USE_BF16 / XLA_DOWNCAST_BF16 is set: it makes optimizer moments and EMA "
            "bfloat16 too; unset it and write precision: bf16 in params.yaml"
        )
    if on_xla():
        require_pair(torch.__version__, version("torch_xla") if find_spec("torch_xla") else None)
    # bfloat16 is our own autocast: Accelerate's sets XLA_USE_BF16. Unless told of a CPU, several
    # processes without a GPU would each believe to be the only one.
    return Accelerator(
        mixed_precision="no",
        cpu=not (on_xla() or torch.cuda.is_available()),
        kwargs_handlers=[InitProcessGroupKwargs(timeout=PATIENCE)],
    )


def stop() -> None:
    """End of a process: processes that leave a group they are still in may abort."""
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


def require_pair(torch_version: str, xla_version: str | None) -> None:
    """Raise InputError unless this torch and this torch_xla are made for each other."""
    release = ".".join(torch_version.split("+")[0].split(".")[:2])
    if xla_version is None:
        raise InputError("PJRT_DEVICE is set, but torch_xla is not installed: uv sync --extra tpu")
    found = ".".join(xla_version.split("+")[0].split(".")[:2])
    if PAIRS.get(release) != found:
        raise InputError(
            f"torch {torch_version} and torch_xla {xla_version} do not pair: torch 2.9.0 goes "
            "with torch_xla 2.9.0; run uv sync --extra tpu"
        )


def sync() -> None:
    """End of a step: XLA compiles and runs what was traced; elsewhere nothing is waiting."""
    if on_xla():
        import torch_xla

        torch_xla.sync()


def wait(accelerator: Accelerator) -> None:
    """Until every process is here. One alone never waits: XLA's rendezvous reads a scalar back.

    Raises InputError when another has ended, whatever it ended of.
    """
    if accelerator.num_processes > 1:
        try:
            accelerator.wait_for_everyone()
        except RuntimeError as error:
            raise InputError(
                f"another process has ended ({error}): see what it said; once that is mended, the "
                "same command goes on"
            ) from error


def clip_gradients(optimizer: Optimizer, largest: float, accelerator: Accelerator) -> Tensor:
    """Make an optimizer's gradients the mean over processes, of norm ``largest`` at most.

    Returns the norm before. Comes right before the optimizer's step.
    """
    weights = [weight for group in optimizer.param_groups for weight in group["params"]]
    if on_xla():  # elsewhere the backward pass has reduced them
        from torch_xla.core import xla_model

        gradients = [weight.grad for weight in weights if weight.grad is not None]
        xla_model.all_reduce("sum", gradients, scale=1 / accelerator.num_processes)
        # Or Accelerate does it again in the step. Its clip_grad_norm_ asks the same flag, one for
        # all optimizers: of several networks it would reduce the first one's alone.
        accelerator.gradient_state.is_xla_gradients_synced = True
    return nn.utils.clip_grad_norm_(weights, largest)


def resolve(precision: Precision, device: torch.device) -> Format:
    """``auto`` is bfloat16 where the device multiplies it faster than float32."""
    if precision != "auto":
        return precision
    if on_xla():
        return "bf16"
    # What has no instructions for bfloat16 emulates it, and is slower than in float32: older CPUs,
    # and GPUs before Ampere.
    if device.type == "cuda":
        native = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        native = torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported()
    return "bf16" if native else "fp32"


def compile_module(module: nn.Module) -> None:
    """Compile a module's forward pass in place; on XLA everything is compiled as it is."""
    if not on_xla():
        module.compile(dynamic=False)


def autocast(device: torch.device, precision: Precision) -> torch.autocast:
    """Forward passes in bfloat16 for ``bf16``, in float32 for ``fp32``; weights stay float32."""
    kind = "xla" if on_xla() else device.type
    return torch.autocast(kind, torch.bfloat16, enabled=resolve(precision, device) == "bf16")


def average(value: Tensor, accelerator: Accelerator) -> Tensor:
    """Mean over processes, on the CPU: the one place where losses are read."""
    # By way of the CPU: float() of a tensor on XLA falls back to an uncompiled kernel.
    return accelerator.reduce(value.detach(), "mean").cpu()


def any_process(flag: bool, accelerator: Accelerator, waits: bool) -> bool:
    """Whether a flag is set in any process; all of them ask at once, and get the same answer.

    Reading it empties the queue of an accelerator: there the answer is False unless the caller
    ``waits`` for the device anyway.
    """
    if accelerator.num_processes == 1:
        return flag
    if not waits and accelerator.device.type != "cpu":
        return False
    mine = torch.tensor(float(flag), device=accelerator.device)
    return bool(accelerator.reduce(mine, "max").cpu())


def room(where: torch.device) -> int:
    """Bytes of data that an accelerator can keep beside what is trained; of others, none."""
    return torch.cuda.mem_get_info(where)[0] // 2 if where.type == "cuda" else 0


def generator(*seeds: int, where: torch.device | str = "cpu") -> torch.Generator:
    """A generator that is a pure function of its seeds, e.g. (seed, step).

    On ``where`` if that is a GPU, which makes numbers a hundred times faster; else on the CPU.
    """
    key = 0
    for seed in seeds:
        # Splitmix-style mixing keeps neighbouring steps uncorrelated.
        key = (key + seed + 0x9E3779B97F4A7C15) & (2**64 - 1)
        key = ((key ^ (key >> 30)) * 0xBF58476D1CE4E5B9) & (2**64 - 1)
        key = ((key ^ (key >> 27)) * 0x94D049BB133111EB) & (2**64 - 1)
        key ^= key >> 31
    made_on = where if torch.device(where).type == "cuda" else "cpu"
    return torch.Generator(made_on).manual_seed(key & (2**63 - 1))
