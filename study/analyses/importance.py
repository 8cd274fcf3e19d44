"""Which axes matter most: shares of the score's variance, over a forest fitted to every done trial."""

from typing import Any

import numpy as np

from study import statistics
from study.analyses.answer import Answer, Row
from study.analyses.runs import Runs, StudyView
from study.table import Tables

COLUMNS = ["axis", "metric", "share", "low", "high", "rank correlation", "levels", "trials"]
LEAST = 20  # under so many trials a forest says nothing
TREES, DRAWS, MOST = 24, 20, 256


def run(tables: Tables, study: StudyView) -> Answer:
    """One row an axis: its main effect's share of the variance that the forest predicts (Hutter et al. 2014),
    with a percentile interval over trials drawn anew; Spearman's rho with the score for an axis of numbers.
    """
    title = f"{study.name}: importance of the axes"
    runs = Runs(tables, study)
    rows: list[Row] = []
    short = 0
    for metric in runs.metrics:
        points, scores = _points(runs, metric)
        keys = [
            k for k in dict.fromkeys(k for p in points for k in p) if len({str(p.get(k)) for p in points}) > 1
        ]
        if len(scores) < LEAST or not keys or len(set(scores)) < 2:
            short = max(short, len(scores))
            continue
        matrix = np.column_stack([_column([p.get(k) for p in points]) for k in keys])
        shares = _shares(matrix, np.asarray(scores, float))
        part = []
        for i, key in enumerate(keys):
            low, high = np.quantile(shares[1:, i], [0.025, 0.975])
            row: Row = {"axis": key, "metric": metric, "share": float(shares[0, i])}
            row |= {"low": float(low), "high": float(high), "trials": len(scores)}
            row["levels"] = len({str(p.get(key)) for p in points})
            numbers = [(p[key], s) for p, s in zip(points, scores) if _number(p.get(key))]
            rho = statistics.rank_correlation([v for v, _ in numbers], [s for _, s in numbers])
            row["rank correlation"] = rho[0] if rho else None
            part.append(row | {"ids": runs.all_ids(done=True)})
        rows += sorted(part, key=lambda r: -r["share"])
    notes = ["share: of the predicted variance that an axis explains alone; what is left is interaction"]
    if any(len(points) > 1 for points in runs.configurations.values()):
        notes.append(
            "a sampler draws more where it found good scores: shares describe this search, not the space"
        )
    if not rows:
        notes = [f"insufficient data: {short} done trials with varying axes and scores; {LEAST} are needed"]
    return Answer(title, COLUMNS, rows, notes)


def _points(runs: Runs, metric: str) -> tuple[list[dict[str, Any]], list[float]]:
    points, scores = [], []
    for arm in runs.arms:
        for point in runs.configurations.get(arm, []):
            for value in runs.values(metric, arm, point.key).values():
                points.append(dict(point.axes))
                scores.append(value)
    return points, scores


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _column(values: list[Any]) -> np.ndarray:
    """Numbers as ranks (a forest asks for no more), words as codes; an axis that an arm lacks is -1."""
    if all(_number(v) for v in values if v is not None):
        order = {v: float(i) for i, v in enumerate(sorted({v for v in values if v is not None}))}
    else:
        order = {v: float(i) for i, v in enumerate(sorted({str(v) for v in values if v is not None}))}
        values = [None if v is None else str(v) for v in values]
    return np.array([-1.0 if v is None else order[v] for v in values])


def _shares(matrix: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """(1 + DRAWS, axes): the share of every axis, fitted to all trials, then to trials drawn anew."""
    from sklearn.ensemble import RandomForestRegressor

    rng = np.random.default_rng(0)
    found = []
    for draw in range(1 + DRAWS):
        picked = np.arange(len(scores)) if draw == 0 else rng.integers(0, len(scores), len(scores))
        forest = RandomForestRegressor(TREES, random_state=draw, min_samples_leaf=2, n_jobs=1)
        forest.fit(matrix[picked], scores[picked])
        few = len(matrix) <= MOST
        ground = matrix if few else matrix[rng.choice(len(matrix), MOST, replace=False)]
        whole = float(forest.predict(ground).var())
        found.append(
            [_main(forest, ground, axis) / whole if whole > 0 else 0.0 for axis in range(matrix.shape[1])]
        )
    return np.clip(np.array(found), 0.0, 1.0)


def _main(forest: Any, ground: np.ndarray, axis: int) -> float:
    """Variance over an axis's values, as often as they occur, of the mean prediction, all else as it is."""
    levels, counts = np.unique(ground[:, axis], return_counts=True)
    weights = counts.astype(float)
    if len(levels) > 12:  # a sampled axis: quantiles stand for it
        levels = np.unique(np.quantile(ground[:, axis], np.linspace(0.04, 0.96, 12), method="nearest"))
        weights = np.ones(len(levels))
    stacked = np.repeat(ground[None], len(levels), axis=0)
    stacked[:, :, axis] = levels[:, None]
    means = forest.predict(stacked.reshape(-1, ground.shape[1])).reshape(len(levels), -1).mean(1)
    centre = np.average(means, weights=weights)
    return float(np.average((means - centre) ** 2, weights=weights))
