"""``make play``: where it listens, and the names it answers to."""

import sys
from collections.abc import Iterator
from unittest.mock import MagicMock, patch

import pytest
from starlette.testclient import TestClient

from gamengen.play import __main__
from gamengen.play.__main__ import bind
from gamengen.play.source import Source
from gamengen.runtime.errors import InputError


def test_a_port_that_is_taken_is_named_before_anything_is_loaded() -> None:
    listening, url = bind("127.0.0.1", 0)
    port = listening.getsockname()[1]
    assert url == f"http://127.0.0.1:{port}/"
    with listening, pytest.raises(InputError, match=rf"--port {port}: Address already in use"):
        bind("127.0.0.1", port)


@pytest.mark.parametrize("port", [-1, 65536])
def test_a_port_that_cannot_be_is_named(port: int) -> None:
    with pytest.raises(InputError, match=rf"--port {port}: must be 0 to 65535"):
        bind("127.0.0.1", port)


@pytest.fixture
def command(source: Source, monkeypatch: pytest.MonkeyPatch) -> Iterator[MagicMock]:
    """``make play`` that neither loads nor listens; gives what it serves."""
    monkeypatch.setattr(sys, "argv", ["play", "--host", "My.Host", "--name", "OTHER", "--no-open"])
    monkeypatch.setattr(__main__, "bind", lambda host, port: (None, f"http://{host}:{port}/"))
    monkeypatch.setattr(__main__, "open_backend", MagicMock())
    monkeypatch.setattr(__main__.source, "load", lambda data, backend: source)
    with patch.object(__main__, "serve") as serve:
        yield serve


def test_host_and_names_are_answered_however_they_are_written(command: MagicMock) -> None:
    __main__.main()
    client = TestClient(command.call_args.args[0])
    for host in ("my.host", "My.Host:8000", "other", "Other"):
        assert client.get("/", headers={"host": host}).status_code == 200
    assert client.get("/", headers={"host": "another"}).status_code == 421


def test_an_interrupt_while_it_loads_ends_it(
    command: MagicMock, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> Source:
        raise KeyboardInterrupt

    monkeypatch.setattr(__main__.source, "load", interrupted)
    with pytest.raises(SystemExit) as end:
        __main__.main()
    assert end.value.code == 130
    command.assert_not_called()


def test_an_ipv6_address_is_written_in_brackets() -> None:
    listening, url = bind("::1", 0)
    listening.close()
    assert url.startswith("http://[::1]:")
