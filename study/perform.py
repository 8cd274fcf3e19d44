"""One trial of a study performed where its files are: run it, keep its checkpoint, write its rows."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

from study.task import Task, locked, stop_file


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
