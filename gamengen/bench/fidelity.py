"""What a back end's arithmetic costs: its pictures against float32's over whole rollouts."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import UInt8
from pydantic import TypeAdapter
from torch import Tensor

from gamengen.data.episodes import Episodes, recorded_history
from gamengen.evaluation.metrics import PictureDistance, decibels
from gamengen.game.engine import History
from gamengen.play.dream import Dream, Settings

FRAMES = 64


@dataclass(frozen=True)
class Start:
    """Where a rollout begins, the actions taken from there, and the frames that really came."""

    history: History
    actions: list[int]
    real: UInt8[np.ndarray, "n h w 3"]


@dataclass(frozen=True)
class Distance:
    """Means over rollouts and frames: PSNR, dB, and LPIPS (AlexNet)."""

    psnr: float
    lpips: float


@dataclass(frozen=True)
class Fidelity:
    """One way of sampling on one back end, compared with float32 and with the recording."""

    backend: str
    settings: Settings
    rollouts: int
    frames: int
    against_fp32: Distance
    first_against_fp32: Distance  # of the first frame alone: later ones drift apart
    real: Distance  # this back end's frames against the recorded ones
    real_fp32: Distance  # float32's


KEPT = TypeAdapter(list[Fidelity])


def starts(episodes: Episodes, context_frames: int, count: int, frames: int) -> list[Start]:
    """Starts in test episodes, spread evenly over them."""
    long = [entry for entry in episodes.of("test") if entry.length > frames + 1]
    found = []
    for number in range(count if long else 0):
        entry = long[number % len(long)]
        turn, turns = number // len(long), -(-count // len(long))
        frame = (entry.length - 1 - frames) * turn // turns
        found.append(
            Start(
                recorded_history(episodes, entry, frame, context_frames),
                episodes.actions(entry)[frame : frame + frames].tolist(),
                episodes.frames(entry, frame + 1, frame + 1 + frames),
            )
        )
    return found


def compare(
    dream: Dream, reference: Dream, chosen: Sequence[Start], settings: Settings
) -> Fidelity:
    """Roll both out from the same starts, with the same actions and noise."""
    distance = PictureDistance(torch.device("cpu"), ["alex"])
    dream.settings = reference.settings = settings
    against, real, real_fp32 = [], [], []
    for start in chosen:
        ours, theirs = roll_out(dream, start), roll_out(reference, start)
        recorded = torch.from_numpy(start.real)
        against.append(_distances(distance, ours, theirs))
        real.append(_distances(distance, ours, recorded))
        real_fp32.append(_distances(distance, theirs, recorded))
    return Fidelity(
        backend=dream.backend.name,
        settings=settings,
        rollouts=len(chosen),
        frames=len(chosen[0].actions),
        against_fp32=_mean(against),
        first_against_fp32=_mean([values[:, :1] for values in against]),
        real=_mean(real),
        real_fp32=_mean(real_fp32),
    )


def roll_out(dream: Dream, start: Start) -> UInt8[Tensor, "n h w 3"]:
    """The frames that a dream makes of a start."""
    dream.start(start.history)
    return torch.from_numpy(np.stack([dream.step(action) for action in start.actions]))


def in_words(loss: Fidelity) -> str:
    """One line: int8 against float32, and both against the recording."""
    played = loss.settings
    return (
        f"{loss.backend}, {played.model}, {played.sampling.steps} steps, {loss.rollouts} rollouts "
        f"of {loss.frames}: against fp32 {loss.against_fp32.psnr:.1f} dB, LPIPS "
        f"{loss.against_fp32.lpips:.3f} (first frame {loss.first_against_fp32.psnr:.1f} dB, "
        f"{loss.first_against_fp32.lpips:.3f}); against the recording {loss.real.psnr:.2f} dB, "
        f"{loss.real.lpips:.3f}, where fp32 has {loss.real_fp32.psnr:.2f} dB, "
        f"{loss.real_fp32.lpips:.3f}"
    )


def write(path: Path, found: Sequence[Fidelity]) -> None:
    """Keep the measures beside the model they were made with."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(KEPT.dump_json(list(found), indent=1))


def read(path: Path) -> list[Fidelity]:
    """What ``write`` kept; an empty list without a file."""
    return KEPT.validate_json(path.read_bytes()) if path.is_file() else []


def _distances(distance: PictureDistance, a: Tensor, b: Tensor) -> np.ndarray:
    values = distance(a, b)
    return np.stack([decibels(values["mse"]), values["lpips_alex"]])


def _mean(values: Sequence[np.ndarray]) -> Distance:
    psnr, lpips = np.concatenate(values, 1).mean(1).tolist()
    return Distance(psnr, lpips)
