"""``python -m gamengen.play.showcase [FOLDER]``: play.gif and minute.png, which README shows."""

import argparse
import random
import sys
from contextlib import closing
from pathlib import Path

from PIL import Image

from gamengen.backends.backend import default_backend, open_backend
from gamengen.evaluation.report.pictures import sheet
from gamengen.model.weights import newest
from gamengen.play import source
from gamengen.play.clip import encode
from gamengen.play.long_dream import LongDream
from gamengen.play.match import Match
from gamengen.play.picture import to_jpeg
from gamengen.play.source import Source
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
EVERY, COLUMNS, ROWS = 4, 8, 2  # seconds between the pictures of a minute's play


def film(played: Source, match: Match) -> bytes:
    """Play the script from a test episode's start; the real game is on the left."""
    moments = []
    match.start(played.history(*played.starts()[START]), beside=True)
    for action, frames in SCRIPT:
        number = played.facts.action_names.index(action)
        moments += [tuple(map(to_jpeg, match.step(number))) for _ in range(frames)]
    return encode(moments, played.facts.fps, "gif", wanted=lambda: True)


def minute(played: Source, match: Match) -> Image.Image:
    """The model's own play under recorded actions, a picture every so many seconds."""
    dream = LongDream(played, match, random.Random(0), tell=lambda _: None, wanted=lambda: True)
    pictures = []
    for number in range(1, ROWS * COLUMNS + 1):
        dream.ready(after=EVERY * number, clip=0)
        pictures.append(match.dream.frame)
    rows = [pictures[row * COLUMNS : (row + 1) * COLUMNS] for row in range(ROWS)]
    labels = [f"from {row * COLUMNS * EVERY} s" for row in range(ROWS)]
    return sheet(rows, labels, [f"+{EVERY * (column + 1)} s" for column in range(COLUMNS)])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, nargs="?", default=Path("docs/figures"))
    parser.add_argument("--model", type=Path, default=newest())
    args = parser.parse_args()
    try:
        played = source.load(args.model, open_backend(default_backend()))
        with closing(Match(played.new_dream(), played.new_real)) as match:
            (args.folder / "play.gif").write_bytes(film(played, match))
            minute(played, match).save(args.folder / "minute.png")
    except (InputError, OSError) as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
