"""Which figures a report has: intervals, responses to an axis, low-data curves, cost, training."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field

from study import figures
from study.analyses.answer import Answer
from study.analyses.runs import Runs, label
from study.table import Tables

_CURVES = 6  # figures of training curves
_ARMS = 16  # drawn in one figure of curves; more cannot be told apart
_RUNS = 8  # of an arm, drawn as single curves


@dataclass(frozen=True)
class Figure:
    """A drawn figure. section: of the page; labels: those of its legend, by their colours."""

    name: str
    section: str
    svg: str
    labels: list[str] = field(default_factory=list)

    @property
    def file(self) -> str:
        """A file name of its own."""
        return re.sub(r"[^a-z0-9]+", "-", f"{self.section} {self.name}".lower()).strip("-")


def of(tables: Tables, runs: Runs, answers: Mapping[str, Answer]) -> list[Figure]:
    """Every figure, in the order of the page; one without anything to draw has an empty svg."""
    return [
        *_intervals(runs, answers["question"]),
        *_responses(runs),
        *_low_data(runs, answers["low_data"]),
        *_cost(runs, answers["cost"]),
        *_training(tables, runs),
    ]


def _intervals(runs: Runs, answer: Answer) -> list[Figure]:
    drawn = []
    for metric in runs.metrics:
        bars, gaps = [], []
        for row in answer.rows:
            if row.get(f"{metric}.mean") is not None:
                values = list(row[f"{metric}.values"].values())
                low, high = row[f"{metric}.low"], row[f"{metric}.high"]
                bars.append(figures.Bar(row["arm"], row[f"{metric}.mean"], low, high, values))
            if row.get(f"{metric}.difference") is not None:
                low, high = row[f"{metric}.difference.low"], row[f"{metric}.difference.high"]
                gaps.append(figures.Bar(row["arm"], row[f"{metric}.difference"], low, high))
        title = f"{metric}: mean, 95 % interval, single seeds"
        drawn.append(Figure(f"{metric}: mean", "question", figures.intervals(title, metric, bars)))
        title = f"{metric}: paired difference to {runs.baseline}"
        across = f"difference in {metric}"
        drawn.append(
            Figure(f"{metric}: difference", "question", figures.intervals(title, across, gaps, zero=True))
        )
    return drawn


def _responses(runs: Runs) -> list[Figure]:
    """The score over every grid axis of numbers, a line for each setting of the other axes."""
    cells = [p for p in map(runs.chosen, runs.arms) if p is not None and not p.named]
    drawn = []
    for axis in dict.fromkeys(key for cell in cells for key in cell.axes):
        if axis in runs.study.sampled or axis.rpartition(".")[2] == "fraction":
            continue
        levels = {cell.axes[axis] for cell in cells if axis in cell.axes}
        if len(levels) < 3 or not all(isinstance(v, int | float) and not isinstance(v, bool) for v in levels):
            continue
        for metric in runs.metrics:
            groups: dict[str, list[figures.Spot]] = defaultdict(list)
            for cell in cells:
                mean = runs.mean(metric, cell)
                if axis in cell.axes and mean.estimate is not None:
                    rest = label(cell.axes, [axis, *runs.study.sampled])
                    spot = figures.Spot(float(cell.axes[axis]), mean.estimate, mean.low, mean.high)
                    groups[rest or metric].append(spot)
            kept = {name: sorted(spots, key=lambda s: s.x) for name, spots in list(groups.items())[:_ARMS]}
            svg = figures.responses(f"{metric} over {axis}", axis, metric, kept)
            drawn.append(Figure(f"{metric} over {axis}", "effects", svg, list(kept) if len(kept) > 1 else []))
    return drawn


def _low_data(runs: Runs, answer: Answer) -> list[Figure]:
    drawn = []
    for metric in dict.fromkeys(row["metric"] for row in answer.rows):
        groups: dict[str, list[figures.Spot]] = defaultdict(list)
        for row in answer.rows:
            if row["metric"] == metric and row["estimate"] is not None:
                low, high = row.get("band.low", row["low"]), row.get("band.high", row["high"])
                groups[row["arm"]].append(figures.Spot(row["fraction"], row["estimate"], low, high))
        kept = dict(list(groups.items())[:_ARMS])
        title = f"{metric} over the fraction of data"
        svg = figures.responses(title, "fraction of data (log scale)", metric, kept, log=True)
        drawn.append(Figure(title, "low_data", svg, list(kept)))
    return drawn


def _cost(runs: Runs, answer: Answer) -> list[Figure]:
    metric = runs.metrics[0] if runs.metrics else None
    if metric is None:
        return []
    spots = {
        row["arm"]: figures.Spot(row["seconds a trial"], row[metric], None, None)
        for row in answer.rows
        if row.get(metric) is not None and row.get("seconds a trial") is not None
    }
    front = [arm for arm in spots if any(r["arm"] == arm and r.get("Pareto") for r in answer.rows)]
    title = f"{metric} against seconds a trial"
    return [Figure(title, "cost", figures.scatter(title, "seconds a trial", metric, spots, front))]


def _training(tables: Tables, runs: Runs) -> list[Figure]:
    """Training curves of the first arms' chosen configurations; only the parts of these trials are read."""
    arms = runs.arms[:_ARMS]
    ids = {arm: runs.ids(arm)[:_RUNS] for arm in arms}
    lines = tables.series(runs.study.name, [identity for own in ids.values() for identity in own])
    points: Counter[str] = Counter()
    for own in lines.values():
        points.update({name: len(line) for name, line in own.items() if len(line) > 1})
    drawn = []
    for name in sorted((name for name, _ in points.most_common()), key=lambda n: n != "loss")[:_CURVES]:
        groups = {arm: [lines[i][name] for i in ids[arm] if name in lines.get(i, {})] for arm in arms}
        drawn.append(Figure(name, "training", figures.lines(name, "step", groups), arms))
    return drawn
