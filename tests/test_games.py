"""Games die and hang, and what they make is what undisturbed ones make."""

import os
import signal
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from gamengen import games as games_module
from gamengen.doom import game_facts
from gamengen.episodes import Episodes, Index, write_index
from gamengen.errors import InputError
from gamengen.games import Games
from gamengen.recording import Progress, Rules, Writer, start_games
from tests.tiny import tiny_params

FACTS = game_facts("defend_the_center", "160x120", 1, 2, 2, 4)
STEPS = 36
RULES = Rules.model_validate(tiny_params({})["collect"]["rules"] | {"episode_tics": 40})
Disturb = Callable[[Games], None]


def start(folder: Path, **changes: Any) -> Games:
    writers = [
        Writer(folder=folder, store=f"game{number}.zarr", number=number, count=2, games=2, seed=3)
        for number in range(2)
    ]
    facts = FACTS.model_copy(update=changes)
    return start_games(facts, RULES, writers, "training", [Progress(), Progress()])


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


def test_games_that_die_go_on_as_if_nothing_had_happened(
    tmp_path: Path, undisturbed: Any, caplog: pytest.LogCaptureFixture
):
    answers, told, folder = undisturbed
    games = start(tmp_path)
    ours = play(
        games,
        {
            4: lambda games: engine(games, 0).kill(),
            STEPS // 2 + 6: lambda games: worker(games, 1).kill(),
        },
    )
    assert_same(ours[0], answers)
    assert ours[1] == told
    assert {entry.policy for each in told for entry in each.entries} == {"training", "trained"}
    assert_same(recorded(tmp_path, ours[1]), recorded(folder, told))
    assert "game game0: " in caplog.text
    assert "game game1: its process was ended; it is started again" in caplog.text
    games.close()


def test_a_game_that_hangs_is_as_good_as_dead(
    tmp_path: Path, undisturbed: Any, monkeypatch: pytest.MonkeyPatch
):
    games = start(tmp_path)
    first = worker(games, 1)
    traces = games.games[1].traces
    assert all(path.exists() for path in traces)

    def hang(games: Games) -> None:
        os.killpg(first.pid, signal.SIGSTOP)  # and its engine
        games.games[1].due = 0.0

    answers, told = play(games, {STEPS - 1: hang})
    assert_same(answers, undisturbed[0])
    assert told == undisturbed[1]
    assert not first.is_running()
    assert len(traces) == 4
    assert not any(path.exists() for path in traces)
    games.close()


def test_a_game_that_dies_again_and_again_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(games_module, "RESTARTS", 1)
    games = start(tmp_path)
    left = [path for game in games.games for path in game.traces]
    engine(games, 0).kill()
    games.step(np.zeros(2, int))
    engine(games, 0).kill()
    again = r"game game0: died 2 times within 60 minutes.*same command goes on from the last check"
    with pytest.raises(InputError, match=again):
        games.step(np.zeros(2, int))
    children = psutil.Process().children(recursive=True)
    games.close()
    assert not any(path.exists() for path in left)
    assert not any(child.is_running() and "vizdoom" in child.name() for child in children)


def test_games_are_closed_while_they_are_busy(tmp_path: Path):
    games = start(tmp_path)
    engines = [engine(games, number) for number in range(2)]
    games.step_async(np.zeros(2, int))
    games.games[0].answer()  # as when an interrupt comes between two answers
    games.close()
    assert not psutil.wait_procs(engines, timeout=20)[1]


def test_a_game_that_cannot_be_started_says_why(tmp_path: Path):
    with pytest.raises(InputError, match=r"collect\.scenario: 'nowhere'"):
        start(tmp_path, scenario="nowhere")
