"""The game: buttons, tics, screens, variables. The only importer of vizdoom."""

import os
import tempfile
import threading
from collections.abc import Mapping
from itertools import product
from pathlib import Path
from typing import Literal

import numpy as np
import vizdoom
from jaxtyping import UInt8

from gamengen.game.facts import GameFacts
from gamengen.runtime.errors import InputError
from gamengen.runtime.watchdog import Watchdog

# ViZDoom counts deaths on through all episodes, the others from each one's start.
COUNTERS = [
    *("DEATHCOUNT", "HITS_TAKEN", "DAMAGE_TAKEN"),
    *("HITCOUNT", "KILLCOUNT", "ITEMCOUNT", "SECRETCOUNT"),
]
Resolution = Literal["160x120", "320x240"]
Supersampling = Literal[1, 2, 4]
Over = Literal["death", "exit"]
Box = tuple[int, int, int, int]  # left, top, width, height: pixels of a frame
PATIENCE = 60.0  # seconds, for what takes milliseconds
_folder_lock = threading.Lock()


def config_path(scenario: str) -> Path:
    """The .cfg of a scenario: one of ViZDoom's own by its name, or a path.

    Raises InputError, with the names there are, when it is neither.
    """
    own = Path(vizdoom.scenarios_path)
    named, given = own / f"{scenario}.cfg", Path(scenario)
    if named.parent == own and named.is_file():
        return named
    with _folder_lock:  # a relative path is one of the current folder, not of an engine's
        if given.suffix == ".cfg" and given.is_file():
            return Path(os.path.abspath(given))  # the WADs are beside it, not what it links to
    names = ", ".join(sorted(path.stem for path in own.glob("*.cfg")))
    raise InputError(
        f"params.yaml: collect.scenario: {scenario!r}: neither a .cfg file nor one of ViZDoom's "
        f"own: {names}"
    )


def game_files(scenario: str) -> list[Path]:
    """What a game is made of: its .cfg, and the WADs which that names.

    Raises InputError when the scenario does not exist.
    """
    game = _configured(scenario)
    # ViZDoom takes a name without its suffix too; more WADs may stand in the engine's arguments.
    named = [
        game.get_doom_scenario_path(),
        game.get_doom_game_path(),
        *game.get_game_args().split(),
    ]
    found = [Path(f"{name}{suffix}") for name in named for suffix in ("", ".wad")]
    wads = [path for path in found if path.is_absolute() and path.is_file()]
    return [config_path(scenario), *dict.fromkeys(Path(os.path.abspath(path)) for path in wads)]


def own_files(scenario: str) -> list[Path]:
    """Those of its files that are the user's: none of a scenario that ViZDoom brings along."""
    package = Path(vizdoom.scenarios_path).parent.resolve()
    return [path for path in game_files(scenario) if not path.resolve().is_relative_to(package)]


def buttons_of(scenario: str) -> list[str]:
    """The names of a scenario's buttons. Raises InputError when it does not exist."""
    return [button.name for button in _configured(scenario).get_available_buttons()]


