"""What data is worth to an arm against the baseline: area under the curve, data needed, crossing points."""

import math
from itertools import pairwise

from study import statistics
from study.analyses.answer import Answer, Row
from study.analyses.curves import Curve, area, crossings, curves_of, reach
from study.analyses.low_data import ABSENT, simultaneous
from study.analyses.runs import Runs, StudyView
from study.table import Tables

COLUMNS = ["arm", "metric", "measure", "value", "n", "all at once"]


def run(tables: Tables, study: StudyView) -> Answer:
    """Rows for every arm but the baseline, each with a 95 % t interval over seeds (of logs, for fractions):

    area: mean difference over log fraction. data: the fraction with which the arm reaches the baseline's score at
    a fraction, as a share of that fraction. crossing: where the difference changes its sign; `all at once` says
    whether bands that hold for all fractions together show it.
    """
    runs = Runs.of(tables, study)
    title = f"{study.name}: what data is worth, against the baseline"
    curves = curves_of(runs)
    rows: list[Row] = []
    for (arm, metric), curve in curves.by.items():
        reference = curves.reference(arm, metric)
        both = sorted(set(curve) & set(reference))
        seeds = [
            seed
            for seed in curve[max(curve)]
            if all(seed in v for v in curve.values()) and all(seed in v for v in reference.values())
        ]
        if not reference or not seeds:
            continue
        higher = study.higher_is_better(metric)
        part = _area(curve, reference, both, seeds) + _crossing(curve, reference, both, seeds)
        part += [_data(curve, reference, f, seeds, higher) for f in sorted(reference)]
        ids = curves.ids(runs, arm, metric, *sorted(curve))
        ids += curves.ids(runs, str(curves.baseline), metric, *sorted(reference))
        rows += [{"arm": arm, "metric": metric, **row, "ids": ids} for row in part]
    if not rows:
        found = "no arm has a curve with the seeds and fractions of the baseline's" if curves.by else ABSENT
        return Answer(title, COLUMNS, rows, [found])
    notes = [
        "area: mean difference to the baseline over log fraction; data for the score at f: the share of f with "
        "which the arm reaches the baseline's score of the same seed, by interpolation over log fraction",
        "crossing: the fraction at which the arm's difference to the baseline changes its sign",
    ]
    return Answer(title, COLUMNS, rows, notes)


def _area(curve: Curve, reference: Curve, both: list[float], seeds: list[int]) -> list[Row]:
    if len(both) < 2:
        return []
    gap = statistics.mean([area(both, [curve[f][s] - reference[f][s] for f in both]) for s in seeds])
    return [{"measure": "area", "value": statistics.signed(gap), **_numbers(gap)}]


def _data(curve: Curve, reference: Curve, fraction: float, seeds: list[int], higher: bool) -> Row:
    """The label-efficiency ratio at one of the baseline's fractions."""
    found = [reach(curve, reference[fraction][seed], seed, higher) for seed in seeds]
    row: Row = {"measure": f"data for the score at {fraction:g}", "fraction": fraction, "n": len(seeds)}
    never, already = sum(math.isinf(f) for f in found), sum(f == 0 for f in found)
    if never:
        return row | {"value": f"not reached by {never} of {len(seeds)} seeds"}
    if already:
        least = 100 * min(curve) / fraction
        said = f"under {least:.3g} %: {already} of {len(seeds)} seeds are beyond it at the smallest fraction"
        return row | {"value": said}
    logs = statistics.mean([math.log(f / fraction) for f in found])
    return row | {"value": _exponential(logs, 100, " %"), **_numbers(logs, math.exp)}


def _crossing(curve: Curve, reference: Curve, both: list[float], seeds: list[int]) -> list[Row]:
    gaps = {f: [curve[f][s] - reference[f][s] for s in seeds] for f in both}
    centre = crossings(both, [sum(gaps[f]) / len(seeds) for f in both])
    if not centre:
        return []
    shown = _shown(curve, reference, both)
    single = [crossings(both, [gaps[f][i] for f in both]) for i in range(len(seeds))]
    row: Row = {"measure": "crossing", "n": len(seeds), "all at once": shown or "not shown"}
    if len(centre) == 1 and all(len(found) == 1 for found in single):
        logs = statistics.mean([math.log(found[0]) for found in single])
        return [row | {"value": _exponential(logs, 1, ""), **_numbers(logs, math.exp)}]
    places = ", ".join(f"{f:.3g}" for f in centre)
    often = sum(bool(found) for found in single)
    return [
        row
        | {"value": f"{places} (of the means; {often} of {len(seeds)} seeds cross)", "estimate": centre[0]}
    ]


def _shown(curve: Curve, reference: Curve, both: list[float]) -> str | None:
    """Between which fractions the bands of the difference, each over all of its pairs, lie on both sides of 0."""
    sides: list[tuple[float, bool]] = []
    for fraction in both:
        gap = statistics.paired(curve[fraction], reference[fraction], simultaneous(len(both))).interval
        if gap.low is not None and gap.high is not None and (gap.low > 0 or gap.high < 0):
            sides.append((fraction, gap.low > 0))
    for (f, above), (g, then) in pairwise(sides):
        if above != then:
            return f"between {f:g} and {g:g}"
    return None


def _numbers(interval: statistics.Interval, back: object = None) -> Row:
    bounds = (interval.estimate, interval.low, interval.high)
    values = [math.exp(v) if back is not None and v is not None else v for v in bounds]
    return {"estimate": values[0], "low": values[1], "high": values[2], "n": interval.n}


def _exponential(logs: statistics.Interval, scale: float, unit: str) -> str:
    """An interval of logs in the unit of the fraction."""
    bounds = [
        f"{scale * math.exp(v):.3g}{unit}" for v in (logs.estimate, logs.low, logs.high) if v is not None
    ]
    return bounds[0] if len(bounds) == 1 else f"{bounds[0]} [{bounds[1]}, {bounds[2]}]"
