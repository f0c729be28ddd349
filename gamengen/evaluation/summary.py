"""From tables of measurements to metrics.json and the CSV files that ``dvc plots`` draws."""

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from gamengen.evaluation import action_following, fvd
from gamengen.evaluation.enemies import AFTER
from gamengen.evaluation.scores import Nested, gain, score, write
from gamengen.evaluation.shards import Table, under
from gamengen.evaluation.statistics import estimate, ratio
from gamengen.game.facts import GameFacts
from gamengen.runtime.replacing import replacing

NO_GAME = "not measured: ViZDoom has no such game"


def teacher_forced(table: Table, names: Sequence[str]) -> Nested:
    """Means over all frames, and under ``moving`` over those that move."""
    out = _means(table, names, np.ones_like(table["moving"]))
    out["moving"] = _means(table, names, table["moving"])
    return out


def _means(table: Table, names: Sequence[str], chosen: np.ndarray) -> Nested:
    out: Nested = {"frames": int(chosen.sum())}
    if not chosen.any():
        return out | {"reason": "no such frame among them"}
    episodes = table["episode"][chosen]
    out["episodes"] = len(np.unique(episodes))
    found = {name: {m: v[chosen] for m, v in under(name, table).items()} for name in names}
    for name, ours in found.items():
        out[name] = score(ours, episodes)
        if name not in ("copy_last", "autoencoder"):
            out[name] |= gain(ours, found["copy_last"], episodes, "{}_over_copy_last")
    return out


def autoregressive(table: Table, names: Sequence[str]) -> Nested:
    """Means over the steps that are compared, and at the first and the last one."""
    rollouts, compared = table["step"].shape
    out: Nested = {
        "rollouts": rollouts,
        "frames": int(table["step"][0, -1]),
        "episodes": len(np.unique(table["episode"])),
    }
    parts = {"{}": slice(None), "{}_first": slice(1), "{}_last": slice(compared - 1, None)}
    for name in names:
        out[name] = {}
        for named, steps in parts.items():
            out[name] |= _over(table, name, steps, named)
    return out


def _over(table: Table, name: str, steps: slice, named: str) -> Nested:
    """The score of some steps of all rollouts."""
    some = {metric: values[:, steps] for metric, values in under(name, table).items()}
    episodes = table["episode"].repeat(some["mse"].shape[1])
    return score({metric: values.ravel() for metric, values in some.items()}, episodes, named)


def enemies(table: Table, names: Sequence[str]) -> Nested:
    """Share of the enemies' contrast that is left after 1, 4, 16 and 64 own frames."""
    if "enemies/real" not in table:
        return {"reason": NO_GAME}
    real = table["enemies/real"]
    out: Nested = {}
    for step in (n - 1 for n in AFTER if n <= real.shape[1]):
        told: Nested = dict.fromkeys(names)
        out[f"after_{step + 1}"] = told
        if real[:, step].any():
            for name in names:
                left = table[f"enemies/{name}"][:, step]
                write(told, name, ratio(left, real[:, step], table["episode"]), 3)
    return out


def fvd_distances(table: Table | None, names: Sequence[str]) -> Nested:
    """``fvd_16`` and ``fvd_32`` of every model; ``null``, and why, without I3D."""
    if table is None:
        return {f"fvd_{n}": None for n in fvd.LENGTHS} | {"fvd_reason": fvd.NO_WEIGHTS}
    found: Nested = {
        f"fvd_{n}": {
            name: round(fvd.frechet_distance(table[f"real/{n}"], table[f"{name}/{n}"]), 2)
            for name in names
        }
        for n in fvd.LENGTHS
    }
    return found | {"fvd_videos": len(table["real/16"])}


def actions(
    game: GameFacts, tables: Mapping[str, Table], chosen: Sequence[int], players: Sequence[str]
) -> Nested:
    """Per action: the usual shift, pixels to the right a frame, and the share that moves so.

    ``tables`` has one of every ``action_<index>``, or of none where there is no such game.
    """
    out: Nested = {}
    if not chosen:
        return {"reason": "not measured: evaluate.actions.starts is 0"}
    if f"action_{chosen[0]}" not in tables:
        return {"reason": NO_GAME}
    for action in chosen:
        table = tables[f"action_{action}"]
        real, _ = action_following.flatten(table, "real")
        told: Nested = {"frames": len(real)}
        out[game.action_names[action]] = told
        if not len(real):
            told["reason"] = "the game was over at once"
            continue
        usual = float(np.median(real))
        for name in ("real", "autoencoder", "copy_last", *players):
            shifts, episodes = action_following.flatten(table, name)
            alike = action_following.moves_alike(shifts, usual, game.width)
            told[f"shift_{name}"] = round(float(np.median(shifts)), 2)
            write(told, f"alike_{name}", estimate(alike, episodes), 3)
    return out


def write_metrics(path: Path, told: Nested) -> None:
    """Write metrics.json whole or not at all."""
    with replacing(path) as partial:
        partial.write_text(json.dumps(told, indent=2) + "\n")


def in_words(told: Nested) -> str:
    """What the stage says at its end: each number with what makes it readable."""
    forced, moving = told["teacher_forced"], told["teacher_forced"]["moving"]
    lines = [
        f"{told['split']}, one frame ahead, {moving['frames']} moving of {forced['frames']} frames "
        "(PSNR of the pooled error; LPIPS by AlexNet, VGG16):"
    ]
    for name, value in moving.items():
        if isinstance(value, dict):
            lines.append(f"  {name:12} {_in_words(value, '{}')}")
    played = told["autoregressive"]
    lines.append(f"{played['rollouts']} rollouts of {played['frames']} frames, first -> last:")
    for name, value in played.items():
        if isinstance(value, dict):
            ends = (_in_words(value, named) for named in ("{}_first", "{}_last"))
            lines.append(f"  {name:12} {' -> '.join(ends)}")
    return "\n".join(lines)


def _in_words(told: Nested, named: str) -> str:
    psnr, *lpips = (
        told[named.format(metric)] for metric in ("psnr_pooled", "lpips_alex", "lpips_vgg")
    )
    return f"{psnr:6.2f} dB  LPIPS {', '.join(f'{value:.3f}' for value in lpips)}"


def per_step(table: Table, names: Sequence[str]) -> list[Nested]:
    """One row per compared step of a rollout; keys ``<model>_<metric>`` and ``..._95``."""
    rows: list[Nested] = []
    for index, step in enumerate(table["step"][0].tolist()):
        row: Nested = {"step": step}
        for name in names:
            row |= _over(table, name, slice(index, index + 1), f"{name}_{{}}")
        rows.append(row)
    return rows


def per_model(told: Nested, names: Sequence[str]) -> list[Nested]:
    """One row per model: all frames, then the moving ones."""
    rows = []
    for name in names:
        row = {"model": name} | told[name]
        rows.append(row | {f"moving_{k}": v for k, v in told["moving"].get(name, {}).items()})
    return rows


def write_csv(path: Path, rows: Sequence[Nested]) -> None:
    """Rows with the columns of all of them; what a row lacks is left empty."""
    columns = list(dict.fromkeys(key for row in rows for key in row))
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, columns, restval="")
        writer.writeheader()
        writer.writerows(rows)
