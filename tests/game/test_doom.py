import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import psutil
import pytest

from gamengen.game.doom import Game, config_path, game_files, own_files
from gamengen.game.real_game import RealGame
from gamengen.game.scenario import EXCLUSIVE, NOTHING, button_combinations, game_facts
from gamengen.runtime.errors import InputError
from tests.artifacts import own_game


def facts_of(scenario: str, **changes: int):
    usual = {"supersampling": 1, "max_buttons": 2, "tics_per_frame": 2, "action_tics": 4}
    settings = usual | changes
    return game_facts(scenario, "160x120", **settings)


@pytest.fixture(scope="module")
def game() -> Iterator[Game]:
    game = Game(facts_of("deadly_corridor"), automap=True)
    yield game
    game.close()


def played(game: Game, seed: int, most: int = 400) -> list[np.ndarray]:
    random = np.random.default_rng(seed)
    frames = [game.start(seed)]
    while game.over is None and len(frames) < most:
        frames.append(game.step(int(random.integers(len(game.facts.actions)))))
    return frames


def test_actions_are_all_combinations_without_a_contradiction():
    facts = facts_of("defend_the_center")
    assert facts.action_names == [
        *("NOTHING", "TURN_LEFT", "TURN_RIGHT", "ATTACK"),
        *("TURN_LEFT+ATTACK", "TURN_RIGHT+ATTACK"),
    ]
    assert facts.actions == [[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 0, 1], [0, 1, 1]]
    assert facts.no_action == 0


def test_a_full_level_has_no_contradictory_pair_and_no_more_buttons_than_allowed():
    facts = facts_of("freedoom2", max_buttons=3)
    downs = [name.split("+") for name in facts.action_names[1:]]
    assert facts.action_names[0] == NOTHING
    assert max(map(len, downs)) == 3
    assert len(set(facts.action_names)) == len(facts.actions)
    assert all(len(group.intersection(down)) <= 1 for down in downs for group in EXCLUSIVE)
    assert "MOVE_LEFT+MOVE_FORWARD" in facts_of("freedoom2").action_names


def test_at_most_zero_buttons_is_doing_nothing():
    assert button_combinations(["ATTACK"], 0) == [()]


def test_analog_buttons_are_left_out():
    facts = facts_of("deathmatch", max_buttons=1)
    assert not any("DELTA" in name for name in facts.buttons)
    assert "TURN_LEFT" in facts.buttons


def test_a_scenario_of_analog_buttons_alone_is_refused(tmp_path: Path):
    path = tmp_path / "mouse.cfg"
    path.write_text("available_buttons = { TURN_LEFT_RIGHT_DELTA }\n")
    with pytest.raises(InputError, match="only analog buttons"):
        facts_of(str(path))


def test_an_unknown_scenario_names_those_there_are():
    with pytest.raises(InputError, match=r"collect\.scenario: 'nowhere'.*defend_the_center"):
        config_path("nowhere")
    with pytest.raises(InputError, match="absent"):
        config_path("absent.cfg")


def test_a_missing_wad_is_told_by_its_name(tmp_path: Path):
    path = tmp_path / "mine.cfg"
    path.write_text("doom_scenario_path = absent.wad\navailable_buttons = { ATTACK }\n")
    with pytest.raises(InputError, match=r"cannot start it: .*absent\.wad"):
        Game(facts_of(str(path)))


def test_a_cfg_by_its_path_is_the_same_game():
    own = config_path("defend_the_center")
    assert facts_of(str(own)).actions == facts_of("defend_the_center").actions


def test_games_of_a_relative_cfg_start_at_once_in_several_threads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    own_game(tmp_path / "maps")
    monkeypatch.chdir(tmp_path)
    facts = facts_of("maps/mine.cfg")
    together = threading.Barrier(5)

    def start(_: int) -> RealGame:
        together.wait(60)
        return RealGame(facts)

    with ThreadPoolExecutor(5) as pool:
        for game in list(pool.map(start, range(5))):
            game.close()


