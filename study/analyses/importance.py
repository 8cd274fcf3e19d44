"""Which axes matter most: PED-ANOVA over the best trials, and shares of a forest's variance (fANOVA)."""

from typing import Any

import numpy as np

from study import statistics
from study.analyses import pedanova
from study.analyses.answer import Answer, Row
from study.analyses.runs import Runs, StudyView
from study.table import Tables

COLUMNS = ["axis", "metric", "PED-ANOVA", "noise", "rank", "fANOVA", "rank correlation", "levels", "trials"]
LEAST = 20  # under so many trials nothing is said
TOP, LEAST_TOP = 0.1, 5  # the best trials that PED-ANOVA compares, and the fewest of them
DRAWS = 200  # of trials anew, for PED-ANOVA; as many with shuffled scores
MOST_TRIALS = 4000  # of them, drawn at random where there are more
TREES, FORESTS, MOST, GROUND = 16, 20, 500, 192
UNKNOWN = "unknown"


def run(tables: Tables, study: StudyView) -> Answer:
    """One row an axis, by PED-ANOVA's share, each share with a 95 % percentile interval over trials drawn anew.

    noise: what PED-ANOVA gives an axis when the scores are shuffled, at most, in 95 % of draws: a share below it
    says nothing. rank: the axis's place, and how often it kept it. fANOVA: main effect's share of the variance
    that a forest predicts (Hutter et al. 2014), as a check. Spearman's rho for an axis of numbers.
    """
    title = f"{study.name}: importance of the axes"
    runs = Runs.of(tables, study)
    rows: list[Row] = []
    short: dict[str, int] = {}
    told = 0
    for metric in runs.metrics:
        points, scores = _points(runs, metric)
        keys = [
            k for k in dict.fromkeys(k for p in points for k in p) if len({str(p.get(k)) for p in points}) > 1
        ]
        if not keys or len(set(scores)) < 2:
            continue
        ids = runs.all_ids(done=True)
        if len(scores) < LEAST:
            short[metric] = len(scores)
            for key in keys if study.sampled else ():
                row: Row = {"axis": key, "metric": metric, "trials": len(scores), "ids": ids}
                row |= dict.fromkeys(("PED-ANOVA", "noise", "rank", "fANOVA"), UNKNOWN)
                rows.append(row | {"levels": len({str(p.get(key)) for p in points})})
            continue
        told = max(told, max(LEAST_TOP, round(TOP * len(scores))))
        rows += [row | {"ids": ids} for row in _rows(study, metric, keys, points, scores)]
    if not rows:
        done = max([*short.values(), 0]) or len(runs.all_ids(done=True))
        found = f"insufficient data: {done} done trials with varying axes and scores; {LEAST} are needed"
        return Answer(title, COLUMNS, rows, [found])
    notes = []
    if told:
        notes = [
            f"PED-ANOVA: how far the best {told} trials' values lie from all trials'; interval: over trials drawn "
            "anew; noise: the share that shuffled scores reach; rank: and how often it was kept",
            "fANOVA: of the variance that a forest predicts, what an axis explains alone; what is left is interaction",
            "importance is where good scores were found, not an effect: for that see the contrasts of a grid",
        ]
    if any(len(points) > 1 for points in runs.configurations.values()):
        notes.append(
            "a sampler draws more where it found good scores: shares describe this search, not the space"
        )
    if pruned := runs.statuses()["pruned"]:
        notes.append(f"{pruned} pruned trials have no final score and are left out")
    for metric, count in short.items():
        notes.append(f"{metric}: insufficient data: {count} done trials; {LEAST} are needed")
    return Answer(title, COLUMNS, rows, notes)


def _rows(
    study: StudyView, metric: str, keys: list[str], points: list[dict[str, Any]], scores: list[float]
) -> list[Row]:
    matrix = np.column_stack([_column([p.get(k) for p in points]) for k in keys])
    y = np.asarray(scores, float)
    better = y if study.higher_is_better(metric) else -y
    found, again, noise = _ped(matrix, better)
    forest = _shares(matrix, y)
    order = list(np.argsort(-found, kind="stable"))
    places = np.argsort(np.argsort(-again, axis=1, kind="stable"), axis=1)
    rows = []
    for place, i in enumerate(order):
        low, high = (float(v) for v in np.quantile(again[:, i], [0.025, 0.975]))
        few, many = (float(v) for v in np.quantile(forest[1:, i], [0.025, 0.975]))
        kept = float((places[:, i] == place).mean())
        row: Row = {"axis": keys[i], "metric": metric, "share": float(found[i]), "low": low, "high": high}
        row |= {"PED-ANOVA": _interval(found[i], low, high), "noise": float(noise[i])}
        row |= {"rank": f"{place + 1} ({100 * kept:.0f} %)", "kept": kept, "told": bool(found[i] > noise[i])}
        row |= {"fANOVA": _interval(forest[0, i], few, many), "forest": float(forest[0, i])}
        row |= {"forest.low": few, "forest.high": many, "trials": len(scores)}
        row["levels"] = len({str(p.get(keys[i])) for p in points})
        numbers = [(p[keys[i]], s) for p, s in zip(points, scores) if _number(p.get(keys[i]))]
        rho = statistics.rank_correlation([v for v, _ in numbers], [s for _, s in numbers])
        row["rank correlation"] = rho[0] if rho else None
        rows.append(row)
    return rows


