import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from gamengen.collection.collection import last_state
from gamengen.data.episodes import Episodes
from gamengen.game.doom import Game
from gamengen.runtime.errors import InputError
from gamengen.runtime.resume import resume_folder
from stages import collect
from stages.collect import Params, main
from tests.artifacts import own_game
from tests.tiny import params, write_params

ROOT = Path(__file__).parents[2]


def start(folder: Path, changes: dict[str, Any]) -> subprocess.Popen[str]:
    """The stage as a process of its own, in a folder with a params.yaml of its own."""
    folder.mkdir(exist_ok=True)
    write_params(folder / "params.yaml", {"collect": changes})
    return subprocess.Popen(
        [sys.executable, "-m", "stages.collect", "episodes"],
        cwd=folder,
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def wait_for_checkpoint(process: subprocess.Popen[str], folder: Path, number: int) -> None:
    while not list(folder.glob(f".resume/episodes-*/0-of-1/checkpoint-{number}")):
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.005)


def gone(processes: list[psutil.Process]) -> bool:
    return not psutil.wait_procs(processes, timeout=20)[1]


def assert_whole(folder: Path) -> None:
    """Every row belongs to exactly one episode, and every episode to its own seed."""
    episodes = Episodes(folder)
    seeds = [entry.seed for entry in episodes.entries]
    assert len(set(seeds)) == len(seeds)
    for store in {entry.store for entry in episodes.entries}:
        ends = 0
        for entry in (entry for entry in episodes.entries if entry.store == store):
            assert entry.start == ends
            ends += entry.length
    assert {entry.split for entry in episodes.entries} == {"train", "validation", "test"}
    game = Game(episodes.game)
    for entry in (episodes.entries[0], episodes.entries[-1]):
        frames = [game.start(entry.seed)]
        frames += [game.step(int(action)) for action in episodes.actions(entry)[:-1]]
        np.testing.assert_array_equal(episodes.frames(entry), frames)
    game.close()


