"""The server: who is let in, what is answered, what is given back."""

import os
import random
import re
import shutil
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient
from starlette.websockets import WebSocketDisconnect

from gamengen.backends.backend import open_backend
from gamengen.model.diffusion import Sampling
from gamengen.play import playing, protocol, questions, server
from gamengen.play.blind import Answers, Record
from gamengen.play.dream import Settings
from gamengen.play.origin import host_allowed, same_origin
from gamengen.play.picture import from_jpeg, to_jpeg
from gamengen.play.server import create_app
from gamengen.play.source import Source, load
from gamengen.runtime.errors import InputError
from tests.artifacts import make_all, make_episodes
from tests.play.fuzz import mangled, settings_fields
from tests.play.player import ORIGIN, Player, png
from tests.play.worlds import StripedWorld, tiny_source, until


def join(client: TestClient, **headers: str) -> Any:
    return client.websocket_connect("ws://127.0.0.1:8000/play", headers=ORIGIN | headers)


def test_the_page_holds_everything_itself(client: TestClient) -> None:
    answer = client.get("/")
    assert answer.status_code == 200
    assert "https://" not in answer.text
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert client.get("/starts/0.jpg").headers["content-type"] == "image/jpeg"


@pytest.mark.parametrize(
    "path", ["/starts/99.jpg", "/starts/-1.jpg", "/starts/..%2f..%2fpyproject.toml", "/../LICENSE"]
)
def test_no_path_reaches_a_file(client: TestClient, path: str) -> None:
    assert client.get(path).status_code in (404, 422)


@pytest.mark.parametrize(
    ("origin", "host", "allowed"),
    [
        ("http://127.0.0.1:8000", "127.0.0.1:8000", True),
        ("https://play.example", "play.example", True),
        ("http://[::1]:8000", "[::1]:8000", True),
        ("http://localhost:8000", "localhost:8000", True),
        ("http://evil.example", "127.0.0.1:8000", False),
        ("http://127.0.0.1:9000", "127.0.0.1:8000", False),
        ("http://evil.example", "evil.example", False),  # a name that was made to resolve here
        ("null", "127.0.0.1:8000", False),
        (None, "127.0.0.1:8000", False),
        ("http://[", "[", False),
    ],
)
def test_only_its_own_page_may_talk(origin: str | None, host: str, allowed: bool) -> None:
    told = host_allowed(host, {"play.example"}) and same_origin(origin, host)
    assert told == allowed


def test_strangers_pages_are_turned_away(client: TestClient, app: FastAPI) -> None:
    for headers in ({"origin": "http://evil.example"}, {}):
        with (
            pytest.raises(WebSocketDisconnect),
            client.websocket_connect("ws://127.0.0.1:8000/play", headers=headers),
        ):
            pass
    assert client.get("/", headers={"host": "evil.example"}).status_code == 421
    assert not app.state.sessions


def test_one_too_many_is_told_so(client: TestClient, app: FastAPI) -> None:
    with join(client) as one, join(client) as two:
        assert Player(one).hear()[0]["type"] == Player(two).hear()[0]["type"] == "hello"
        with join(client) as three:
            header, _ = Player(three).hear()
            assert header["type"] == "full"
            assert "all 2 seats are taken" in header["message"]
            assert three.receive()["code"] == 1013
    until(lambda: not app.state.sessions, 2)
    with join(client) as again:
        assert Player(again).hear()[0]["type"] == "hello"


def test_keys_are_played_in_real_time(client: TestClient) -> None:
    with join(client) as socket:
        player = Player(socket)
        hello, _ = player.until("hello")
        assert [key["button"] for key in hello["keys"]] == ["TURN_LEFT", "TURN_RIGHT", "ATTACK"]
        player.say("keys", held=["TURN_LEFT", "ATTACK"])
        player.play()
        header, pictures = player.until("frame", lambda h: h["since_real"] == 50)
        assert header["action"] == "ATTACK"  # the newest: this game was played one at a time
        assert from_jpeg(pictures[0]).shape == (32, 48, 3)
        assert 0.5 < header["factor"] <= 1.05
        player.say("pace", unlimited=True)
        player.until("frame", lambda h: h["factor"] > 1.2)


