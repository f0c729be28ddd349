"""The page by keyboard, and what it names to those who do not see it."""

import pytest
from fastapi import FastAPI
from playwright.sync_api import Page

from tests.play.test_page import desktop, play_on
from tests.play.worlds import until


@desktop
def test_control_alone_neither_plays_on_nor_fires_later(page: Page, app: FastAPI) -> None:
    (session,) = app.state.sessions
    page.keyboard.down("Control")
    page.wait_for_timeout(300)
    assert session.mode.paused
    asks = "() => !dispatchEvent(new Event('beforeunload', {cancelable: true}))"
    assert not page.evaluate(asks), "no key walks: Ctrl and W are not pressed together"
    page.evaluate("byCode.set('KeyW', 'MOVE_FORWARD')")
    assert page.evaluate(asks)
    page.keyboard.up("Control")
    page.wait_for_timeout(300)
    assert session.inbox.tapped == []
    page.keyboard.down("ArrowLeft")
    until(lambda: session.inbox.held == ["TURN_LEFT"], 5)
    play_on(page, 3)
    page.keyboard.down("Control")
    until(lambda: session.inbox.held == ["TURN_LEFT", "ATTACK"], 5)


@desktop
def test_buttons_and_sliders_by_keyboard(page: Page) -> None:
    page.locator("#pause").focus()
    page.keyboard.press("Tab")
    page.keyboard.press("Shift+Tab")
    page.keyboard.press("Space")
    assert page.inner_text("#pause") == "Pause"
    play_on(page, 3)
    page.locator("#noise").focus()
    before = float(page.input_value("#noise"))
    for _ in range(3):
        page.keyboard.press("ArrowRight")
    assert float(page.input_value("#noise")) == pytest.approx(before + 0.03)
    page.locator("#noise").click()
    assert page.evaluate("document.activeElement === document.body"), "arrow keys play again"


@desktop
def test_full_screen_is_offered_where_there_is_such(page: Page) -> None:
    assert page.is_visible("#full")
    page.add_init_script(
        "Object.defineProperty(Document.prototype, 'fullscreenEnabled', {value: false})"
    )
    page.reload()
    page.wait_for_selector("#veil:enabled >> text=press a key to play")
    assert page.is_hidden("#full")


@desktop
def test_what_is_seen_is_also_named(page: Page) -> None:
    page.get_by_role("status").get_by_text("press a key to play").wait_for()
    assert page.get_by_role("group", name="Keys").is_visible()
    page.click("#edit")
    page.get_by_role("button", name="brown", exact=True).click()
    assert page.get_attribute("[data-colour='#7c4a21']", "aria-pressed") == "true"
    page.click("#edit-cancel")
