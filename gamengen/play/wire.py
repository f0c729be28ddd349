"""Pictures and what is said of them in one binary message."""

import json
import struct
from collections.abc import Mapping, Sequence
from typing import Any

BLOCK = 1 << 16  # bytes: blind frames all fit one


def pack(header: Mapping[str, Any], pictures: Sequence[bytes], padded: bool = False) -> bytes:
    """Length of the header (4 bytes, little-endian), header as JSON, then the pictures.

    ``sizes`` in the header tells the pictures apart. ``padded`` fills up to whole blocks, so
    that a message's length does not tell a real picture from a smoother one.
    """
    told = json.dumps({**header, "sizes": [len(picture) for picture in pictures]}).encode()
    message = struct.pack("<I", len(told)) + told + b"".join(pictures)
    return message + bytes(-len(message) % BLOCK) if padded else message


def unpack(message: bytes) -> tuple[dict[str, Any], list[bytes]]:
    """What ``pack`` wrote."""
    (length,) = struct.unpack_from("<I", message)
    header = json.loads(message[4 : 4 + length])
    pictures, at = [], 4 + length
    for size in header["sizes"]:
        pictures.append(message[at : at + size])
        at += size
    return header, pictures
