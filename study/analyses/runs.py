"""A study as its analyses see it: arms, configurations and seeds, with the scores of the runs that count."""

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from study import statistics
from study.table import Row, Tables

_SMALLER = ("error", "loss", "distance", "seconds", "memory")


@dataclass(frozen=True)
class StudyView:
    """What a study asks.

    baseline: the arm that differences are taken to, None for the first. metrics: evaluation.metric. axes:
    keys that vary. claims: dicts {say, a, b, metric, expect, margin, source, gate}. reproduces: {paper,
    table}. arms: labels in the order of the file. sampled: keys that a sampler varies within an arm.
    goals: max or min by metric, where the file says so. planned: trials by arm. chance: of arm and metric, the
    score of guessing. file: its text; scale: of it.
    """

    name: str
    question: str = ""
    baseline: str | None = None
    metrics: list[str] = field(default_factory=list)
    axes: list[str] = field(default_factory=list)
    claims: list[dict[str, Any]] = field(default_factory=list)
    reproduces: dict[str, Any] | None = None
    arms: list[str] = field(default_factory=list)
    sampled: list[str] = field(default_factory=list)
    goals: dict[str, str] = field(default_factory=dict)
    planned: dict[str, int] = field(default_factory=dict)
    chance: dict[str, dict[str, float]] = field(default_factory=dict)
    file: str = ""
    scale: str = ""

    def higher_is_better(self, metric: str) -> bool:
        """What the file says, else by the metric's name: an error, a distance or a cost is better small."""
        if metric in self.goals:
            return self.goals[metric] == "max"
        return not any(word in metric.lower() for word in _SMALLER)


@dataclass(frozen=True)
class Configuration:
    """One point of a study: an arm with the values of its axes, to be run with several seeds."""

    arm: str
    key: str  # the axes as JSON: the same in every run of this configuration
    axes: Mapping[str, Any]

    @property
    def named(self) -> bool:
        """A named arm beside the grid, rather than a cell of it."""
        return "arm" in self.axes


