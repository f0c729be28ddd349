"""Real time at most, newest frame only, no tap lost."""

import asyncio
import time

import pytest
import torch
from torch import Tensor

from gamengen.backends.eager import Eager
from gamengen.model.denoiser import Denoiser
from gamengen.model.diffusion import Sampling
from gamengen.model.sampler import DenoiserFn
from gamengen.play.dream import Dream, Settings, Timings
from gamengen.play.pace import Pace, in_time, steps_in_time
from gamengen.play.protocol import BLOCK, BadMessage, Keys, Leave, SetSampling, pack
from gamengen.play.queues import IN_FLIGHT, MAX_WAITING, Inbox, Outbox
from tests.dreams import Made
from tests.play.fuzz import settings_fields
from tests.play.player import unpack


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def play(pace: Pace, clock: Clock, frames: int, cost: float) -> float:
    began = clock.now
    for _ in range(frames):
        clock.now += pace.wait()
        clock.now += cost
        pace.made(cost)
    return clock.now - began


def test_never_faster_than_the_game() -> None:
    clock = Clock()
    pace = Pace(17.5, clock)
    assert play(pace, clock, 175, cost=0.01) == pytest.approx(10, abs=0.1)
    rate = pace.rate()
    assert rate.fps == pytest.approx(17.5)
    assert rate.factor == pytest.approx(1)
    assert rate.ms == pytest.approx(10)


def test_late_frames_are_not_made_up_for() -> None:
    clock = Clock()
    pace = Pace(17.5, clock)
    play(pace, clock, 20, cost=0.2)
    assert pace.rate().factor == pytest.approx(5 / 17.5)
    assert play(pace, clock, 35, cost=0.0) > 1.9


def test_unlimited_is_as_fast_as_it_can() -> None:
    clock = Clock()
    pace = Pace(17.5, clock)
    pace.unlimited = True
    play(pace, clock, 200, cost=0.01)
    assert pace.rate().factor == pytest.approx(100 / 17.5)


def test_a_tap_between_two_samples_counts_once() -> None:
    inbox = Inbox()
    inbox.put(Keys(type="keys", held=["TURN_LEFT"]))
    inbox.put(Keys(type="keys", held=["TURN_LEFT", "ATTACK"]))
    inbox.put(Keys(type="keys", held=["TURN_LEFT"]))
    assert inbox.sample() == ["ATTACK", "TURN_LEFT"]
    assert inbox.sample() == ["TURN_LEFT"]
    inbox.put(Keys(type="keys", held=[]))
    assert inbox.sample() == []


def test_the_inbox_is_bounded_and_keeps_the_newest_settings() -> None:
    inbox = Inbox()
    for steps in range(1, 10):
        inbox.put(settings(steps))
    assert inbox.take() == settings(9)
    assert inbox.take() is None
    for _ in range(MAX_WAITING):
        inbox.put(Leave(type="leave"))
    with pytest.raises(BadMessage, match="too fast"):
        inbox.put(Leave(type="leave"))


def settings(steps: int) -> SetSampling:
    return SetSampling(type="settings", **settings_fields(steps=steps))


def test_the_newest_frame_replaces_the_others() -> None:
    async def scene() -> None:
        outbox = Outbox(asyncio.get_running_loop())
        for number in range(1, 5):
            outbox.show(number, b"%d" % number)
        assert await outbox.next() == b"4"
        for number in range(5, 5 + IN_FLIGHT):
            outbox.show(number, b"%d" % number)
            sent = asyncio.ensure_future(outbox.next())
            await asyncio.sleep(0.01)
        assert not sent.done()  # a slow reader has two on their way
        outbox.show(9, b"9")
        outbox.tell("notice")
        assert await sent == "notice"
        outbox.seen(4)
        assert await outbox.next() == b"9"
        outbox.close()
        assert await outbox.next() is None

    asyncio.run(scene())


def test_messages_come_apart_again() -> None:
    header, pictures = unpack(pack({"type": "frame"}, [b"one", b"three"]))
    assert header["type"] == "frame"
    assert pictures == [b"one", b"three"]
    sizes = {len(pack({"type": "frame"}, [bytes(n)], padded=True)) for n in (1, 900, 9000)}
    assert sizes == {BLOCK}


def test_as_many_steps_as_fit_into_two_thirds_of_a_frame() -> None:
    for step, picture, steps in ((4.7, 3.8, 7), (5, 4, 6), (12.2, 4, 2), (16, 12, 1), (500, 40, 1)):
        held_up = Timings(9 * step, 9 * picture, 1.0)
        tried = [held_up, Timings(step, picture, 0.0), held_up]
        assert steps_in_time(tried, frame=57.1) == steps


class Slow(Eager):
    """Whose every pass takes a while longer."""

    seconds = first = 0.0

    def velocity(self, denoiser: Denoiser) -> DenoiserFn:
        faster = super().velocity(denoiser)

        def slower(*inputs: Tensor) -> Tensor:
            time.sleep(self.seconds + self.first)
            self.first = 0.0
            return faster(*inputs)

        return slower


def test_a_slow_machine_takes_fewer_steps_and_changes_nothing_else(
    playable: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend = Slow(torch.device("cpu"))
    dream = Dream(playable.weights, backend)
    asked = Settings("teacher", Sampling(2, context_noise=0.1, shift=5.0))
    slow = Settings("teacher", Sampling(1, context_noise=0.1, shift=5.0))
    backend.seconds = 1 / float(dream.facts.fps)
    assert in_time(dream, asked) == slow
    monkeypatch.setattr("gamengen.play.pace.SHARE", 9)  # as if the machine were so much faster
    assert in_time(dream, asked) == asked
    backend.first = 1.5  # what is built at the first frame does not count
    assert in_time(dream, asked) == asked
    student = Settings("student", Sampling(1))
    assert in_time(dream, student) is student
