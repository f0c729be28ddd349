"""The page over HTTP, and one WebSocket a player. The event loop never computes."""

import asyncio
import base64
import hashlib
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, MutableMapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from dataclasses import asdict
from functools import cache, partial
from pathlib import Path
from typing import Any

from fastapi import FastAPI, HTTPException, Request, Response, WebSocket

from gamengen.play import protocol, questions
from gamengen.play.blind import Answers
from gamengen.play.keys import key_map
from gamengen.play.origin import host_allowed, same_origin
from gamengen.play.picture import from_png, to_jpeg
from gamengen.play.protocol import BadMessage
from gamengen.play.queues import Outbox
from gamengen.play.session import Session
from gamengen.play.source import Source

PAGE = Path(__file__).parent / "page"
SECONDS_TO_END = 2.0  # for each session, when the server goes
IDLE = 600.0  # seconds without a word of the player, after which the seat is given back
MESSAGES_PER_SECOND = 500
BURST_SECONDS = 1.0  # for how many seconds messages may come at once
TRY_AGAIN_LATER, NOT_ALLOWED = 1013, 1008  # WebSocket close codes


def create_app(
    source: Source, answers: Answers, max_sessions: int = 4, names: Collection[str] = ()
) -> FastAPI:
    """``names`` are host names this server goes by."""
    sessions = set[Session]()

    # Where episodes are played again, pictures of them take seconds: one thread of their own.
    drawing = ThreadPoolExecutor(1, "thumbnails")

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        drawing.shutdown(wait=False, cancel_futures=True)
        for session in list(sessions):
            session.close()
            await asyncio.to_thread(session.thread.join, SECONDS_TO_END)

    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None, lifespan=lifespan)
    app.state.sessions = sessions
    page, policy = read_page()

    @cache
    def thumbnails() -> list[bytes]:
        return [*map(to_jpeg, source.episodes.batch(source.starts()))]

    @app.middleware("http")
    async def guard(request: Request, follow: Callable[[Request], Awaitable[Response]]) -> Response:
        if not host_allowed(request.headers.get("host"), names):
            return Response("not a name of this server: see --name", 421)
        response = await follow(request)
        response.headers["Content-Security-Policy"] = policy
        response.headers["X-Content-Type-Options"] = "nosniff"
        return response

    @app.get("/")
    async def index() -> Response:
        return Response(page, media_type="text/html", headers={"Cache-Control": "no-store"})

    @app.get("/starts/{number}.jpg")
    async def thumbnail(number: int) -> Response:
        if not 0 <= number < len(source.starts()):
            raise HTTPException(404)
        drawn = await asyncio.get_running_loop().run_in_executor(drawing, thumbnails)
        return Response(drawn[number], media_type="image/jpeg")

    @app.websocket("/play")
    async def play(socket: WebSocket) -> None:
        host = socket.headers.get("host")
        if not (host_allowed(host, names) and same_origin(socket.headers.get("origin"), host)):
            await socket.close(NOT_ALLOWED)
            return
        await socket.accept()
        if len(sessions) >= max_sessions:
            full = f"all {max_sessions} seats are taken: try again when somebody has left"
            await socket.send_text(json.dumps({"type": "full", "message": full}))
            await socket.close(TRY_AGAIN_LATER)
            return
        await run_session(socket, source, answers, sessions)

    return app


async def run_session(
    socket: WebSocket, source: Source, answers: Answers, sessions: set[Session]
) -> None:
    """One session from hello to goodbye; its seat is free once its engines are."""
    loop = asyncio.get_running_loop()
    outbox = Outbox(loop)

    def ended() -> None:
        with suppress(RuntimeError):  # the loop itself has ended
            loop.call_soon_threadsafe(sessions.discard, session)

    session = Session(source, answers, outbox, ended)
    sessions.add(session)
    outbox.tell(json.dumps(hello(source)))
    session.start()
    sender = asyncio.create_task(send(socket, outbox))
    idle = False
    try:
        await receive(socket, session)
    except TimeoutError:
        idle = True
    finally:
        session.close()
        sender.cancel()
        await asyncio.gather(sender, return_exceptions=True)
    if idle:
        message = f"nothing was pressed for {IDLE / 60:.0f} minutes: press a key to come back"
        await socket.send_text(json.dumps({"type": "idle", "message": message}))
        await socket.close()


