"""Plays a tiny model under torch-xla and prints what XLA did, as JSON in the last line.

Called as ``python -m tests.xla_dream DATA`` with PJRT_DEVICE set.
"""

import importlib
import json
import sys
from pathlib import Path

import gamengen  # noqa: F401  isort: skip
from torch_xla.debug import metrics

from gamengen.backends.backend import open_backend
from gamengen.model.diffusion import Sampling
from gamengen.play.dream import Dream, Settings
from tests.dreams import open_playable

ACTIONS = (1, 0, 2, 3, 1, 1, 0)


def main() -> None:
    made = open_playable(Path(sys.argv[1]))
    dream = Dream(made.weights, open_backend("xla"), Settings("teacher", Sampling(2)))
    compiles: dict[str, list[int]] = {}
    frames = []
    for name, settings in {
        "plain": Settings("teacher", Sampling(2)),
        "guided": Settings("teacher", Sampling(3, 1.5, context_noise=0.1, shift=2.0, order=2)),
    }.items():
        dream.settings = settings
        dream.start(made.history)
        compiles[name] = []
        for action in ACTIONS:
            frames.append(dream.step(action))
            compiles[name].append(metrics.metric_data("CompileTime")[0])
    told = {
        "compiles": compiles,
        "fallbacks": [name for name in metrics.counter_names() if name.startswith("aten::")],
        "device": str(importlib.import_module("torch_xla").device()),
        "frame": frames[0].tolist(),
    }
    print(json.dumps(told))


if __name__ == "__main__":
    main()