def test_a_game_is_made_of_its_cfg_and_of_the_wads_that_it_names(tmp_path: Path):
    theirs = config_path("defend_the_center")
    assert game_files("defend_the_center") == [theirs, theirs.with_suffix(".wad")]
    assert own_files("defend_the_center") == own_files(str(theirs)) == []
    more = tmp_path / "more.wad"
    more.touch()
    cfg = own_game(tmp_path / "maps", text=f"\ngame_args = -file {more} absent.wad\n")
    assert game_files(str(cfg)) == own_files(str(cfg)) == [cfg, cfg.with_name("mine.wad"), more]
    cfg.write_text("doom_scenario_path = mine\navailable_buttons = { ATTACK }\n")
    assert own_files(str(cfg)) == [cfg, cfg.with_name("mine.wad")]


def engine_of(game: Game) -> psutil.Process:
    instance = game.game.get_instance_id()
    return next(each for each in psutil.Process().children() if instance in each.cmdline())


def test_an_engine_that_hangs_is_ended_and_its_game_fails(game: Game):
    hung = Game(game.facts, patience=0.5)
    frames = [hung.start(3), hung.step(0)]
    engine = engine_of(hung)
    engine.send_signal(signal.SIGSTOP)
    with pytest.raises(Exception, match="instance crash"):
        hung.step(0)
    hung.close()
    assert not engine.is_running()
    assert not any(path.exists() for path in hung.traces)
    again = Game(game.facts)
    np.testing.assert_array_equal(frames, [again.start(3), again.step(0)])
    again.close()


def test_closing_a_game_does_not_wait_for_an_engine_that_hangs():
    game = Game(facts_of("basic"))
    game.start(1)
    engine_of(game).send_signal(signal.SIGSTOP)
    game.close()
    assert not any(path.exists() for path in game.traces)


def test_frames_have_the_recorded_size():
    facts = game_facts("basic", "320x240", 1, 1, 1, 1)
    game = Game(facts)
    assert game.start(1).shape == (240, 320, 3)
    assert (facts.height, facts.width) == (240, 320)
    game.close()


def test_supersampled_frames_are_the_means_of_larger_ones(game: Game):
    """Of every frame of an episode, that of death included."""
    larger = Game(game.facts.model_copy(update={"width": 320, "height": 240}))
    finer = Game(game.facts.model_copy(update={"supersampling": 2}))
    for large, mean in zip(played(larger, 5), played(finer, 5), strict=True):
        blocks = large.reshape(120, 2, 160, 2, 3).mean((1, 3))
        assert np.abs(blocks - mean).max() <= 0.5
    assert finer.over == "death"
    larger.close()
    finer.close()


def test_the_same_seed_and_actions_give_the_same_frames(game: Game):
    first = played(game, 5)
    played(game, 6)
    again = played(game, 5)
    fresh = Game(game.facts)  # another process, and without the automap
    elsewhere = played(fresh, 5)
    fresh.close()
    np.testing.assert_array_equal(first, again)
    np.testing.assert_array_equal(first, elsewhere)


def test_another_seed_gives_another_game(game: Game):
    assert any((a != b).any() for a, b in zip(played(game, 1), played(game, 2), strict=False))


def test_death_is_seen_and_its_variables_read(game: Game):
    frames = played(game, 5)
    assert game.over == "death"
    assert game.variables["HEALTH"] <= 0
    assert game.variables["DEATHCOUNT"] == 1
    assert (frames[-1] != frames[-2]).any()
    # It is a picture of the same game: the status bar at the bottom hardly changes.
    bar = np.abs(frames[-1][104:].astype(int) - frames[-2][104:])
    assert bar.mean() < 20


def test_at_an_exit_the_last_frame_of_the_level_stays():
    game = Game(facts_of("basic"))
    for seed in range(5, 9):
        frames = played(game, seed)
        assert game.over == "exit"  # the only enemy was killed
        assert game.variables["KILLCOUNT"] == 1
        # An intermission screen, which comes next, would share nothing with the level.
        assert np.abs(frames[-1].astype(int) - frames[-2]).mean() < 40
    game.close()


def test_nothing_is_left_in_the_current_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    game = Game(facts_of("basic"))
    game.start(1)
    scratch = Path(game.folder.name)
    game.close()
    assert Path.cwd() == tmp_path
    assert list(tmp_path.iterdir()) == []
    assert not scratch.exists()