def test_settings_take_effect_on_the_next_frame(client: TestClient, app: FastAPI) -> None:
    with join(client) as socket:
        player = Player(socket)
        player.play()
        player.until("frame", lambda h: h["since_real"] > 2)
        player.say(
            "settings", **settings_fields(model="teacher", steps=3, guidance=1.5, context_noise=0.2)
        )
        (session,) = app.state.sessions
        asked = Settings("teacher", Sampling(3, 1.5, context_noise=0.2, shift=2.0, order=2))
        until(lambda: session.match.dream.settings == asked, 1)
        player.until("frame", lambda h: h["since_real"] > 20)
        player.say(
            "settings", **settings_fields(model="teacher", steps=1, guidance=1, context_noise=0.9)
        )
        assert "context_noise" in player.until("error")[0]["message"]
        player.say(
            "settings", **settings_fields(model="student", steps=2, guidance=1, context_noise=0)
        )
        assert "steps" in player.until("error")[0]["message"]


def test_real_beside_neural_and_a_crash(client: TestClient, app: FastAPI) -> None:
    with join(client) as socket:
        player = Player(socket)
        player.play(beside=True)
        _, pictures = player.until("frame", lambda h: h["since_real"] > 3)
        assert len(pictures) == 2
        StripedWorld.crashes = 1
        (session,) = app.state.sessions
        until(lambda: session.match.restarts == 1, 2)
        at = session.match.dream.frames_since_real
        _, pictures = player.until("frame", lambda h: h["since_real"] > at + 3)
        assert len(pictures) == 2
    until(lambda: not app.state.sessions, 2)
    assert StripedWorld.alive == 0


def test_an_edited_picture_becomes_the_history(client: TestClient, app: FastAPI) -> None:
    with join(client) as socket:
        player = Player(socket)
        player.play()
        player.until("frame", lambda h: h["since_real"] > 3)
        socket.send_bytes(png(np.full((32, 48, 3), 255, np.uint8)))
        header, pictures = player.until("frame", lambda h: h["paused"])
        (session,) = app.state.sessions
        context = session.match.dream.past.context[0]
        assert (context == context[:1]).all()
        assert len(pictures) == 1
        player.say("pause", paused=False)
        player.until("frame", lambda h: h["since_real"] > header["since_real"] + 3)


def test_the_last_minute_comes_as_a_file(client: TestClient) -> None:
    with join(client) as socket:
        player = Player(socket)
        player.say("save", format="gif")
        assert "nothing has been played" in player.until("error")[0]["message"]
        player.play()
        player.until("frame", lambda h: h["since_real"] > 5)
        for kind, magic in (("mp4", b"ftyp"), ("gif", b"GIF89a")):
            player.say("save", format=kind)
            header, (data,) = player.until("file")
            assert header["kind"] == kind
            assert magic in data[:16]


