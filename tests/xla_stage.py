"""Runs one stage under torch-xla twice, the first time interrupted, and prints what XLA did.

Called as ``python -m tests.xla_stage STAGE PATH...`` with PJRT_DEVICE set; the last line of its
output is JSON. It watches from outside: the stage's own main is what runs.
"""

import importlib
import json
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import gamengen  # noqa: F401  isort: skip
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.optimizer import register_optimizer_step_pre_hook
from torch_xla.core import xla_model
from torch_xla.debug import metrics

from gamengen.training.loop import Training
from tests.tiny import params

STEPS = 10
INTERRUPT_AFTER = 6

compiles: list[int] = []
starts: list[int] = []
reduced: list[Tensor] = []  # since an optimizer's last step; kept, so that no address is reused
reductions: set[int] = set()  # of any gradient, before it is used


def storage(tensor: Tensor) -> int:
    """The same for all tensors that share their values."""
    return int(tensor.untyped_storage()._cdata)


def watch_reductions() -> None:
    """One process has nothing to reduce, but asks for the same reductions as several."""
    all_reduce = xla_model.all_reduce

    def watched(kind: str, tensors: Any, *more: Any, **settings: Any) -> Any:
        reduced.extend([tensors] if isinstance(tensors, Tensor) else tensors)
        return all_reduce(kind, tensors, *more, **settings)

    def count(optimizer: Optimizer, *_: Any) -> None:
        weights = [weight for group in optimizer.param_groups for weight in group["params"]]
        gradients = [weight.grad for weight in weights if weight.grad is not None]
        times = Counter(map(storage, reduced))
        reductions.update(times[storage(gradient)] for gradient in gradients)
        reduced.clear()

    xla_model.all_reduce = watched
    register_optimizer_step_pre_hook(count)


def watch(done: Any, interrupt: bool) -> Any:
    def watched(self: Training, step: int, losses: Any) -> None:
        if not compiles or step == self.start:
            starts.append(self.start)
        self.interrupt.asked = interrupt and step + 1 == INTERRUPT_AFTER
        data = metrics.metric_data("CompileTime")
        compiles.append(data[0] if data else 0)
        done(self, step, losses)

    return watched


def main() -> None:
    stage, *paths = sys.argv[1], *map(Path, sys.argv[2:])
    module = importlib.import_module(f"stages.{stage}")
    trained = stage != "encode"
    changes: dict[str, Any] = {}
    if trained:
        changes["schedule"] = {"steps": STEPS, "log_every": 1, "checkpoint_every": 4}
    settings = params(module.Params, stage, **changes)
    done = Training.done
    if trained:
        watch_reductions()
        Training.done = watch(done, interrupt=True)  # type: ignore[method-assign]
        try:
            module.main(settings, *paths)
        except KeyboardInterrupt:
            Training.done = watch(done, interrupt=False)  # type: ignore[method-assign]
    module.main(settings, *paths)
    told = {
        "compiles": compiles,
        "starts": starts,
        "reductions": sorted(reductions),
        "fallbacks": [name for name in metrics.counter_names() if name.startswith("aten::")],
        "device": str(importlib.import_module("torch_xla").device()),
    }
    print(json.dumps(told))


if __name__ == "__main__":
    main()
