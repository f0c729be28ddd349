"""A person at the page, in headless Chromium: what they see, and no error on the console."""

import io
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from fastapi import FastAPI
from PIL import Image
from playwright.sync_api import Page

from gamengen.model.diffusion import Sampling
from gamengen.play import questions
from gamengen.play.blind import Answers
from gamengen.play.dream import Settings
from tests.play.worlds import until

desktop = pytest.mark.parametrize("page", ["desktop"], indirect=True)


def picture(page: Page) -> np.ndarray:
    shot = page.locator("#canvas").screenshot()
    return np.asarray(Image.open(io.BytesIO(shot)).convert("RGB")).astype(int)


def since_real(page: Page) -> int:
    return int(page.inner_text("#since"))


def play_on(page: Page, frames: int) -> None:
    at = since_real(page)
    until(lambda: since_real(page) >= at + frames, 20)


def test_playing(page: Page, app: FastAPI) -> None:
    before = picture(page)
    (session,) = app.state.sessions
    if page.locator("#pad").is_visible():
        page.tap("#veil")
    page.keyboard.down("ArrowLeft")
    play_on(page, 5)
    assert session.inbox.held == ["TURN_LEFT"]
    page.keyboard.down("Control")
    until(lambda: session.inbox.held == ["TURN_LEFT", "ATTACK"], 5)
    page.keyboard.up("Control")
    page.keyboard.up("ArrowLeft")
    until(lambda: session.inbox.held == [], 5)
    assert np.abs(picture(page) - before).mean() > 1
    assert float(page.inner_text("#fps")) > 0
    assert float(page.inner_text("#factor")[:-1]) > 0
    page.click("#pause")
    until(lambda: session.mode.paused, 5)
    page.click("#reset")
    until(lambda: since_real(page) == 0, 5)
    assert np.abs(picture(page) - before).mean() < 1


def slow(frame: Callable[[int], Any], seconds: float = 0.045) -> Callable[[int], Any]:
    """Nearly always a frame is being made, as by a model of full size."""

    def step(action: int) -> Any:
        time.sleep(seconds)
        return frame(action)

    return step


@desktop
def test_play_goes_on_after_a_pause(
    page: Page, app: FastAPI, monkeypatch: pytest.MonkeyPatch
) -> None:
    (session,) = app.state.sessions
    monkeypatch.setattr(session.match, "step", slow(session.match.step))
    page.keyboard.press("ArrowLeft")
    for _ in range(3):
        play_on(page, 3)
        page.click("#pause")
        until(lambda: session.mode.paused, 5)
        page.wait_for_timeout(200)
        assert page.inner_text("#pause") == "Play"
        assert page.inner_text("#veil-text") == "paused"
        page.keyboard.press("ArrowLeft")
    play_on(page, 3)
    assert page.inner_text("#pause") == "Pause"


@pytest.mark.parametrize("page", ["phone"], indirect=True)
def test_touch(page: Page, app: FastAPI) -> None:
    (session,) = app.state.sessions
    pad = page.locator("#pad [data-button=TURN_RIGHT]")
    pad.dispatch_event("pointerdown", {"pointerId": 1, "pointerType": "touch"})
    until(lambda: session.inbox.held == ["TURN_RIGHT"], 5)
    play_on(page, 3)
    pad.dispatch_event("pointerup", {"pointerId": 1, "pointerType": "touch"})
    until(lambda: session.inbox.held == [], 5)


def test_settings_and_the_real_game_beside(page: Page, app: FastAPI) -> None:
    (session,) = app.state.sessions
    page.click("[data-model=teacher]")
    page.locator("#steps").fill("3")
    page.locator("#guidance").fill("1.5")
    page.locator("#noise").fill("0.2")
    page.locator("#shift").fill("2.5")
    page.locator("#order").fill("1")
    asked = Settings("teacher", Sampling(3, 1.5, context_noise=0.2, shift=2.5, order=1))
    until(lambda: session.match.dream.settings == asked, 5)
    page.click("#beside")
    page.click("#veil")
    play_on(page, 5)
    assert "real game" in page.inner_text("#label-left")
    shape = picture(page).shape
    assert (shape[1] > 2 * shape[0]) or (shape[0] > shape[1])


