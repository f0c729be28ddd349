"""The flow on Prefect's own server, run by a worker, with the commands that the README gives."""

import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from flows.pipeline import set_params
from gamengen.runtime.errors import InputError
from tests.conftest import call
from tests.pipeline.test_repro import STAGES

BREAK_ONCE = """set -eu
case "$*" in *stages.evaluate*) if [ ! -e .broken ]; then touch .broken; exit 1; fi ;; esac
"""


@pytest.fixture
def server(project: Path, environment: dict[str, str]) -> Iterator[dict[str, str]]:
    """An environment in which Prefect talks to a server of its own."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    url = f"http://127.0.0.1:{port}/api"
    settings = environment | {"PREFECT_API_URL": url}
    with background(["prefect", "server", "start", "--port", str(port)], project, settings):
        for _ in range(180):
            try:
                httpx.get(f"{url}/health")
                break
            except httpx.TransportError:
                time.sleep(1)
        yield settings


class background:
    """A program that runs until the block ends."""

    def __init__(self, command: list[str], folder: Path, environment: dict[str, str]) -> None:
        self.log = (folder / f"{command[1]}.log").open("w")
        self.process = subprocess.Popen(
            command, cwd=folder, env=environment, stdout=self.log, stderr=subprocess.STDOUT
        )

    def __enter__(self) -> None:
        pass

    def __exit__(self, *_: object) -> None:
        self.process.send_signal(signal.SIGINT)
        try:
            self.process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.log.close()


def test_deployment_runs_every_stage_of_the_graph(project: Path, server: dict[str, str]) -> None:
    launcher = project / "launch/accelerate"
    launcher.write_text(launcher.read_text().replace("set -eu\n", BREAK_ONCE, 1))
    create = ["prefect", "work-pool", "create", "cpu", "--type", "process", "--overwrite"]
    call(create, project, server)
    for pool in ("gpu", "tpu"):  # as that command does, which takes seconds to begin
        pools = f"{server['PREFECT_API_URL']}/work_pools/"
        httpx.post(pools, json={"name": pool, "type": "process"}).raise_for_status()
    call(["prefect", "--no-prompt", "deploy", "--all"], project, server)
    with background(["prefect", "worker", "start", "--pool", "cpu"], project, server):
        seed = 'overrides=["evaluate.seed=9"]'
        run = ["prefect", "deployment", "run", "gamengen/cpu", "--param", seed, "--watch"]
        call(run, project, server)

    def ask(what: str) -> list[dict[str, Any]]:
        found = httpx.post(f"{server['PREFECT_API_URL']}/{what}/filter", json={}).json()
        assert isinstance(found, list)
        return found

    attempts = {run["name"]: run["run_count"] for run in ask("task_runs")}
    assert attempts == dict.fromkeys(STAGES, 1) | {"evaluate": 2}
    assert {run["state_type"] for run in ask("task_runs")} == {"COMPLETED"}
    artifacts = {made["key"]: made for made in ask("artifacts")}
    assert "evaluate.seed" in artifacts["params-diff"]["data"]
    assert "teacher_forced.student.psnr" in artifacts["metrics"]["data"]
    pictures = [made for made in artifacts.values() if made["type"] == "image"]
    assert len(pictures) == len(list((project / "report").rglob("*.png"))) > 0
    logged = "\n".join(record["message"] for record in ask("logs"))
    assert "Stage 'train' didn't change, skipping" in logged
    assert "Running stage 'evaluate':" in logged


def test_overrides_that_do_not_fit_change_nothing(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(project)
    before = (project / "params.yaml").read_bytes()
    with pytest.raises(
        InputError, match=r"overrides: trian.seed: no key of params.yaml; nearest: train.seed"
    ):
        set_params(["trian.seed=1"])
    with pytest.raises(InputError, match=r"evaluate.batch_size: 'many': "):
        set_params(["train.seed=5", "evaluate.batch_size=many"])
    assert (project / "params.yaml").read_bytes() == before
    set_params(["train.seed=5", "autoencoder.widths=[4,8]"])
    after = (project / "params.yaml").read_text()
    assert "seed: 5" in after