def test_a_film_that_fails_is_told_to_the_page(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> bytes:
        raise RuntimeError("no such codec")

    monkeypatch.setattr(playing, "encode", fail)
    with join(client) as socket:
        player = Player(socket)
        player.play()
        player.until("frame", lambda h: h["since_real"] > 1)
        player.say("save", format="mp4")
        assert "save: no such codec" in player.until("error")[0]["message"]


def test_films_are_made_one_at_a_time_when_nothing_else_is_to_be_done(
    client: TestClient, app: FastAPI, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, go_on, priorities = list[int](), threading.Event(), list[int]()

    def slowly(*_: object) -> bytes:
        begun.append(len(begun))
        priorities.append(os.getpriority(os.PRIO_PROCESS, threading.get_native_id()))
        assert go_on.wait(20)
        return b"film"

    monkeypatch.setattr(playing, "encode", slowly)
    with join(client) as one, join(client) as two:
        players = [Player(one), Player(two)]
        for player in players:
            player.play()
            player.until("frame", lambda h: h["since_real"] > 1)
            player.say("save", format="gif")
        saving = [session.playing for session in app.state.sessions]
        until(lambda: all(each.saving and each.saving.is_alive() for each in saving), 5)
        for player in players:  # both play on
            player.until("frame", lambda h: h["since_real"] > 5)
        assert begun == [0]
        go_on.set()
        for player in players:
            player.until("file")
    assert priorities == [19, 19]


def test_bad_messages_are_answered_and_the_session_lives(client: TestClient) -> None:
    chance = random.Random(1)
    with join(client) as socket:
        player = Player(socket)
        player.until("frame")
        for _ in range(150):
            socket.send_text(mangled(chance))
            if chance.random() < 0.3:
                socket.send_bytes(chance.randbytes(chance.randrange(100)))
        socket.send_bytes(bytes(protocol.MAX_PICTURE + 1))
        player.until("error", lambda h: "picture of" in h["message"])
        player.say("keys", held=["BFG"])
        player.until("error", lambda h: "no such button" in h["message"])
        player.say("leave")
        player.play()
        player.until("frame", lambda h: h.get("since_real", 0) > 3)


def test_a_closed_tab_frees_its_engines(client: TestClient, app: FastAPI) -> None:
    with join(client) as socket:
        player = Player(socket)
        player.play(beside=True)
        player.until("frame", lambda h: h["since_real"] > 3)
        (session,) = app.state.sessions
    until(lambda: not app.state.sessions and not session.thread.is_alive(), 2)
    assert StripedWorld.alive == 0


def test_a_seat_that_nobody_plays_on_is_given_back(
    client: TestClient, app: FastAPI, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "IDLE", 1.0)
    with join(client) as socket:
        player = Player(socket)
        player.play(beside=True)
        told, _ = player.until("idle")  # though every frame is acknowledged
        assert "press a key" in told["message"]
        with pytest.raises(WebSocketDisconnect):
            socket.receive_text()
    until(lambda: not app.state.sessions and StripedWorld.alive == 0, 2)


def test_a_flood_of_good_messages_is_slowed(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "MESSAGES_PER_SECOND", 50)
    monkeypatch.setattr(server, "BURST_SECONDS", 0.1)
    with join(client) as socket:
        player, began = Player(socket), time.monotonic()
        for _ in range(50):
            player.say("keys", held=["TURN_LEFT"])
        player.say("keys", held=["FLY"])
        player.until("error", lambda h: "no such button" in h["message"])
        assert time.monotonic() - began > (51 - 5) / 50 - 0.05


def test_two_clips_of_one_length_and_the_answer_is_kept(
    client: TestClient, answers: Answers
) -> None:
    with join(client) as socket:
        player = Player(socket)
        for count in (1, 2):
            player.say("trial", kind="clips", seconds=1.6, rater="me")
            header, pictures = player.until("clips")
            assert len(pictures) == 2 * 28
            assert "truth" not in header
            player.say("answer", choice="left")
            assert player.until("answered")[0]["count"] == count
        player.say("answer", choice="left")
        assert "no such question" in player.until("error")[0]["message"]
        player.say("leave")
        (verdict,) = player.until("verdict")[0]["verdicts"]
    told = answers.read()
    assert [record.rater for record in told] == ["me", "me"]
    assert verdict["right"] == sum(record.right for record in told)
    assert verdict["paper"] == "58 %"


def test_clips_after_play_are_of_one_dream_until_it_is_old(
    client: TestClient, app: FastAPI, answers: Answers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(questions.AFTER, "clips", (0.0, 2.0))
    monkeypatch.setattr(questions, "OLDEST", 6.0)
    ages = []
    with join(client) as socket:
        player = Player(socket)
        for after in (2.0, 2.0, 2.0, 0.0, 2.0):
            player.say("trial", kind="clips", seconds=1.6, after=after)
            _, pictures = player.until("clips")
            (session,) = app.state.sessions
            ages.append(session.match.dream.frames_since_real)
            player.say("answer", choice="left")
            player.until("answered")
            record = answers.read()[-1]
            assert record.after == after
            real = pictures[:28] if record.truth == "left" else pictures[28:]
            assert real == recorded(session.source, record)
    assert ages == [35 + 28, 35 + 56, 35 + 28, 28, 35 + 28]


def recorded(source: Source, record: Record) -> list[bytes]:
    """The recording of which a trial showed a clip."""
    (entry,) = [entry for entry in source.episodes.of("test") if entry.id == record.episode]
    frames = source.episodes.frames(entry, record.frame + 1, record.frame + 29)
    return [to_jpeg(frame) for frame in frames]


def test_minutes_of_play_end_when_the_player_leaves(client: TestClient, answers: Answers) -> None:
    with join(client) as socket:
        player = Player(socket)
        player.say("trial", kind="clips", seconds=1.6, after=300.0)
        told, _ = player.until("making")
        assert told["what"] == "the model plays 5 minutes first"
        player.say("answer", choice="left")
        player.say("leave")
        began = time.monotonic()
        assert "no such question" in player.until("error")[0]["message"]
        assert player.until("verdict")[0]["verdicts"] == []
        assert time.monotonic() - began < 2
        player.say("trial", kind="clips", seconds=1.6)
        player.until("clips")
    assert not answers.path.exists()


def test_minutes_of_play_end_when_the_page_is_gone_and_others_play_on(
    client: TestClient, app: FastAPI
) -> None:
    with join(client) as other:
        player = Player(other)
        with join(client) as socket:
            Player(socket).say("trial", kind="clips", seconds=1.6, after=300.0)
            Player(socket).until("making")
            player.play()
            player.until("frame", lambda h: h["since_real"] == 40)
            dreamt = max(s.match.dream.frames_since_real for s in app.state.sessions)
            assert dreamt < 5000, "the player did not wait for the minutes to end"
        until(lambda: len(app.state.sessions) == 1, 2)


@pytest.mark.parametrize(
    ("asked", "named"),
    [
        ({"kind": "clips", "seconds": 1.7}, r"seconds: 1.7: one of \(1.6, 3.2\)"),
        ({"kind": "clips", "seconds": 1.6, "after": 7}, r"after: 7: one of \(0.0, 300.0\)"),
        ({"kind": "active", "seconds": 10, "after": 300}, r"after: 300: one of \(0.0,\)"),
    ],
)
def test_trials_that_are_not_offered_are_named(
    client: TestClient, asked: dict[str, Any], named: str
) -> None:
    with join(client) as socket:
        player = Player(socket)
        player.say("trial", **asked)
        assert re.match(named, player.until("error")[0]["message"])


def test_played_blind_nothing_tells_which_it_is(client: TestClient, answers: Answers) -> None:
    sizes, told = set(), []
    with join(client) as socket:
        player = Player(socket)
        for _ in range(4):
            player.say("trial", kind="active", seconds=10.0, rater="")
            player.until("frame", lambda h: h.get("left") == 10.0)
            player.say("keys", held=["TURN_LEFT"])
            player.say("pause", paused=False)
            for _ in range(6):
                message = socket.receive()
                sizes.add(len(message["bytes"]))
                header, _ = player.hear()
                told.append(set(header))
                player.say("seen", number=header["number"])
            player.say(
                "settings", **settings_fields(model="teacher", steps=1, guidance=1, context_noise=0)
            )
            player.until("error", lambda h: "not during a blind test" in h["message"])
            player.say("answer", choice="real")
            player.until("answered")
    assert len(sizes) == 1
    assert all(keys == told[0] for keys in told)
    assert not told[0] & {"fps", "ms", "factor", "since_real", "over", "truth"}
    records = answers.read()
    assert all(0 < record.knew_after < 5 for record in records)
    until(lambda: StripedWorld.alive == 0, 2)


def test_a_game_that_ends_cuts_the_trial_short(tmp_path: Path, answers: Answers) -> None:
    app = create_app(tiny_source(tmp_path / "data", ends_after=3), answers)
    with TestClient(app, base_url="http://127.0.0.1:8000") as client, join(client) as socket:
        player = Player(socket)
        player.say("trial", kind="active", seconds=10.0, rater="")
        player.until("frame", lambda h: "left" in h)
        player.say("pause", paused=False)
        player.until("time_up")
        player.say("answer", choice="neural")
        player.until("answered")
    (record,) = answers.read()
    assert record.cut_short
    assert record.knew_after is None


def test_nothing_made_yet_says_how_to(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="make repro"):
        load(tmp_path, open_backend("eager"))


def test_episodes_of_another_game_than_the_models_are_told(tmp_path: Path) -> None:
    make_all(tmp_path)
    shutil.rmtree(tmp_path / "episodes")
    make_episodes(tmp_path / "episodes", height=40, width=48)
    with pytest.raises(InputError, match=f"{tmp_path}: its episodes are of another game"):
        load(tmp_path, open_backend("eager"))


def test_a_session_begins_as_its_page_says(client: TestClient, app: FastAPI) -> None:
    with join(client) as socket:
        player = Player(socket)
        player.play()
        player.until("frame")
        (session,) = app.state.sessions
        assert session.match.dream.settings == session.source.defaults["student"]


def test_play_begins_as_the_folders_say(source: Source) -> None:
    weights = source.new_dream().weights
    for name, told in source.defaults.items():
        sampling = weights.denoiser(name).sampling
        assert told.sampling == (replace(sampling, steps=1) if name == "student" else sampling)


def test_starts_are_moments_of_test(source: Source) -> None:
    assert [entry.split for entry, _ in source.starts()] == ["test"] * 2
