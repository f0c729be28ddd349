"""Flips or cuts bytes of everything the pipeline reads: ``python -m tests.corrupt --cases 200``.

Each case must end in one InputError, or with the very result of undamaged files.
"""

import argparse
import hashlib
import json
import random
import shutil
import sys
import tempfile
import traceback
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import redirect_stdout
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator

from gamengen.collection.collection import Collection, Progress, last_state
from gamengen.data.episodes import Episodes, EpisodeWriter
from gamengen.data.index import Index, write_index
from gamengen.data.latents import Latents
from gamengen.data.replay import read_replays, write_replays
from gamengen.evaluation import shards
from gamengen.model.autoencoder import Autoencoder
from gamengen.model.denoiser import load_denoiser
from gamengen.runtime.checksums import seal
from gamengen.runtime.errors import InputError
from gamengen.training.loop import Training
from stages import encode, train
from tests.artifacts import (
    game_facts,
    make_autoencoder,
    make_denoiser,
    make_entry,
    make_episodes,
    make_latents,
    play,
)
from tests.tiny import params

WRONG = ("another result", "crashed")
CUTS = 0.25  # share of the cases in which a file is cut rather than flipped a bit in


@dataclass(frozen=True)
class Target:
    """Something that is read: its folder, and what follows from it, as bytes."""

    folder: Path
    read: Callable[[Path], Iterable[bytes]]

    def result(self, folder: Path) -> str:
        """A digest of all that follows from it."""
        digest = hashlib.sha256()
        for part in self.read(folder):
            digest.update(part)
        return digest.hexdigest()


def read_episodes(folder: Path) -> Iterable[bytes]:
    episodes = Episodes(folder)
    yield Index(game=episodes.game, entries=episodes.entries).model_dump_json().encode()
    for entry in episodes.entries:
        columns = [episodes.variable(entry, name) for name in episodes.game.variables]
        columns += [episodes.actions(entry), episodes.rewards(entry), episodes.frames(entry)]
        yield from (column.tobytes() for column in columns)


def read_latents(folder: Path) -> Iterable[bytes]:
    latents = Latents(folder)
    told = [latents.game, latents.autoencoder, *latents.entries]
    yield from (each.model_dump_json().encode() for each in told)
    yield str(latents.change_std).encode()
    for entry in latents.entries:
        yield latents.latents(entry, 0, entry.length).tobytes()
        yield latents.actions(entry, 0, entry.length).tobytes()


def read_autoencoder(folder: Path) -> Iterable[bytes]:
    autoencoder = Autoencoder.load(folder)
    yield autoencoder.facts.model_dump_json().encode()
    yield from bytes_of(autoencoder)


def read_denoiser(folder: Path) -> Iterable[bytes]:
    denoiser = load_denoiser(folder)
    yield json.dumps(denoiser.config, sort_keys=True).encode()
    yield from bytes_of(denoiser)


def bytes_of(net: torch.nn.Module) -> Iterable[bytes]:
    for name, value in net.state_dict().items():
        yield name.encode() + value.numpy().tobytes()


def all_targets(folder: Path) -> dict[str, Target]:
    """Everything a run of the pipeline leaves and reads, tiny and sealed as stages seal it."""
    made = folder / "made"
    episodes = make_episodes(made / "episodes")
    autoencoder = make_autoencoder(made / "autoencoder")
    latents = make_latents(made / "latents", episodes, autoencoder)
    denoiser = make_denoiser(made / "denoiser", latents)
    for artifact in (episodes, autoencoder, latents, denoiser):
        seal(artifact)
    replays = folder / "replays"
    replays.mkdir()
    write_replays(Episodes(episodes), replays / "replays.json", count=2, frames=30)
    return {
        "episodes": Target(episodes, read_episodes),
        "latents": Target(latents, read_latents),
        "autoencoder": Target(autoencoder, read_autoencoder),
        "denoiser": Target(denoiser, read_denoiser),
        "replays": Target(replays, lambda at: [read_replays(at / "replays.json").digest.encode()]),
        "collection": collection(folder / "collection"),
        "encoding": encoding(folder / "encoding", episodes, autoencoder),
        "training": a_training(folder / "training", latents, autoencoder),
        "measures": measures(folder / "measures"),
    }


def collection(folder: Path) -> Target:
    """The checkpoint of a collection; one more episode is recorded, then all are read."""
    game, store = game_facts(), "one.zarr"

    class Games:
        def env_method(self, _: str) -> list[Progress]:
            return [Progress(entries=[make_entry(0, 20)])]

    writer = EpisodeWriter(folder / store, game)
    writer.append(play(20, 32, 48, 0))
    writer.flush()
    games: Any = Games()
    Collection(folder, 1, 40, 1, quiet=True).save(games, None)

    def go_on(at: Path) -> Iterable[bytes]:
        going = Collection(at, 1, 40, 1, quiet=True)
        going.restore_random()
        yield torch.get_rng_state().numpy().tobytes()
        (progress,) = last_state(at).games
        yield last_state(at).model_dump_json().encode()
        writer = EpisodeWriter(at / store, game, progress.rows)
        start = writer.append(play(25, 32, 48, 1))
        writer.flush()
        published = at / "published"
        published.mkdir()
        shutil.copytree(at / store, published / store)
        write_index(
            published, Index(game=game, entries=[*progress.entries, make_entry(start, 25, start)])
        )
        yield from read_episodes(published)

    return Target(folder, go_on)


