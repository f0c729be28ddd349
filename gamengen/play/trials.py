"""A blind test: the real game and the model, and nothing else that tells them apart.

Both are always made, at the same time and by the same steps, whichever is shown.
"""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from gamengen.data.index import Entry
from gamengen.data.positions import Position, Positions
from gamengen.game.engine import Frame
from gamengen.play import protocol
from gamengen.play.blind import Answers, Record, verdicts
from gamengen.play.dream import Settings
from gamengen.play.keys import action_of
from gamengen.play.long_dream import LongDream
from gamengen.play.match import Match
from gamengen.play.picture import to_jpeg
from gamengen.play.protocol import BadMessage, Command, Shown, Tell
from gamengen.play.questions import OPTIONS, require_offered
from gamengen.play.source import Source


@dataclass
class PendingTrial:
    """A trial that waits for its answer."""

    question: protocol.Trial
    entry: Entry
    frame: int
    truth: str
    length: int  # frames
    made: int = 0
    cut_short: bool = False


class Trials:
    """One trial after another, until the person leaves; then what their answers say."""

    def __init__(
        self,
        source: Source,
        match: Match,
        answers: Answers,
        tell: Tell,
        wanted: Callable[[], bool],
    ) -> None:
        """Making clips stops when nothing is ``wanted``."""
        self.source, self.match, self.answers = source, match, answers
        self.tell, self.wanted = tell, wanted
        self.random = random.SystemRandom()
        self.long_dream = LongDream(source, match, self.random, tell, wanted)
        self.paused = True
        self.open: PendingTrial | None = None
        self.answered: list[Record] = []

    def handle(self, command: Command) -> Shown | None:
        """Raises BadMessage for what cannot be done."""
        match command:
            case protocol.Trial():
                return self._start_trial(command)
            case protocol.Answer():
                self._answer(command)
            case protocol.Pause():
                over = self.open is None or self.open.made >= self.open.length
                self.paused = command.paused or over
            case _:
                raise BadMessage("not during a blind test")
        return None

    def frame(self, held: Sequence[str]) -> Shown:
        """One frame on, of both, of which one is shown."""
        assert self.open is not None, "a blind test plays only between question and answer"
        trial = self.open
        frames = self.match.step(action_of(self.source.facts, held))
        trial.made += 1
        trial.cut_short = self.match.over is not None or len(frames) < 2
        if trial.cut_short or trial.made >= trial.length:
            trial.length = trial.made
            self.paused = True
        # A real game that is lost leaves the model's frame alone.
        return self._active(frames[0 if trial.truth == "real" else -1])

    def close(self) -> list[dict[str, object]]:
        """What was answered since the test began."""
        return [verdict.model_dump() for verdict in verdicts(self.answered)]

    def _start_trial(self, question: protocol.Trial) -> Shown | None:
        require_offered(question)
        self.paused = True
        length = round(question.seconds * self.source.fps)
        entry, frame = self._moment(length if question.kind == "clips" else 1)
        truth = self.random.choice(list(OPTIONS[question.kind]))
        self.open = PendingTrial(question, entry, frame, truth, length)
        if question.kind == "clips":
            return self._clips(self.open)
        frames = self.match.start(self.source.history(entry, frame), beside=True)
        if len(frames) < 2:
            self.open = None
            raise BadMessage(self.match.lost or "the real game cannot be started")
        return self._active(frames[0 if self.open.truth == "real" else -1])

    def _moment(self, length: int) -> Position:
        """Where in the test episodes so many more frames were recorded, drawn uniformly."""
        least, entries = self.source.context_frames, self.source.episodes.of("test")
        long = [entry for entry in entries if entry.length - length > least]
        if not long:
            raise BadMessage(f"no test episode has {length} frames after {least} of context")
        places = Positions(long, first=least, left_out=length)
        return places.locate(self.random.randrange(len(places)))

    def _clips(self, trial: PendingTrial) -> Shown | None:
        """The recorded frames and the model's own, side by side; None when it was stopped."""
        first, last = trial.frame + 1, trial.frame + 1 + trial.length
        real = [to_jpeg(f) for f in self.source.episodes.frames(trial.entry, first, last)]
        neural = self._neural(trial)
        if neural is None:
            self.open = None  # what was never shown has no answer
            return None
        left, right = (real, neural) if trial.truth == "left" else (neural, real)
        trial.made = trial.length
        header = {"type": "clips", "fps": self.source.fps, "trial": len(self.answered) + 1}
        return Shown([*left, *right], header, padded=True)

    def _neural(self, trial: PendingTrial) -> list[bytes] | None:
        """The model's own frames, given the recorded actions of the clip."""
        if trial.question.after == 0:
            self.match.start(self.source.history(trial.entry, trial.frame), beside=False)
        elif not self.long_dream.ready(trial.question.after, trial.length):
            return None
        made: list[bytes] = []
        last = trial.frame + trial.length
        taken = self.source.episodes.actions(trial.entry)[trial.frame : last]
        for action in taken:
            if not self.wanted():
                return None
            made.append(to_jpeg(self.match.step(int(action))[-1]))
            if len(made) % 4 == 0:
                share = round(len(made) / trial.length, 2)
                self.tell({"type": "making", "what": "making two clips", "share": share})
        return made

    def _active(self, frame: Frame) -> Shown:
        trial = self.open
        assert trial is not None
        left = (trial.length - trial.made) / self.source.fps
        number = len(self.answered) + 1  # a frame of the trial before may come after its answer
        return Shown([to_jpeg(frame)], {"trial": number, "left": round(left, 1)}, padded=True)

    def _answer(self, answer: protocol.Answer) -> None:
        trial = self.open
        if trial is None or answer.choice not in OPTIONS[trial.question.kind]:
            raise BadMessage(f"choice: {answer.choice}: no such question is open")
        playing = trial.question.kind == "active" and trial.made < trial.length
        self.paused, self.open = True, None
        record = Record(
            at=datetime.now(UTC),
            rater=trial.question.rater,
            kind=trial.question.kind,
            seconds=trial.question.seconds,
            after=trial.question.after,
            scenario=self.source.facts.scenario,
            episode=trial.entry.id,
            frame=trial.frame,
            model=in_words(self.match.dream.settings),
            truth=trial.truth,
            choice=answer.choice,
            knew_after=round(trial.made / self.source.fps, 2) if playing else None,
            cut_short=trial.cut_short,
        )
        self.answers.append(record)
        self.answered.append(record)
        self.tell({"type": "answered", "count": len(self.answered)})


def in_words(settings: Settings) -> str:
    """``teacher, 4 steps, guidance 1.5``."""
    how = settings.sampling
    text = f"{settings.model}, {how.steps} step" + ("" if how.steps == 1 else "s")
    text += f", guidance {how.guidance:g}" if how.guidance != 1 else ""
    text += f", noise {how.context_noise:g}" if how.context_noise else ""
    text += f", shift {how.shift:g}" if how.shift != 1 else ""
    return text + (f", order {how.order}" if how.order != 1 else "")
