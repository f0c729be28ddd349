"""Turns: first come, first served."""

import threading
import time

from gamengen.backends.backend import open_backend
from gamengen.model.diffusion import Sampling
from gamengen.play.dream import Dream, Settings
from gamengen.play.turns import Turns
from tests.dreams import Made


def test_turns_are_served_in_the_order_of_asking() -> None:
    turns, served = Turns(), list[int]()

    def ask(number: int) -> None:
        with turns:
            served.append(number)

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(8)]
    with turns:
        for number, thread in enumerate(threads):
            thread.start()
            while len(turns._waiting) <= number:
                time.sleep(0.001)
    for thread in threads:
        thread.join(10)
    assert served == list(range(8))


def test_one_who_asks_again_at_once_waits_for_all_others() -> None:
    """As a player at an unlimited pace does; a plain lock would serve him only."""
    turns, served, ends = Turns(), [0, 0], time.monotonic() + 0.5

    def play(player: int) -> None:
        while time.monotonic() < ends:
            with turns:
                served[player] += 1
                time.sleep(0.002)

    threads = [threading.Thread(target=play, args=(player,)) for player in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert abs(served[0] - served[1]) <= 1, served


def test_a_frame_of_many_steps_takes_a_turn_for_each(playable: Made) -> None:
    """So that nobody waits for more than one pass of a network of another's."""

    class Counted(Turns):
        taken = 0

        def __enter__(self) -> None:
            super().__enter__()
            self.taken += 1

    turns = Counted()
    dream = Dream(playable.weights, open_backend("eager"), turns=turns)
    dream.settings = Settings("teacher", Sampling(4))
    dream.start(playable.history)
    before = turns.taken
    dream.step(0)
    assert turns.taken - before == 4 + 1, "passes, and the picture"
