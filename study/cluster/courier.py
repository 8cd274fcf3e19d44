"""Rows of nodes that do not see the results folder: through an actor on the driver's node, which does.

The driver leaves a token in its results folder. A worker that cannot read it there works in a folder of its own
node instead, takes what it needs from the driver's folder, and sends back what it wrote: table parts, the encoder,
and where a training was interrupted or stopped early its checkpoint. Until then its progress is on its node only.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from study.perform import perform
from study.task import Task, stop_file, study_folder

LARGEST = 1 << 30  # bytes of a checkpoint that is sent; a larger one stays behind and is lost
BEAT = 1.0  # seconds between a worker's questions whether it should stop


class Courier:
    """Runs on the driver's node: reads and writes files below `out` for workers that do not see it."""

    def __init__(self, out: str, study: str) -> None:
        self.out, self.study = Path(out), study
        self.words: dict[str, tuple[str, str]] = {}
        self.apart: set[str] = set()

    def take(self, patterns: list[str], have: list[str]) -> dict[str, bytes]:
        """Files that match, but those that the worker has."""
        found = {str(p.relative_to(self.out)): p for pattern in patterns for p in self.out.glob(pattern)}
        sizes = {name: path.stat().st_size for name, path in found.items() if name not in set(have)}
        return {name: found[name].read_bytes() for name, size in sizes.items() if size <= LARGEST}

    def give(self, name: str, content: bytes, node: str) -> None:
        """Put a file in place. Raises OSError when the disk refuses."""
        self.apart.add(node)
        _put(self.out / name, content)

    def beat(self, identity: str, told: str | None) -> bool:
        """Pass on a worker's progress; True when it should stop."""
        if told is not None:
            with contextlib.suppress(OSError):
                _put(study_folder(self.out, self.study) / "live" / f"{identity}.json", told.encode())
        return stop_file(self.out, self.study).exists()

    def ended(self, identity: str, done: bool) -> None:
        """A worker has ended a trial; one that is done is never continued."""
        if done:
            (self.out / "checkpoints" / identity / "training.pt").unlink(missing_ok=True)
        (study_folder(self.out, self.study) / "live" / f"{identity}.json").unlink(missing_ok=True)

    def say(self, identity: str, word: tuple[str, str] | None) -> None:
        """How a trial of several processes has ended; None before it begins."""
        self.words.pop(identity, None)
        if word is not None:
            self.words[identity] = word

    def said(self, identity: str) -> tuple[str, str] | None:
        return self.words.get(identity)

    def nodes(self) -> list[str]:
        """Those whose files came through here."""
        return sorted(self.apart)


