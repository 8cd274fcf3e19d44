"""A trial at a rung: measure the scheduler's metric, leave the value where the others find it, decide.

There is no coordinator: the values stand in the table `rungs`, and each trial decides from those it finds.
The decision stands there too, so that a trial that is resumed, or whose process died at the rung, neither
measures nor decides again.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from study import schedulers, table
from study.space import Space, Trial
from study.studyfile import SchedulerSpec

if TYPE_CHECKING:
    from models.method import Method
    from study.pretrain import Place, Watch
    from study.spec import TrialSpec
    from study.task import Task


def extra(space: Space, trial: Trial) -> dict[str, Any]:
    """What a task takes along when its trial may be stopped: the scheduler, and the arms it competes with.

    Sampled points compete within their arm, so that no arm is searched less well because another is better;
    arms without samples compete with one another. Either way with the same seed only: the same pictures in
    the same order.
    """
    scheduler = space.settings.scheduler
    if scheduler.name == "none":
        return {}
    fixed = [cell.label for cell in space.cells if not space.dimensions_of(cell)]
    rivals = fixed if trial.arm in fixed else [trial.arm]
    return {"scheduler": scheduler.model_dump(mode="json"), "rivals": rivals}


def hang(
    watch: Watch, task: Task, spec: TrialSpec, place: Place, exchange: Callable[[], None] | None = None
) -> None:
    """Let `watch` stop the task's training at rungs, where its scheduler says so. exchange: called before it
    looks for the values of others, and after it has left its own."""
    if "scheduler" not in task.extra:
        return
    rungs = Rungs(task, spec, place, exchange or (lambda: None))
    watch.rungs = rungs.steps
    watch.measure = rungs.measure


class Rungs:
    """The rungs of one trial."""

    def __init__(
        self, task: Task, spec: TrialSpec, place: Place, exchange: Callable[[], None] = lambda: None
    ) -> None:
        self.task, self.spec, self.place, self.exchange = task, spec, place, exchange
        self.scheduler = SchedulerSpec.model_validate_json(json.dumps(task.extra["scheduler"]))
        self.out = Path(task.out)
        self._steps: tuple[int, ...] = ()

    def steps(self, total: int) -> tuple[int, ...]:
        """The steps of a training of `total` steps at which it is measured."""
        self._steps = schedulers.rungs(self.scheduler, total)
        return self._steps

    def measure(self, method: Method, step: int) -> str | None:
        """Why the training ends at this rung, or None. Raises ValueError where the metric does not exist."""
        rung = self._steps.index(step)
        own = self._rows(f"{self.task.id}-*")
        stands = next((row for row in own if row["rung"] == rung), None)
        if stands is None:
            value = self._value(method, step)
            self.exchange()
            stands = self._decided(rung, step, value, own)
            self.exchange()
        why = stands["stopped"]
        return f"stopped at rung {rung + 1} of {len(self._steps)}, step {step}: {why}" if why else None

    def _decided(self, rung: int, step: int, value: float, own: list[dict[str, Any]]) -> dict[str, Any]:
        values = {
            row["id"]: _number(row)
            for row in self._rows(f"*-{rung}")
            if row["arm"] in self.task.extra["rivals"] and row["seed"] == self.task.seed
        }
        values[self.task.id] = value
        before = tuple(_number(row) for row in sorted(own, key=lambda r: r["rung"]) if row["rung"] < rung)
        why = schedulers.verdict(self.scheduler, self.task.id, rung, len(self._steps), values, before)
        row = {"id": self.task.id, "study": self.task.study, "arm": self.task.arm, "seed": self.task.seed}
        row |= {"rung": rung, "step": step, "value": value, "stopped": why}
        table.write(self.out, "rungs", f"{self.task.id}-{rung}", [row], study=self.task.study)
        return row

    def _rows(self, pattern: str) -> list[dict[str, Any]]:
        return table.rows_of(self.out, "rungs", self.task.study, pattern)

    def _value(self, method: Method, step: int) -> float:
        from study import trial

        name, _, metric = self.scheduler.metric.partition(".")
        data = trial.load(self.spec.data, Path(self.task.root).expanduser())
        given = trial.subject(self.spec, data, trial.Encoder.of(method), self.place)
        rows = trial.evaluate(self.spec, given, step, Path(self.task.root), {name})
        values = {row["metric"]: row["value"] for row in rows}
        if metric not in values:
            has = ", ".join(values) or "no metric"
            raise ValueError(f"scheduler.metric {self.scheduler.metric}: {name} measures {has}")
        return float(values[metric])


def _number(row: Mapping[str, Any]) -> float:
    return float("nan") if row["value"] is None else float(row["value"])
