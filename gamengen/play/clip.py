"""The last minute, and its video."""

import io
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from itertools import groupby, pairwise

import av
import numpy as np
from PIL import Image

from gamengen.game.engine import Frame
from gamengen.play.picture import from_jpeg

SECONDS = 60
GAP = 4  # pixels between two pictures
MP4_HEIGHT, GIF_HEIGHT = 480, 240  # at least so many pixels, as far as whole factors go

Moment = tuple[bytes, ...]  # one or two pictures: the model's, or the real game's before it


class Recorder:
    """The pictures of the last minute of game, as they were sent."""

    def __init__(self, fps: float) -> None:
        self.moments: deque[Moment] = deque(maxlen=round(SECONDS * fps))

    def add(self, pictures: Sequence[bytes]) -> None:
        """One frame of play."""
        self.moments.append(tuple(pictures))


def encode(
    moments: Sequence[Moment], rate: Fraction, kind: str, wanted: Callable[[], bool]
) -> bytes:
    """An MP4 (H.264) or a GIF at the game's own rate; empty if it is no longer ``wanted``."""
    frames = (frame for frame in _frames(last_stretch(moments, rate)) if wanted())
    data = to_mp4(frames, rate) if kind == "mp4" else to_gif(frames, rate)
    return data if wanted() else b""


def last_stretch(moments: Sequence[Moment], rate: Fraction) -> Sequence[Moment]:
    """The last second or more with or without the real game: no film has an empty half."""
    stretches = [list(found) for _, found in groupby(moments, len)]
    return next((found for found in reversed(stretches) if len(found) >= rate), stretches[-1])


def _frames(moments: Sequence[Moment]) -> Iterator[Frame]:
    for pictures in moments:
        shown = [from_jpeg(picture) for picture in pictures]
        gap = np.zeros((shown[0].shape[0], GAP, 3), np.uint8)
        yield np.concatenate([part for frame in shown for part in (gap, frame)][1:], 1)


def to_mp4(frames: Iterator[Frame], rate: Fraction) -> bytes:
    """H.264 in MP4, each pixel a square of several."""
    out = io.BytesIO()
    with av.open(out, "w", format="mp4") as container:
        stream = container.add_stream(
            "libx264", rate=rate, options={"crf": "18", "preset": "veryfast"}
        )
        stream.pix_fmt = "yuv420p"
        stream.thread_count = 1  # the model plays on meanwhile
        for number, frame in enumerate(frames):
            big = _enlarge(frame, MP4_HEIGHT)
            if number == 0:
                stream.height, stream.width = big.shape[:2]
            container.mux(stream.encode(av.VideoFrame.from_ndarray(big, format="rgb24")))
        container.mux(stream.encode())
    return out.getvalue()


def _enlarge(frame: Frame, height: int) -> Frame:
    factor = 2 * max(1, height // (2 * frame.shape[0]))  # even sides, as the codec wants them
    return frame.repeat(factor, 0).repeat(factor, 1)


def to_gif(frames: Iterator[Frame], rate: Fraction) -> bytes:
    """A GIF of 256 colours a frame; its clock ticks in 1/100 s, so that frames differ by one."""
    pictures = [_few_colours(frame) for frame in frames]
    if not pictures:
        return b""
    ends = [round(100 * number / rate) for number in range(len(pictures) + 1)]
    lasting = [10 * (b - a) for a, b in pairwise(ends)]
    out = io.BytesIO()
    pictures[0].save(
        out, "GIF", save_all=True, append_images=pictures[1:], duration=lasting, loop=0
    )
    return out.getvalue()


def _few_colours(frame: Frame) -> Image.Image:
    factor = max(1, GIF_HEIGHT // frame.shape[0])
    few = Image.fromarray(frame).quantize(
        256, method=Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE
    )
    return few.resize((few.width * factor, few.height * factor), Image.Resampling.NEAREST)
