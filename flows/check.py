"""Checks params.yaml before anything long starts: ``python -m flows.check``.

Each section by its stage's own ``Params``; whether sections fit together is in agreement.py.
"""

import importlib
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from flows.agreement import cross_section_errors
from gamengen.runtime.errors import InputError
from gamengen.runtime.stage import PARAMS, checked, read_yaml, require_listed


def check_params(stages: Sequence[str], path: Path = PARAMS) -> None:
    """Raise InputError naming every wrong, missing or unknown key of every section.

    Where each is right for itself, keys that do not go together are named, of all sections.
    """
    if problems := problems_of(read_yaml(path), stages, path):
        raise InputError("\n".join(problems))


def problems_of(sections: Any, stages: Sequence[str], path: Path = PARAMS) -> list[str]:
    """What is wrong with the content of params.yaml, a line each."""
    problems: list[str] = []
    params = {}
    for stage in stages:
        try:
            module = importlib.import_module(f"stages.{stage}")
            params[stage] = checked(stage, module.Params, sections, path)
        except InputError as error:
            problems += [line for line in str(error).splitlines() if line not in problems]
    if problems:
        return problems
    problems = [
        f"{path}: {section}: no stage has this name; remove the section or name it one of "
        + ", ".join(stages)
        for section in sections
        if section not in stages
    ]
    if problems:
        return problems
    return cross_section_errors(params)


def check_listed(stages: Sequence[str]) -> None:
    """Raise InputError unless DVC watches every file that params.yaml names."""
    sections = read_yaml(PARAMS)
    for stage in stages:
        params = importlib.import_module(f"stages.{stage}").Params
        require_listed(stage, checked(stage, params, sections, PARAMS))


def stage_names(pipeline: Path = Path("dvc.yaml")) -> list[str]:
    """The stages of dvc.yaml, in its order."""
    return list(read_yaml(pipeline)["stages"])


if __name__ == "__main__":
    try:
        check_params(stage_names())
        check_listed(stage_names())
        print(f"{PARAMS}: every section is right")
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