async def send(socket: WebSocket, outbox: Outbox) -> None:
    """Whatever there is to send, as fast as this one reader takes it; closes after the last."""
    while (message := await outbox.next()) is not None:
        if isinstance(message, str):
            await socket.send_text(message)
        else:
            await socket.send_bytes(message)
    await socket.close()


async def receive(socket: WebSocket, session: Session) -> None:
    """Handle messages until the page is gone; a wrong one is answered, and the session lives.

    Raises TimeoutError when nobody has played, and no clip was made, for ``IDLE`` seconds.
    """
    source, clock = session.source, time.monotonic
    size = source.facts.height, source.facts.width
    due = clock()
    while True:
        message = await next_message(socket, session)
        if message["type"] == "websocket.disconnect":
            return
        due = max(due, clock() - BURST_SECONDS) + 1 / MESSAGES_PER_SECOND
        await asyncio.sleep(max(0.0, due - clock()))  # meanwhile the sender's own buffer fills
        try:
            if (text := message.get("text")) is not None:
                parsed = protocol.parse(text)
                # A page that is left alone still says what it has seen.
                if not isinstance(parsed, protocol.Seen):
                    session.active = clock()
                handle(session, parsed)
            else:
                session.active = clock()
                decode = partial(from_png, message["bytes"], *size)
                session.inbox.put(await asyncio.to_thread(decode))
        except BadMessage as error:
            session.outbox.tell(json.dumps({"type": "error", "message": str(error)}))
            await asyncio.sleep(0.01)  # a flood of them is no burden to others


async def next_message(socket: WebSocket, session: Session) -> MutableMapping[str, Any]:
    """Raises TimeoutError when the session was not active for ``IDLE`` seconds."""
    while (left := session.active + IDLE - time.monotonic()) > 0:
        with suppress(TimeoutError):
            async with asyncio.timeout(left):
                return await socket.receive()
    raise TimeoutError


def handle(session: Session, message: protocol.AnyMessage) -> None:
    """Pass a message on to where it belongs. Raises BadMessage."""
    if isinstance(message, protocol.Seen):
        session.outbox.seen(message.number)
        return
    if isinstance(message, protocol.Keys):
        unknown = set(message.held) - set(session.source.facts.buttons)
        if unknown:
            raise BadMessage(f"held: no such button; there are {session.source.facts.buttons}")
    session.inbox.put(message)


def hello(source: Source) -> dict[str, Any]:
    """What the page must know before anything else."""
    facts = source.facts
    return {
        "type": "hello",
        "scenario": Path(facts.scenario).stem,
        "width": facts.width,
        "height": facts.height,
        "fps": source.fps,
        "keys": [key.model_dump() for key in key_map(facts.buttons)],
        "starts": [entry.id for entry, _ in source.starts()],
        "limits": {
            name: {
                "steps": 1 if name == "student" else protocol.MAX_STEPS,
                "guidance": protocol.MAX_GUIDANCE if source.guided else 1,
                "context_noise": source.max_noise,
                "shift": 1 if name == "student" else protocol.MAX_SHIFT,
                "order": 1 if name == "student" else 2,
            }
            for name in source.defaults
        },
        "model": source.first,
        "defaults": {name: asdict(s.sampling) for name, s in source.defaults.items()},
        "blind": questions.for_page(),
    }


def read_page() -> tuple[str, str]:
    """The page with its style and script inside, and the policy that allows just these."""
    style, script = ((PAGE / name).read_text() for name in ("style.css", "play.js"))
    page = (PAGE / "index.html").read_text()
    page = page.replace("/* style.css */", style).replace("/* play.js */", script)
    allowed = [
        "default-src 'none'",
        "connect-src 'self'",
        "img-src 'self' blob: data:",
        f"style-src '{_digest(style)}'",
        f"script-src '{_digest(script)}'",
        "frame-ancestors 'none'",
        "base-uri 'none'",
        "form-action 'none'",
    ]
    return page, "; ".join(allowed)


def _digest(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
