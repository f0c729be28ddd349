"""Games die and hang, and what they make is what undisturbed ones make."""

import os
import signal
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from gamengen.collection import game_process
from gamengen.collection.collection import Progress
from gamengen.collection.games import Games
from gamengen.collection.recording import Rules, Writer, start_games
from gamengen.data.episodes import Episodes
from gamengen.data.index import Index, write_index
from gamengen.game.scenario import game_facts
from gamengen.runtime.errors import InputError
from tests.tiny import tiny_params

FACTS = game_facts("defend_the_center", "160x120", 1, 2, 2, 4)
STEPS = 36
RULES = Rules.model_validate(tiny_params({})["collect"]["rules"] | {"episode_tics": 40})
Disturb = Callable[[Games], None]


def start(folder: Path, count: int = 2, **changes: Any) -> Games:
    writers = [
        Writer(folder=folder, store=f"game{number}.zarr", number=number, count=2, games=2, seed=3)
        for number in range(count)
    ]
    facts = FACTS.model_copy(update=changes)
    return start_games(facts, RULES, writers, "training", [Progress()] * count)


def worker(games: Games, number: int) -> psutil.Process:
    pid = games.games[number].process.pid
    assert pid is not None
    return psutil.Process(pid)


def engine(games: Games, number: int) -> psutil.Process:
    return next(each for each in worker(games, number).children() if each.name() == "vizdoom")


def play(games: Games, disturbances: Mapping[int, Disturb]) -> tuple[list[Any], list[Progress]]:
    """What every step gave, and where the games stand in the end; a checkpoint halfway."""
    random, told = np.random.default_rng(0), []
    observations = games.reset()
    for step in range(STEPS):
        if step == 6:
            games.env_method("play_as", "trained")
        if step == STEPS // 2:
            told.append(games.env_method("checkpoint"))
        if step == STEPS - 4:
            games.env_method("finish")
        games.step_async(random.integers(len(FACTS.actions), size=2))
        if step in disturbances:
            disturbances[step](games)
        told.append((observations, *games.step_wait()))
        observations = told[-1][1]
    return told, games.env_method("checkpoint")


def recorded(folder: Path, told: list[Progress]) -> list[np.ndarray]:
    entries = [entry for progress in told for entry in progress.entries]
    write_index(folder, Index(game=FACTS, entries=entries))
    episodes = Episodes(folder)
    return [read(entry) for entry in entries for read in (episodes.frames, episodes.actions)]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    folder = tmp_path_factory.mktemp("undisturbed")
    games = start(folder)
    yield *play(games, {}), folder
    games.close()


def assert_same(ours: Any, theirs: Any) -> None:
    if isinstance(theirs, dict):
        assert ours.keys() == theirs.keys()
        for key, value in theirs.items():
            assert_same(ours[key], value)
    elif isinstance(theirs, list | tuple):
        for one, other in zip(ours, theirs, strict=True):
            assert_same(one, other)
    elif isinstance(theirs, np.ndarray):
        np.testing.assert_array_equal(ours, theirs)
    else:
        assert ours == theirs


def test_games_that_die_or_hang_go_on_as_if_nothing_had_happened(
    tmp_path: Path, undisturbed: Any, monkeypatch: pytest.MonkeyPatch
):
    # Not caplog: Prefect takes the handlers of the root logger away when it sets up its own.
    said = list[str]()
    monkeypatch.setattr(game_process.log, "warning", lambda line, *of: said.append(line % of))
    games = start(tmp_path)
    left: list[Path] = []

    def hang(games: Games) -> None:
        left.extend(games.games[0].traces)
        os.killpg(worker(games, 0).pid, signal.SIGSTOP)  # and its engine
        games.games[0].due = 0.0

    ours, told = play(
        games,
        {
            4: lambda games: engine(games, 0).kill(),
            STEPS // 2 + 6: lambda games: worker(games, 1).kill(),
            STEPS - 2: hang,
        },
    )
    answers, theirs, folder = undisturbed
    assert_same(ours, answers)
    assert told == theirs
    assert {entry.policy for each in told for entry in each.entries} == {"training", "trained"}
    assert_same(recorded(tmp_path, told), recorded(folder, theirs))
    deaths = [line.split(": ")[:2] for line in said]
    assert deaths[1:] == [
        ["game game1", "its process was ended; it is started again and brought back"],
        ["game game0", "it has not answered for too long; it is started again and brought back"],
    ]
    assert len(left) == 4
    assert not any(path.exists() for path in left)

    # As when an interrupt comes between two answers: what is still to come is not waited for.
    processes = [each(games, number) for each in (worker, engine) for number in range(2)]
    games.step_async(np.zeros(2, int))
    games.games[0].answer()
    games.close()
    assert not psutil.wait_procs(processes, timeout=20)[1]


def test_a_game_that_dies_again_and_again_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(game_process, "RESTARTS", 1)
    games = start(tmp_path, count=1)
    engine(games, 0).kill()
    games.step(np.zeros(1, int))
    processes, left = [worker(games, 0), engine(games, 0)], games.games[0].traces
    engine(games, 0).kill()
    again = r"game game0: died 2 times within 60 minutes.*same command goes on from the last check"
    with pytest.raises(InputError, match=again):
        games.step(np.zeros(1, int))
    games.close()
    assert not psutil.wait_procs(processes, timeout=20)[1]
    assert not any(path.exists() for path in left)


def test_a_game_that_cannot_be_started_says_why(tmp_path: Path):
    with pytest.raises(InputError, match=r"collect\.scenario: 'nowhere'"):
        start(tmp_path, count=1, scenario="nowhere")
