"""Which code ran, and on what: recorded with every number."""

from __future__ import annotations

import contextlib
import hashlib
import os
import platform
import sys
from functools import cache
from importlib import metadata
from pathlib import Path

import torch

import data
import models
import study

PACKAGES = ("torch", "torchvision", "timm", "numpy", "ray", "optuna", "pyarrow")


@cache
def code() -> str:
    """12 hex digits over the sources of study, models and data, as they stand on disk."""
    total = hashlib.sha256()
    for package in (
        data,
        models,
        study,
    ):  # on a cluster's node each of them is unpacked in a folder of its own
        folder = Path(package.__path__[0]).resolve()
        for path in sorted(folder.rglob("*.py")):
            name = Path(package.__name__) / path.relative_to(folder)
            total.update(str(name).encode() + b"\0" + path.read_bytes() + b"\0")
    return total.hexdigest()[:12]


@cache
def environment() -> dict[str, str]:
    """Versions and hardware."""
    found = {"python": platform.python_version(), "system": f"{platform.system()} {platform.machine()}"}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "absent"
    found["cpus"] = str(os.cpu_count())
    found["threads"] = str(torch.get_num_threads())
    if torch.cuda.is_available():
        found["gpu"] = torch.cuda.get_device_name()
        found["cuda"] = str(torch.version.cuda)
    return found


def reset_peak(device: str) -> None:
    """Forget the largest memory so far, so that a process's second trial is not told the first one's."""
    if device.startswith("cuda"):
        torch.cuda.reset_peak_memory_stats()
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def _high_water() -> float | None:
    """This process's largest resident memory since `reset_peak`, where the system tells it (Linux)."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 2**10
    return None


def peak_memory_mb(device: str) -> float:
    """The largest memory held: of the accelerator where there is one, else of this process, in MiB."""
    if device.startswith("cuda"):
        return torch.cuda.max_memory_allocated() / 2**20
    import resource

    if (here := _high_water()) is not None:
        return here
    size = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return size / (2**20 if sys.platform == "darwin" else 2**10)
