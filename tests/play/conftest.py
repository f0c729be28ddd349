"""A source to play from, and a server over it."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from gamengen.play.blind import Answers
from gamengen.play.server import create_app
from gamengen.play.source import Source
from tests.play.worlds import StripedWorld, tiny_source


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
