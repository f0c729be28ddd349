"""``python -m gamengen.bench``: how fast this machine plays, as one table and as JSON."""

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import get_args

from gamengen.backends.backend import NAMES, open_backend
from gamengen.bench import full_size
from gamengen.bench.machine import this_machine
from gamengen.bench.speed import Speed, play
from gamengen.data.episodes import recorded_history
from gamengen.data.replay import load_episodes
from gamengen.game.engine import History
from gamengen.model.weights import Role, Weights, load_weights, newest
from gamengen.play.dream import Dream, Settings, black, defaults
from gamengen.runtime.device import Format, Precision
from gamengen.runtime.errors import InputError

TOO_SLOW = 1000  # ms a frame: where eager is slower, no other way is worth its build


@dataclass(frozen=True)
class Row:
    """What was played, and how fast; or why not."""

    model: str
    backend: str
    precision: Format | None
    settings: Settings | None
    speed: Speed | None
    note: str = ""


@dataclass(frozen=True)
class Options:
    """What the command line may say."""

    model: Path
    out: Path
    seconds: float
    steps: list[int]
    backends: list[str]
    precision: Precision
    full_size: bool


def main(options: Options) -> int:
    """Measure, print the table, write the JSON; 2 when there is nothing to play."""
    try:
        weights = load_weights(options.model)
        episodes = load_episodes(options.model)
        entry = episodes.of("test")[0]
        history = recorded_history(
            episodes, entry, min(100, entry.length - 1), weights.teacher.context_frames
        )
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    rows = list(measure(str(options.model), weights, history, options))
    if options.full_size:
        rows += _full_size(weights, options)
    report(rows, options)
    return 0


def measure(model: str, weights: Weights, history: History, options: Options) -> Iterator[Row]:
    """Every back end, in each number of steps."""
    slow = ""
    for name in options.backends:
        if slow:
            yield Row(model, name, None, None, None, slow)
            continue
        try:
            backend = open_backend(name, options.precision)
            dream = Dream(weights, backend)
            for steps in options.steps:
                dream.settings = _settings(weights, steps)
                speed = play(dream, history, options.seconds)
                yield Row(model, name, backend.precision, dream.settings, speed)
                print(f"{model}, {name}, {steps}: {speed.fps:.1f} FPS", file=sys.stderr)
                if name == "eager" and speed.frame.p50 / steps > TOO_SLOW:
                    slow = f"not tried: eager takes {speed.frame.p50 / 1e3:.1f} s a frame"
        except Exception as error:  # whatever a back end's own libraries raise
            yield Row(model, name, None, None, None, reason(error))


def reason(error: Exception) -> str:
    """Why a back end does not run, in a line."""
    if isinstance(error, InputError):
        return str(error)
    # torch.compile's own begins with a line that says nothing but which back end raised.
    lines = [line for line in map(str.strip, str(error).splitlines()) if line]
    lines = [line for line in lines if not line.endswith("raised:")]
    return f"does not run here: {type(error).__name__}: {lines[0] if lines else 'no message'}"


def _full_size(weights: Weights, options: Options) -> Iterator[Row]:
    """Stable Diffusion's size; OpenVINO is for CPUs, which it is too large for."""
    model = "SD 1.4's size, random weights"
    backends = [name for name in options.backends if not name.startswith("openvino")]
    try:
        large = full_size.full_size(weights.teacher.game)
    except (MemoryError, RuntimeError) as error:  # torch's own want of memory
        yield from (Row(model, name, None, None, None, reason(error)) for name in backends)
        return
    yield from measure(model, large, black(large.teacher.game), replace(options, backends=backends))


def _settings(weights: Weights, steps: int) -> Settings:
    """As it is played; one step is the student's where there is one."""
    role: Role = "student" if steps == 1 and weights.distilled else "teacher"
    return Settings(role, replace(defaults(weights)[role].sampling, steps=steps))


def report(rows: Sequence[Row], options: Options) -> None:
    """The table on stdout; everything, and the machine, in ``options.out``."""
    machine = this_machine()
    print(f"{machine['cpu']}, {machine['threads']} threads; {machine['accelerator']}")
    print(" ".join(f"{k} {v}" for k, v in machine["versions"].items()))
    print(table(rows))
    result = {
        "machine": machine,
        "seconds": options.seconds,
        "rows": [asdict(row) for row in rows],
    }
    options.out.write_text(json.dumps(result, indent=1) + "\n")


PARTS = ("denoise", "decode", "picture", "frame")


def table(rows: Sequence[Row]) -> str:
    """Plain text, a line a row; FPS counts action in, denoise, decode and picture out."""
    lines, model = [], None
    for row in rows:
        if row.model != model:
            lines += ["", *_heading(row.model)]
            model = row.model
        lines.append(f"{row.backend:<14} {_figures(row)}".rstrip())
    return "\n".join(lines)


def _heading(model: str) -> list[str]:
    """Three lines: whose rows these are, and what their columns hold."""
    groups = "".join(f"{name + ' ms':>16}" for name in PARTS)
    columns = f"{'p50':>8}{'p99':>8}" * len(PARTS)
    left = f"{'back end':<14} {'precision':<9} {'model':<8}{'steps':>5}"
    return [model, f"{'':<{len(left)}}{groups}", f"{left}{columns}{'FPS':>8}{'real time':>11}"]


def _figures(row: Row) -> str:
    if row.speed is None or row.settings is None:
        return row.note
    settings, speed = row.settings, row.speed
    spreads = [getattr(speed, name) for name in PARTS]
    numbers = "".join(f"{part.p50:8.2f}{part.p99:8.2f}" for part in spreads)
    return (
        f"{row.precision:<9} {settings.model:<8}{settings.sampling.steps:>5}{numbers}"
        f"{speed.fps:8.1f}{speed.real_time:10.2f}x"
    )


def parse(arguments: Sequence[str]) -> Options:
    parser = argparse.ArgumentParser("python -m gamengen.bench", description=__doc__)
    add = parser.add_argument
    add("--model", type=Path, default=newest())
    add("--out", type=Path, default=Path("bench.json"))
    add("--seconds", type=float, default=20, help="of play per row")
    add("--steps", type=int, nargs="+", default=[1, 4])
    add("--backends", nargs="+", choices=NAMES, default=list(NAMES))
    add("--precision", choices=get_args(Precision), default="auto", help="(%(default)s)")
    add("--full-size", action=argparse.BooleanOptionalAction, default=True, help="SD 1.4's size")
    options = Options(**vars(parser.parse_args(arguments)))
    if not options.out.absolute().parent.is_dir():
        parser.error(f"--out {options.out}: there is no folder {options.out.parent}")
    return options
