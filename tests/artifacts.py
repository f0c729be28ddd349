"""Tiny artifacts of every stage, for tests: a striped world that turns when told to."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import torch

from gamengen.data.encoding import AutoencoderConfig
from gamengen.data.episodes import Episode, Episodes, EpisodeWriter
from gamengen.data.index import Entry, Index, Split, write_index
from gamengen.data.latents import LatentIndex, Latents, LatentWriter, change_std
from gamengen.evaluation.teacher_forced import WATCHED
from gamengen.game.doom import config_path
from gamengen.game.facts import GameFacts
from gamengen.model.autoencoder import Autoencoder, encoder_digest, to_float
from gamengen.model.denoiser import Denoiser
from gamengen.model.network import save_model
from gamengen.model.small_autoencoder import SmallAutoencoder

ACTIONS = {
    "NOTHING": [0, 0, 0],
    "TURN_LEFT": [1, 0, 0],
    "TURN_RIGHT": [0, 1, 0],
    "ATTACK": [0, 0, 1],
}
SHIFT = {"NOTHING": 0, "TURN_LEFT": 3, "TURN_RIGHT": -3, "ATTACK": 0}  # pixels to the right a frame


def game_facts(height: int = 32, width: int = 48) -> GameFacts:
    return GameFacts(
        scenario="striped_world",
        buttons=["TURN_LEFT", "TURN_RIGHT", "ATTACK"],
        actions=list(ACTIONS.values()),
        action_names=list(ACTIONS),
        tics_per_frame=2,
        action_tics=4,
        height=height,
        width=width,
        variables=["HEALTH", *WATCHED],
    )


def play(length: int, height: int, width: int, seed: int) -> Episode:
    """A random walk through a panorama of smooth noise; each action is held for a while."""
    random = np.random.default_rng(seed)
    names = list(ACTIONS)
    held = random.integers(len(names), size=-(-length // 6)).repeat(6)[:length]
    actions = held.astype(np.int32)
    actions[-1] = names.index("NOTHING")
    moves = np.array([SHIFT[names[a]] for a in actions])
    angle = np.concatenate([[0], np.cumsum(moves[:-1])])
    coarse = np.random.default_rng(0).integers(0, 256, size=(height // 4, width, 3))
    panorama = coarse.repeat(4, 0).repeat(4, 1).astype(np.uint8)
    columns = (np.arange(width)[None] - angle[:, None]) % panorama.shape[1]
    frames = panorama[:, columns].transpose(1, 0, 2, 3).copy()
    frames[actions == names.index("ATTACK"), -4:, width // 2 - 3 : width // 2 + 3] = 255
    return Episode(
        frames=frames,
        actions=actions,
        rewards=np.zeros(length, np.float32),
        variables={name: np.zeros(length, np.float32) for name in WATCHED}
        | {"HEALTH": np.full(length, 100, np.float32), "ANGLE": angle.astype(np.float32)},
    )


def make_entry(
    start: int,
    length: int,
    number: int = 0,
    store: str = "one.zarr",
    split: Split = "train",
) -> Entry:
    """The rows of an episode of random play."""
    return Entry(
        id=str(number),
        store=store,
        start=start,
        length=length,
        split=split,
        seed=number,
        policy="random",
        agent_step=0,
    )


def own_game(folder: Path, scenario: str = "defend_the_center", text: str = "") -> Path:
    """A scenario of ViZDoom's as a user's own: mine.cfg and mine.wad; returns the former."""
    theirs = config_path(scenario)
    folder.mkdir(exist_ok=True)
    shutil.copy(theirs.with_suffix(".wad"), folder / "mine.wad")
    told = theirs.read_text().replace(f"{scenario}.wad", "mine.wad")
    (folder / "mine.cfg").write_text(told + text)
    return folder / "mine.cfg"


def make_episodes(
    folder: Path, episodes: int = 5, length: int = 40, height: int = 32, width: int = 48
) -> Path:
    """A store of episodes: the last two of test, the one before of validation."""
    game = game_facts(height, width)
    folder.mkdir(parents=True)
    writer = EpisodeWriter(folder / "writer-0", game)
    splits: list[Split] = ["train"] * (episodes - 3) + ["validation", "test", "test"]
    entries = []
    for number, split in enumerate(splits):
        start = writer.append(play(length, height, width, number))
        entry = make_entry(start, length, number, "writer-0", split)
        entries.append(entry.model_copy(update={"id": f"{number:04d}"}))
    writer.flush()
    write_index(folder, Index(game=game, entries=entries))
    return folder


def make_autoencoder(folder: Path, height: int = 32, width: int = 48, seed: int = 0) -> Path:
    """An untrained autoencoder of four latent channels."""
    torch.manual_seed(seed)
    net = SmallAutoencoder(
        latent_channels=4, unshuffle=4, widths=(8,), encoder_blocks=1, decoder_blocks=1
    )
    facts = AutoencoderConfig(
        kind="small",
        height=height,
        width=width,
        downsampling=net.downsampling,
        latent_channels=4,
        latent_mean=[0.0] * 4,
        latent_std=[0.5] * 4,
        encoder_sha256=encoder_digest(net),
    )
    folder.mkdir(parents=True)
    Autoencoder(net, facts).save(folder)
    return folder


@torch.no_grad()
def make_latents(folder: Path, episodes: Path, autoencoder: Path) -> Path:
    """Every episode, encoded."""
    recorded, net = Episodes(episodes), Autoencoder.load(autoencoder)
    total = sum(episode.length for episode in recorded.entries)
    folder.mkdir(parents=True)
    writer = LatentWriter(folder / "store-0", total, net.facts.latent_shape)
    entries, row = [], 0
    for episode in recorded.entries:
        latents = net.encode(to_float(torch.from_numpy(recorded.frames(episode))))
        writer.write(row, latents.half().numpy(), recorded.actions(episode))
        entries.append(episode.model_copy(update={"store": "store-0", "start": row}))
        row += episode.length
    index = LatentIndex(
        game=recorded.game,
        autoencoder=net.facts,
        entries=entries,
        change_std=change_std(folder, entries),
    )
    write_index(folder, index)
    return folder


def make_denoiser(
    folder: Path, latents: Path, context_frames: int = 3, seed: int = 0, **facts: Any
) -> Path:
    """An untrained denoiser of those latents."""
    torch.manual_seed(seed)
    encoded = Latents(latents)
    told = {
        "latent_shape": encoded.autoencoder.latent_shape,
        "context_frames": context_frames,
        "game": encoded.game.model_dump(),
        "autoencoder": encoded.autoencoder.encoder_sha256,
        "schedule": {"kind": "cosine", "timesteps": 100},
        "augmentation": {
            "max_level": 0.7,
            "buckets": 4,
            "clean_share": 0.3,
            "context_dropout": 0.1,
        },
        "sampling": {"steps": 2},
        "residual_std": encoded.change_std,
        "network": {
            "kind": "small",
            "widths": [8, 16],
            "blocks": 1,
            "head_dim": 8,
            "embedding_dim": 16,
        },
    }
    folder.mkdir(parents=True)
    save_model(Denoiser(**(told | facts)), folder)
    return folder


def make_all(folder: Path, length: int = 40) -> list[Path]:
    """The inputs of the evaluate stage, in its order."""
    episodes = make_episodes(folder / "episodes", length=length)
    decoder = make_autoencoder(folder / "decoder")
    latents = make_latents(folder / "latents", episodes, decoder)
    guided = {"steps": 2, "guidance": 1.5, "context_noise": 0.1, "shift": 2.0, "order": 2}
    denoiser = make_denoiser(folder / "denoiser", latents, sampling=guided)
    student = make_denoiser(folder / "student", latents, seed=1, sampling={"steps": 1})
    return [episodes, latents, decoder, denoiser, student]


def awake(denoiser: Denoiser, seed: int = 1) -> Denoiser:
    """The denoiser with something in the layers that are zero before training."""
    torch.manual_seed(seed)
    for parameter in denoiser.parameters():
        if not parameter.any():
            torch.nn.init.normal_(parameter, std=0.1)
    return denoiser
