"""A page without a browser: says things, and reads what comes back."""

import io
import json
import struct
from collections.abc import Callable
from typing import Any

import numpy as np
from PIL import Image

ORIGIN = {"origin": "http://127.0.0.1:8000"}


def png(picture: np.ndarray) -> bytes:
    out = io.BytesIO()
    Image.fromarray(picture).save(out, "PNG")
    return out.getvalue()


def unpack(message: bytes) -> tuple[dict[str, Any], list[bytes]]:
    """What ``protocol.pack`` wrote, as the page reads it."""
    (length,) = struct.unpack_from("<I", message)
    header = json.loads(message[4 : 4 + length])
    pictures, at = [], 4 + length
    for size in header["sizes"]:
        pictures.append(message[at : at + size])
        at += size
    return header, pictures


class Player:
    """Over a WebSocket of starlette's TestClient."""

    def __init__(self, socket: Any) -> None:
        self.socket = socket

    def say(self, kind: str, /, **fields: Any) -> None:
        self.socket.send_text(json.dumps({"type": kind, **fields}))

    def hear(self) -> tuple[dict[str, Any], list[bytes]]:
        """The next message, acknowledged if it is a frame."""
        message = self.socket.receive()
        assert message["type"] == "websocket.send", message
        if message.get("text") is not None:
            return json.loads(message["text"]), []
        header, pictures = unpack(message["bytes"])
        if header["type"] == "frame":
            self.say("seen", number=header["number"])
        return header, pictures

    def until(
        self, kind: str, told: Callable[[dict[str, Any]], bool] = lambda _: True, most: int = 500
    ) -> tuple[dict[str, Any], list[bytes]]:
        """The next message of a kind of which something is true."""
        for _ in range(most):
            header, pictures = self.hear()
            if header["type"] == kind and told(header):
                return header, pictures
        raise AssertionError(f"no {kind} among {most} messages")

    def play(self, beside: bool = False, start: int = 0) -> None:
        self.say("begin", start=start, beside=beside)
        self.say("pause", paused=False)
