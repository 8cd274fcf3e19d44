"""Scores as curves over the fraction of data: of pictures in pre-training, or of labels in an evaluation."""

import math
import re
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise

from study.analyses.answer import Row
from study.analyses.runs import Runs, label

Curve = dict[float, dict[int, float]]  # fraction -> seed -> value


@dataclass
class Curves:
    """by: (arm, metric) -> curve, of at least two fractions. behind: the arm whose runs are a point of it."""

    by: dict[tuple[str, str], Curve] = field(default_factory=dict)
    behind: dict[tuple[str, str, float], str] = field(default_factory=dict)
    baseline: str | None = None

    def reference(self, arm: str, metric: str) -> Curve:
        """The baseline's curve; none for the baseline itself."""
        if self.baseline is None or arm == self.baseline:
            return {}
        return self.by.get((self.baseline, metric), {})

    def ids(self, runs: Runs, arm: str, metric: str, *fractions: float) -> list[str]:
        """The trials behind these points of a curve."""
        return runs.ids(*dict.fromkeys(self.behind.get((arm, metric, f), arm) for f in fractions))


def curves_of(runs: Runs) -> Curves:
    """Every curve of a study."""
    found = Curves(baseline=_family(runs, runs.baseline) if runs.baseline else None)
    _over_pictures(runs, found)
    _over_labels(runs, found)
    found.by = {at: curve for at, curve in found.by.items() if len(curve) > 1}
    return found


def _over_pictures(runs: Runs, found: Curves) -> None:
    """Over the axis data.fraction, by arm without that axis."""
    for arm in runs.arms:
        chosen = runs.chosen(arm)
        key = next((k for k in chosen.axes if k.rpartition(".")[2] == "fraction"), None) if chosen else None
        if chosen is None or key is None or not isinstance(chosen.axes[key], int | float):
            continue
        for metric in runs.metrics:
            if values := runs.values(metric, arm):
                family, fraction = _family(runs, arm), float(chosen.axes[key])
                found.by.setdefault((family, metric), {})[fraction] = values
                found.behind[family, metric, fraction] = arm


def _over_labels(runs: Runs, found: Curves) -> None:
    """Over the `fraction` of evaluations of one name, by arm: fine-tuning on 1 and 10 % of labels.

    Several draws at one fraction are averaged within a seed: the pre-training run is the independent unit.
    """
    for arm in runs.arms:
        spec: Row = next((row["spec"] for row in runs.trials if row["arm"] == arm and row["spec"]), {})
        drawn: dict[tuple[str, float], list[dict[int, float]]] = defaultdict(list)
        for evaluation in spec.get("evaluate") or ():
            if not isinstance(evaluation, Mapping) or not isinstance(evaluation.get("fraction"), int | float):
                continue
            name = str(evaluation.get("name"))
            if values := runs.values(f"{evaluation.get('label') or name}.top1", arm):
                drawn[f"{name}.top1", float(evaluation["fraction"])].append(values)
        for (metric, fraction), several in drawn.items():
            seeds = [seed for seed in several[0] if all(seed in values for values in several)]
            mean = {seed: sum(values[seed] for values in several) / len(several) for seed in seeds}
            if mean:
                found.by.setdefault((arm, metric), {})[fraction] = mean


def _family(runs: Runs, arm: str) -> str:
    """An arm's label without its fraction; `all` when nothing else varies."""
    chosen = runs.chosen(arm)
    if chosen is None or chosen.named:
        return re.sub(r"(^|, )[\w.]*fraction=[^,]*", "", arm).strip(", ") or "all"
    without = [k for k in chosen.axes if k.rpartition(".")[2] == "fraction"]
    return label(chosen.axes, [*without, *runs.study.sampled]) or ("all" if without else arm)


def area(fractions: list[float], values: list[float]) -> float:
    """Mean of the values over log fraction, by trapezoids."""
    logs = [math.log(f) for f in fractions]
    total = sum((b - a) * (u + v) / 2 for a, b, u, v in zip(logs, logs[1:], values, values[1:]))
    return total / (logs[-1] - logs[0])


def reach(curve: Curve, target: float, seed: int, higher: bool) -> float:
    """The fraction at which one seed's curve first reaches `target`, by interpolation over log fraction.

    0 where its smallest fraction is there already, infinity where it never is.
    """
    sign = 1.0 if higher else -1.0
    fractions = sorted(curve)
    values = [sign * curve[f][seed] for f in fractions]
    target *= sign
    if values[0] > target:
        return 0.0
    if values[0] == target:
        return fractions[0]
    for (f, v), (g, w) in zip(zip(fractions, values), zip(fractions[1:], values[1:])):
        if v < target <= w:
            return _between(f, g, (target - v) / (w - v))
    return math.inf


def crossings(fractions: list[float], gaps: list[float]) -> list[float]:
    """Where a difference changes its sign, by interpolation over log fraction."""
    found = []
    known = [(f, d) for f, d in zip(fractions, gaps) if d != 0]
    for (f, d), (g, e) in pairwise(known):
        if d * e < 0:
            found.append(_between(f, g, d / (d - e)))
    return found


def _between(f: float, g: float, share: float) -> float:
    return math.exp(math.log(f) + share * (math.log(g) - math.log(f)))
