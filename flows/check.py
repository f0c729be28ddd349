"""All of params.yaml against all stages, before anything long starts: ``python -m flows.check``."""

import importlib
import sys
from collections.abc import Sequence
from pathlib import Path

from ruamel.yaml import YAML

from gamengen.errors import InputError
from gamengen.stage import PARAMS, read_params, require_listed


def check_params(stages: Sequence[str], path: Path = PARAMS) -> None:
    """Raise InputError naming every wrong, missing or unknown key of every section."""
    problems = []
    for stage in stages:
        try:
            read_params(stage, importlib.import_module(f"stages.{stage}").Params, path)
        except InputError as error:
            problems += [line for line in str(error).splitlines() if line not in problems]
    if path.is_file() and not problems:
        sections = YAML(typ="safe", pure=True).load(path.read_text())
        problems += [
            f"{path}: {section}: no stage has this name; remove the section or name it one of "
            + ", ".join(stages)
            for section in sections
            if section not in stages
        ]
    if problems:
        raise InputError("\n".join(problems))


def check_listed(stages: Sequence[str]) -> None:
    """Raise InputError unless DVC watches every file that params.yaml names."""
    for stage in stages:
        require_listed(stage, read_params(stage, importlib.import_module(f"stages.{stage}").Params))


def stage_names(pipeline: Path = Path("dvc.yaml")) -> list[str]:
    """The stages of dvc.yaml, in its order."""
    return list(YAML(typ="safe", pure=True).load(pipeline.read_text())["stages"])


if __name__ == "__main__":
    try:
        check_params(stage_names())
        check_listed(stage_names())
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
