"""What the figures were measured on."""

import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from gamengen.backends.backend import THREADS

PACKAGES = ("torch", "diffusers", "openvino", "torch-xla")


def this_machine() -> dict[str, Any]:
    versions = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            continue
    found = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    module = torch.get_device_module(found) if found else None
    return {
        "cpu": _cpu(),
        "threads": THREADS,
        "accelerator": module.get_device_name() if module else "no accelerator",
        "versions": versions,
    }


def _cpu() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.is_file() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
