"""What the seeds of a study can show: the difference they detect, and the seeds that a smaller one needs."""

from study import statistics
from study.analyses.answer import Answer, Row
from study.analyses.runs import Runs, StudyView
from study.table import Tables

COLUMNS = ["arm", "metric", "n", "spread", "correlation", "detectable", "observed", "power", "seeds needed"]


def run(tables: Tables, study: StudyView) -> Answer:
    """One row an arm against the baseline and metric, for the paired two-sided t test at 5 % and 80 % power.

    spread: standard deviation of the paired differences. correlation: of the two arms over seeds; above 0 the
    pairing pays. power: of finding the observed difference, were it the true one.
    """
    runs = Runs.of(tables, study)
    title = f"{study.name}: what {_seeds(runs)} can show"
    rows: list[Row] = []
    for metric in runs.metrics if runs.baseline is not None else []:
        reference = runs.values(metric, runs.baseline or "")
        for arm in runs.arms:
            values = runs.values(metric, arm)
            gap = statistics.paired(values, reference)
            sd, n, size = gap.interval.sd, gap.interval.n, gap.interval.estimate
            if arm == runs.baseline or sd is None or size is None:
                continue
            seeds = [seed for seed in values if seed in reference]
            row: Row = {"arm": arm, "metric": metric, "n": n, "spread": sd, "observed": size}
            row["correlation"] = _correlation([values[s] for s in seeds], [reference[s] for s in seeds])
            if sd > 0:
                row["detectable"] = statistics.detectable(sd, n)
                row["power"] = statistics.power(size, sd, n)
                row["seeds needed"] = statistics.pairs_needed(size, sd)
            rows.append(row | {"ids": runs.ids(arm, runs.baseline)})
    notes = ["two-sided paired t test at 5 %; seeds needed: to find the observed difference with 80 % power"]
    if not rows:
        notes = ["two seeds that an arm and the baseline both finished are needed to estimate a spread"]
    elif min(row["n"] for row in rows) < 6:
        notes.append("a spread from so few seeds is itself uncertain: plan with more than it says")
    if any(row["spread"] == 0 for row in rows):
        notes.append(
            "a spread of 0 says that the score is too coarse (few test items), not that it is certain"
        )
    return Answer(title, COLUMNS, rows, notes)


def _seeds(runs: Runs) -> str:
    count = len({row["seed"] for row in runs.trials if row["seed"] is not None})
    return f"{count} seed{'' if count == 1 else 's'}"


def _correlation(a: list[float], b: list[float]) -> float | None:
    """Pearson's; None under 3 pairs or when a side is constant."""
    if len(a) < 3:
        return None
    x, y = statistics.mean(a), statistics.mean(b)
    if not x.sd or not y.sd or x.estimate is None or y.estimate is None:
        return None
    joint = sum((p - x.estimate) * (q - y.estimate) for p, q in zip(a, b)) / (len(a) - 1)
    found = joint / (x.sd * y.sd)
    return found if abs(found) > 1e-12 else 0.0
