"""Episodes of the real game, recorded in seconds."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from gamengen.data.episodes import Episode, Episodes, EpisodeWriter, Row
from gamengen.data.index import Index, Split, write_index
from gamengen.game.doom import Game
from gamengen.game.scenario import game_facts
from tests.artifacts import make_entry


def record(
    folder: Path, splits: Sequence[Split], length: int, held: int = 1, only: str = ""
) -> Episodes:
    """Random play of ``defend_the_line``: an episode a split, each a frame longer than the last.

    An action lasts ``held`` frames; ``only`` those are drawn whose names hold that word.
    """
    facts = game_facts("defend_the_line", "160x120", 2, 2, 2, 4)
    chosen = [number for number, name in enumerate(facts.action_names) if only in name]
    writer, game, entries = EpisodeWriter(folder / "own.zarr", facts), Game(facts), []
    for seed, split in enumerate(splits):
        frames = length + seed
        drawn = np.random.default_rng(seed).choice(chosen, size=-(-frames // held))
        actions = drawn.repeat(held)[:frames]
        frame, rows = game.start(seed), []
        for action in actions[:-1]:
            rows.append(Row(frame, action, 0.0, game.variables))
            frame = game.step(int(action))
        rows.append(Row(frame, facts.no_action, 0.0, game.variables))
        start = writer.append(Episode.of(rows))
        entries.append(make_entry(start, frames, seed, "own.zarr", split))
    game.close()
    writer.flush()
    write_index(folder, Index(game=facts, entries=entries))
    return Episodes(folder)
