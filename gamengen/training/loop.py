"""Where a training stands: its checkpoint, its losses, the time it has left."""

import csv
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import torch
from accelerate import Accelerator
from pydantic import Field, NonNegativeInt, PositiveInt
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm
from transformers import Adafactor

from gamengen.runtime import checkpoint, device
from gamengen.runtime.errors import InputError
from gamengen.runtime.interrupt import Interrupt
from gamengen.runtime.settings import Settings
from gamengen.training.losses import Losses


class Schedule(Settings):
    """How long a training runs, and how often it tells and saves."""

    steps: PositiveInt
    log_every: PositiveInt
    checkpoint_every: PositiveInt


class LearningRate(Settings):
    """Linear warm-up, constant, then linear decay to zero; ``decay_from: 1.0`` never decays."""

    peak: float = Field(gt=0, le=0.1)
    warmup_steps: NonNegativeInt
    decay_from: float = Field(ge=0, le=1)  # share of the training

    def at(self, step: int, steps: int) -> float:
        """The learning rate of a step."""
        warm = min(1.0, (step + 1) / max(1, self.warmup_steps))
        left = (1 - step / steps) / (1 - self.decay_from) if self.decay_from < 1 else 1.0
        return self.peak * warm * min(1.0, left)


class Training:
    """Steps that survive a kill: checkpoints, a loss curve, TensorBoard and a progress bar.

    ``resume`` holds the checkpoint and the curve until the stage has made its output. An
    interrupt (Ctrl-C, SIGTERM) is honoured between two steps, after a checkpoint; of several
    processes on accelerators, where the loss is logged or a checkpoint is due.
    """

    def __init__(
        self,
        accelerator: Accelerator,
        resume: Path,
        schedule: Schedule,
        parts: Mapping[str, checkpoint.Part],
        publish_average: Callable[[Path], None] | None = None,
    ) -> None:
        """``publish_average`` writes what the training is worth so far into a folder, beside
        every checkpoint: ``average`` in ``resume``."""
        self.accelerator, self.schedule, self.parts = accelerator, schedule, parts
        self.publish_average = publish_average
        self.file, self.curve = resume / "checkpoint.safetensors", resume / "loss.csv"
        self.start, notes = checkpoint.load(self.file, parts)
        self.rows: list[dict[str, Any]] = json.loads(notes) if notes else []
        self.losses, self.saved = Losses(self.start), self.start
        self.interrupt = Interrupt()
        if accelerator.is_main_process:
            resume.mkdir(parents=True, exist_ok=True)
            self._write_curve(self.curve)
            name = resume.name.rsplit("-", 1)[0]
            self.board = SummaryWriter(str(resume.parent.parent / "tensorboard" / name))
        if self.start:
            accelerator.print(f"resumed at step {self.start} of {schedule.steps}")
        self.bar = tqdm(
            total=schedule.steps,
            initial=self.start,
            disable=not accelerator.is_main_process,
            mininterval=5,
            dynamic_ncols=True,
        )

    @property
    def steps(self) -> range:
        """The steps still to do."""
        return range(self.start, self.schedule.steps)

    def __enter__(self) -> "Training":
        self.interrupt.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self.interrupt.__exit__()
        self.bar.close()
        if self.accelerator.is_main_process:
            self.board.close()

    def done(self, step: int, losses: Mapping[str, Tensor]) -> None:
        """Count a finished step; log, checkpoint and stop when it is time to.

        Raises InputError when a number is found that is not finite: the host looks when it logs,
        and before anything is saved.
        """
        self.losses.add(losses)
        count, schedule = step + 1, self.schedule
        last = count == schedule.steps
        logs = count % schedule.log_every == 0 or last
        saves = count % schedule.checkpoint_every == 0 or last
        # At one step in all processes, or one waits for what another will never send.
        stops = device.any_process(self.interrupt.asked, self.accelerator, waits=logs or saves)
        try:
            if logs:
                self._log(count)
            if saves or stops:
                self.save(count)
        except InputError as error:
            raise InputError(f"{error}; after step {count} {self._diagnosis()}") from None
        self.bar.update()
        if stops:
            raise KeyboardInterrupt

    def save(self, count: int) -> None:
        """Checkpoint now; the first process writes."""
        self.losses.means(self.accelerator)
        if self.accelerator.is_main_process:
            checkpoint.save(self.file, count, self.parts, json.dumps(self.rows))
        self.saved = count
        if self.accelerator.is_main_process and self.publish_average is not None:
            self.publish_average(self.file.parent / "average")
        device.wait(self.accelerator)

    def publish(self, folder: Path) -> None:
        """Put the loss curve beside the weights, where ``dvc plots`` finds it."""
        if self.accelerator.is_main_process:
            self._write_curve(folder / "loss.csv")

    def _diagnosis(self) -> str:
        """What has become of the weights, what is left, and what to change."""
        state = checkpoint.tensors(self.parts)
        broken = checkpoint.not_finite(state)
        first = f" ({broken[0]})" if broken else ""
        rates = [
            f"{name} at {part.param_groups[0]['lr']:g}"
            for name, part in self.parts.items()
            if isinstance(part, Optimizer)
        ]
        kept = f"the checkpoint of step {self.saved} stays" if self.saved else "no checkpoint yet"
        return (
            f"{len(broken)} of {len(state)} tensors{first} are not finite; {kept}, nothing is "
            f"published. params.yaml: lower learning_rate.peak ({', '.join(rates)}), or raise "
            "its warmup_steps"
        )

    def _log(self, count: int) -> None:
        means = self.losses.means(self.accelerator)
        self.losses = Losses(count)
        if not self.accelerator.is_main_process:
            return
        row = {"step": count} | {name: f"{value:.6g}" for name, value in means.items()}
        self.rows.append(row)
        self._write_curve(self.curve)
        for name, value in means.items():
            self.board.add_scalar(name, value, count)
        self.bar.set_postfix({k: f"{v:.4f}" for k, v in means.items()}, refresh=False)

    def _write_curve(self, path: Path) -> None:
        """The curve up to here: rows logged after a checkpoint are gone, those steps done again."""
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, [*self.rows[0]] if self.rows else ["step"])
            writer.writeheader()
            writer.writerows(self.rows)


