"""One trial of a study performed where its files are: run it, keep its checkpoint, write its rows."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
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


def perform(
    task: Task, stopped: Callable[[], bool] | None = None, exchange: Callable[[], None] | None = None
) -> tuple[str, str]:
    """Run the task and write its rows (the first process does); returns (status, reason).

    stopped: asked after every step whether to stop. exchange: see `rungs.hang`.
    An interrupted trial writes no row: its checkpoint is all that it leaves.
    Raises OSError when a checkpoint or a row cannot be written.
    """
    import torch

    from models import parallel
    from study import rungs, table, trial
    from study.pretrain import Place, Progress, Watch
    from study.spec import from_json

    if torch.get_num_threads() != int(os.environ.get("OMP_NUM_THREADS", "1")):
        torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    stop = stop_file(Path(task.out), task.study)
    first = parallel.rank() == 0

    def tell(progress: Progress) -> None:
        if first:
            _tell(task, progress.step, progress.total, progress.loss, progress.seconds)

    # Two drivers' actors can meet at a trial after a kill: the later one waits, and finds the row.
    with locked(task.folder / "lock") if first else contextlib.nullcontext():
        if first and task.workers == 1:
            before = (
                table.finished(Path(task.out), task.study).get(task.id) if task.extra.get("check") else None
            )
            if before == "done":
                return before, ""
        if first:
            _tell(task, 0, 0, float("nan"), 0.0)
        watch = Watch(stop=lambda: stop.exists() or bool(stopped and stopped()), tell=tell)
        place = Place(
            task.device,
            task.folder,
            task.save_every,
            task.compile,
            task.channels_last,
            tuple(task.extra.get("keep", ())),
            task.extra.get("small", 0),
        )
        spec = from_json(task.spec)
        rungs.hang(watch, task, spec, place, exchange)
        try:
            outcome = trial.run(spec, Path(task.root), place, watch)
        finally:
            if first:
                task.live.unlink(missing_ok=True)
        if first and outcome.status != "interrupted":
            row = {
                "id": task.id,
                "study": task.study,
                "arm": task.arm,
                "seed": task.seed,
                "status": outcome.status,
                "reason": outcome.reason or None,
                "spec": task.spec,
                "axes": dict(task.axes),
                **outcome.facts,
            }
            table.record(Path(task.out), row, outcome.scores, outcome.curves)
            if outcome.status == "done":
                (task.folder / "training.pt").unlink(missing_ok=True)  # rows stand: never resumed again
    return outcome.status, outcome.reason


def forget(out: Path, identity: str) -> None:
    """Remove a trial's checkpoints, so that it starts anew."""
    shutil.rmtree(out / "checkpoints" / identity, ignore_errors=True)


def _tell(task: Task, step: int, total: int, loss: float, seconds: float) -> None:
    """For the live view only: a failure to write it must not end a trial."""
    told = {
        "arm": task.arm,
        "seed": task.seed,
        "step": step,
        "total": total,
        "loss": loss,
        "seconds": seconds,
    }
    with contextlib.suppress(OSError):
        task.live.parent.mkdir(parents=True, exist_ok=True)
        temporary = task.live.with_suffix(".partial")
        temporary.write_text(json.dumps({**told, "at": time.time()}))
        os.replace(temporary, task.live)
