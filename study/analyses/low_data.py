"""Scores over the fraction of data: of pictures seen in pre-training, or of labels given to an evaluation."""

from study import statistics
from study.analyses.answer import Answer, Row
from study.analyses.curves import curves_of
from study.analyses.runs import Runs, StudyView
from study.table import Tables

COLUMNS = ["arm", "metric", "fraction", "score", "band", "n", "difference", "difference band", "of full"]
ABSENT = "this study varies no fraction of data, and no such trial is done"


def run(tables: Tables, study: StudyView) -> Answer:
    """A row for every arm, metric and fraction, with paired differences to the baseline at the same fraction.

    Bands hold for all fractions of a curve at once (t intervals at Bonferroni's level).
    """
    runs = Runs.of(tables, study)
    title = f"{study.name}: scores over the fraction of data"
    curves = curves_of(runs)
    rows: list[Row] = []
    for (arm, metric), curve in curves.by.items():
        reference = curves.reference(arm, metric)
        full = statistics.mean(list(curve[max(curve)].values())).estimate
        for fraction in sorted(curve):
            values = list(curve[fraction].values())
            mean, band = statistics.mean(values), statistics.mean(values, simultaneous(len(curve)))
            row: Row = {"arm": arm, "metric": metric, "fraction": fraction, "score": mean.text(), "n": mean.n}
            row |= {"estimate": mean.estimate, "low": mean.low, "high": mean.high}
            row |= {"band": _bounds(band), "band.low": band.low, "band.high": band.high}
            row["ids"] = curves.ids(runs, arm, metric, fraction)
            if fraction in reference:
                level = simultaneous(len(set(curve) & set(reference)))
                gap = statistics.paired(curve[fraction], reference[fraction]).interval
                wide = statistics.paired(curve[fraction], reference[fraction], level).interval
                row |= {"difference": statistics.signed(gap) if gap.n else None}
                row |= {"difference.estimate": gap.estimate, "difference band": _bounds(wide, "+")}
                row |= {"difference.low": gap.low, "difference.high": gap.high}
                row |= {"difference.band.low": wide.low, "difference.band.high": wide.high}
                both = [*row["ids"], *curves.ids(runs, str(curves.baseline), metric, fraction)]
                row |= {"difference.ids": both, "difference band.ids": both}
            if full and mean.estimate is not None:
                row["of full"] = mean.estimate / full
            rows.append(row)
    if not rows:
        return Answer(title, COLUMNS, rows, [ABSENT])
    notes = [
        "mean over seeds with its 95 % t interval; difference: to the baseline at the same fraction, paired",
        "bands hold for all fractions of a curve at once with 95 % (t intervals at Bonferroni's level)",
    ]
    return Answer(title, COLUMNS, rows, notes)


def simultaneous(count: int) -> float:
    """The level of single intervals that hold together at the usual level (Bonferroni)."""
    return 1 - (1 - statistics.LEVEL) / max(1, count)


def _bounds(interval: statistics.Interval, sign: str = "") -> str | None:
    if interval.low is None or interval.high is None:
        return None
    return f"[{interval.low:{sign}.4g}, {interval.high:{sign}.4g}]"
