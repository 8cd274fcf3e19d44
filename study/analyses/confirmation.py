"""The best of many, run again with fresh seeds: how much better it looked than it is."""

from dataclasses import replace

from study import statistics
from study.analyses.answer import Answer, Row
from study.analyses.runs import Configuration, Runs, StudyView, label
from study.table import Tables

COLUMNS = ["configuration", "rank", "selected", "n", "confirmed", "fresh seeds", "optimism"]


def name_of(study: str) -> str:
    """The study under which confirmation runs are recorded, apart from those that selected."""
    return f"{study}-confirm"


def fresh(tables: Tables, study: StudyView) -> Runs:
    """The confirmation runs."""
    name = name_of(study.name)
    own = Tables(tables.out, name, quick=tables.quick)
    return Runs(own, replace(study, name=name, arms=[], baseline=None, planned={}))


def ranked(runs: Runs, metric: str) -> list[tuple[Configuration, float, int]]:
    """Every configuration with its mean and its seeds, best first; those with fewest seeds are no candidates
    where others have more: one lucky seed must not beat a replicated mean.
    """
    found = []
    for points in runs.configurations.values():
        for point in points:
            values = runs.values(metric, point.arm, point.key)
            if values:
                found.append((point, sum(values.values()) / len(values), len(values)))
    most = max((n for *_, n in found), default=0)
    sign = -1 if runs.study.higher_is_better(metric) else 1
    return sorted((each for each in found if each[2] == most), key=lambda each: sign * each[1])


def run(tables: Tables, study: StudyView) -> Answer:
    """One row a confirmed configuration. optimism: by how much the score that selected it is better than its mean
    over fresh seeds, with that mean's 95 % t interval; the selecting score is taken as it stands.
    """
    title = f"{study.name}: the best, confirmed with fresh seeds"
    again = fresh(tables, study)
    if not again.trials:
        return Answer(
            title, COLUMNS, [], ["nothing is confirmed yet; `confirm` runs the best with fresh seeds"]
        )
    runs = Runs.of(tables, study)
    metric = runs.objective
    sign = 1.0 if study.higher_is_better(metric) else -1.0
    candidates = ranked(runs, metric)
    by_key = {(p.arm, p.key): (place, value, n) for place, (p, value, n) in enumerate(candidates, 1)}
    rows: list[Row] = []
    for points in again.configurations.values():
        for point in points:
            values = again.values(metric, point.arm, point.key)
            if (point.arm, point.key) not in by_key or not values:
                continue
            place, selected, n = by_key[point.arm, point.key]
            mean = statistics.mean(list(values.values()))
            row: Row = {"configuration": _name(point), "rank": place, "metric": metric, "selected": selected}
            row |= {"n": n, "confirmed": mean.text(), "fresh seeds": mean.n, "values": values}
            row |= {"estimate": mean.estimate, "low": mean.low, "high": mean.high}
            optimism = _gap(selected, mean, sign)
            row |= {"optimism": statistics.signed(optimism), "optimism.estimate": optimism.estimate}
            row |= {"optimism.low": optimism.low, "optimism.high": optimism.high}
            row["ids"] = again.ids(point)
            row["selected.ids"] = runs.ids(point)
            rows.append(row)
    rows.sort(key=lambda row: row["rank"])
    notes = [
        f"selected: mean of {metric} over the n seeds that selected, best of {len(candidates)} configurations",
        "confirmed: mean over seeds that selected nothing, with its 95 % t interval: the number to report",
        "optimism: how much better the selecting score is; its interval is that of the confirmed mean",
    ]
    if lost := again.failures():
        notes.append(f"confirmation runs not done and left out: {lost}")
    if len(rows) > 1:
        mean = statistics.mean([row["optimism.estimate"] for row in rows])
        notes.append(f"mean optimism of the {len(rows)}: {mean.estimate:+.3g}")
    return Answer(title, COLUMNS, rows, notes)


def _gap(selected: float, mean: statistics.Interval, sign: float) -> statistics.Interval:
    """selected - mean, positive where the selected score is the better one."""
    if mean.estimate is None or mean.low is None or mean.high is None:
        centre = None if mean.estimate is None else sign * (selected - mean.estimate)
        return statistics.Interval(centre, None, None, mean.n, mean.sd)
    low, high = sorted(sign * (selected - bound) for bound in (mean.low, mean.high))
    return statistics.Interval(sign * (selected - mean.estimate), low, high, mean.n, mean.sd)


def _name(point: Configuration) -> str:
    """An arm's label, with the sampled values where it has some."""
    words = label({k: v if not isinstance(v, float) else float(f"{v:.4g}") for k, v in point.axes.items()})
    return words or point.arm
