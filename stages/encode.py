"""Stage 3: every frame to a half-precision latent in Zarr, each process its own store."""

import time
from functools import partial
from itertools import accumulate
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from gamengen.data.encoding import require_size
from gamengen.data.episodes import Episodes
from gamengen.data.index import Entry, write_index
from gamengen.data.latents import ROWS_PER_SHARD, LatentIndex, LatentWriter, change_std
from gamengen.data.loader import Loader
from gamengen.model.autoencoder import Autoencoder, to_float
from gamengen.runtime import device, output
from gamengen.runtime.errors import InputError
from gamengen.runtime.resume import resume_folder
from gamengen.runtime.settings import Size
from gamengen.runtime.stage import StageParams, run


class Params(StageParams):
    """How frames go through the encoder."""

    batch_size: Size  # frames at once, in each process
    precision: device.Precision


def main(params: Params, episodes_path: Path, autoencoder_path: Path, latents_path: Path) -> None:
    """Encode shard after shard; an interrupted run goes on with the next shard."""
    accelerator = device.start()
    episodes = Episodes(episodes_path)
    autoencoder = Autoencoder.load(autoencoder_path).to(accelerator.device)
    require_size(autoencoder.facts, autoencoder_path, episodes.game)
    shape = autoencoder.facts.latent_shape
    shares = [
        episodes.entries[r :: accelerator.num_processes] for r in range(accelerator.num_processes)
    ]
    mine = shares[accelerator.process_index]
    rows = sum(entry.length for entry in mine)
    resume = resume_folder(params, [episodes_path, autoencoder_path], latents_path)
    if accelerator.is_main_process:
        total = sum(entry.length for entry in episodes.entries)
        output.require_space(latents_path.parent, total * int(np.prod(shape)) * 2, "encoding")
        resume.mkdir(parents=True, exist_ok=True)
    device.wait(accelerator)

    store = resume / store_name(accelerator.process_index)
    writer = LatentWriter(store, rows, shape)
    done = writer.written // ROWS_PER_SHARD * ROWS_PER_SHARD if writer.written < rows else rows
    begin = time.perf_counter()
    quiet = not accelerator.is_main_process
    with tqdm(total=rows, initial=done, unit="frame", disable=quiet, mininterval=5) as bar:
        for first in range(done, rows, ROWS_PER_SHARD):
            last = min(first + ROWS_PER_SHARD, rows)
            latents, parts = [], pieces(mine, first, last)
            actions = [episodes.actions(entry)[low:high] for entry, low, high in parts]
            batches = [
                (entry, at, min(at + params.batch_size, high))
                for entry, low, high in parts
                for at in range(low, high, params.batch_size)
            ]
            read = partial(read_batch, episodes, batches)
            for n, frames in Loader(read, range(len(batches))):
                latents.append(encode(autoencoder, frames, params, accelerator.device))
                require_finite(latents[-1], *batches[n][:2], autoencoder_path)
                bar.update(len(frames))
            writer.write(first, np.concatenate(latents), np.concatenate(actions))
    seconds = time.perf_counter() - begin

    with output.atomic_output(latents_path, accelerator) as folder:
        output.link(store, folder)
        device.wait(accelerator)
        if accelerator.is_main_process:
            entries = [
                entry.model_copy(update={"store": store_name(rank), "start": start})
                for rank, share in enumerate(shares)
                for entry, start in zip(share, starts(share), strict=False)
            ]
            index = LatentIndex(
                game=episodes.game,
                autoencoder=autoencoder.facts,
                entries=entries,
                change_std=change_std(folder, entries),
            )
            write_index(folder, index)
    accelerator.print(
        f"latents: {rows} frames of {shape} in this process, {(rows - done) / seconds:.0f} frames/s"
    )


def read_batch(episodes: Episodes, batches: list[tuple[Entry, int, int]], n: int) -> np.ndarray:
    return episodes.frames(*batches[n])


def store_name(rank: int) -> str:
    """The store of one process."""
    return f"rank-{rank:03d}.zarr"


def starts(entries: list[Entry]) -> list[int]:
    """The row at which each episode starts, one behind the other."""
    return list(accumulate((entry.length for entry in entries), initial=0))


def pieces(entries: list[Entry], first: int, last: int) -> list[tuple[Entry, int, int]]:
    """The parts of episodes that make up rows ``[first, last)``: (episode, from, to)."""
    found = []
    for entry, start in zip(entries, starts(entries), strict=False):
        low, high = max(first - start, 0), min(last - start, entry.length)
        if low < high:
            found.append((entry, low, high))
    return found


@torch.no_grad()
def encode(
    autoencoder: Autoencoder, frames: np.ndarray, params: Params, where: torch.device
) -> np.ndarray:
    """Half-precision latents of some frames; the batch is filled up, so that shapes are static."""
    missing = params.batch_size - len(frames)
    filled = np.concatenate([frames, np.repeat(frames[-1:], missing, axis=0)])
    with device.autocast(where, params.precision):
        latents = autoencoder.encode(to_float(torch.from_numpy(filled)).to(where))
    device.sync()
    return latents[: len(frames)].cpu().half().numpy()


def require_finite(latents: np.ndarray, entry: Entry, first: int, autoencoder: Path) -> None:
    """Raise InputError, naming the frame, where a latent is infinite or NaN in half precision."""
    wrong = np.flatnonzero(~np.isfinite(latents).all((1, 2, 3)))
    if len(wrong):
        raise InputError(
            f"{autoencoder}: makes a latent that is not finite of episode {entry.id}, frame "
            f"{first + wrong[0]}; set encode.precision: fp32 in params.yaml, or train another: "
            "dvc repro autoencoder"
        )


cli = partial(run, "encode", Params, main)

if __name__ == "__main__":
    cli()
