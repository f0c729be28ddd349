"""``python -m gamengen.play.showcase [FILE]``: scripted keys in the real game and the model."""

import argparse
import sys
from contextlib import closing
from pathlib import Path

from gamengen.backends.backend import default_backend, open_backend
from gamengen.model.weights import newest
from gamengen.play import source
from gamengen.play.clip import encode
from gamengen.play.match import Match
from gamengen.play.picture import to_jpeg
from gamengen.runtime.errors import InputError

START = 0  # as the page numbers them
# Which keys, for how many frames.
SCRIPT = [
    ("NOTHING", 6),
    ("ATTACK", 17),
    ("TURN_LEFT", 17),
    ("NOTHING", 6),
    ("TURN_RIGHT", 17),
    ("ATTACK", 17),
]


def film(file: Path, data: Path) -> None:
    """Play the script from a test episode's start; the real game is on the left."""
    played = source.load(data, open_backend(default_backend()))
    moments = []
    with closing(Match(played.new_dream(), played.new_real)) as match:
        match.start(played.history(*played.starts()[START]), beside=True)
        for action, frames in SCRIPT:
            number = played.facts.action_names.index(action)
            moments += [tuple(map(to_jpeg, match.step(number))) for _ in range(frames)]
    file.write_bytes(encode(moments, played.facts.fps, "gif", wanted=lambda: True))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", type=Path, nargs="?", default=Path("docs/figures/play.gif"))
    parser.add_argument("--model", type=Path, default=newest())
    args = parser.parse_args()
    try:
        film(args.file, args.model)
    except (InputError, OSError) as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