def test_random_play_under_one_index(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    main(params(Params, "collect", policy="random"), tmp_path / "episodes")
    assert_whole(tmp_path / "episodes")
    episodes = Episodes(tmp_path / "episodes")
    assert sum(entry.length for entry in episodes.entries) >= 300
    assert {entry.policy for entry in episodes.entries} == {"random"}
    assert len({entry.store for entry in episodes.entries}) == 2
    actions = np.concatenate([episodes.actions(entry) for entry in episodes.entries])
    assert set(actions) == set(range(len(episodes.game.actions)))
    header, *rows = (tmp_path / "episodes/reward.csv").read_text().splitlines()
    assert header == "step,mean_episode_reward,episodes,process"
    assert sum(int(row.split(",")[2]) for row in rows) == len(episodes.entries)
    assert "episodes" in capsys.readouterr().out
    assert not list(tmp_path.glob(".resume/*"))


def test_half_at_random_then_an_agent_whenever_it_is_interrupted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    asked = params(Params, "collect", policy="both", frames=600)
    main(asked, tmp_path / "straight")
    assert_whole(tmp_path / "straight")
    straight = Episodes(tmp_path / "straight")
    played = dict.fromkeys(("random", "training", "trained"), 0)
    for entry in straight.entries:
        played[entry.policy] += entry.length
    assert played["random"] >= asked.random_frames == asked.frames // 2
    assert played["training"] > 0 < played["trained"]

    def stop(*_: Any) -> None:
        raise KeyboardInterrupt

    for name in ("new_agent", "chosen"):
        with monkeypatch.context() as patched:
            patched.setattr(collect, name, stop)
            with pytest.raises(KeyboardInterrupt):
                main(asked, tmp_path / "cut")
    main(asked, tmp_path / "cut")
    assert Episodes(tmp_path / "cut").entries == straight.entries
    for entry in straight.entries:
        cut = Episodes(tmp_path / "cut").frames(entry)
        np.testing.assert_array_equal(straight.frames(entry), cut)
    rewards = [(tmp_path / name / "reward.csv").read_text() for name in ("straight", "cut")]
    assert rewards[0] == rewards[1]


def kill_both_games(process: subprocess.Popen[str]) -> None:
    """One by its engine, the other by the process that steers its engine."""
    children = psutil.Process(process.pid).children(recursive=True)
    one, other = (child for child in children if child.name() == "vizdoom")
    one.kill()
    psutil.Process(other.ppid()).kill()


def test_an_agents_training_survives_deaths_ctrl_c_and_kill_bit_for_bit(tmp_path: Path):
    changes = {"agent": {"training_steps": 256}, "frames": 720}
    process = start(tmp_path / "straight", changes)
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 0, output
    assert_whole(tmp_path / "straight/episodes")

    folder = tmp_path / "cut"
    process = start(folder, changes)
    wait_for_checkpoint(process, folder, 1)
    kill_both_games(process)
    wait_for_checkpoint(process, folder, 2)
    children = psutil.Process(process.pid).children(recursive=True)
    os.killpg(process.pid, signal.SIGINT)  # as Ctrl-C does: every process of the terminal
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 130, output
    assert "goes on from the last checkpoint" in output
    assert output.count("is started again and brought back") == 2
    assert gone(children)

    process = start(folder, changes)
    (resume,) = folder.glob(".resume/episodes-*/0-of-1")
    wait_for_checkpoint(process, folder, 2 + int(max(resume.glob("checkpoint-*")).name[-1]))
    children = psutil.Process(process.pid).children(recursive=True)
    process.kill()
    process.communicate()
    assert not (folder / "episodes").exists()
    assert last_state(resume).steps < 256
    assert gone(children)

    process = start(folder, changes)
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 0, output
    assert "resumed at frame" in output
    straight, cut = Episodes(tmp_path / "straight/episodes"), Episodes(folder / "episodes")
    assert straight.entries == cut.entries
    assert {entry.policy for entry in cut.entries} == {"training", "trained"}
    for entry in cut.entries:
        np.testing.assert_array_equal(straight.frames(entry), cut.frames(entry))
        np.testing.assert_array_equal(straight.actions(entry), cut.actions(entry))
        for name in cut.game.variables:
            wanted = straight.variable(entry, name)
            np.testing.assert_array_equal(wanted, cut.variable(entry, name))
    curves = [(tmp_path / each / "episodes/reward.csv").read_text() for each in ("straight", "cut")]
    assert curves[0] == curves[1]
    assert not list(folder.glob(".resume/*"))


@pytest.mark.parametrize("edited", ["mine.cfg", "mine.wad"])
def test_an_edited_game_is_another_collection(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, edited: str
):
    folders = []

    def stop(*told: Any) -> Path:
        folders.append(resume_folder(*told))
        raise KeyboardInterrupt

    monkeypatch.setattr(collect, "resume_folder", stop)
    cfg = own_game(tmp_path / "maps")
    asked = params(Params, "collect", scenario=str(cfg))
    for text in ("", "", "\n"):
        with cfg.with_name(edited).open("a") as file:
            file.write(text)
        with pytest.raises(KeyboardInterrupt):
            main(asked, tmp_path / "episodes")
    assert folders[0] == folders[1] != folders[2]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"tics_per_frame": 3}, "action_tics: 4: must be a multiple of tics_per_frame: 3"),
        ({"agent": {"batch_size": 48}}, "agent.batch_size: 48: must divide .* = 64"),
        ({"frames": 128}, "frames: 128: must be more than 128: agent.training_steps: 64 make"),
    ],
)
def test_numbers_that_do_not_fit_together_are_refused(changes: dict[str, Any], message: str):
    with pytest.raises(ValueError, match=message):
        params(Params, "collect", **changes)


def test_a_scenario_that_does_not_exist_is_told_at_once(tmp_path: Path):
    with pytest.raises(InputError, match="'nowhere'"):
        main(params(Params, "collect", scenario="nowhere"), tmp_path / "episodes")
    assert list(tmp_path.iterdir()) == []


def test_a_disk_too_small_is_told_at_once(tmp_path: Path):
    asked = params(Params, "collect", frames=10**9)
    with pytest.raises(InputError, match=r"collect\.frames: 1000000000 needs about"):
        main(asked, tmp_path / "episodes")


def test_too_few_episodes_for_three_splits_are_told(tmp_path: Path):
    one = params(Params, "collect", policy="random", games=1, frames=1)
    with pytest.raises(InputError, match="episodes: 1, too few"):
        main(one, tmp_path / "episodes")
    assert not (tmp_path / "episodes").exists()
