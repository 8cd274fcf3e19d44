"""Main effects and two-way interactions of a grid's axes, as paired contrasts over seeds."""

from collections.abc import Mapping
from dataclasses import replace
from itertools import combinations
from typing import Any

from study import statistics
from study.analyses.answer import Answer, Row
from study.analyses.contrast import Contrast, mean_of, over
from study.analyses.runs import Configuration, Runs, StudyView
from study.table import Tables

COLUMNS = ["axis", "level", "against", "metric", "effect", "n", "cells", "p (Holm)"]


def run(tables: Tables, study: StudyView) -> Answer:
    """A row for every level of every axis against its reference (the baseline's level, else the first),
    averaged over the cells that agree in all other axes; then a row for every pair of axes: the difference of
    differences between their outermost levels. Sampled axes are left to `importance`.
    """
    runs = Runs.of(tables, study)
    title = f"{study.name}: effects of the axes"
    cells = [p for arm in runs.arms for p in [runs.chosen(arm)] if p is not None and not p.named]
    keys = [k for k in dict.fromkeys(k for p in cells for k in p.axes) if k not in study.sampled]
    levels = {key: _levels(cells, key) for key in keys}
    keys = [key for key in keys if len(levels[key]) > 1]
    base = runs.chosen(runs.baseline) if runs.baseline else None
    rows: list[Row] = []
    for metric in runs.metrics if cells else []:
        for key in keys:
            standing = base.axes.get(key) if base else None
            reference = standing if standing in levels[key] else levels[key][0]
            for level in levels[key]:
                if level != reference:
                    contrast = _main(runs, metric, cells, key, level, reference, keys)
                    rows += _row(
                        runs,
                        contrast,
                        {"axis": key, "level": str(level), "against": str(reference), "metric": metric},
                    )
        for one, other in combinations(keys, 2):
            contrast = _interaction(runs, metric, cells, (one, other), levels, keys)
            low, high = [f"{levels[k][0]}" for k in (one, other)], [f"{levels[k][-1]}" for k in (one, other)]
            names = {
                "axis": f"{one} x {other}",
                "level": ", ".join(high),
                "against": ", ".join(low),
                "metric": metric,
            }
            rows += _row(runs, contrast, names)
    for row, adjusted in zip(rows, statistics.holm([row["p"] for row in rows])):
        row["p (Holm)"] = adjusted
    notes = [
        "effect: level - against, averaged over the cells within a seed, with its 95 % t interval over seeds"
    ]
    if len(keys) > 1:
        notes.append(
            "axis x axis: how much the effect of one changes between the outermost levels of the other"
        )
    if not rows:
        notes = ["no axis has two levels with a seed in common"]
    return Answer(title, COLUMNS, rows, notes + runs.selection_note())


def _levels(cells: list[Configuration], key: str) -> list[Any]:
    found = list({str(p.axes[key]): p.axes[key] for p in cells if key in p.axes}.values())
    numbers = all(isinstance(v, int | float) and not isinstance(v, bool) for v in found)
    return sorted(found) if numbers else found


def _at(cells: list[Configuration], keys: list[str], wanted: Mapping[str, Any]) -> dict[str, Configuration]:
    """Cells with the wanted levels, by their levels of all other axes."""
    found = {}
    for cell in cells:
        if all(key in cell.axes and cell.axes[key] == value for key, value in wanted.items()):
            found[str([cell.axes.get(key) for key in keys if key not in wanted])] = cell
    return found


def _main(
    runs: Runs, metric: str, cells: list[Configuration], key: str, level: Any, reference: Any, keys: list[str]
) -> Contrast:
    high, low = _at(cells, keys, {key: level}), _at(cells, keys, {key: reference})
    return over(runs, metric, [(high[rest], low[rest]) for rest in high if rest in low])


def _interaction(
    runs: Runs,
    metric: str,
    cells: list[Configuration],
    pair: tuple[str, str],
    levels: Mapping[str, list[Any]],
    keys: list[str],
) -> Contrast:
    one, other = pair
    corners = [
        (sign_a * sign_b, _at(cells, keys, {one: levels[one][i], other: levels[other][j]}))
        for sign_a, i in ((1, -1), (-1, 0))
        for sign_b, j in ((1, -1), (-1, 0))
    ]
    found, points = [], []
    for rest in corners[0][1]:
        if not all(rest in at for _, at in corners):
            continue
        values = [(sign, runs.values(metric, at[rest].arm, at[rest].key)) for sign, at in corners]
        seeds = [seed for seed in values[0][1] if all(seed in v for _, v in values)]
        if seeds:
            found.append({seed: sum(sign * v[seed] for sign, v in values) for seed in seeds})
            points += [at[rest] for _, at in corners]
    return replace(mean_of(found), points=tuple(points))


def _row(runs: Runs, contrast: Contrast, names: Row) -> list[Row]:
    gap = contrast.difference
    if gap.interval.n == 0:
        return []
    row = {
        **names,
        "effect": statistics.signed(gap.interval),
        "n": gap.interval.n,
        "cells": contrast.pairs,
        "p": gap.p,
    }
    row["ids"] = runs.ids(*contrast.points)
    return [row | {"estimate": gap.interval.estimate, "low": gap.interval.low, "high": gap.interval.high}]
