"""``python -m gamengen.play``: serve the page on which a person plays the model."""

import argparse
import logging
import socket
import sys
import threading
import webbrowser
from contextlib import suppress
from pathlib import Path

import uvicorn

from gamengen.backends.backend import NAMES, default_backend, open_backend
from gamengen.model.weights import newest
from gamengen.play import blind, source
from gamengen.play.blind import Answers
from gamengen.play.server import create_app
from gamengen.play.trials import in_words
from gamengen.runtime.errors import InputError

MAX_MESSAGE = 1 << 20  # bytes: longer ones close the connection before they are read


def options() -> argparse.Namespace:
    """How to serve; how to play is chosen on the page."""
    parser = argparse.ArgumentParser(prog="python -m gamengen.play", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (%(default)s)")
    parser.add_argument("--port", type=int, default=8000, help="(%(default)s)")
    parser.add_argument("--name", action="append", default=[], help="host name it may be called by")
    parser.add_argument(
        "--model",
        type=Path,
        default=newest(),
        help="folder to play: data, which make repro fills, or data/pretrained (%(default)s)",
    )
    parser.add_argument("--backend", choices=NAMES, default=default_backend(), help="(%(default)s)")
    parser.add_argument("--answers", type=Path, default=blind.FILE, help="(%(default)s)")
    parser.add_argument("--sessions", type=int, default=4, help="players at once (%(default)s)")
    parser.add_argument("--open", action=argparse.BooleanOptionalAction, default=True)
    return parser.parse_args()


def bind(host: str, port: int) -> tuple[socket.socket, str]:
    """A listening socket and the page's address there; port 0 is any free one.

    Raises InputError where nothing can listen.
    """
    if not 0 <= port < 1 << 16:
        raise InputError(f"--port {port}: must be 0 to 65535")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listening = socket.create_server((host, port), family=family)
    except OSError as error:
        raise InputError(f"--host {host} --port {port}: {error.strerror}; name others") from None
    shown = f"[{host}]" if ":" in host else host
    return listening, f"http://{shown}:{listening.getsockname()[1]}/"


def serve(app: object, host: str, port: int) -> uvicorn.Server:
    """A server whose connections are bounded and noticed when they die."""
    return uvicorn.Server(
        uvicorn.Config(
            app,  # type: ignore[arg-type]
            host=host,
            port=port,
            ws="websockets-sansio",
            ws_max_size=MAX_MESSAGE,
            ws_max_queue=16,
            ws_ping_interval=5,
            ws_ping_timeout=5,
            ws_per_message_deflate=False,  # pictures are compressed already
            log_level="warning",
            timeout_graceful_shutdown=2,
        )
    )


def main() -> None:
    args = options()
    logging.basicConfig(format="%(levelname)s: %(message)s")
    try:
        # First of all: a port that is taken is somebody else's page.
        listening, url = bind(args.host, args.port)
        backend = open_backend(args.backend)
        played = source.load(args.model, backend)
    except InputError as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        sys.exit(130)
    names = {name.lower() for name in [*args.name, args.host]}
    app = create_app(played, Answers(args.answers), args.sessions, names)
    how = f"{in_words(played.defaults[played.first])}; {backend.name}, {backend.precision}"
    print(f"the model in {args.model}: play at {url} (Ctrl+C ends it)\n({how})", flush=True)
    if args.open:
        threading.Timer(1.0, webbrowser.open, [url]).start()
    with suppress(KeyboardInterrupt):  # raised again by uvicorn once it has ended
        serve(app, args.host, args.port).run(sockets=[listening])


if __name__ == "__main__":
    main()
