"""A page that lost its session: nothing is blocked for good, and play begins anew."""

from dataclasses import replace

import pytest
from fastapi import FastAPI
from playwright.sync_api import Page

from gamengen.play import server
from gamengen.play.blind import Answers
from gamengen.play.dream import Settings
from tests.play.test_page import desktop, play_on
from tests.play.worlds import until


@desktop
@pytest.mark.parametrize(
    "button", ["#reset", "#beside", "#starts button", "#edit", "#tests button"]
)
def test_any_button_brings_back_who_was_idle(
    page: Page, app: FastAPI, monkeypatch: pytest.MonkeyPatch, button: str
) -> None:
    monkeypatch.setattr(server, "IDLE", 0.3)
    page.keyboard.press("ArrowLeft")
    page.wait_for_selector("#veil:enabled >> text=still there?")
    until(lambda: not app.state.sessions, 5)
    monkeypatch.setattr(server, "IDLE", 600.0)
    page.locator(button).first.click()
    page.wait_for_selector("#veil:enabled >> text=press a key to play")
    page.keyboard.press("ArrowLeft")
    play_on(page, 3)


@desktop
def test_a_lost_connection_changes_no_setting_and_blocks_no_button(
    page: Page, app: FastAPI
) -> None:
    page.click("[data-model=teacher]")
    page.locator("#steps").fill("3")
    page.locator("#guidance").fill("1.5")
    page.evaluate("socket.close()")
    until(lambda: not app.state.sessions, 5)
    page.click("#mp4")
    page.click("text=Two clips of 1.6 s")
    page.wait_for_selector("#mp4:enabled")
    page.wait_for_selector("#veil:enabled >> text=press a key to play")
    (session,) = app.state.sessions
    asked = replace(session.source.defaults["teacher"].sampling, steps=3, guidance=1.5)
    until(lambda: session.match.dream.settings == Settings("teacher", asked), 5)
    assert page.get_attribute("[data-model=teacher]", "aria-pressed") == "true"
    page.keyboard.press("ArrowLeft")
    play_on(page, 3)


@desktop
def test_after_a_failure_another_session_begins(
    page: Page, app: FastAPI, monkeypatch: pytest.MonkeyPatch
) -> None:
    (failing,) = app.state.sessions
    monkeypatch.setattr(failing.match, "step", lambda _: 1 / 0)
    page.keyboard.press("ArrowLeft")
    page.wait_for_selector("#notice >> text=the session failed")
    page.wait_for_selector("#veil:enabled >> text=press a key to play")
    assert app.state.sessions.isdisjoint({failing})
    page.keyboard.press("ArrowLeft")
    play_on(page, 3)


@desktop
def test_an_answer_that_cannot_be_kept_ends_the_test(page: Page, answers: Answers) -> None:
    (answers.path.parent / "file").touch()
    answers.path = answers.path.parent / "file" / "blind.jsonl"
    page.click("text=Two clips of 1.6 s")
    page.click("#answer-first:enabled")
    page.wait_for_selector("#notice >> text=no answer can be kept")
    page.wait_for_selector("#veil:enabled >> text=press a key to play")