class Ema:
    """Exponential moving average of a module's parameters, in float32.

    The decay rises as (1 + n) / (10 + n) towards its limit, so that a short training is not
    averaged with its initialisation.
    """

    def __init__(self, module: nn.Module, decay: float) -> None:
        self.decay = decay
        self.shadow = {k: p.detach().float().clone() for k, p in module.named_parameters()}

    @torch.no_grad()
    def update(self, module: nn.Module, step: int) -> None:
        """Move towards the module's parameters after ``step`` earlier updates."""
        weight = 1 - min(self.decay, (1 + step) / (10 + step))
        for name, parameter in module.named_parameters():
            self.shadow[name].lerp_(parameter.detach().float(), weight)

    @torch.no_grad()
    def copy_to(self, module: nn.Module) -> None:
        """Replace the module's parameters by their average."""
        for name, parameter in module.named_parameters():
            parameter.copy_(self.shadow[name])


def share(batch_size: int, processes: int, stage: str) -> int:
    """Rows of the batch in each process. Raises InputError when it does not divide."""
    if batch_size % processes:
        raise InputError(
            f"params.yaml: {stage}.batch_size: {batch_size}: must be a multiple of the number of "
            f"processes, {processes}"
        )
    return batch_size // processes


def microbatches(size: int, most: int) -> Iterator[slice]:
    """Slices of at most ``most`` rows that cover a batch."""
    for begin in range(0, size, most):
        yield slice(begin, min(begin + most, size))


class OptimizerParams(Settings):
    """AdamW, or the paper's Adafactor (§4.2) without relative steps; no weight decay."""

    name: Literal["adamw", "adafactor"]
    learning_rate: LearningRate
    clip: float = Field(gt=0)  # largest norm of the gradient

    def make(self, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
        """The optimizer; neither kind synchronises with the host in a step."""
        if self.name == "adamw":
            return torch.optim.AdamW(
                parameters,
                lr=self.learning_rate.peak,
                betas=(0.9, 0.99),
                weight_decay=0.0,
                fused=not device.on_xla(),
            )
        return Adafactor(
            parameters, lr=self.learning_rate.peak, relative_step=False, scale_parameter=False
        )

    def set_rate(self, optimizer: torch.optim.Optimizer, step: int, steps: int) -> None:
        """Give every group the learning rate of this step."""
        for group in optimizer.param_groups:
            group["lr"] = self.learning_rate.at(step, steps)
