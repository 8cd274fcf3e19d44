"""What Ray costs: a study through Ray over the same trials one after another in this process."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

FILE = Path("searchspaces/lewel_groups.yaml")


def run(print_line: Callable[[str], None], file: Path = FILE, sets: tuple[str, ...] = ()) -> float:
    """Print both wall times, starting and ending Ray included, and return their ratio (Ray / local)."""
    seconds: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, flags in (("ray", []), ("local", ["--local"])):
            command = [sys.executable, "-m", "study.run", str(file), "--out", f"{folder}/{name}", *flags]
            for text in sets:
                command += ["--set", text]
            started = time.monotonic()
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
            seconds[name] = time.monotonic() - started
            print_line(f"{name:>6}: {seconds[name]:7.1f} s")
    ratio = seconds["ray"] / seconds["local"]
    print_line(f"Ray over local: {ratio:.2f} (at most 1.3 on 2 cores)")
    return ratio
