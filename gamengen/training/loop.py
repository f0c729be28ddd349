"""Where a training run stands: its checkpoint, its losses, when it logs, saves and stops."""

import csv
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from accelerate import Accelerator
from torch import Tensor
from torch.optim import Optimizer
from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm

from gamengen.data.positions import Share
from gamengen.runtime import checkpoint, device
from gamengen.runtime.errors import InputError
from gamengen.runtime.interrupt import Interrupt
from gamengen.training.metric_log import MetricLog
from gamengen.training.schedule import RunLength


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
        schedule: RunLength,
        parts: Mapping[str, checkpoint.Part],
        save_ema: Callable[[Path], None] | None = None,
    ) -> None:
        """``save_ema`` writes the average of the weights so far into a folder: beside every
        checkpoint, ``average`` in ``resume``."""
        self.accelerator, self.schedule, self.parts = accelerator, schedule, parts
        self.save_ema = save_ema
        self.file, self.curve = resume / "checkpoint.safetensors", resume / "loss.csv"
        self.start, notes = checkpoint.load(self.file, parts)
        self.steps = range(self.start, schedule.steps)
        kept = json.loads(notes) if notes else {"rows": [], "since": {}}
        self.rows: list[dict[str, Any]] = kept["rows"]
        self.metric_log = MetricLog(self.start, kept["since"], accelerator.device)
        self.saved = self.start
        self.interrupt = Interrupt()
        if accelerator.is_main_process:
            resume.mkdir(parents=True, exist_ok=True)
            self.write_curve(self.curve)
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
        self.metric_log.add(losses)
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
        table = self.metric_log.table(self.accelerator).tolist()
        since = dict(zip(self.metric_log.columns, table, strict=True))
        if self.accelerator.is_main_process:
            notes = json.dumps({"rows": self.rows, "since": since})
            checkpoint.save(self.file, count, self.parts, notes)
        self.saved = count
        if self.accelerator.is_main_process and self.save_ema is not None:
            self.save_ema(self.file.parent / "average")
        device.wait(self.accelerator)

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
        table = self.metric_log.table(self.accelerator)
        means = dict(zip(self.metric_log.columns, table.mean(1).tolist(), strict=True))
        self.metric_log = MetricLog(count, {}, self.accelerator.device)
        if not self.accelerator.is_main_process:
            return
        row = {"step": count} | {name: f"{value:.6g}" for name, value in means.items()}
        self.rows.append(row)
        self.write_curve(self.curve)
        for name, value in means.items():
            self.board.add_scalar(name, value, count)
        self.bar.set_postfix({k: f"{v:.4f}" for k, v in means.items()}, refresh=False)

    def write_curve(self, path: Path) -> None:
        """The curve up to here: rows logged after a checkpoint are gone, those steps done again."""
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, [*self.rows[0]] if self.rows else ["step"])
            writer.writeheader()
            writer.writerows(self.rows)


def share_of(batch_size: int, accelerator: Accelerator, stage: str) -> Share:
    """This process's rows of the batch. Raises InputError when it does not divide."""
    processes, rank = accelerator.num_processes, accelerator.process_index
    if batch_size % processes:
        raise InputError(
            f"params.yaml: {stage}.batch_size: {batch_size}: must be a multiple of the number of "
            f"processes, {processes}"
        )
    size = batch_size // processes
    return Share(batch_size, slice(rank * size, (rank + 1) * size))
