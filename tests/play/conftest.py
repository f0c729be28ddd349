"""A source to play from, a server over it, and a page of that server in headless Chromium."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi import FastAPI
from playwright.sync_api import Page, sync_playwright
from starlette.testclient import TestClient

from gamengen.play.blind import Answers
from gamengen.play.server import create_app
from gamengen.play.source import Source
from tests.play.worlds import StripedWorld, served, tiny_source

SIZES = {"desktop": {"width": 1280, "height": 800}, "phone": {"width": 390, "height": 844}}


@pytest.fixture(scope="session")
def source(tmp_path_factory: pytest.TempPathFactory) -> Source:
    return tiny_source(tmp_path_factory.mktemp("played") / "data")


@pytest.fixture(autouse=True)
def _sound_world() -> Iterator[None]:
    yield
    StripedWorld.crashes, StripedWorld.broken = 0, False


@pytest.fixture
def answers(tmp_path: Path) -> Answers:
    return Answers(tmp_path / "blind.jsonl")


@pytest.fixture
def app(source: Source, answers: Answers) -> FastAPI:
    return create_app(source, answers, max_sessions=2)


@pytest.fixture
def client(app: FastAPI) -> Iterator[TestClient]:
    with TestClient(app, base_url="http://127.0.0.1:8000") as client:
        yield client


def chromium() -> str:
    path = shutil.which("chromium")
    if path is None:
        pytest.fail("no chromium: install Debian's package (apt-get install chromium)")
    return path


@pytest.fixture(scope="module")
def browser() -> Iterator[object]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(), args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(params=SIZES)
def page(browser: object, app: FastAPI, request: pytest.FixtureRequest) -> Iterator[Page]:
    touch = request.param == "phone"
    context = browser.new_context(viewport=SIZES[request.param], has_touch=touch, is_mobile=touch)
    page = context.new_page()
    page.set_default_timeout(20_000)
    page.errors = []
    page.on("pageerror", lambda error: page.errors.append(str(error)))
    page.on(
        "console",
        lambda said: said.type in ("error", "warning") and page.errors.append(said.text),
    )
    with served(app) as address:
        page.goto(f"http://{address}/")
        page.wait_for_selector("#canvas[data-number]")
        yield page
        assert page.errors == []
        context.close()
    assert not app.state.sessions
