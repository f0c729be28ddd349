"""What was asked of raters, and what they answered, on one page to print.

``python -m gamengen.play.sheet FILE.html``
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gamengen.model.weights import Weights, load_weights, newest
from gamengen.play import blind, questions
from gamengen.play.blind import PAPER, Answers, Record, Verdict, verdicts
from gamengen.play.dream import defaults
from gamengen.play.questions import CLIPS, Offer
from gamengen.play.trials import in_words
from gamengen.runtime.errors import InputError
from gamengen.runtime.template import read_template

TEMPLATE = Path(__file__).parent / "sheet.html.j2"


def render(folder: Path, weights: Weights, records: Sequence[Record]) -> str:
    """The page: self-contained HTML. It counts the scenario's two-clip trials alone."""
    game, context_frames = weights.teacher.game, weights.teacher.context_frames
    told = [r for r in records if r.kind == CLIPS and r.scenario == game.scenario]
    return read_template(TEMPLATE).render(
        folder=folder,
        settings=in_words(defaults(weights)[weights.first]),
        context_frames=context_frames,
        context_seconds=context_frames / float(game.fps),
        game=game,
        scenario=Path(game.scenario).stem,
        offers=questions.offers(CLIPS),
        question=questions.QUESTIONS[CLIPS],
        options=list(questions.OPTIONS[CLIPS].values()),
        invitation=questions.INVITATION,
        least=max(questions.AFTER[CLIPS]) / 60,
        most=questions.OLDEST / 60,
        rows=rows(told),
        trials=len(told),
        raters=len({record.rater for record in told}),
        days=sorted({record.at.date().isoformat() for record in told}),
    )


def rows(records: Sequence[Record]) -> list[dict[str, Any]]:
    """One per verdict, and one per offer that nobody has taken up."""
    found = sorted(verdicts(records), key=lambda verdict: verdict.model)
    asked = {(verdict.seconds, verdict.after) for verdict in found}
    missing = [one for one in questions.offers(CLIPS) if (one.seconds, one.after) not in asked]
    every: list[Verdict | Offer] = [*found, *missing]
    return [
        {
            "seconds": one.seconds,
            "after": one.after / 60,
            "verdict": one if isinstance(one, Verdict) else None,
            "paper": PAPER.get((CLIPS, one.seconds, one.after)),
        }
        for one in sorted(every, key=lambda one: (one.after, one.seconds))
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description="A page to print: what was asked and answered.")
    parser.add_argument("file", type=Path, help="HTML to write")
    parser.add_argument("--model", type=Path, default=newest(), help="its folder (%(default)s)")
    parser.add_argument("--answers", type=Path, default=blind.FILE, help="(%(default)s)")
    args = parser.parse_args()
    answers = Answers(args.answers)
    try:
        records = answers.read() if answers.path.exists() else []
        page = render(args.model, load_weights(args.model), records)
        args.file.write_text(page)
    except (InputError, OSError) as error:
        sys.exit(f"error: {error}")
    print(f"file://{args.file.resolve()}")


if __name__ == "__main__":
    main()
