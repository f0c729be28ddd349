"""From tables of measurements to metrics.json and the CSV files that ``dvc plots`` draws."""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from gamengen.evaluation import (
    action_following,
    actions_read,
    enemies_read,
    fvd,
    long_play,
    room,
    status_bar,
)
from gamengen.evaluation.enemies import AFTER
from gamengen.evaluation.instruments import NO_GAME
from gamengen.evaluation.params import Params
from gamengen.evaluation.player import Model
from gamengen.evaluation.scores import Nested, gain, score, write
from gamengen.evaluation.shards import Table, with_prefix
from gamengen.evaluation.statistics import estimate, ratio
from gamengen.game.facts import GameFacts

MOTION = ("little", "some", "much")
BASELINES = ("copy_last", "autoencoder")


class Names:
    """Model names for each measure; ``default_sampling`` as their folders say."""

    def __init__(
        self, one_frame: Sequence[Model], rollout: Sequence[Model], default: Sequence[Model]
    ) -> None:
        each = [[model.name for model in models] for models in (one_frame, rollout, default)]
        self.one_frame = ["copy_last", *each[0], "autoencoder"]
        self.rollout = ["copy_last", *each[1], "autoencoder"]
        self.default_sampling = each[2]


def metrics_of(
    tables: Mapping[str, Table],
    game: GameFacts,
    params: Params,
    perceptual: Sequence[str],
    held_down: Sequence[int],
    names: Names,
) -> Nested:
    """``perceptual`` are the LPIPS networks that a loss saw; ``held_down`` the actions held."""
    forced, rollouts, count = tables["teacher_forced"], tables["rollouts"], len(game.actions)
    return {
        "split": params.split,
        "lpips_in_a_loss": {net: net in perceptual for net in ("alex", "vgg")},
        "teacher_forced": teacher_forced(forced, names.one_frame),
        "autoregressive": autoregressive(rollouts, names.rollout),
        "by_motion": by_motion(rollouts, names.rollout),
        "enemies": enemies(rollouts, names.rollout),
        "enemies_read": enemies_read.summary(rollouts, names.rollout),
        **fvd_distances(tables.get("fvd"), names.rollout),
        "status_bar": status_bar.summary(rollouts, names.rollout),
        "room": room.summary(tables.get("room"), names.default_sampling, game, params.room),
        "long_play": long_play.summary(
            tables.get("long_play"), ["copy_last", *names.default_sampling]
        ),
        "actions_read": {
            "teacher_forced": actions_read.summary(forced, names.one_frame, count),
            "autoregressive": actions_read.summary(rollouts, names.rollout, count),
        },
        "actions": actions(game, tables, held_down, names.default_sampling),
    }


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
    found = {name: {m: v[chosen] for m, v in with_prefix(name, table).items()} for name in names}
    for name, ours in found.items():
        out[name] = score(ours, episodes)
        if name not in BASELINES:
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


def by_motion(table: Table, names: Sequence[str]) -> Nested:
    """The last step's in thirds of the rollouts, by how much the real videos move."""
    if len(table["motion"]) < len(MOTION):
        return {"reason": f"needs {len(MOTION)} rollouts"}
    thirds = np.array_split(np.argsort(table["motion"], kind="stable"), len(MOTION))
    return {
        motion: {name: _last(table, name, rows) for name in names}
        for motion, rows in zip(MOTION, thirds, strict=True)
    }


def _last(table: Table, name: str, rows: np.ndarray) -> Nested:
    """PSNR and LPIPS (AlexNet) of the last step of some rollouts."""
    kept = ("episode", "copy_last/", f"{name}/")
    some = {key: table[key][rows] for key in table if key.startswith(kept)}
    last = _over(some, name, slice(table["step"].shape[1] - 1, None), "{}_last")
    return {key: last[key] for key in last if key.startswith(("psnr_last", "lpips_alex"))}


