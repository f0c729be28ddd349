"""The project files a stage imports, as dvc.yaml must list them; run this module to write them."""

import ast
import importlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path

from ruamel.yaml import YAML

from gamengen.runtime.errors import InputError
from gamengen.runtime.stage import PARAMS, checked, read_yaml

PACKAGES = ("gamengen", "stages")


def imported_files(stage: str, root: Path = Path()) -> list[str]:
    """Every project file that ``python -m stages.<stage>`` runs or finds beside its code."""
    found: set[str] = set()
    waiting = [f"stages.{stage}"]
    while waiting:
        module = waiting.pop()
        file = _file(module, root)
        if file is None or file in found:
            continue
        found.add(file)
        if file.endswith("__init__.py"):
            found.update(_templates(Path(file).parent, root))
        waiting += _imports(root / file)
        waiting += [module.rsplit(".", 1)[0]] if "." in module else []  # a parent's __init__ runs
    return sorted(found)


def _imports(path: Path) -> Iterator[str]:
    """Modules that a file imports anywhere, also inside functions."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.module, f"{path}: relative import"
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _templates(package: Path, root: Path) -> Iterator[str]:
    """Files of a package that are not Python: it is there to read them."""
    for path in (root / package).iterdir():
        if path.is_file() and path.suffix not in (".py", ".pyc"):
            yield str(package / path.name)


def _file(module: str, root: Path) -> str | None:
    if module.split(".")[0] not in PACKAGES:
        return None
    path = Path(*module.split("."))
    for candidate in (path.with_suffix(".py"), path / "__init__.py"):
        if (root / candidate).is_file():
            return str(candidate)
    return None


def named_files(stage: str, numbers: Path = PARAMS) -> list[str]:
    """What the stage's section of params.yaml names: a user's own game, weights to begin with.

    From the current folder, where they lie in it. Raises InputError when the section is wrong.
    """
    params = importlib.import_module(f"stages.{stage}").Params
    settings = checked(stage, params, read_yaml(numbers), numbers)
    return [
        os.path.relpath(path) if path.resolve().is_relative_to(Path().resolve()) else str(path)
        for path in settings.reads()
    ]


def is_code(dep: str) -> bool:
    """Whether a dep of dvc.yaml is a project file rather than data."""
    return dep.split("/")[0] in PACKAGES


def ships(dep: str) -> bool:
    """Whether a dependency is in the repository: weights that a parameter may name."""
    return dep.startswith("data/pretrained/")


def main() -> None:
    """Rewrite the code deps of every stage in dvc.yaml, and add what params.yaml names."""
    yaml = YAML()
    yaml.width = 100
    path = Path("dvc.yaml")
    pipeline = yaml.load(path)
    for name, stage in pipeline["stages"].items():
        data = [dep for dep in stage["deps"] if not is_code(dep)]
        deps = list(dict.fromkeys([*data, *named_files(name), *imported_files(name)]))
        before, now = set(stage["deps"]), set(deps)
        for change, files in (("+", now - before), ("-", before - now)):
            for file in sorted(files):
                print(f"{name}: {change} {file}")
        stage["deps"] = deps
    yaml.dump(pipeline, path)


if __name__ == "__main__":
    try:
        main()
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