def test_a_key_pressed_while_a_start_is_being_made_is_not_lost(
    page: Page, app: FastAPI, monkeypatch: pytest.MonkeyPatch
) -> None:
    (session,) = app.state.sessions
    page.click("#veil")
    play_on(page, 3)
    begin = session.playing.begin

    def slowly(*told: object) -> object:
        time.sleep(4)
        return begin(*told)

    monkeypatch.setattr(session.playing, "begin", slowly)
    page.click("#beside")
    page.wait_for_selector("#veil:disabled >> text=one moment")
    page.keyboard.press("ArrowLeft")
    until(lambda: session.match.real is not None and not session.mode.paused, 10)
    until(lambda: since_real(page) > 0, 10)
    assert page.locator("#veil").is_hidden()


def test_editing(page: Page, app: FastAPI) -> None:
    (session,) = app.state.sessions
    page.click("#edit")
    page.click("[data-colour='#ffffff']")
    page.locator("#brush").fill("40")
    box = page.locator("#canvas").bounding_box()
    before = picture(page)
    page.mouse.move(box["x"] + box["width"] / 3, box["y"] + box["height"] / 2)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2, steps=3)
    page.mouse.up()
    assert picture(page).mean() > before.mean() + 5
    page.click("#edit-apply")
    until(
        lambda: (
            session.match.dream.past.context[0] == session.match.dream.past.context[0, :1]
        ).all(),
        5,
    )
    page.click("#veil")
    play_on(page, 3)


def test_blind(page: Page, answers: Answers) -> None:
    assert page.inner_text("#invitation") == questions.INVITATION
    texts = [button.inner_text() for button in page.locator("#tests button").all()]
    assert texts == [offer.text for offer in questions.offers()]
    page.fill("#rater", "a/b")
    page.click("text=Two clips of 1.6 s")
    assert page.locator("#question").is_hidden()
    assert "letters" in page.get_attribute("#rater", "title")
    page.fill("#rater", "Zoë")
    page.click("text=Two clips of 1.6 s")
    for count in (1, 2):
        page.wait_for_selector("#answer-first:enabled")
        assert page.inner_text("#question-text") == questions.QUESTIONS["clips"]
        assert page.inner_text("#answer-first") == questions.OPTIONS["clips"]["left"]
        assert page.locator("#stats").is_hidden()
        page.click("#answer-first")
        until(lambda wanted=count: answers.path.exists() and len(answers.read()) == wanted, 10)
    page.click("#leave")
    page.wait_for_selector("#verdict b")
    assert "of 2 times" in page.inner_text("#verdict")
    page.click("text=Play up to 10 s")
    page.wait_for_selector("#veil:enabled >> text=trial 1")
    page.click("#veil")
    page.wait_for_timeout(500)
    page.click("#answer-second")
    until(lambda: len(answers.read()) == 3, 10)
    page.wait_for_selector("#veil:enabled >> text=trial 2")
    page.click("#leave")
    page.wait_for_selector("text=told right")
    assert answers.read()[-1].knew_after > 0
    assert {record.rater for record in answers.read()} == {"Zoë"}


def invitation(page: Page) -> str:
    """What the page says when it is ready, to fingers or to hands on a keyboard."""
    size = page.viewport_size
    assert size is not None
    return "tap to play" if size["width"] < 500 else "press a key to play"


def test_clips_after_minutes_of_play_tell_their_progress_and_can_be_left(page: Page) -> None:
    page.click("text=Two clips of 3.2 s after 5 minutes of play")
    page.wait_for_selector("#veil:enabled >> text=the model plays 5 minutes first")
    page.wait_for_selector("#veil-hint >> text=/[1-9] %/")
    page.click("#leave")
    page.wait_for_selector(f"#veil:enabled >> text={invitation(page)}")


def test_after_a_blind_test_page_and_session_are_as_at_first(page: Page, app: FastAPI) -> None:
    (session,) = app.state.sessions
    second = page.locator("#starts button").nth(1)
    second.click()
    page.check("#unlimited")
    until(lambda: session.pace.unlimited, 5)
    page.click("text=Two clips of 1.6 s")
    page.wait_for_selector("#answer-first:enabled")
    page.click("#leave")
    page.wait_for_selector(f"#veil:enabled >> text={invitation(page)}")
    assert not session.pace.unlimited
    assert not page.is_checked("#unlimited")
    assert second.get_attribute("aria-pressed") == "false"
    assert page.locator("#starts button").first.get_attribute("aria-pressed") == "true"


def test_saving(page: Page) -> None:
    page.click("#veil")
    play_on(page, 5)
    with page.expect_download() as download:
        page.click("#mp4")
    assert download.value.suggested_filename == "gamengen.mp4"
