"""Trials through Ray Tune: warm actors, our own agenda as its searcher, nothing of Tune's state ever read.

A trial of one process trains inside Tune's actor, which is kept warm from trial to trial. A trial of several is
wrapped by Ray Train (workers.py). Early ends come from inside the training, by the stop file or a rung: ending
a Train run from outside can leave its placement group behind.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ray import tune
from ray.tune.search import Searcher

from study.cluster.connect import Resources
from study.task import Task


@dataclass(frozen=True)
class Needs:
    """What one trial takes of the cluster. gpus: a worker, fractions allowed."""

    cpus: float = 1
    gpus: float = 0
    workers: int = 1


@dataclass(frozen=True)
class Hooks:
    """How the sweep asks for tasks and says what became of them.

    next: a task, None when there is none now. finished: True when there will be none again.
    ended: status and reason of a task by its id. tick: called a few times a second.
    """

    next: Callable[[], Task | None]
    finished: Callable[[], bool]
    ended: Callable[[str, str, str], None]
    tick: Callable[[], None]

    def __reduce__(self) -> tuple[Any, tuple[()]]:
        return _no_hooks, ()  # Tune pickles its searcher for a restore that is never made


def _no_hooks() -> None:
    return None


def concurrency(resources: Resources, needs: Needs) -> int:
    """How many trials the cluster holds at once; 0 where it cannot hold one. A process fits on one node only,
    the processes of a trial may be on several."""
    fits = 0
    for cpus, gpus in resources.nodes:
        places = cpus / max(needs.cpus, 1e-9)
        if needs.gpus:
            # A share of a GPU comes from one GPU: of two with 0.6 each no third is left.
            each = gpus * int(1 / needs.gpus + 1e-6) if needs.gpus < 1 else gpus / needs.gpus
            places = min(places, each)
        fits += int(places + 1e-6)
    return fits // needs.workers


def sweep(hooks: Hooks, resources: Resources, needs: Needs) -> None:
    """Run tasks until the agenda is finished. Raises nothing for a failed trial: that is a row."""
    proposer = _Proposer(hooks)
    trainable: Any = _alone if needs.workers == 1 else _grouped
    if needs.workers == 1:
        asked = {"cpu": needs.cpus, "gpu": needs.gpus}
    else:
        # Its workers hold the real ones: a driver that held any share of a CPU would starve them on a machine
        # that has just enough. An empty bundle is not allowed, so it asks for a megabyte.
        asked = {"cpu": 0, "memory": 1e6}
    trainable = (
        tune.with_parameters(trainable, needs=(needs.cpus, needs.gpus)) if needs.workers > 1 else trainable
    )
    with tempfile.TemporaryDirectory(prefix="ssl-study-") as scratch, _inside(Path(scratch)):
        tuner = tune.Tuner(
            tune.with_resources(trainable, asked),
            tune_config=tune.TuneConfig(
                search_alg=proposer,
                num_samples=-1,
                reuse_actors=True,
                max_concurrent_trials=None,
            ),
            run_config=tune.RunConfig(
                name="study",
                storage_path=scratch,
                verbose=0,
                log_to_file=False,
                failure_config=tune.FailureConfig(max_failures=0),
                checkpoint_config=tune.CheckpointConfig(num_to_keep=1),
                callbacks=[_Ended(hooks, proposer)],
            ),
        )
        proposer.limit = concurrency(resources, needs)
        tuner.fit()


class _Proposer(Searcher):
    """Tune asks, the agenda answers."""

    def __init__(self, hooks: Hooks) -> None:
        super().__init__(metric="step", mode="max")
        self.hooks = hooks
        self.tasks: dict[str, str] = {}  # Tune's trial id to ours
        self.limit = 1

    def suggest(self, trial_id: str) -> Any:
        self.hooks.tick()
        if self.hooks.finished():
            return Searcher.FINISHED
        if len(self.tasks) >= self.limit:
            return None
        task = self.hooks.next()
        if task is None:
            return Searcher.FINISHED if self.hooks.finished() else None
        self.tasks[trial_id] = task.id
        return {"task": task.to_json()}

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        return None

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        return None

    def save(self, checkpoint_path: str) -> None:
        Path(checkpoint_path).write_text("")

    def restore(self, checkpoint_path: str) -> None:
        return None


class _Ended(tune.Callback):
    """Tells the agenda how trials ended, with the cause when the process died."""

    def __init__(self, hooks: Hooks, proposer: _Proposer) -> None:
        self.hooks, self.proposer = hooks, proposer

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        result = trial.last_result or {}
        self._end(
            trial, str(result.get("status", "failed")), str(result.get("reason", "the trial left no word"))
        )

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        error = trial.get_pickled_error() if trial.pickled_error_file else None
        self._end(trial, "failed", cause(error) if error else "the process that trained it died")

    def on_step_end(self, iteration: int, trials: list[Any], **info: Any) -> None:
        self.hooks.tick()

    def _end(self, trial: Any, status: str, reason: str) -> None:
        identity = self.proposer.tasks.pop(trial.trial_id, None)
        if identity is not None:
            self.hooks.ended(identity, status, reason)


def cause(error: BaseException) -> str:
    """The last line that says something of a Ray error: the trial's own exception, or why its process died."""
    inner = getattr(error, "cause", None) or error
    lines = [line.strip() for line in str(inner).strip().splitlines() if line.strip()]
    name = type(inner).__name__
    if "ActorDied" in name or "ActorUnavailable" in name or "WorkerCrashed" in name:
        hint = next((line for line in lines if "reason" in line.lower() or "exit" in line.lower()), "")
        return f"the process that trained it died ({hint[:160] or name})"
    return lines[-1][:300] if lines else name


def _alone(config: dict[str, Any]) -> None:
    """A trial of one process, in Tune's warm actor."""
    from study.cluster.courier import carried

    status, reason = carried(Task.from_json(config["task"]))
    tune.report({"status": status, "reason": reason, "step": 1})


def _grouped(config: dict[str, Any], needs: tuple[float, float]) -> None:
    """A trial of several processes: Ray Train runs them, this function only waits."""
    from study.cluster.workers import run_group

    status, reason = run_group(Task.from_json(config["task"]), *needs)
    tune.report({"status": status, "reason": reason, "step": 1})


@contextlib.contextmanager
def _inside(folder: Path) -> Iterator[None]:
    """Work in a scratch folder: Tune writes relative paths there."""
    before = os.getcwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)
