"""What ships: ``python -m gamengen.play.shipping DATA FOLDER`` keeps what is needed to play."""

import argparse
from pathlib import Path

from gamengen.data.episodes import Episodes
from gamengen.data.replay import write_replays
from gamengen.model.network import save_model
from gamengen.model.weights import load_weights
from gamengen.runtime.checksums import seal

REPLAYS, REPLAY_FRAMES = 8, 400  # held-out episodes that ship, and how much of each


def keep(data: Path, folder: Path, student: bool) -> None:
    """Copy what is played to another folder, in half precision: small enough for git."""
    weights = load_weights(data)
    write_replays(Episodes(data / "episodes"), folder / "replays.json", REPLAYS, REPLAY_FRAMES)
    weights.decoder.half().save(folder / "decoder")
    save_model(weights.teacher.half(), folder / "denoiser")
    if student:
        save_model(weights.student.half(), folder / "student")
    for name in ("decoder", "denoiser", *(["student"] if student else [])):
        seal(folder / name)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=keep.__doc__)
    parser.add_argument("data", type=Path, help="a folder that the pipeline has filled")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--student", action=argparse.BooleanOptionalAction, default=True)
    args = parser.parse_args()
    keep(args.data, args.folder, args.student)
