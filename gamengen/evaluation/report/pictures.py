"""Filmstrips, examples and the video: real pictures beside the model's."""

from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageDraw, ImageFont

from gamengen.evaluation.report.words import name_in_words

INK, PAPER, FAINT = (236, 232, 225), (22, 21, 20), (160, 154, 146)
GAP = 4  # pixels between pictures
COLUMNS = 8
PAUSE = 10  # frames that the start of a rollout stands still


def filmstrip(
    videos: dict[str, UInt8[np.ndarray, "n h w 3"]], names: Sequence[str], seconds: float
) -> Image.Image:
    """One row per name, eight moments from left to right; ``seconds`` is one frame's time."""
    length = len(videos[names[0]])
    moments = np.unique(np.linspace(0, length - 1, COLUMNS).round().astype(int))
    rows = [[videos[name][moment] for moment in moments] for name in names]
    heads = [f"+{(moment + 1) * seconds:.1f} s" for moment in moments]
    return sheet(rows, [name_in_words(name) for name in names], heads)


def sheet(
    rows: Sequence[Sequence[np.ndarray]], labels: Sequence[str], heads: Sequence[str]
) -> Image.Image:
    """Pictures in rows with a label each, and a head over every column."""
    height, width = rows[0][0].shape[:2]
    scale = max(1, 160 // width)
    height, width = height * scale, width * scale
    font = ImageFont.load_default(16)
    strip = 24 if any(labels) else 0
    step = strip + height + GAP
    canvas = Image.new("RGB", ((width + GAP) * len(heads) - GAP, 24 + step * len(rows)), PAPER)
    draw = ImageDraw.Draw(canvas)
    for column, head in enumerate(heads):
        draw.text((4 + column * (width + GAP), 2), head, FAINT, font)
    for row, pictures in enumerate(rows):
        top = 24 + row * step
        draw.text((4, top + 1), labels[row], INK, font)
        for column, picture in enumerate(pictures):
            big = Image.fromarray(picture).resize((width, height), Image.Resampling.NEAREST)
            canvas.paste(big, (column * (width + GAP), top + strip))
    return canvas


def examples(
    pictures: dict[str, UInt8[np.ndarray, "k h w 3"]], names: Sequence[str]
) -> Image.Image:
    """One row per predicted frame: the frame before it, the real one, then every name."""
    columns = ["copy_last", "real", *[name for name in names if name != "copy_last"]]
    heads = ["last real frame", "real next frame", *map(name_in_words, columns[2:])]
    count = len(pictures["real"])
    rows = [[pictures[name][i] for name in columns] for i in range(count)]
    return sheet(rows, [""] * count, heads)


def video_frames(
    videos: dict[str, UInt8[np.ndarray, "k n h w 3"]],
    names: Sequence[str],
    actions: Sequence[Sequence[str]],
    seconds: float,
) -> Iterator[UInt8[np.ndarray, "H W 3"]]:
    """All rollouts one after the other, side by side, with labels, time and action."""
    for rollout, taken in enumerate(actions):
        start = [videos["copy_last"][rollout][0]] * len(names)
        for _ in range(PAUSE):
            yield _side_by_side(start, names, "the last real frame that the model is given")
        for moment, action in enumerate(taken):
            pictures = [videos[name][rollout][moment] for name in names]
            yield _side_by_side(pictures, names, f"+{(moment + 1) * seconds:.1f} s   {action}")


def _side_by_side(
    pictures: Sequence[np.ndarray], names: Sequence[str], caption: str
) -> UInt8[np.ndarray, "H W 3"]:
    height, width = pictures[0].shape[:2]
    scale = max(1, 240 // height)
    height, width = height * scale, width * scale
    font = ImageFont.load_default(15)
    # Video codecs halve the colour's resolution: both sides must be even.
    size = (len(pictures) * (width + GAP) - GAP, height + 52)
    canvas = Image.new("RGB", (size[0] + size[0] % 2, size[1] + size[1] % 2), PAPER)
    draw = ImageDraw.Draw(canvas)
    for column, (name, picture) in enumerate(zip(names, pictures, strict=True)):
        left = column * (width + GAP)
        big = Image.fromarray(picture).resize((width, height), Image.Resampling.NEAREST)
        canvas.paste(big, (left, 26))
        draw.text((left + 4, 4), name_in_words(name), INK, font)
    draw.text((4, height + 30), caption, FAINT, font)
    return np.asarray(canvas)


def write_video(path: Path, frames: Iterator[UInt8[np.ndarray, "H W 3"]], rate: Fraction) -> None:
    """H.264 in MP4, at the game's own rate, playable while it loads."""
    with av.open(str(path), "w", options={"movflags": "faststart"}) as container:
        stream = container.add_stream("libx264", rate=rate, options={"crf": "20"})
        stream.pix_fmt = "yuv420p"
        for number, picture in enumerate(frames):
            if number == 0:
                stream.height, stream.width = picture.shape[:2]
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
