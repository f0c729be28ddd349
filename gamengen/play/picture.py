"""Frames as bytes: out as JPEG, in as PNG, bounded before anything is decoded."""

import io

import numpy as np
from PIL import Image

from gamengen.game.engine import Frame
from gamengen.play.protocol import MAX_PICTURE, BadMessage

MAX_PIXELS = 1024 * 1024
QUALITY = 92


def to_jpeg(frame: Frame) -> bytes:
    """A frame for the page.

    Real and neural frames alike; colours at full resolution, since these pictures are tiny.
    A tenth of the time of WebP, which the model needs on two cores.
    """
    out = io.BytesIO()
    Image.fromarray(frame).save(out, "JPEG", quality=QUALITY, subsampling=0)
    return out.getvalue()


def from_jpeg(data: bytes) -> Frame:
    """What ``to_jpeg`` wrote."""
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


def from_png(data: bytes, height: int, width: int) -> Frame:
    """A picture sent by a page, at the game's size. Raises BadMessage for any other thing."""
    if len(data) > MAX_PICTURE:
        raise BadMessage(f"a picture of {len(data)} bytes: at most {MAX_PICTURE}")
    try:
        with Image.open(io.BytesIO(data), formats=["PNG"]) as picture:
            # Only the header has been read so far.
            if picture.width * picture.height > MAX_PIXELS:
                raise BadMessage(
                    f"a picture of {picture.width}x{picture.height} pixels: at most {MAX_PIXELS}"
                )
            return np.array(picture.convert("RGB").resize((width, height)))
    except BadMessage:
        raise
    except Exception:  # Pillow raises a dozen kinds for damaged files
        raise BadMessage("not a PNG picture") from None