class Game:
    """Doom, one episode after another: ``start`` it with a seed, then ``step`` by step.

    After each call ``variables`` (counters begin at 0) and ``over`` tell of the frame that was
    returned, and ``automap`` and the boxes of living ``enemies`` where they were asked for. The
    same seed and actions give the same frames. ``start`` and ``step`` raise ViZDoom's own error
    when its engine has died; one that does not answer for ``patience`` seconds is ended.
    """

    def __init__(
        self,
        facts: GameFacts,
        automap: bool = False,
        enemies: bool = False,
        patience: float = PATIENCE,
    ) -> None:
        """Raises InputError when ViZDoom cannot start the scenario, e.g. for want of a WAD."""
        self.facts = facts
        self.over: Over | None = None
        self.variables: Mapping[str, float] = {}
        self.game = _configured(facts.scenario)
        self.game.set_available_buttons([getattr(vizdoom.Button, name) for name in facts.buttons])
        times = facts.supersampling
        size = f"RES_{times * facts.width}X{times * facts.height}"
        self.game.set_screen_resolution(getattr(vizdoom.ScreenResolution, size))
        self.game.set_automap_buffer_enabled(automap)
        self.game.set_labels_buffer_enabled(enemies)
        self.enemies: list[Box] = []
        self.columns = {name: getattr(vizdoom.GameVariable, name) for name in facts.variables}
        self.folder = tempfile.TemporaryDirectory(prefix="doom-")
        self._launch()
        instance = self.game.get_instance_id()
        self.watchdog = Watchdog(instance, patience)
        self.memory = np.memmap(f"/dev/shm/ViZDoomSM{instance}", mode="r")
        # What is left behind where this process is killed.
        self.traces = [Path(self.folder.name), *Path("/dev/shm").glob(f"ViZDoom*{instance}")]
        self.screen_at: int | None = None

    def start(self, seed: int) -> UInt8[np.ndarray, "h w 3"]:
        """Begin an episode; returns its first frame."""
        self.over = None
        self.game.set_seed(seed)
        with self.watchdog:
            self.game.new_episode()
        self.counted: Mapping[str, float] = {}
        frame = self._see()
        self.counted = {name: self.variables[name] for name in COUNTERS if name in self.columns}
        self._read_variables()
        return frame

    def step(self, action: int) -> UInt8[np.ndarray, "h w 3"]:
        """Hold an action for ``tics_per_frame`` tics, one by one; returns the frame after them.

        When the game is over before that (``over``), it stands still: on death the frame is
        that of the tic of death, at a level's exit the last one of the level.
        """
        assert self.over is None, "the episode is over: start another"
        self.game.set_action([float(down) for down in self.facts.actions[action]])
        for _ in range(self.facts.tics_per_frame):
            with self.watchdog:
                self.game.advance_action(1)
            if self.game.is_episode_finished():
                return self._see_the_end()
            self._look()
        return self._see()

    def close(self) -> None:
        """End the game's process and drop its folder."""
        self.watchdog.end()  # first: one that hangs would be waited for, with Python held
        self.game.close()
        self.folder.cleanup()

    def _look(self) -> None:
        state = self.game.get_state()
        self.screen = state.screen_buffer
        self.automap = state.automap_buffer
        monsters = [thing for thing in state.labels or [] if thing.object_category == "Monster"]
        self.enemies = [self._box(thing) for thing in monsters]

    def _box(self, thing: vizdoom.Label) -> Box:
        times = self.facts.supersampling
        x, y, width, height = thing.x, thing.y, thing.width, thing.height
        return x // times, y // times, -(-width // times), -(-height // times)

    def _see(self) -> UInt8[np.ndarray, "h w 3"]:
        self._look()
        if self.screen_at is None:
            self.screen_at = self._find_screen()
        self._read_variables()
        return averaged(self.screen, self.facts.supersampling)

    def _see_the_end(self) -> UInt8[np.ndarray, "h w 3"]:
        self.over = "death" if self.game.is_player_dead() else "exit"
        self._read_variables()
        if self.over == "exit":
            return averaged(self.screen, self.facts.supersampling)
        # ViZDoom has no state for the tic of death, yet its engine draws it.
        assert self.screen_at is not None, "ViZDoom's screen was never found in its shared memory"
        end = self.screen_at + self.screen.size
        last = np.array(self.memory[self.screen_at : end]).reshape(self.screen.shape)
        return averaged(last, self.facts.supersampling)

    def _find_screen(self) -> int | None:
        """The offset in shared memory at which the engine draws: where its last frame is found."""
        memory, frame = self.memory.tobytes(), self.screen.tobytes()
        found = memory.find(frame)
        return found if found >= 0 and memory.find(frame, found + 1) < 0 else None

    def _read_variables(self) -> None:
        read = self.game.get_game_variable
        now = {name: read(column) for name, column in self.columns.items()}
        self.variables = now | {name: now[name] - since for name, since in self.counted.items()}

    def _launch(self) -> None:
        # The engine writes _vizdoom.ini and _vizdoom/ into the folder in which it is started.
        with _folder_lock:
            before = os.getcwd()
            os.chdir(self.folder.name)
            try:
                self.game.init()
            except (
                vizdoom.FileDoesNotExistException,
                vizdoom.ViZDoomErrorException,
                vizdoom.ViZDoomUnexpectedExitException,
            ) as error:
                self.game.close()
                self.folder.cleanup()
                raise InputError(
                    f"params.yaml: collect.scenario: {self.facts.scenario!r}: ViZDoom cannot "
                    f"start it: {error}"
                ) from None
            finally:
                os.chdir(before)


def averaged(picture: UInt8[np.ndarray, "h w 3"], times: int) -> UInt8[np.ndarray, "k l 3"]:
    """A copy in which every ``times`` x ``times`` pixels are one, their mean."""
    total = np.full_like(picture[::times, ::times], times**2 // 2, np.uint16)
    for y, x in product(range(times), repeat=2):
        total += picture[y::times, x::times]
    return (total // times**2).astype(np.uint8)


def _configured(scenario: str) -> vizdoom.DoomGame:
    path = config_path(scenario)
    game = vizdoom.DoomGame()
    if not game.load_config(str(path)):
        raise InputError(f"{path}: not a ViZDoom configuration; ViZDoom's own message is above")
    game.set_mode(vizdoom.Mode.PLAYER)
    game.set_window_visible(False)
    game.set_sound_enabled(False)
    game.set_audio_buffer_enabled(False)
    game.set_depth_buffer_enabled(False)
    game.set_screen_format(vizdoom.ScreenFormat.RGB24)
    game.set_render_hud(True)
    game.set_episode_timeout(0)  # whoever plays counts the tics: a timeout here hides the frame
    return game
