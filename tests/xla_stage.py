"""Runs one stage under torch-xla twice, the first time interrupted, and prints what XLA did.

Called as ``python -m tests.xla_stage STAGE PATH...`` with PJRT_DEVICE set; the last line of its
output is JSON. It watches from outside: the stage's own main is what runs.
"""

import importlib
import json
import sys
from pathlib import Path
from typing import Any

import gamengen  # noqa: F401  isort: skip
from torch_xla.debug import metrics

from gamengen.training.loop import Training
from tests.tiny import params

STEPS = 10
INTERRUPT_AFTER = 6

compiles: list[int] = []
starts: list[int] = []


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
        Training.done = watch(done, interrupt=True)  # type: ignore[method-assign]
        try:
            module.main(settings, *paths)
        except KeyboardInterrupt:
            Training.done = watch(done, interrupt=False)  # type: ignore[method-assign]
    module.main(settings, *paths)
    told = {
        "compiles": compiles,
        "starts": starts,
        "fallbacks": [name for name in metrics.counter_names() if name.startswith("aten::")],
        "device": str(importlib.import_module("torch_xla").device()),
    }
    print(json.dumps(told))


if __name__ == "__main__":
    main()
