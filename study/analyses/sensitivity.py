"""Failures are outcomes: what the answer would be if every trial that failed had scored at chance."""

from study import statistics
from study.analyses.answer import Answer, Row
from study.analyses.runs import Configuration, Runs, StudyView, configuration
from study.table import Tables

FAILED = ("diverged", "collapsed", "failed")
COLUMNS = [
    "arm",
    "metric",
    "failed",
    "done only",
    "failures at chance",
    "difference",
    "failures at chance: difference",
]


def run(tables: Tables, study: StudyView) -> Answer:
    """A row for every arm and metric of known chance, where any arm lost a trial to divergence, collapse or error.

    Pruned and interrupted trials were ended by the study, not by themselves: they stay out.
    """
    runs = Runs.of(tables, study)
    title = f"{study.name}: failures counted at chance"
    lost = _lost(runs)
    if not lost:
        return Answer(title, COLUMNS, [], ["no trial of a shown configuration failed"])
    rows: list[Row] = []
    unknown = []
    for metric in runs.metrics:
        known = {arm: study.chance.get(arm, {}).get(metric) for arm in runs.arms}
        if any(known[arm] is None for arm in lost):
            unknown.append(metric)
            continue
        filled = {arm: _filled(runs, metric, arm, lost.get(arm, []), known[arm]) for arm in runs.arms}
        for arm in runs.arms:
            values = runs.values(metric, arm)
            if filled[arm]:
                rows.append(_row(runs, metric, arm, values, filled, len(lost.get(arm, []))))
    notes = [f"failed: {', '.join(FAILED)}; each counts with the score of guessing, for its own seed"]
    if turned := [f"{row['arm']}, {row['metric']}" for row in rows if row["turned"]]:
        notes.append(f"the sign of the difference to {runs.baseline} turns: {'; '.join(turned)}")
    elif rows:
        notes.append(f"no difference to {runs.baseline} changes its sign")
    if unknown:
        notes.append(f"chance is not known, so nothing is told of {', '.join(unknown)}")
    return Answer(title, COLUMNS, rows, notes)


def _lost(runs: Runs) -> dict[str, list[int]]:
    """Seeds by arm that failed at its chosen configuration and were not done in another attempt."""
    chosen = {arm: runs.chosen(arm) for arm in runs.arms}
    found: dict[str, list[int]] = {}
    for row in runs.trials:
        point: Configuration | None = chosen.get(row["arm"])
        failed = row["status"] in FAILED and row["seed"] is not None
        if failed and point is not None and configuration(row).key == point.key:
            found.setdefault(row["arm"], []).append(row["seed"])
    return found


def _filled(runs: Runs, metric: str, arm: str, seeds: list[int], chance: float | None) -> dict[int, float]:
    values = runs.values(metric, arm)
    return values | {seed: chance for seed in seeds if seed not in values and chance is not None}


def _row(
    runs: Runs,
    metric: str,
    arm: str,
    values: dict[int, float],
    filled: dict[str, dict[int, float]],
    lost: int,
) -> Row:
    done, counted = statistics.mean(list(values.values())), statistics.mean(list(filled[arm].values()))
    row: Row = {"arm": arm, "metric": metric, "failed": lost, "done only": done.text() if done.n else None}
    row |= {
        "failures at chance": counted.text(),
        "estimate": counted.estimate,
        "done.estimate": done.estimate,
    }
    row |= {"low": counted.low, "high": counted.high, "turned": False, "ids": runs.all_ids(arm)}
    if runs.baseline is not None and arm != runs.baseline:
        before = statistics.paired(values, runs.values(metric, runs.baseline)).interval
        after = statistics.paired(filled[arm], filled.get(runs.baseline, {})).interval
        row["difference"] = statistics.signed(before) if before.n else None
        row["failures at chance: difference"] = statistics.signed(after) if after.n else None
        row |= {"difference.estimate": before.estimate, "filled.difference.estimate": after.estimate}
        row["turned"] = (before.estimate or 0.0) * (after.estimate or 0.0) < 0
    return row