def encoding(folder: Path, episodes: Path, autoencoder: Path) -> Target:
    """An encoding that was cut off before its output was made."""
    inputs = episodes, autoencoder

    def full(*_: object) -> None:
        raise OSError

    write, encode.write_index = encode.write_index, full
    try:
        encode.main(params(encode.Params, "encode"), *inputs, folder / "latents")
    except OSError:
        encode.write_index = write

    def go_on(at: Path) -> Iterable[bytes]:
        encode.main(params(encode.Params, "encode"), *inputs, at / "latents")
        return read_latents(at / "latents")

    return Target(folder, go_on)


def a_training(folder: Path, *inputs: Path) -> Target:
    """A training that was interrupted."""
    done = Training.done

    def interrupted(self: Training, step: int, losses: Any) -> None:
        self.interrupt.asked = step == 3
        done(self, step, losses)

    Training.done = interrupted  # type: ignore[method-assign]
    try:
        train.main(params(train.Params, "train"), *inputs, folder / "denoiser")
    except KeyboardInterrupt:
        Training.done = done  # type: ignore[method-assign]
    shutil.rmtree(folder / "tensorboard")

    def go_on(at: Path) -> Iterable[bytes]:
        train.main(params(train.Params, "train"), *inputs, at / "denoiser")
        yield (at / "denoiser/loss.csv").read_bytes()
        yield from read_denoiser(at / "denoiser")

    return Target(folder, go_on)


def measures(folder: Path) -> Target:
    """The tables of an evaluation that was interrupted after its last one."""
    table = {"episode": np.arange(3), "model/psnr": np.linspace(20, 30, 3)}
    batch: Any = [None] * 3
    job = shards.Job("one", [batch, batch], 1, lambda *_: table)
    shards.run([job], folder, Accelerator(cpu=True))

    def go_on(at: Path) -> Iterable[bytes]:
        found = shards.run([job], at, Accelerator(cpu=True))["one"]
        return [name.encode() + column.tobytes() for name, column in found.items()]

    return Target(folder, go_on)


def damage(folder: Path, draw: random.Random) -> str:
    """Cut a file of a folder, or flip one of its bits; says what was done."""
    files = sorted(file for file in folder.rglob("*") if file.is_file() and file.stat().st_size)
    file = draw.choice(files)
    held = bytearray(file.read_bytes())
    at = draw.randrange(len(held))
    file.unlink()  # rather than written to in place: it may be linked
    if draw.random() < CUTS:
        file.write_bytes(held[:at])
        return f"{file.relative_to(folder)} cut to {at} of {len(held)} bytes"
    bit = draw.randrange(8)
    held[at] ^= 1 << bit
    file.write_bytes(held)
    return f"{file.relative_to(folder)} bit {bit} of byte {at} of {len(held)}"


def tried(cases: int, seed: int, tell: Callable[[str], None]) -> tuple[Counter[str], list[str]]:
    """How so many cases ended, by target and end, and what is wrong with those that are wrong."""
    draw, ends, wrong = random.Random(seed), Counter[str](), []
    with tempfile.TemporaryDirectory() as scratch:
        targets = all_targets(Path(scratch))
        names = list(targets)
        whole = {}
        for name, target in targets.items():
            shutil.copytree(target.folder, Path(scratch) / "whole" / name)
            whole[name] = target.result(Path(scratch) / "whole" / name)
        for case in range(cases):
            name = names[case % len(names)]
            copy = Path(scratch) / f"case-{case}" / targets[name].folder.name
            shutil.copytree(targets[name].folder, copy)
            what = f"{name}: {damage(copy, draw)}"
            end, said = ended(targets[name], copy, whole[name])
            tell(f"{what}: {end} {said}")
            if end in WRONG:
                wrong.append(f"{what}: {end} {said}")
            ends[f"{name}: {end}"] += 1
            shutil.rmtree(copy.parent)
    return ends, wrong


def ended(target: Target, folder: Path, whole: str) -> tuple[str, str]:
    """How reading a damaged folder ends, and what was said."""
    try:
        return ("harmless" if target.result(folder) == whole else "another result"), ""
    except InputError as error:
        return "refused", str(error)
    except Exception:
        return "crashed", traceback.format_exc()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--verbose", action="store_true", help="print every case")
    asked = parser.parse_args()
    tell = partial(print, file=sys.stderr) if asked.verbose else lambda _: None
    with redirect_stdout(sys.stderr):  # what the stages say
        ends, wrong = tried(asked.cases, asked.seed, tell)
    print("\n".join([*wrong, *(f"{end}: {count}" for end, count in sorted(ends.items()))]))
    sys.exit(bool(wrong))
