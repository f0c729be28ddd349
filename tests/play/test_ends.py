"""When a session ends, and when it does not yet."""

import time

import numpy as np
import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient
from starlette.websockets import WebSocketDisconnect

from gamengen.play import questions, server
from tests.play.player import Player
from tests.play.test_server import join
from tests.play.worlds import until


def test_while_clips_are_made_the_player_waits_and_is_not_idle(
    client: TestClient, app: FastAPI, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "IDLE", 1.0)
    monkeypatch.setitem(questions.AFTER, "clips", (0.0, 2.0))
    with join(client) as socket:
        player = Player(socket)
        player.until("frame")
        (session,) = app.state.sessions
        step = session.match.step

        def slowly(action: int) -> list[np.ndarray]:
            time.sleep(0.05)
            return step(action)

        monkeypatch.setattr(session.match, "step", slowly)
        player.say("trial", kind="clips", seconds=1.6, after=2.0)
        told = [player.hear()[0]["type"]]
        while told[-1] == "making":
            told.append(player.hear()[0]["type"])
        assert told[-1] == "clips"
        player.until("idle")


def test_a_failed_session_says_so_and_goes(
    client: TestClient, app: FastAPI, monkeypatch: pytest.MonkeyPatch
) -> None:
    with join(client) as socket:
        player = Player(socket)
        player.until("frame")
        (session,) = app.state.sessions
        monkeypatch.setattr(session.match, "step", lambda _: 1 / 0)
        player.say("pause", paused=False)
        assert "failed" in player.until("failed")[0]["message"]
        with pytest.raises(WebSocketDisconnect):
            socket.receive_text()
    until(lambda: not app.state.sessions, 2)