def _over(table: Table, name: str, steps: slice, named: str) -> Nested:
    """The score of some steps of all rollouts, and the gain over the held frame."""
    ours, held = (
        {metric: values[:, steps].ravel() for metric, values in with_prefix(of, table).items()}
        for of in (name, "copy_last")
    )
    episodes = table["episode"].repeat(len(ours["mse"]) // len(table["episode"]))
    found = score(ours, episodes, named)
    if name in BASELINES:
        return found
    return found | gain(ours, held, episodes, f"{named}_over_copy_last")


def enemies(table: Table, names: Sequence[str]) -> Nested:
    """Share of the enemies' contrast that is left after 1, 4, 16 and 64 own frames.

    ``rollouts`` are those in which one is in sight then.
    """
    if "enemies/real" not in table:
        return {"reason": NO_GAME}
    real = table["enemies/real"]
    out: Nested = {}
    for step in (n - 1 for n in AFTER if n <= real.shape[1]):
        kept: Nested = dict.fromkeys(names)
        out[f"after_{step + 1}"] = kept
        if in_sight := int((real[:, step] != 0).sum()):
            kept["rollouts"] = in_sight
            for name in names:
                left = table[f"enemies/{name}"][:, step]
                write(kept, name, ratio(left, real[:, step], table["episode"]), 3)
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
    game: GameFacts, tables: Mapping[str, Table], held_down: Sequence[int], names: Sequence[str]
) -> Nested:
    """Per action: the median shift, pixels to the right a frame, and the share that moves so.

    ``tables`` has one of every ``action_<index>``, or of none where there is no such game.
    """
    out: Nested = {}
    if not held_down:
        return {"reason": "not measured: evaluate.actions.starts is 0"}
    if f"action_{held_down[0]}" not in tables:
        return {"reason": NO_GAME}
    for action in held_down:
        table = tables[f"action_{action}"]
        real, _ = action_following.flatten(table, "real")
        kept: Nested = {"frames": len(real)}
        out[game.action_names[action]] = kept
        if not len(real):
            kept["reason"] = "the game was over at once"
            continue
        median = float(np.median(real))
        for name in ("real", "autoencoder", "copy_last", *names):
            shifts, episodes = action_following.flatten(table, name)
            alike = action_following.moves_alike(shifts, median, game.width)
            kept[f"shift_{name}"] = round(float(np.median(shifts)), 2)
            write(kept, f"alike_{name}", estimate(alike, episodes), 3)
    return out


def in_words(metrics: Nested) -> str:
    """What the stage says at its end: each number with what makes it readable."""
    forced, moving = metrics["teacher_forced"], metrics["teacher_forced"]["moving"]
    lines = [
        f"{metrics['split']}, one frame ahead, {moving['frames']} moving of {forced['frames']} "
        "frames (PSNR of the pooled error; LPIPS by AlexNet, VGG16):"
    ]
    for name, value in moving.items():
        if isinstance(value, dict):
            lines.append(f"  {name:12} {_in_words(value, '{}')}")
    played = metrics["autoregressive"]
    lines.append(f"{played['rollouts']} rollouts of {played['frames']} frames, first -> last:")
    for name, value in played.items():
        if isinstance(value, dict):
            ends = (_in_words(value, named) for named in ("{}_first", "{}_last"))
            lines.append(f"  {name:12} {' -> '.join(ends)}")
    return "\n".join(lines)


def _in_words(scores: Nested, named: str) -> str:
    psnr, *lpips = (
        scores[named.format(metric)] for metric in ("psnr_pooled", "lpips_alex", "lpips_vgg")
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


def per_model(group: Nested, names: Sequence[str]) -> list[Nested]:
    """One row per model: all frames, then the moving ones."""
    rows = []
    for name in names:
        row = {"model": name} | group[name]
        rows.append(row | {f"moving_{k}": v for k, v in group["moving"].get(name, {}).items()})
    return rows


def write_csv(path: Path, rows: Sequence[Nested]) -> None:
    """Rows with the columns of all of them; what a row lacks is left empty."""
    columns = list(dict.fromkeys(key for row in rows for key in row))
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, columns, restval="")
        writer.writeheader()
        writer.writerows(rows)
