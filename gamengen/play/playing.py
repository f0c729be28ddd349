"""Playing: the model, the real game beside it, edited pictures, the last minute saved."""

import logging
import os
import sys
import threading
from collections.abc import Callable, Sequence

import numpy as np

from gamengen.game.engine import Frame
from gamengen.model.diffusion import Sampling
from gamengen.play import protocol
from gamengen.play.clip import Moment, Recorder, encode
from gamengen.play.dream import Settings
from gamengen.play.keys import action_of
from gamengen.play.match import Match
from gamengen.play.pace import Pace
from gamengen.play.picture import to_jpeg
from gamengen.play.protocol import BadMessage, Command, Shown, Tell
from gamengen.play.source import Source

log = logging.getLogger(__name__)


class Playing:
    """A person plays, alone or beside the real game, from a start point on."""

    def __init__(
        self,
        source: Source,
        match: Match,
        pace: Pace,
        tell: Tell,
        send: Callable[[str, bytes], None],
        wanted: Callable[[], bool],
    ) -> None:
        """``send`` hands over a file of a kind; saving stops when nothing is ``wanted``."""
        self.source, self.match, self.pace = source, match, pace
        self.tell, self.send, self.wanted = tell, send, wanted
        self.paused = True
        self.recorder = Recorder(source.fps)
        self.saving: threading.Thread | None = None

    def handle(self, command: Command) -> Shown | None:
        """Raises BadMessage or InputError for what cannot be done."""
        match command:
            case np.ndarray():
                self.paused = True
                return self._show([self.match.dream.edit(command, self.source.context_frames)])
            case protocol.Begin():
                return self.begin(command.start, command.beside)
            case protocol.Pause():
                self.paused = command.paused
            case protocol.SetPace():
                self.pace.unlimited = command.unlimited
            case protocol.SetSampling():
                sampling = Sampling(**command.model_dump(exclude={"type", "model"}))
                self.match.dream.settings = Settings(command.model, sampling)
            case protocol.Save():
                self._save(command.format)
            case _:
                raise BadMessage(f"{command.type}: not while playing")
        return None

    def begin(self, start: int, beside: bool) -> Shown:
        """Stand at a start point, until play goes on. Raises BadMessage if there is none such."""
        starts = self.source.starts()
        if start >= len(starts):
            raise BadMessage(f"start: {start}: there are {len(starts)}")
        self.paused = True
        frames = self.match.start(self.source.history(*starts[start]), beside)
        return self._show(frames)

    def frame(self, held: Sequence[str]) -> Shown:
        """One frame on."""
        action = action_of(self.source.facts, held)
        shown = self._show(self.match.step(action), self.source.facts.action_names[action])
        self.recorder.add(shown.pictures)
        return shown

    def _show(self, frames: Sequence[Frame], action: str = "") -> Shown:
        if self.match.lost:
            self.tell({"type": "error", "message": self.match.lost})
            self.match.lost = None
        rate = self.pace.rate()
        header = {
            "action": action,
            "fps": round(rate.fps, 1),
            "ms": round(rate.ms, 1),
            "factor": round(rate.factor, 2),
            "since_real": self.match.dream.frames_since_real,
            "over": self.match.over,
        }
        return Shown([to_jpeg(frame) for frame in frames], header)

    def _save(self, kind: str) -> None:
        if self.saving is not None and self.saving.is_alive():
            raise BadMessage("save: the last one is still being made")
        if not self.recorder.moments:
            raise BadMessage("save: nothing has been played yet")
        moments = list(self.recorder.moments)
        self.saving = threading.Thread(target=self._encode, args=(moments, kind), daemon=True)
        self.saving.start()

    def _encode(self, moments: list[Moment], kind: str) -> None:
        """One film at a time, of all sessions, at the lowest priority: players come first."""
        with self.source.filming:
            if sys.platform == "linux":  # elsewhere a priority is the whole process's
                os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 19)
            try:
                self.send(kind, encode(moments, self.source.facts.fps, kind, self.wanted))
            except Exception as error:  # of any kind: the page waits for an answer
                log.exception("a film could not be made")
                self.tell({"type": "error", "message": f"save: {error}"})
