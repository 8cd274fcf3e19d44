"""Scores over the fraction of data: of pictures seen in pre-training, or of labels given to an evaluation."""

import math
import re
from collections import defaultdict
from collections.abc import Mapping
from typing import Any

from study import statistics
from study.analyses.answer import Answer, Row
from study.analyses.runs import Runs, StudyView, label
from study.table import Tables

COLUMNS = ["arm", "metric", "fraction", "score", "n", "difference", "of full"]
Curve = dict[float, dict[int, float]]  # fraction -> seed -> value


def run(tables: Tables, study: StudyView) -> Answer:
    """A row for every arm, metric and fraction, with paired differences to the baseline at the same fraction.

    Notes give, against the baseline, the area under the curve over log fraction and the label efficiency: the
    share of the baseline's largest fraction with which an arm reaches the baseline's score there.
    """
    runs = Runs(tables, study)
    title = f"{study.name}: scores over the fraction of data"
    behind: dict[tuple[str, str, float], str] = {}
    curves = _over_pictures(runs, behind) | _over_labels(runs)
    rows: list[Row] = []
    notes: list[str] = []
    base = _family(runs, runs.baseline) if runs.baseline else None
    for (arm, metric), curve in curves.items():
        reference = curves.get((base, metric), {}) if base is not None and arm != base else {}
        full = statistics.mean(list(curve[max(curve)].values())).estimate
        for fraction in sorted(curve):
            mean = statistics.mean(list(curve[fraction].values()))
            row: Row = {"arm": arm, "metric": metric, "fraction": fraction, "score": mean.text(), "n": mean.n}
            row |= {"estimate": mean.estimate, "low": mean.low, "high": mean.high}
            row["ids"] = runs.ids(behind.get((arm, metric, fraction), arm))
            if fraction in reference:
                gap = statistics.paired(curve[fraction], reference[fraction]).interval
                row |= {
                    "difference": statistics.signed(gap) if gap.n else None,
                    "difference.estimate": gap.estimate,
                }
            if full and mean.estimate is not None:
                row["of full"] = mean.estimate / full
            rows.append(row)
        if reference:
            notes += _against(arm, metric, curve, reference, study.higher_is_better(metric))
    if not rows:
        return Answer(
            title, COLUMNS, rows, ["this study varies no fraction of data, and no such trial is done"]
        )
    head = (
        "mean over seeds with its 95 % t interval; difference: to the baseline at the same fraction, paired"
    )
    return Answer(title, COLUMNS, rows, [head, *notes])


def _over_pictures(runs: Runs, behind: dict[tuple[str, str, float], str]) -> dict[tuple[str, str], Curve]:
    """Curves over the axis data.fraction, by arm without that axis; `behind` is told the arm of every point."""
    found: dict[tuple[str, str], Curve] = defaultdict(dict)
    for arm in runs.arms:
        chosen = runs.chosen(arm)
        key = next((k for k in chosen.axes if k.rpartition(".")[2] == "fraction"), None) if chosen else None
        if chosen is None or key is None or not isinstance(chosen.axes[key], int | float):
            continue
        for metric in runs.metrics:
            if values := runs.values(metric, arm):
                found[_family(runs, arm), metric][float(chosen.axes[key])] = values
                behind[_family(runs, arm), metric, float(chosen.axes[key])] = arm
    return {at: curve for at, curve in found.items() if len(curve) > 1}


def _over_labels(runs: Runs) -> dict[tuple[str, str], Curve]:
    """Curves over the `fraction` of evaluations of one name, by arm: fine-tuning on 1 and 10 % of labels."""
    found: dict[tuple[str, str], Curve] = defaultdict(dict)
    for arm in runs.arms:
        spec: Row = next((row["spec"] for row in runs.trials if row["arm"] == arm and row["spec"]), {})
        for evaluation in spec.get("evaluate") or ():
            if not isinstance(evaluation, Mapping) or not isinstance(evaluation.get("fraction"), int | float):
                continue
            name = str(evaluation.get("name"))
            metric = f"{evaluation.get('label') or name}.top1"
            if values := runs.values(metric, arm):
                found[arm, f"{name}.top1"][float(evaluation["fraction"])] = values
    return {at: curve for at, curve in found.items() if len(curve) > 1}


def _family(runs: Runs, arm: str) -> str:
    """An arm's label without its fraction; `all` when nothing else varies."""
    chosen = runs.chosen(arm)
    if chosen is None or chosen.named:
        return re.sub(r"(^|, )[\w.]*fraction=[^,]*", "", arm).strip(", ") or "all"
    without = [k for k in chosen.axes if k.rpartition(".")[2] == "fraction"]
    return label(chosen.axes, [*without, *runs.study.sampled]) or ("all" if without else arm)


def _against(arm: str, metric: str, curve: Curve, reference: Curve, higher: bool) -> list[str]:
    shared = sorted(set(curve) & set(reference))
    seeds = [
        seed
        for seed in curve[max(curve)]
        if all(seed in curve[f] for f in curve) and all(seed in reference[f] for f in reference)
    ]
    notes: list[str] = []
    if len(shared) > 1 and seeds:
        areas = [_area(shared, [curve[f][s] - reference[f][s] for f in shared]) for s in seeds]
        gap = statistics.mean(areas)
        notes.append(
            f"{arm}, {metric}: mean difference over log fraction {statistics.signed(gap)} (n={gap.n})"
        )
    reached = [_reach(curve, reference[max(reference)][seed], seed, higher) for seed in seeds]
    if reached and all(f is not None for f in reached):
        ratio = statistics.mean([math.log(f / max(reference)) for f in reached if f is not None])
        notes.append(
            f"{arm}, {metric}: reaches the baseline's best with {_exp(ratio)} of its data (n={ratio.n})"
        )
    elif reached:
        count = sum(f is None for f in reached)
        notes.append(f"{arm}, {metric}: {count} of {len(reached)} seeds do not reach the baseline's best")
    return notes


def _area(fractions: list[float], values: list[float]) -> float:
    """Mean of the values over log fraction, by trapezoids."""
    logs = [math.log(f) for f in fractions]
    total = sum((b - a) * (u + v) / 2 for a, b, u, v in zip(logs, logs[1:], values, values[1:]))
    return total / (logs[-1] - logs[0])


def _reach(curve: Curve, target: float, seed: int, higher: bool) -> float | None:
    """The fraction at which one seed's curve first reaches `target`, by interpolation over log fraction."""
    sign = 1.0 if higher else -1.0
    fractions = sorted(curve)
    values = [sign * curve[f][seed] for f in fractions]
    target *= sign
    if values[0] >= target:
        return fractions[0]  # at most this much
    for (f, v), (g, w) in zip(zip(fractions, values), zip(fractions[1:], values[1:])):
        if v < target <= w:
            return math.exp(math.log(f) + (target - v) / (w - v) * (math.log(g) - math.log(f)))
    return None


def _exp(ratio: statistics.Interval) -> str:
    values: list[Any] = [ratio.estimate, ratio.low, ratio.high]
    shown = [f"{100 * math.exp(v):.3g} %" for v in values if v is not None]
    return shown[0] if len(shown) == 1 else f"{shown[0]} [{shown[1]}, {shown[2]}]"
