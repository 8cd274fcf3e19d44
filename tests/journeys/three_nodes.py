"""A Ray cluster of three nodes on one machine, for the tests of clusters: a head that computes nothing, and two
nodes with a core each that do not see all of the head's folders."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

RAY = [sys.executable, "-m", "ray.scripts.scripts", "start", "--block", "--disable-usage-stats"]
MEMORY = ["--object-store-memory", "200000000", "--min-worker-port", "0", "--max-worker-port", "0"]
MEMORY += ["--dashboard-agent-listen-port", "0"]
TOKEN = "".join("0123456789abcdef"[(7 * i) % 16] for i in range(64))  # Ray asks every caller for it
PATIENCE = 120  # seconds until the nodes are up, on a busy machine


@dataclass(frozen=True)
class ThreeNodes:
    """dashboard: for `submit`. address: for `--address`. apart: a folder of the head that the first node sees and
    the second does not. alone: one that neither sees. Where mounts are not allowed, both see everything."""

    dashboard: str
    address: str
    apart: Path
    alone: Path
    hidden: bool

    def state(self, what: str) -> list[dict[str, Any]]:
        """Rows of the cluster's state: actors, placement_groups."""
        return _rows(self.dashboard, f"{what}?detail=1")

    def environment(self) -> dict[str, str]:
        """Of a process that talks to the cluster: as a person's shell has it, with the token at hand."""
        kept = {k: v for k, v in os.environ.items() if not k.startswith("RAY_") and k != "OMP_NUM_THREADS"}
        return {**kept, "RAY_AUTH_TOKEN": TOKEN}


def can_hide() -> bool:
    """Whether this machine lets us give a process a mount of its own."""
    found = shutil.which("unshare")
    return bool(found) and subprocess.run([str(found), "-m", "true"], capture_output=True).returncode == 0


@contextmanager
def three_nodes() -> Iterator[ThreeNodes]:
    folder = Path(tempfile.mkdtemp(prefix="three", dir="/tmp"))  # short: Ray's sockets lie below it
    apart, alone, hidden = folder / "apart", folder / "alone", can_hide()
    apart.mkdir()
    alone.mkdir()
    gcs, dashboard, client = _free_ports(3)
    address = f"127.0.0.1:{gcs}"
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("RAY_", "PYTHONPATH"))}
    # The interpreter of these tests is the cluster's; its packages are, but not the three that are tested.
    environment["PATH"] = f"{Path(sys.executable).parent}:{environment['PATH']}"
    environment |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": TOKEN}
    environment["RAY_raylet_start_wait_time_s"] = str(PATIENCE)
    head = ["--head", "--num-cpus", "0", "--port", str(gcs), "--ray-client-server-port", str(client)]
    head += ["--include-dashboard", "true", "--dashboard-port", str(dashboard), "--temp-dir", str(folder)]
    node = ["--address", address, "--num-cpus", "1"]
    started: list[subprocess.Popen[bytes]] = []
    try:
        for i, words in enumerate(
            (
                [*RAY, *head],
                _without([alone] if hidden else [], [*RAY, *node]),
                _without([alone, apart] if hidden else [], [*RAY, *node]),
            )
        ):
            with (folder / f"node{i}.log").open("wb") as log:
                process = subprocess.Popen(
                    [*words, *MEMORY],
                    cwd="/",
                    env=environment,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                )
            started.append(process)
            # One after another: two that start at once choose the same name for their sockets.
            _wait(f"http://127.0.0.1:{dashboard}", i + 1, started, folder)
        yield ThreeNodes(f"http://127.0.0.1:{dashboard}", address, apart, alone, hidden)
    finally:
        for process in reversed(started):
            process.terminate()
        for process in started:
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
        shutil.rmtree(folder, ignore_errors=True)


def _without(folders: list[Path], words: list[str]) -> list[str]:
    """A command that sees other, empty folders in the place of these."""
    mounts = "".join(f"mount -t tmpfs none {folder} && " for folder in folders)
    return ["unshare", "-m", "sh", "-c", f'{mounts}exec "$0" "$@"', *words] if folders else words


def _wait(dashboard: str, count: int, started: list[subprocess.Popen[bytes]], folder: Path) -> None:
    end = time.monotonic() + PATIENCE
    alive = 0
    while alive < count and time.monotonic() < end and all(p.poll() is None for p in started):
        time.sleep(0.3)
        try:
            rows = _rows(dashboard, "nodes")
        except (OSError, ValueError, KeyError, TypeError):
            continue
        alive = sum(row["state"] == "ALIVE" for row in rows)
    logs = "\n".join(path.read_text()[-2000:] for path in sorted(folder.glob("node*.log")))
    assert alive >= count, f"{alive} of {count} nodes came up\n{logs}"


def _rows(dashboard: str, what: str) -> list[dict[str, Any]]:
    request = urllib.request.Request(
        f"{dashboard}/api/v0/{what}", headers={"Authorization": f"Bearer {TOKEN}"}
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        return list(json.load(answer)["data"]["result"]["result"])


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for s in sockets:
        s.bind(("127.0.0.1", 0))
    ports = [s.getsockname()[1] for s in sockets]
    for s in sockets:
        s.close()
    return ports
