"""A tiny model that can be played: what the pipeline's data folder would hold."""

from dataclasses import dataclass
from pathlib import Path

from gamengen.data.episodes import Episodes, recorded_history
from gamengen.game.engine import History
from gamengen.model.weights import Weights, load_weights
from tests.artifacts import awake, make_autoencoder, make_denoiser, make_episodes, make_latents

HEIGHT, WIDTH = 40, 48  # the least that Stable-Baselines3 takes for a picture, and a grid apart


@dataclass(frozen=True)
class Made:
    """The data folder, its weights, and the history up to a test frame."""

    data: Path
    weights: Weights
    history: History
    frame: int


def make_playable(data: Path) -> Path:
    """Episodes, latents, decoder, denoiser and student."""
    episodes = make_episodes(data / "episodes", height=HEIGHT, width=WIDTH)
    decoder = make_autoencoder(data / "decoder", HEIGHT, WIDTH)
    latents = make_latents(data / "latents", episodes, decoder)
    make_denoiser(data / "denoiser", latents)
    make_denoiser(data / "student", latents, seed=1)
    return data


def open_playable(data: Path, frame: int = 12) -> Made:
    """Read it, with denoisers that predict something."""
    weights = load_weights(data)
    for seed, net in enumerate((weights.teacher, weights.student)):
        awake(net, seed)
    episodes = Episodes(data / "episodes")
    entry = episodes.of("test")[0]
    history = recorded_history(episodes, entry, frame, weights.teacher.context_frames)
    return Made(data, weights, history, frame)
