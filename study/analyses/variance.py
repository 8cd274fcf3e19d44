"""Where a score's spread comes from: the seed that all arms share, the arm with its seed, the probe's own draw."""

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence

import numpy as np

from study.analyses.answer import Answer, Row
from study.analyses.runs import Runs, StudyView
from study.table import Tables

COLUMNS = ["metric", "source", "sd", "share", "from"]


def run(tables: Tables, study: StudyView) -> Answer:
    """Standard deviations by source, one block of rows a metric (components of variance by ANOVA, not below 0):

    seed: what all arms have in common in a seed (data order, subset), which pairing takes out. arm x seed: what is
    left of a run once its arm and its seed are known. probe: between repeated draws of one evaluation on the same
    run. test pictures: what another test set of n would do, sqrt(p (1 - p) / n); every
    run is scored on the same one, so it is in none of the others.
    """
    runs = Runs.of(tables, study)
    title = f"{study.name}: where the spread comes from"
    rows: list[Row] = []
    for metric in runs.metrics:
        table = {arm: runs.values(metric, arm) for arm in runs.arms}
        seeds, arms = _whole(table)
        if len(arms) > 1 and len(seeds) > 1:
            grid = np.array([[table[arm][seed] for seed in seeds] for arm in arms])
            between, left = components(grid)
            where = f"{len(arms)} arms x {len(seeds)} seeds"
            ids = runs.ids(*arms)
            rows.append(_row(metric, "seed, shared by the arms", between, between + left, where, ids))
            rows.append(_row(metric, "arm x seed", left, between + left, where, ids))
        rows += _probes(runs, metric)
        rows += _pictures(runs, metric)
    if not any(row["source"] != "test pictures" for row in rows):
        return Answer(title, COLUMNS, [], ["two arms with two seeds in common are needed to split a spread"])
    notes = [
        "one seed draws a run's weights, data order and subset together: those cannot be told apart here",
        "pairing takes out what the arms share in a seed; more probes cannot replace more pre-trainings",
    ]
    if not any(row["source"].startswith("probe") for row in rows):
        notes.append(
            "probe: unknown; the same evaluation with several `draw` (and a label each) would tell it"
        )
    return Answer(title, COLUMNS, rows, notes)


def components(grid: np.ndarray) -> tuple[float, float]:
    """Variance of seeds (columns) and of what is left, of a complete table arms x seeds, by ANOVA."""
    arms, seeds = grid.shape
    middle = grid - grid.mean(1, keepdims=True)
    by_seed = middle.mean(0)
    left = middle - by_seed
    mean_square = float((left**2).sum()) / ((arms - 1) * (seeds - 1))
    of_seeds = arms * float((by_seed**2).sum()) / (seeds - 1)
    return max(0.0, (of_seeds - mean_square) / arms), mean_square


def nested(groups: Sequence[Sequence[float]]) -> tuple[float, float]:
    """Variance between runs and within them, of repeated probes (equally many a run), by ANOVA."""
    grid = np.array(groups, float)
    within = float(grid.var(axis=1, ddof=1).mean())
    return max(0.0, float(grid.mean(1).var(ddof=1)) - within / grid.shape[1]), within


def _row(metric: str, source: str, variance: float, whole: float, where: str, ids: list[str]) -> Row:
    row: Row = {"metric": metric, "source": source, "sd": math.sqrt(variance), "from": where, "ids": ids}
    return row | {"share": variance / whole if whole > 0 else None}


def _whole(table: Mapping[str, Mapping[int, float]]) -> tuple[list[int], list[str]]:
    """Seeds and arms of the largest complete part: arms with fewest seeds leave first."""
    arms = [arm for arm in table if table[arm]]
    best: tuple[list[int], list[str]] = ([], [])
    while arms:
        seeds = sorted(set.intersection(*(set(table[arm]) for arm in arms)))
        if (len(seeds) - 1) * (len(arms) - 1) > (len(best[0]) - 1) * (len(best[1]) - 1) or not best[1]:
            best = (seeds, list(arms))
        arms.remove(min(arms, key=lambda arm: len(table[arm])))
    return best


def _probes(runs: Runs, metric: str) -> list[Row]:
    """Evaluations that differ in their draw only, on the same run."""
    measured = metric.rpartition(".")[2]
    found: list[list[float]] = []
    used: list[str] = []
    for arm in runs.arms:
        spec: Row = next((row["spec"] for row in runs.trials if row["arm"] == arm and row["spec"]), {})
        alike: dict[str, list[str]] = defaultdict(list)
        for evaluation in spec.get("evaluate") or ():
            if isinstance(evaluation, Mapping):
                same = {k: v for k, v in evaluation.items() if k not in ("label", "draw")}
                name = str(evaluation.get("label") or evaluation.get("name"))
                alike[str(sorted(same.items(), key=str))].append(f"{name}.{measured}")
        for group in alike.values():
            if metric in group[:1] and len(group) > 1:
                several = [runs.values(name, arm) for name in group]
                seeds = [seed for seed in several[0] if all(seed in values for values in several)]
                found += [[values[seed] for values in several] for seed in seeds]
                used += runs.ids(arm) if seeds else []
    if len(found) < 2 or len({len(group) for group in found}) > 1:
        return []
    between, within = nested(found)
    where = f"{len(found)} runs x {len(found[0])} draws"
    return [
        _row(metric, "run, without its probe", between, between + within, where, used),
        _row(metric, "probe (subset draw and start)", within, between + within, where, used),
    ]


def _pictures(runs: Runs, metric: str) -> list[Row]:
    """Of accuracies only, whose percentages are shares of n pictures."""
    measured = metric.rpartition(".")[2]
    n = runs.counted(metric)
    values = list(runs.by_trial(metric).values())
    if measured not in ("top1", "top5") or not n or not values:
        return []
    p = min(1.0, max(0.0, sum(values) / len(values) / 100))
    row: Row = {"metric": metric, "source": "test pictures", "sd": 100 * math.sqrt(p * (1 - p) / n)}
    return [row | {"share": None, "from": f"{n} pictures", "ids": runs.all_ids(done=True)}]
