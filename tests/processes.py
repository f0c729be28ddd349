"""Runs the training stages in each of several processes and keeps what each process has at the end.

Called as ``launch/accelerate -m tests.processes MADE OUT``. Every stage runs as a whole, then again
with a SIGTERM to the last process alone, and to the end. At last one process waits in a stage that
another is stopped in, as from the command line.
"""

import importlib
import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import gamengen  # noqa: F401  isort: skip
import torch

from gamengen.runtime import checkpoint, device, output
from gamengen.training.loop import Training
from stages import encode
from tests.tiny import params

STAGES = {
    "autoencoder": ["episodes"],
    "train": ["latents", "autoencoder"],
    "decoder": ["episodes", "latents", "autoencoder"],
    "distill": ["latents", "denoiser"],
}
INTERRUPT_AFTER = 3
finish = Training.done


def terminate() -> None:
    os.kill(os.getpid(), signal.SIGTERM)


def train(stage: str, inputs: list[Path], out: Path, interrupt: bool, rank: int) -> dict[str, Any]:
    """Run a stage; each process's networks and optimizers go beside its output."""
    module = importlib.import_module(f"stages.{stage}")
    told: dict[str, Any] = {"steps": []}

    def done(self: Training, step: int, losses: Any) -> None:
        told["steps"].append(step)
        if interrupt and rank > 0 and step + 1 == INTERRUPT_AFTER:
            terminate()
        finish(self, step, losses)
        if step + 1 == self.schedule.steps:
            checkpoint.save(out.parent / f"{stage}-{rank}.safetensors", 0, self.parts)

    Training.done = done  # type: ignore[method-assign]
    try:
        module.main(params(module.Params, stage), *inputs, out)
        told["ended"] = True
    except KeyboardInterrupt:
        told["ended"] = False
    return told


def encode_and_wait(inputs: list[Path], out: Path, rank: int) -> None:
    """The first process has encoded its frames, and waits, before the other is stopped."""
    real = encode.encode
    encoded = out.parent / "encoded"

    def slow(*arguments: Any) -> Any:
        while not encoded.exists():
            time.sleep(0.01)
        terminate()
        return real(*arguments)

    whole = output.atomic_output

    def waiting(*arguments: Any) -> Any:
        encoded.touch()
        return whole(*arguments)

    if rank > 0:
        encode.encode = slow
    else:
        output.atomic_output = waiting
    sys.argv = ["encode", *map(str, [*inputs, out])]
    encode.cli()


def main() -> None:
    made, folder = map(Path, sys.argv[1:])
    rank = device.start().process_index
    gloo = torch.distributed.group.WORLD._get_backend(torch.device("cpu"))  # type: ignore[union-attr]
    told: dict[str, Any] = {"patience": gloo.options._timeout.total_seconds()}
    for stage, inputs in STAGES.items():
        paths = [made / name for name in inputs]
        whole, interrupted = (folder / name / stage for name in ("whole", "interrupted"))
        told[stage] = [
            train(stage, paths, whole, False, rank),
            train(stage, paths, interrupted, True, rank),
            train(stage, paths, interrupted, False, rank),
        ]
    (folder / f"told-{rank}.json").write_text(json.dumps(told))
    encode_and_wait([made / "episodes", made / "autoencoder"], folder / "latents", rank)


if __name__ == "__main__":
    main()
