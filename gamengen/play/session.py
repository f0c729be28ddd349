"""One person at the page: a thread that owns their engines and keeps the game's pace."""

import json
import logging
import threading
import time
from collections.abc import Callable
from contextlib import closing
from typing import Any

from gamengen.play import protocol
from gamengen.play.blind import Answers
from gamengen.play.match import Match
from gamengen.play.pace import Pace
from gamengen.play.playing import Playing
from gamengen.play.protocol import BadMessage, Command, Shown, pack
from gamengen.play.queues import Inbox, Outbox
from gamengen.play.source import Source
from gamengen.play.trials import Trials
from gamengen.runtime.errors import InputError

log = logging.getLogger(__name__)


class Session:
    """Handles its inbox, fills its outbox; ``ended`` is called when its engines are given back."""

    def __init__(
        self, source: Source, answers: Answers, outbox: Outbox, ended: Callable[[], None]
    ) -> None:
        self.source, self.answers, self.outbox, self.ended = source, answers, outbox, ended
        self.inbox, self.pace = Inbox(), Pace(source.fps)
        self.number = 0
        self.active = time.monotonic()  # when the player last spoke, or clips were being made
        self.thread = threading.Thread(target=self._run, name="session", daemon=True)

    def start(self) -> None:
        """Begin at the first start point, paused."""
        self.thread.start()

    def close(self) -> None:
        """The page is gone: the engines are given back after the frame that is being made."""
        self.inbox.close()
        self.outbox.close()

    def _run(self) -> None:
        try:
            with closing(Match(self.source.new_dream(), self.source.new_real)) as self.match:
                self.playing = Playing(
                    self.source, self.match, self.pace, self._tell, self._send, self._wanted
                )
                self.mode: Playing | Trials = self.playing
                if self.match.dream.backend.per_thread:
                    self.match.dream.warm_up()
                self._show(self.playing.begin(0, beside=False))
                while self._wanted():
                    self._turn()
        except Exception:
            log.exception("a session failed")
            self._tell({"type": "failed", "message": "the session failed: another begins"})
            self.outbox.close()
        finally:
            self.ended()

    def _turn(self) -> None:
        """Commands that wait, then one frame when its turn has come."""
        if self.mode.paused:
            self.inbox.wait(None)
        else:
            self.inbox.rest(self.pace.wait())
        while self._wanted() and (command := self.inbox.take()) is not None:
            try:
                self._handle(command)
            except (BadMessage, InputError) as error:
                self._tell({"type": "error", "message": str(error)})
        if not self._wanted() or self.mode.paused:
            self.pace.restart()
            return
        began = time.perf_counter()
        shown = self.mode.frame(self.inbox.sample())
        self.pace.made(time.perf_counter() - began)
        self._show(shown)
        if self.mode.paused:
            self._tell({"type": "time_up"})

    def _handle(self, command: Command) -> None:
        if isinstance(command, protocol.Leave):
            self._leave()
            return
        if isinstance(command, protocol.Trial) and self.mode is self.playing:
            self.pace.unlimited = False
            self.mode = Trials(
                self.source, self.match, self.answers, self._tell, lambda: not self.inbox.leaving()
            )
        shown = self.mode.handle(command)
        if shown is not None:
            self._show(shown)

    def _leave(self) -> None:
        if isinstance(self.mode, Trials):
            self._tell({"type": "verdict", "verdicts": self.mode.close()})
        self.mode = self.playing
        self._show(self.playing.begin(0, beside=False))

    def _wanted(self) -> bool:
        return not self.inbox.closed

    def _show(self, shown: Shown) -> None:
        self.number += 1
        header = {"type": "frame", "number": self.number, "paused": self.mode.paused}
        message = pack({**header, **shown.header}, shown.pictures, shown.padded)
        if shown.header.get("type", "frame") == "frame":
            self.outbox.show(self.number, message)
        else:
            self.outbox.tell(message)

    def _tell(self, notice: dict[str, Any]) -> None:
        if notice["type"] == "making":
            self.active = time.monotonic()
        self.outbox.tell(json.dumps(notice))

    def _send(self, kind: str, data: bytes) -> None:
        self.outbox.tell(pack({"type": "file", "kind": kind}, [data]))