class Runs:
    """The trials of a study, gathered. Only runs that are done count for means; the others are counted."""

    def __init__(self, tables: Tables, study: StudyView) -> None:
        self.study = study
        self.trials = [row for row in tables.trials if row["study"] == study.name]
        self._tables = tables
        self._chosen: dict[str, Configuration | None] = {}

    @classmethod
    def of(cls, tables: Tables, study: StudyView) -> "Runs":
        """Gathered once for all analyses of the same tables and view."""
        known: list[Runs] = tables.memo.setdefault("runs", [])
        found = next((runs for runs in known if runs.study is study), None)
        if found is None:
            found = cls(tables, study)
            known.append(found)
        return found

    @cached_property
    def points(self) -> dict[str, Configuration]:
        """The configuration of every trial, by id; trials of one configuration share it."""
        shared: dict[tuple[str, str], Configuration] = {}
        found = {}
        for row in self.trials:
            made = configuration(row)
            found[row["id"]] = shared.setdefault((made.arm, made.key), made)
        return found

    @cached_property
    def by_arm(self) -> dict[str, list[Row]]:
        """Trials by arm, in their order."""
        found: dict[str, list[Row]] = {arm: [] for arm in self.arms}
        for row in self.trials:
            found[row["arm"]].append(row)
        return found

    @cached_property
    def arms(self) -> list[str]:
        """Labels, in the file's order; those that only the tables know come last."""
        return list(dict.fromkeys([*self.study.arms, *(row["arm"] for row in self.trials)]))

    @cached_property
    def baseline(self) -> str | None:
        """The arm that the others are compared with."""
        return self.study.baseline or (self.arms[0] if self.arms else None)

    @cached_property
    def metrics(self) -> list[str]:
        """Those of the study; where it names none, the accuracies that were measured."""
        if self.study.metrics:
            return list(self.study.metrics)
        return sorted(m for m in self._values if m.endswith(".top1")) or sorted(self._values)[:4]

    @cached_property
    def configurations(self) -> dict[str, list[Configuration]]:
        """By arm. A grid cell has one; a cell with sampled axes has one a sampled point."""
        found: dict[str, dict[str, Configuration]] = {arm: {} for arm in self.arms}
        for row in self.trials:
            made = self.points[row["id"]]
            found[row["arm"]].setdefault(made.key, made)
        return {arm: list(points.values()) for arm, points in found.items()}

    @cached_property
    def _ended(self) -> dict[tuple[str, str], list[tuple[str, int]]]:
        """(arm, configuration) -> id and seed of its runs that are done, in the order of their seeds."""
        found: dict[tuple[str, str], list[tuple[int, str]]] = defaultdict(list)
        for row in self.trials:
            if row["status"] == "done" and row["seed"] is not None:
                found[row["arm"], self.points[row["id"]].key].append((row["seed"], row["id"]))
        return {at: [(identity, seed) for seed, identity in sorted(pairs)] for at, pairs in found.items()}

    def ids(self, *arms: str | Configuration | None) -> list[str]:
        """The runs behind a number of these arms (each at its chosen configuration) or configurations."""
        points = [self.chosen(arm) if isinstance(arm, str) else arm for arm in arms]
        found = [self._ended.get((p.arm, p.key), []) for p in points if p is not None]
        return list(dict.fromkeys(identity for part in found for identity, _ in part))

    def all_ids(self, arm: str | None = None, done: bool | None = None) -> list[str]:
        """Every trial of an arm (of all), done or not."""
        rows = self.trials if arm is None else self.by_arm.get(arm, [])
        return [row["id"] for row in rows if done is None or done == (row["status"] == "done")]

    @cached_property
    def _values(self) -> dict[str, dict[tuple[str, str], dict[int, float]]]:
        """metric -> (arm, configuration) -> seed -> value, of runs that are done, at their last step."""
        live = {row["id"]: row for row in self.trials if row["status"] == "done" and row["seed"] is not None}
        last: dict[tuple[str, str], tuple[int, float]] = {}
        for score in self._tables.scores:
            if score["id"] not in live or score["value"] is None:
                continue
            at, step = (score["id"], f"{score['evaluation']}.{score['metric']}"), score["step"] or 0
            if at not in last or step >= last[at][0]:
                last[at] = (step, score["value"])
        values: dict[str, dict[tuple[str, str], dict[int, float]]] = defaultdict(lambda: defaultdict(dict))
        for (identity, metric), (_, value) in last.items():
            row = live[identity]
            values[metric][row["arm"], self.points[identity].key][row["seed"]] = value
        return values

    def by_trial(self, metric: str) -> dict[str, float]:
        """id -> value, of every run that is done."""
        found: dict[str, float] = {}
        for at, by_seed in self._values.get(metric, {}).items():
            for identity, seed in self._ended.get(at, []):
                if seed in by_seed:
                    found[identity] = by_seed[seed]
        return found

    def counted(self, metric: str) -> int | None:
        """The test items that a score of this metric is a mean over; None where trials differ or do not say."""
        evaluation, _, measured = metric.rpartition(".")
        found = {
            score["n"]
            for score in self._tables.scores
            if score["evaluation"] == evaluation and score["metric"] == measured
        }
        return found.pop() if len(found) == 1 else None

    def mean(self, metric: str, point: Configuration) -> statistics.Interval:
        """Mean of a configuration over its seeds."""
        return statistics.mean(list(self.values(metric, point.arm, point.key).values()))

    def values(self, metric: str, arm: str, key: str | None = None) -> dict[int, float]:
        """seed -> value of one configuration; by default the one that stands for the arm (see `chosen`)."""
        if key is None:
            chosen = self.chosen(arm)
            if chosen is None:
                return {}
            key = chosen.key
        return dict(self._values.get(metric, {}).get((arm, key), {}))

    def chosen(self, arm: str) -> Configuration | None:
        """The configuration that stands for an arm: its only one, else the sampled point with the best mean.

        Points with most finished seeds go first: one lucky seed must not beat a replicated mean.
        """
        if arm not in self._chosen:
            self._chosen[arm] = self._choose(arm)
        return self._chosen[arm]

    def _choose(self, arm: str) -> Configuration | None:
        points = self.configurations.get(arm, [])
        if len(points) < 2 or not self.metrics:
            return points[0] if points else None
        metric = self.objective
        sign = 1 if self.study.higher_is_better(metric) else -1

        def rank(point: Configuration) -> tuple[int, float]:
            values = list(self.values(metric, arm, point.key).values())
            return (len(values), sign * sum(values) / len(values)) if values else (0, 0.0)

        return max(points, key=rank)

    @property
    def objective(self) -> str:
        """The metric by which a sampled point is chosen."""
        measured = [m for m in self.study.goals if m in self._values]
        return (measured or self.metrics)[0]

    def paired_values(self, metric: str) -> dict[Configuration, dict[int, float]]:
        """Of every arm's chosen configuration: seed -> value."""
        found = {}
        for arm in self.arms:
            if (chosen := self.chosen(arm)) is not None:
                found[chosen] = self.values(metric, arm, chosen.key)
        return found

    def statuses(self, arm: str | None = None) -> Counter[str]:
        """How the trials of an arm (of all) ended."""
        rows = self.trials if arm is None else self.by_arm.get(arm, [])
        return Counter(row["status"] for row in rows)

    def failures(self, arm: str | None = None) -> str:
        """Those not done, as `2 diverged, 1 failed`; empty when there are none."""
        counts = self.statuses(arm)
        return ", ".join(f"{n} {status}" for status, n in counts.most_common() if status != "done")

    def selection_note(self) -> list[str]:
        """A warning that the best of several sampled points is an optimist."""
        most = max((len(points) for points in self.configurations.values()), default=0)
        if most < 2:
            return []
        return [
            f"an arm is shown at the best of up to {most} sampled points by {self.objective}: the best of "
            "many looks better than it is; confirm it with fresh seeds"
        ]


def configuration(row: Row) -> Configuration:
    """The configuration of a row of trials."""
    axes = {key: value for key, value in (row["axes"] or {}).items() if key != "seed"}
    return Configuration(row["arm"], json.dumps(axes, sort_keys=True, default=str), axes)


def matches(axes: Mapping[str, Any], chosen: Mapping[str, Any]) -> bool:
    """Whether the axes have every value that a claim's side names."""
    return all(key in axes and axes[key] == value for key, value in chosen.items())


def label(axes: Mapping[str, Any], without: Iterable[str] = ()) -> str:
    """Axes as a label, `groups=4, dim=64`; a named arm's name."""
    left = {key: value for key, value in axes.items() if key not in set(without)}
    named = str(left.pop("arm")) if "arm" in left else ""
    parts = [f"{key.rpartition('.')[2]}={value}" for key, value in left.items()]
    return ", ".join([named, *parts] if named else parts)
