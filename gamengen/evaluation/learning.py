"""How a small network learns from recordings what it then reads in frames."""

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import torch
import torch.nn.functional as F
from accelerate import Accelerator
from jaxtyping import Int64, UInt8
from pydantic import Field, NonNegativeInt, PositiveInt
from torch import Tensor, nn

from gamengen.data.episodes import Episodes
from gamengen.data.index import Entry
from gamengen.runtime import checkpoint, device
from gamengen.runtime.settings import Settings, Size

WARM_UP = 20  # steps
Net = TypeVar("Net", bound=nn.Module)


class LearningParams(Settings):
    """How long, and from what, a network learns; 0 steps: not measured."""

    frames: PositiveInt  # of the split "train" it learns from, in whole episodes
    steps: NonNegativeInt
    batch_size: Size
    learning_rate: float = Field(gt=0)


def some_episodes(episodes: Episodes, frames: int, seed: int) -> list[Entry]:
    """Training episodes, drawn until they have so many frames. Raises InputError if none."""
    entries, drawn, count = episodes.of("train"), [], 0
    for index in torch.randperm(len(entries), generator=device.generator(seed)).tolist():
        if count >= frames:
            break
        drawn.append(entries[index])
        count += entries[index].length
    return drawn


def averaged_to(
    frames: UInt8[Tensor, "*n h w 3"], rows: int, columns: int
) -> UInt8[Tensor, "*n k l 3"]:
    """Pictures averaged down to so many rows and columns; those of that size as they are."""
    if frames.shape[-3:-1] == (rows, columns):
        return frames
    flat = frames.reshape(-1, *frames.shape[-3:]).movedim(-1, 1).float()
    small = F.adaptive_avg_pool2d(flat, (rows, columns)).round().to(torch.uint8).movedim(1, -1)
    return small.reshape(*frames.shape[:-3], rows, columns, 3)


def learned(
    make: Callable[[], Net],
    fit: Callable[[Net], object],
    seed: int,
    path: Path,
    accelerator: Accelerator,
) -> Net:
    """The network, ready to read: the first process trains it, all load what is at ``path``."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        net = make()
    if accelerator.is_main_process and not path.exists():
        fit(net.to(accelerator.device))
        checkpoint.save(path, 0, {"net": net})
    device.wait(accelerator)
    checkpoint.load(path, {"net": net})
    return net.to(accelerator.device).eval()


def descend(
    net: nn.Module,
    loss_of: Callable[[Int64[Tensor, " b"]], Tensor],
    examples: int,
    params: LearningParams,
    seed: int,
) -> None:
    """AdamW on batches of ``examples``; ``loss_of`` is given the rows of one."""
    optimizer = torch.optim.AdamW(net.parameters(), params.learning_rate)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min(1, (step + 1) / WARM_UP) * (1 - step / params.steps)
    )
    for step in range(params.steps):
        rows = torch.randint(examples, (params.batch_size,), generator=device.generator(seed, step))
        loss = loss_of(rows)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        device.sync()
