"""The pipeline under Prefect: one task run per stage of DVC's graph, results as artifacts."""

import base64
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from prefect import State, Task, flow, get_run_logger, task
from prefect.artifacts import create_image_artifact, create_markdown_artifact
from prefect.client.schemas.objects import TaskRun

from flows.experiments import override
from flows.graph import compared, run_dvc, upstream_of
from flows.lock import held
from gamengen.runtime.errors import InputError

PARAMS, REPORT = Path("params.yaml"), Path("report")
PROGRESS_EVERY = 60  # seconds between two lines of a progress bar in the log


def may_resume(_: Task[Any, Any], __: TaskRun, state: State[Any]) -> bool:
    """Whether trying again can help: not when the input is what is wrong."""
    return not isinstance(state.result(raise_on_failure=False), InputError)


@task(retries=2, retry_delay_seconds=10, retry_condition_fn=may_resume)
def run_stage(stage: str) -> None:
    """Run a stage unless it is up to date; a retry goes on from the stage's last checkpoint.

    Raises InputError when the stage refuses its input, CalledProcessError when it breaks.
    """
    log, quiet_until, refusal = get_run_logger(), 0.0, ""

    def tell(line: str, is_progress: bool) -> None:
        nonlocal quiet_until, refusal
        if is_progress and time.monotonic() < quiet_until:
            return
        if is_progress:
            quiet_until = time.monotonic() + PROGRESS_EVERY
        if line.startswith(f"error: {stage}: ") and "interrupted" not in line:
            refusal = line.removeprefix("error: ")
        log.info(line)

    try:
        run_dvc(["repro", "--single-item", stage], tell)  # unchanged, it is skipped
    except subprocess.CalledProcessError:
        if refusal:
            raise InputError(refusal) from None
        raise


@flow(name="gamengen")
def pipeline(overrides: list[str] | None = None) -> None:
    """Bring every stage up to date, with overrides like ``train.schedule.steps=10``.

    They are written into params.yaml, as ``dvc exp run -S`` does, and stay there: params.yaml,
    dvc.lock and data always tell of the same run.
    Raises InputError before anything runs when params.yaml would be wrong with them, or another
    run holds the folder.
    """
    with held(" ".join(["flow", *(overrides or [])])):
        set_params(overrides or [])
        states: dict[str, State[Any]] = {}
        for stage, upstream in upstream_of().items():
            states[stage] = run_stage.with_options(name=stage, task_run_name=stage)(
                stage, wait_for=[states[name] for name in upstream], return_state=True
            )
            states[stage].result()
        publish()


def set_params(overrides: list[str]) -> None:
    """Write the overrides into params.yaml, unless that would make it wrong: then InputError."""
    before = PARAMS.read_bytes()
    try:
        if overrides:
            override(PARAMS, overrides)
        check = subprocess.run(
            [sys.executable, "-m", "flows.check"], capture_output=True, text=True, check=False
        )
        if check.returncode:
            raise InputError(check.stderr.strip().removeprefix("error: "))
    except BaseException:
        PARAMS.write_bytes(before)
        raise


def publish() -> None:
    """Show the metrics and parameters beside those of the last commit, and the pictures."""
    create_markdown_artifact(compared("metrics"), key="metrics")
    create_markdown_artifact(compared("params"), key="params-diff")
    for picture in sorted(REPORT.rglob("*.png")):
        key = re.sub(r"[^a-z0-9]+", "-", str(picture.with_suffix("")).lower()).strip("-")
        data = base64.b64encode(picture.read_bytes()).decode()
        create_image_artifact(f"data:image/png;base64,{data}", key=key, description=str(picture))


if __name__ == "__main__":
    try:
        with held("flow"):
            pass  # who is refused is told before Prefect has started a server
        pipeline(sys.argv[1:])
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
