"""The weights that ship, as a fresh clone plays them: no data/episodes, nothing made before."""

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import sync_playwright

from gamengen.backends.backend import open_backend
from gamengen.model.weights import load_weights, newest
from gamengen.play.dream import Dream, defaults
from gamengen.play.source import load
from tests.play.conftest import chromium
from tests.play.worlds import until
from tests.tiny import ROOT

SHIPPED = ROOT / "data/pretrained"
LARGEST = 25_000_000  # bytes, all together


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A folder with what git has under data, and nothing else."""
    (tmp_path / "data").mkdir()
    (tmp_path / "data/pretrained").symlink_to(SHIPPED)
    return tmp_path


@pytest.fixture
def address(clone: Path) -> Iterator[str]:
    """Of ``make play`` in that folder."""
    command = [sys.executable, "-m", "gamengen.play", "--port", "0", "--no-open"]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}
    process = subprocess.Popen(
        command, cwd=clone, env=environment, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    line = process.stdout.readline()
    found = re.search(r"data/pretrained: play at (http://\S+)", line)
    try:
        assert found is not None, line
        yield found[1]
    finally:
        process.terminate()
        process.wait(20)
        process.stdout.close()


def test_a_fresh_clone_plays_at_once(address: str) -> None:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(), args=["--no-sandbox"])
        page = browser.new_page()
        began = time.monotonic()
        page.goto(address)
        page.wait_for_selector("#veil:enabled >> text=press a key to play", timeout=20_000)
        assert time.monotonic() - began < 10, "the engine was warm before the page was announced"
        page.keyboard.down("ArrowLeft")
        until(lambda: int(page.inner_text("#since")) > 20, 20)
        assert page.is_hidden("#model"), "one network ships: there is nothing to choose"
        assert page.is_visible("#steps")
        assert page.is_hidden("#guidance"), "it was not trained for it"
        page.click("#beside")
        page.keyboard.press("ArrowLeft")
        until(lambda: "real game" in page.inner_text("#label-left"), 30)
        browser.close()


def test_what_ships_is_small_and_whole(clone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = [path for path in SHIPPED.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < LARGEST
    assert (SHIPPED / "metrics.json").is_file()
    monkeypatch.chdir(clone)
    assert newest() == Path("data/pretrained")
    source = load(newest(), open_backend("eager"))
    assert len(source.starts()) == 8
    weights = load_weights(newest())
    dream = Dream(weights, open_backend("eager"))
    assert dream.settings == defaults(weights)[source.first]
    dream.start(source.history(*source.starts()[0]))
    assert dream.step(0).std() > 10