def _interval(share: float, low: float, high: float) -> str:
    return f"{share:.2f} [{low:.2f}, {high:.2f}]"


def _ped(matrix: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Shares (D,), shares over trials drawn anew (DRAWS, D), and the noise of every axis (D,)."""
    rng = np.random.default_rng(0)
    if len(scores) > MOST_TRIALS:  # more would only narrow what is narrow already
        kept = rng.choice(len(scores), MOST_TRIALS, replace=False)
        matrix, scores = matrix[kept], scores[kept]
    n = len(scores)
    top = max(LEAST_TOP, round(TOP * n))
    axes, order = pedanova.Axes(matrix), np.argsort(-scores, kind="stable")
    found = axes.divergences(order, top)
    # A draw of trials anew, best first: how often each of the sorted trials is drawn.
    again = [
        axes.divergences(np.repeat(order, rng.multinomial(n, np.full(n, 1 / n))), top) for _ in range(DRAWS)
    ]
    shuffled = np.array([axes.divergences(rng.permutation(n), top) for _ in range(DRAWS)])
    noise = np.quantile(shuffled, 0.95, axis=0)
    total = float(found.sum())
    return (
        pedanova.shares(found),
        pedanova.shares(np.array(again)),
        noise / total if total > 0 else np.ones(len(noise)),
    )


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
    """(1 + FORESTS, axes): the share of every axis, fitted to all trials, then to trials drawn anew."""
    rng = np.random.default_rng(0)
    if len(scores) > MOST:  # a forest of more says no more, and takes longer
        kept = rng.choice(len(scores), MOST, replace=False)
        matrix, scores = matrix[kept], scores[kept]
    found = []
    for draw in range(1 + FORESTS):
        picked = np.arange(len(scores)) if draw == 0 else rng.integers(0, len(scores), len(scores))
        few = len(matrix) <= GROUND
        ground = matrix if few else matrix[rng.choice(len(matrix), GROUND, replace=False)]
        asked = [_asked(ground, axis) for axis in range(matrix.shape[1])]
        rows = [ground, *(stacked for stacked, _ in asked)]
        predicted = _forest(matrix[picked], scores[picked], np.concatenate(rows), rng)
        parts = np.split(predicted, np.cumsum([len(r) for r in rows])[:-1])
        whole = float(parts[0].var())
        main = [_main(part, weights) for part, (_, weights) in zip(parts[1:], asked)]
        found.append([value / whole if whole > 0 else 0.0 for value in main])
    return np.clip(np.array(found), 0.0, 1.0)


def _forest(
    matrix: np.ndarray, scores: np.ndarray, wanted: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Mean prediction of bagged trees (scikit-learn's own forest spends most of its time copying settings)."""
    from sklearn import config_context
    from sklearn.tree import DecisionTreeRegressor

    inputs, asked, outputs = (
        matrix.astype(np.float32),
        wanted.astype(np.float32),
        scores[:, None].astype(float),
    )
    total = np.zeros(len(wanted))
    with config_context(skip_parameter_validation=True, assume_finite=True):
        for _ in range(TREES):
            picked = rng.integers(0, len(scores), len(scores))
            tree = DecisionTreeRegressor(min_samples_leaf=2, random_state=0)
            tree.fit(inputs[picked], outputs[picked], check_input=False)
            total += tree.predict(asked, check_input=False)
    return total / TREES


def _asked(ground: np.ndarray, axis: int) -> tuple[np.ndarray, np.ndarray]:
    """The rows of ground at every value of an axis, value by value, and how often each value occurs."""
    levels, counts = np.unique(ground[:, axis], return_counts=True)
    weights = counts.astype(float)
    if len(levels) > 12:  # a sampled axis: quantiles stand for it
        levels = np.unique(np.quantile(ground[:, axis], np.linspace(0.04, 0.96, 12), method="nearest"))
        weights = np.ones(len(levels))
    stacked = np.repeat(ground[None], len(levels), axis=0)
    stacked[:, :, axis] = levels[:, None]
    return stacked.reshape(-1, ground.shape[1]), weights


def _main(predicted: np.ndarray, weights: np.ndarray) -> float:
    """Variance over an axis's values, as often as they occur, of the mean prediction, all else as it is."""
    means = predicted.reshape(len(weights), -1).mean(1)
    centre = np.average(means, weights=weights)
    return float(np.average((means - centre) ** 2, weights=weights))
