"""The record of a search: every point that was asked and told, in order, from which a search is rebuilt.

Nothing of Optuna's own has to survive: a part of the table `points` is written at every ask and again at
every tell, and the sampler is brought back by replaying those events.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from study import table
from study.cells import Cell
from study.expression import Absent, Expression, ExpressionError
from study.mistake import Mistakes
from study.space import Space
from study.spec import digest

State = Literal["running", "done", "pruned", "failed"]


@dataclass
class Point:
    """A sampled point and what became of it.

    asked, told: places of the two events in the order of the cell's search; told is None while it runs.
    rejected: proposals before it that were excluded. steps, marks: the rungs that every seed reached, and the
    means over the seeds there.
    """

    index: int
    params: dict[str, Any]
    asked: int
    rejected: int = 0
    told: int | None = None
    state: State = "running"
    values: list[float] | None = None
    steps: list[int] = field(default_factory=list)
    marks: list[float] = field(default_factory=list)
    began: datetime | None = None
    ended: datetime | None = None


class Record:
    """The points of one cell's search in the table."""

    def __init__(self, out: Path, space: Space, cell: Cell) -> None:
        self.out, self.study, self.cell = out, space.settings.study, cell.label
        self.search = signature(space, cell)
        self._name = digest([self.study, self.cell, self.search])
        self.points: dict[int, Point] = {}
        for row in table.rows_of(out, "points", self.study, f"{self._name}-*"):
            self.points[row["index"]] = Point(
                row["index"],
                row["params"],
                row["asked"],
                row["rejected"] or 0,
                row["told"],
                row["state"],
                row["values"],
                row["steps"] or [],
                row["marks"] or [],
                row["began"],
                row["ended"],
            )
        self._order = 1 + max((max(p.asked, p.told or 0) for p in self.points.values()), default=-1)

    def events(self) -> list[tuple[Literal["ask", "tell"], Point]]:
        """Everything that happened, in order."""
        asks = [(p.asked, "ask", p) for p in self.points.values()]
        tells = [(p.told, "tell", p) for p in self.points.values() if p.told is not None]
        return [(kind, point) for _, kind, point in sorted(asks + tells, key=lambda e: e[0])]  # type: ignore[misc]

    def ask(self, index: int, params: dict[str, Any], rejected: int) -> Point:
        point = Point(index, params, self._next(), rejected, began=datetime.now(UTC))
        self.points[index] = point
        self._write(point)
        return point

    def tell(
        self, index: int, state: State, values: list[float] | None, steps: list[int], marks: list[float]
    ) -> Point:
        point = self.points[index]
        point.told, point.state, point.values = self._next(), state, values
        point.steps, point.marks, point.ended = steps, marks, datetime.now(UTC)
        self._write(point)
        return point

    def _next(self) -> int:
        self._order += 1
        return self._order - 1

    def _write(self, point: Point) -> None:
        row = {"study": self.study, "cell": self.cell, "search": self.search, **vars(point)}
        table.write(self.out, "points", f"{self._name}-{point.index}", [row], study=self.study)


def signature(space: Space, cell: Cell) -> str:
    """Digest of what a search is about. Points of another signature belong to another question: they are kept
    in the table and never mixed in. More trials, seeds or evaluations do not change it."""
    dimensions = space.dimensions_of(cell)
    example = space.example(cell).spec
    settings = space.settings
    return digest(
        {
            "template": example.model_dump(mode="json", exclude={"evaluate", "seed"}),
            "axes": [[d.key, d.kind, d.low, d.high, list(d.values)] for d in dimensions],
            "objectives": [[o.metric, o.goal] for o in settings.objectives],
            "sampler": [settings.sampler.name, settings.sampler.seed],
            "where": [
                text for text in settings.where if _expression(text).keys & {d.key for d in dimensions}
            ],
        }
    )


def excluded(space: Space, cell: Cell, point: dict[str, Any]) -> str | None:
    """Why a proposed point cannot be run, or None: `where` says so, or its trial would be impossible."""
    try:
        trial = space.trial(cell, point, space.seeds[0])
    except Mistakes as error:
        return f"{error.mistakes[0].key}: {error.mistakes[0].what}"
    values = trial.spec.model_dump()
    for text in space.settings.where:
        expression = _expression(text)
        try:
            if expression.keys & set(point) and not expression(values):
                return text
        except Absent:
            continue
        except ExpressionError as error:
            return str(error)
    return None


def best(out: Path, space: Space) -> list[str]:
    """The best point of every sampled cell in words; with several objectives, those that no other beats in all."""
    lines = []
    objectives = space.settings.objectives
    signs = [1.0 if o.goal == "max" else -1.0 for o in objectives]
    for cell in space.cells:
        points = Record(out, space, cell).points.values() if space.dimensions_of(cell) else ()
        done = [(p, [s * v for s, v in zip(signs, p.values, strict=True)]) for p in points if p.values]
        front = [p for p, mine in done if not any(_beats(other, mine) for _, other in done)]
        chosen = front[:1] if len(objectives) == 1 else front
        for point in chosen[:5]:
            where = ", ".join(
                f"{k} {v:.4g}" if isinstance(v, float) else f"{k} {v}" for k, v in point.params.items()
            )
            pairs = zip(objectives, point.values or [], strict=True)
            values = ", ".join(f"{o.metric} {value:.4g}" for o, value in pairs)
            lines.append(f"best of {len(points)} points of {cell.label}: {where}: {values}")
    return lines


def _beats(a: Sequence[float], b: Sequence[float]) -> bool:
    """Pareto: nowhere worse, somewhere better."""
    return all(x >= y for x, y in zip(a, b, strict=True)) and list(a) != list(b)


@lru_cache(maxsize=256)
def _expression(text: str) -> Expression:
    return Expression(text)


def outcome(status: str, values: Sequence[float] | None, objectives: int) -> tuple[State, list[float] | None]:
    """A point's state and values as they are recorded: done only with a finite number for every objective."""
    if status == "pruned":
        return "pruned", None
    if status != "done" or values is None or len(values) != objectives:
        return "failed", None
    if not all(math.isfinite(v) for v in values):
        return "failed", None
    return "done", [float(v) for v in values]


def marks(out: Path, space: Space, cell: Cell, params: dict[str, Any]) -> tuple[list[int], list[float]]:
    """The rungs that every seed of a point reached, and the mean over the seeds there."""
    if space.settings.scheduler.name == "none":
        return [], []
    seeds: list[dict[int, float]] = []
    for seed in space.seeds:
        identity = space.trial(cell, params, seed).id
        rows = table.rows_of(out, "rungs", space.settings.study, f"{identity}-*")
        seeds.append({row["step"]: row["value"] for row in rows if row["value"] is not None})
    steps = sorted(set.intersection(*(set(s) for s in seeds)))
    return steps, [sum(s[step] for s in seeds) / len(seeds) for step in steps]
