"""From tables of measurements to metrics.json and the CSV files that ``dvc plots`` draws."""

import csv
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from gamengen.metrics import fvd, obedience
from gamengen.metrics.enemies import AFTER
from gamengen.metrics.estimate import estimate
from gamengen.metrics.heldout import Heldout
from gamengen.metrics.shards import Table

Nested = dict[str, Any]


def put(out: Nested, key: str, values: np.ndarray, episodes: np.ndarray, digits: int) -> None:
    """Write a mean as ``key`` and half its 95 % interval, where there is one, as ``key_95``."""
    found = estimate(values.astype(np.float64), episodes)
    out[key] = round(found.mean, digits)
    if found.margin is not None:
        out[f"{key}_95"] = round(found.margin, digits)


def digits(metric: str) -> int:
    """Decimals that a metric is printed with."""
    return 2 if metric == "psnr" else 4


def teacher_forced(table: Table, names: Sequence[str], moving_below: float) -> Nested:
    """Means over all frames, and under ``moving`` over those whose copy-last PSNR is low."""
    moving = table["copy_last/psnr"] < moving_below
    out = _means(table, names, np.ones_like(moving))
    out["moving"] = _means(table, names, moving)
    out["moving"]["below_db"] = moving_below
    return out


def _means(table: Table, names: Sequence[str], chosen: np.ndarray) -> Nested:
    out: Nested = {"frames": int(chosen.sum())}
    if not chosen.any():
        return out | {"reason": "no such frame among them"}
    episodes = table["episode"][chosen]
    out["episodes"] = len(np.unique(episodes))
    baselines = ("copy_last", "autoencoder")
    for name in names:
        out[name] = {}
        for metric in metrics_of(table):
            values = table[f"{name}/{metric}"][chosen]
            put(out[name], metric, values, episodes, digits(metric))
            if name not in baselines:
                gain = values - table[f"copy_last/{metric}"][chosen]
                put(out[name], f"{metric}_over_copy_last", gain, episodes, digits(metric))
    return out


def metrics_of(table: Table) -> list[str]:
    """The metrics a table has a column of."""
    return [key.removeprefix("copy_last/") for key in table if key.startswith("copy_last/")]


def autoregressive(table: Table, names: Sequence[str]) -> Nested:
    """Means over all steps, and at the first and the last one."""
    rollouts, frames = table["copy_last/psnr"].shape
    episodes = table["episode"]
    out: Nested = {
        "rollouts": rollouts,
        "frames": frames,
        "episodes": len(np.unique(episodes)),
    }
    for name in names:
        out[name] = {}
        for metric in metrics_of(table):
            values = table[f"{name}/{metric}"]
            put(out[name], metric, values.mean(1), episodes, digits(metric))
            put(out[name], f"{metric}_first", values[:, 0], episodes, digits(metric))
            put(out[name], f"{metric}_last", values[:, -1], episodes, digits(metric))
    return out


def enemies(table: Table, names: Sequence[str]) -> Nested:
    """Share of the enemies' contrast that is left after 1, 4, 16 and 64 own frames."""
    if "enemies/real" not in table:
        return {"reason": "not measured: ViZDoom has no such game"}
    real = table["enemies/real"]
    out: Nested = {}
    for after in (n for n in AFTER if n <= real.shape[1]):
        total = real[:, after - 1].sum()
        out[f"after_{after}"] = {
            name: round(float(table[f"enemies/{name}"][:, after - 1].sum() / total), 3)
            if total
            else None
            for name in names
        }
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
    held: Heldout,
    tables: Mapping[str, Table],
    chosen: Sequence[int],
    players: Sequence[str],
    most: int,
) -> Nested:
    """Per action: the usual shift, pixels to the right a frame, and the share that moves so.

    ``tables`` has one of every ``action_<index>_<player>``.
    """
    if not chosen:
        return {"reason": "not measured: evaluate.actions.starts is 0"}
    game = held.latents.game
    out: Nested = {}
    for action in chosen:
        told: Nested = {}
        out[game.action_names[action]] = told
        real = obedience.recorded(held, action, most)
        if real is None:
            told["reason"] = f"recorded at fewer than {obedience.FEWEST} held-out frames in a row"
            continue
        told["shift_real"], told["frames_real"] = round(real.usual, 2), len(real.shifts)
        found = {
            "real": (real.shifts, real.episodes),
            "autoencoder": (real.decoded, real.episodes),
        }
        for player in players:
            found[player] = obedience.flatten(tables[f"action_{action}_{player}"])
            told[f"shift_{player}"] = round(float(np.median(found[player][0])), 2)
            told[f"frames_{player}"] = len(found[player][0])
        for name, (values, groups) in found.items():
            alike = obedience.moves_alike(values, real.usual, game.width)
            put(told, f"alike_{name}", alike, groups, 3)
    return out


def write_metrics(path: Path, told: Nested) -> None:
    """Write metrics.json whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".partial-{path.name}")
    beside.write_text(json.dumps(told, indent=2) + "\n")
    os.replace(beside, path)


def in_words(told: Nested) -> str:
    """What the stage says at its end: each number with what makes it readable."""
    forced, moving = told["teacher_forced"], told["teacher_forced"]["moving"]
    lines = [
        f"one frame ahead, {moving['frames']} moving of {forced['frames']} held-out frames "
        "(PSNR per frame, averaged; LPIPS-alex):"
    ]
    for name, value in moving.items():
        if isinstance(value, dict):
            lines.append(f"  {name:12} {value['psnr']:6.2f} dB  LPIPS {value['lpips']:.3f}")
    played = told["autoregressive"]
    lines.append(f"{played['rollouts']} rollouts of {played['frames']} frames, first -> last:")
    for name, value in played.items():
        if isinstance(value, dict):
            lines.append(
                f"  {name:12} {value['psnr_first']:6.2f} -> {value['psnr_last']:.2f} dB  "
                f"LPIPS {value['lpips_first']:.3f} -> {value['lpips_last']:.3f}"
            )
    return "\n".join(lines)


def per_step(table: Table, names: Sequence[str]) -> list[Nested]:
    """One row per step of a rollout; keys ``<model>_<metric>`` and ``..._95``."""
    rows: list[Nested] = []
    for step in range(table["copy_last/psnr"].shape[1]):
        row: Nested = {"step": step + 1}
        for name in names:
            for metric in metrics_of(table):
                values = table[f"{name}/{metric}"][:, step]
                put(row, f"{name}_{metric}", values, table["episode"], digits(metric))
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
