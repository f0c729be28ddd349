"""DVC's side of the flow: the graph of stages, running one of them, comparing with a commit."""

import io
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from graphlib import TopologicalSorter
from pathlib import Path

from dvc.repo import Repo

DVC = [sys.executable, "-m", "dvc"]


def upstream_of() -> dict[str, list[str]]:
    """Every stage of DVC's graph, after all that it depends on, with its direct upstreams."""
    with Repo() as repo:
        graph = repo.index.graph  # its edges point from a stage to what it depends on
        upstream = {
            stage.addressing: sorted(other.addressing for other in graph.successors(stage))
            for stage in graph
        }
    return {stage: upstream[stage] for stage in TopologicalSorter(upstream).static_order()}


def run_dvc(arguments: Sequence[str], tell: Callable[[str, bool], None]) -> None:
    """A command of DVC that runs stages.

    ``tell`` gets every line that is printed, and whether it is a progress bar's. On an interrupt
    the stage is told to stop too, and waited for: it saves a checkpoint first.
    Raises subprocess.CalledProcessError when the command fails.
    """
    command = [*DVC, *arguments]
    process = subprocess.Popen(
        command,
        env=environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    assert process.stdout
    # A progress bar ends its lines with a carriage return, which is to be kept.
    with io.TextIOWrapper(process.stdout, errors="replace", newline="") as lines:
        try:
            for line in lines:
                if line.strip():
                    tell(line.strip(), line.endswith("\r"))
        except BaseException:
            os.killpg(process.pid, signal.SIGINT)
            lines.read()
            process.wait()
            raise
    if process.wait():
        raise subprocess.CalledProcessError(process.returncode, command)


def compared(what: str) -> str:
    """Markdown table of ``params`` or ``metrics`` in the last commit and now."""
    command = [*DVC, what, "diff", "--md", *(["--all"] if what == "metrics" else [])]
    table = subprocess.run(command, env=environment(), capture_output=True, text=True, check=True)
    return table.stdout.strip() or f"The {what} are those of the last commit."


def environment() -> dict[str, str]:
    """This process's, in which a stage finds the programs installed beside this Python."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    return os.environ | {"PATH": path}
