"""Turns: first come, first served."""

import threading
import time

from gamengen.play.turns import Turns


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
