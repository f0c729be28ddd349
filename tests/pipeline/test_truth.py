"""dvc.yaml, params.yaml and the stages say the same."""

import importlib
import inspect
import shutil
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from flows import deps
from flows.check import check_listed, check_params, stage_names
from flows.deps import imported_files, is_code, ships
from gamengen.runtime.errors import InputError
from tests.artifacts import own_game
from tests.conftest import call
from tests.tiny import ROOT, write_params

yaml = YAML(typ="safe", pure=True)
PIPELINE: dict[str, Any] = yaml.load(ROOT / "dvc.yaml")
STAGES = list(PIPELINE["stages"])


def paths(declared: list[Any]) -> list[str]:
    """Of outs or metrics, which may carry options."""
    return [next(iter(item)) if isinstance(item, dict) else item for item in declared]


@pytest.mark.parametrize("stage", STAGES)
def test_deps_are_exactly_the_project_files_a_stage_imports(stage: str) -> None:
    listed = [dep for dep in PIPELINE["stages"][stage]["deps"] if is_code(dep)]
    assert listed == imported_files(stage, ROOT), "run: python -m flows.deps"


def test_imports_are_followed_wherever_they_are(tmp_path: Path) -> None:
    for name, text in {
        "stages/__init__.py": "import gamengen",
        "stages/a.py": "import numpy\nfrom gamengen import b\n",
        "gamengen/__init__.py": "",
        "gamengen/b.py": "def f():\n    from gamengen.c.d import g\n",
        "gamengen/c/__init__.py": "from gamengen.e import h",
        "gamengen/c/d.py": "",
        "gamengen/c/page.html": "",
        "gamengen/e.py": "",
        "gamengen/unused.py": "",
    }.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    found = imported_files("a", tmp_path)
    assert set(found) == {
        *("gamengen/__init__.py", "gamengen/b.py", "gamengen/c/__init__.py", "gamengen/c/d.py"),
        *("gamengen/c/page.html", "gamengen/e.py", "stages/__init__.py", "stages/a.py"),
    }


def test_sections_of_params_are_the_stages() -> None:
    assert list(yaml.load(ROOT / "params.yaml")) == STAGES == stage_names(ROOT / "dvc.yaml")
    assert all(PIPELINE["stages"][stage]["params"] == [stage] for stage in STAGES)


def test_every_stage_file_is_a_stage() -> None:
    files = {path.stem for path in (ROOT / "stages").glob("*.py")} - {"__init__"}
    assert files == set(STAGES)


@pytest.mark.parametrize("stage", STAGES)
def test_command_names_exactly_the_declared_deps_and_outs(stage: str) -> None:
    declared = PIPELINE["stages"][stage]
    launcher, flag, module, *arguments = declared["cmd"].split()
    assert (launcher, flag, module) == ("launch/accelerate", "-m", f"stages.{stage}")
    data = [dep for dep in declared["deps"] if not is_code(dep) and not ships(dep)]
    assert arguments == data + paths(declared.get("metrics", [])) + paths(declared["outs"])
    main = importlib.import_module(f"stages.{stage}").main
    names = [name.removesuffix("_path") for name in inspect.signature(main).parameters]
    assert names == ["params", *(Path(argument).stem for argument in arguments)]


def test_data_that_a_stage_reads_is_what_an_earlier_stage_made() -> None:
    made: set[str] = set()
    for stage in PIPELINE["stages"].values():
        assert {dep for dep in stage["deps"] if not is_code(dep) and not ships(dep)} <= made
        made |= set(paths(stage["outs"]))


def test_params_as_committed_are_right() -> None:
    check_params(STAGES, ROOT / "params.yaml")


def test_a_users_own_files_are_refused_until_dvc_watches_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("gamengen", "stages"):
        (tmp_path / name).symlink_to(ROOT / name)
    shutil.copy(ROOT / "dvc.yaml", tmp_path)
    own_game(tmp_path / "maps")
    (tmp_path / "weights").mkdir()
    named = {"collect": {"scenario": "maps/mine.cfg"}, "train": {"init": "weights"}}
    write_params(tmp_path / "params.yaml", named)
    monkeypatch.chdir(tmp_path)
    for stage, told in (("collect", r".*/mine\.cfg, .*/mine\.wad"), ("train", "weights")):
        with pytest.raises(InputError, match=rf"params\.yaml: {stage} names {told}, which DVC"):
            check_listed([stage])
    deps.main()
    check_listed(STAGES)
    now = yaml.load(tmp_path / "dvc.yaml")["stages"]
    assert set(now["collect"]["deps"]) - set(PIPELINE["stages"]["collect"]["deps"]) == {
        *("maps/mine.cfg", "maps/mine.wad")
    }
    assert set(now["train"]["deps"]) - set(PIPELINE["stages"]["train"]["deps"]) == {"weights"}


def test_every_wrong_key_of_every_section_is_named_at_once(tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    write_params(
        path, {"encode": {"batch_size": "many"}, "evaluate": {"sede": 1}, "train": {"seed": None}}
    )
    with pytest.raises(InputError) as caught:
        check_params(STAGES, path)
    assert [line.split(": ")[1] for line in str(caught.value).splitlines()] == [
        *("encode.batch_size", "train.seed", "evaluate.sede")
    ]


def test_section_without_a_stage_is_named(tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    write_params(path, {"trian": {"seed": 1}})
    with pytest.raises(InputError, match=r"trian: no stage has this name.*train"):
        check_params(STAGES, path)


def test_missing_section_and_missing_file_are_named(tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    with pytest.raises(InputError, match=r"params.yaml: missing; run from the project's root$"):
        check_params(STAGES, path)
    write_params(path, {"distill": None})
    with pytest.raises(InputError, match="section 'distill' is missing"):
        check_params(STAGES, path)


def test_imports_point_one_way(environment: dict[str, str]) -> None:
    call(["lint-imports", "--no-cache"], ROOT, environment)


def test_overrides_of_every_deployment_fit_params(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dvc.utils.hydra import apply_overrides

    for deployment in yaml.load(ROOT / "prefect.yaml")["deployments"]:
        path = tmp_path / "params.yaml"
        path.write_text((ROOT / "params.yaml").read_text())
        apply_overrides(path, deployment["parameters"]["overrides"])
        check_params(STAGES, path)
        numbers = yaml.load(path)
        played = numbers["train"]["sampling"]["steps"]
        for measure in ("teacher_forced", "autoregressive"):
            assert played in numbers["evaluate"][measure]["teacher_steps"], "measured as played"
