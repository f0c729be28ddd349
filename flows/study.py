"""One question, asked of the pipeline: ``python -m flows.study NAME``, a study of studies.yaml.

Its rows are runs of the pipeline under other parameters, or other numbers of one run.
"""

import sys
from pathlib import Path

from flows.experiments import existing, experiments, require_known_to_git, run_all, watched
from flows.lock import held
from flows.studies import STUDIES, read_study, require_measured
from flows.study_page import write
from gamengen.runtime.errors import InputError
from gamengen.runtime.stage import read_yaml


def answer(name: str) -> Path:
    """Run what is missing of a study, and write its page; the page's path.

    Raises InputError before anything runs where the study cannot be run as it is written.
    """
    study = read_study(name)
    with held(f"study {name}"):
        of_row = study.runs(name)
        shown, code = experiments(), watched()
        require_measured(name, study, of_row, shown)
        require_known_to_git(code)
        runs = list({run.name: run for some in of_row.values() for run in some}.values())
        results = existing(runs, shown, code)
        missing = [run for run in runs if run.name not in results]
        print(f"{name}: {len(runs)} runs, {len(missing)} of them to do", flush=True)
        if missing:
            results |= run_all(missing, {experiment["name"] for experiment in shown})
        found = {row: [results[run.name] for run in some] for row, some in of_row.items()}
        return write(name, study, found)


if __name__ == "__main__":
    try:
        if len(sys.argv) != 2:
            raise InputError(f"make study NAME=...: one of {', '.join(read_yaml(STUDIES))}")
        print(answer(sys.argv[1]))
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("interrupted; the same command runs what is missing", file=sys.stderr)
        sys.exit(130)