@contextlib.contextmanager
def posted(out: Path, study: str, tell: Callable[[str], None]) -> Iterator[dict[str, str]]:
    """While a cluster runs trials: what their tasks take along to find the results folder, or the courier."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    token = secrets.token_hex(8)
    mark = _mark(out, study, token)
    for left in mark.parent.glob("seen-*"):  # by a driver that was killed
        left.unlink(missing_ok=True)
    mark.write_text(token)
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    made: Any = ray.remote(Courier)
    courier = made.options(name=_name(token), num_cpus=0, scheduling_strategy=here, max_concurrency=8).remote(
        str(out), study
    )
    try:
        yield {"courier": token}
        if nodes := ray.get(courier.nodes.remote()):
            tell(f"{', '.join(nodes)} did not see {out}: their rows came through this node")
    finally:
        mark.unlink(missing_ok=True)


def carried(task: Task) -> tuple[str, str]:
    """Perform the task, wherever its rows can be written; returns (status, reason)."""
    token = task.extra.get("courier")
    if token is None or _sees(task, token):
        return perform(task)
    with _Apart(task, token) as apart:
        status, reason = perform(apart.task, apart.stopped, apart.exchange)
        apart.finish(status)
    return status, reason


def tell_word(task: Task, status: str, reason: str) -> bool:
    """Tell the courier how a trial of several processes has ended; False where there is none to tell."""
    return _told(task, (status, reason))


def clear_word(task: Task) -> bool:
    """Before such a trial begins; False where there is no courier."""
    return _told(task, None)


def word_of(task: Task) -> tuple[str, str] | None:
    """What the courier was told of it."""
    import ray

    status, reason = ray.get(_courier(task.extra["courier"]).said.remote(task.id)) or ("", "")
    return (status, reason) if status else None


def _told(task: Task, word: tuple[str, str] | None) -> bool:
    import ray

    if "courier" not in task.extra:
        return False
    ray.get(_courier(task.extra["courier"]).say.remote(task.id, word))
    return True


class _Apart:
    """A task in a folder of its own node."""

    def __init__(self, task: Task, token: str) -> None:
        self.courier = _courier(token)
        self.out = Path(tempfile.mkdtemp(prefix="ssl-study-"))
        self.task = replace(task, out=str(self.out))
        self.sent: dict[str, int] = {}  # files that both sides have, by their time of writing
        self.over = threading.Event()
        self.stop = False
        self.done = False

    def __enter__(self) -> _Apart:
        study, identity = self.task.study, self.task.id
        self._take(
            f"tables/*/{study}/{identity}-*", f"checkpoints/{identity}/training.pt", *_sources(self.task)
        )
        self.beats = threading.Thread(target=self._beat, daemon=True)
        self.beats.start()
        return self

    def __exit__(self, *error: object) -> None:
        import ray

        self.over.set()
        self.beats.join()
        shutil.rmtree(self.out, ignore_errors=True)
        ray.get(self.courier.ended.remote(self.task.id, self.done))

    def stopped(self) -> bool:
        return self.stop

    def exchange(self) -> None:
        """The values of a rung, of all trials, are here and there."""
        self._give("tables/rungs/**/*.parquet")
        self._take(f"tables/rungs/{self.task.study}/*.parquet")

    def finish(self, status: str) -> None:
        """Everything that was written goes to the driver's folder; the row of the trial last."""
        self._give(
            "checkpoints/*/*.pt",
            "tables/rungs/**/*.parquet",
            "tables/[!rt]*/**/*.parquet",
            "tables/trials/**/*.parquet",
        )
        self.done = status == "done"

    def _take(self, *patterns: str) -> None:
        import ray

        files = ray.get(self.courier.take.remote(list(patterns), list(self.sent)))
        for name, content in files.items():
            _put(self.out / name, content)
            self.sent[name] = (self.out / name).stat().st_mtime_ns

    def _give(self, *patterns: str) -> None:
        import ray

        for pattern in patterns:
            paths = [p for p in self.out.glob(pattern) if not p.name.startswith(".")]
            new = {str(p.relative_to(self.out)): p for p in paths if p.stat().st_size <= LARGEST}
            for name, path in new.items():
                if (time := path.stat().st_mtime_ns) != self.sent.get(name):
                    ray.get(self.courier.give.remote(name, path.read_bytes(), ray.util.get_node_ip_address()))
                    self.sent[name] = time

    def _beat(self) -> None:
        import ray

        while not self.over.wait(BEAT):
            told = None
            with contextlib.suppress(OSError):
                told = self.task.live.read_text()
            try:
                self.stop = ray.get(self.courier.beat.remote(self.task.id, told))
            except ray.exceptions.RayError:  # the driver is gone: Ray ends this process too
                self.stop = True
                return


def _sources(task: Task) -> list[str]:
    """The files that a trial starts from which starts from another one."""
    start = json.loads(task.spec).get("start") or {}
    if start.get("name") != "trial":
        return []
    at_end = "encoder.pt" if start["part"] == "encoder" else "epoch-*.pt"
    return [
        f"checkpoints/{start['id']}/" + (at_end if start["epoch"] is None else f"epoch-{start['epoch']}.pt")
    ]


def _courier(token: str) -> Any:
    import ray

    return ray.get_actor(_name(token))


def _name(token: str) -> str:
    return f"courier-{token}"


def _mark(out: Path, study: str, token: str) -> Path:
    return study_folder(out, study) / f"seen-{token}"


def _sees(task: Task, token: str) -> bool:
    try:
        return _mark(Path(task.out), task.study, token).read_text() == token
    except OSError:
        return False


def _put(path: Path, content: bytes) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}.partial")
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with temporary.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
