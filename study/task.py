"""A trial on its way to a process, the folders that it is performed in, and the locks that keep two from meeting."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from study.space import Trial


@dataclass(frozen=True)
class Task:
    """A trial on its way to a process: plain values only."""

    study: str
    arm: str
    seed: int
    id: str
    spec: str  # JSON
    axes: Mapping[str, Any]
    out: str
    root: str
    device: str = "cpu"
    workers: int = 1
    save_every: float = 60.0
    compile: bool = False
    channels_last: bool = False
    extra: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @staticmethod
    def from_json(text: str) -> Task:
        return Task(**json.loads(text))

    @property
    def folder(self) -> Path:
        """Where the trial's checkpoints are."""
        return Path(self.out) / "checkpoints" / self.id

    @property
    def live(self) -> Path:
        """Where its progress is told."""
        return study_folder(Path(self.out), self.study) / "live" / f"{self.id}.json"


def study_folder(out: Path, study: str) -> Path:
    return out / "studies" / study


def stop_file(out: Path, study: str) -> Path:
    """While this file stands, every trial of the study writes a checkpoint and ends."""
    return study_folder(out, study) / "stop"


def task_of(trial: Trial, study: str, out: Path, root: Path, **how: Any) -> Task:
    return Task(
        study=study,
        arm=trial.arm,
        seed=trial.spec.seed,
        id=trial.id,
        spec=trial.spec.model_dump_json(),
        axes=dict(trial.axes),
        out=str(out),
        root=str(root),
        **how,
    )


@contextlib.contextmanager
def locked(path: Path, wait: bool = True) -> Iterator[bool]:
    """Hold a file's lock: yields False when another process holds it and `wait` is False. The kernel frees the
    lock when a process dies, however it dies. Where a file system has no locks, none is held."""
    import fcntl

    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            yield False
            return
        except OSError:
            pass
        yield True
