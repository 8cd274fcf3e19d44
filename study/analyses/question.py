"""The answer to a study's question: an arm a row: interval, difference, failures, the paper's number."""

from collections.abc import Sequence
from typing import Any

from study import published, statistics
from study.analyses.answer import Answer, Row
from study.analyses.printed import of_arm
from study.analyses.runs import Runs, StudyView
from study.table import Tables


def run(tables: Tables, study: StudyView) -> Answer:
    """Means with 95 % t intervals over seeds, and differences to the baseline over the seeds both have."""
    runs = Runs.of(tables, study)
    title = study.question or f"{study.name}: every arm"
    if not runs.trials:
        return Answer(title, ["arm", "n"], [], ["no trial has ended yet"])
    printed = (
        published.rows(study.reproduces["paper"], study.reproduces.get("table")) if study.reproduces else []
    )
    baseline = runs.baseline
    columns = ["arm", "n"]
    rows: list[Row] = []
    beside = False
    for arm in runs.arms:
        row: Row = {"arm": arm + (" (baseline)" if arm == baseline and len(runs.arms) > 1 else "")}
        row["n"] = max((len(runs.values(metric, arm)) for metric in runs.metrics), default=0)
        for metric in runs.metrics:
            row |= _cells(runs, metric, arm)
            papers = _published(printed, runs, metric, arm)
            if papers:
                beside = True
                row[f"{metric}: paper"] = papers
        row["not done"] = runs.failures(arm) or None
        row["ids"], row["not done.ids"] = runs.ids(arm), runs.all_ids(arm, done=False)
        rows.append(row)
    for metric in runs.metrics:
        columns.append(metric)
        if len(runs.arms) > 1:
            columns.append(f"{metric}: difference")
        if any(f"{metric}: paper" in row for row in rows):
            columns.append(f"{metric}: paper")
    if any(row["not done"] for row in rows):
        columns.append("not done")
    return Answer(title, columns, rows, _notes(runs, study, rows, beside))


def _cells(runs: Runs, metric: str, arm: str) -> Row:
    values = runs.values(metric, arm)
    mean = statistics.mean(list(values.values()))
    cells: dict[str, Any] = {metric: mean.text() if mean.n else None}
    cells |= {f"{metric}.mean": mean.estimate, f"{metric}.low": mean.low, f"{metric}.high": mean.high}
    cells |= {f"{metric}.n": mean.n, f"{metric}.values": values}
    if runs.baseline is not None and arm != runs.baseline:
        gap = statistics.paired(values, runs.values(metric, runs.baseline))
        cells[f"{metric}: difference"] = statistics.signed(gap.interval) if gap.interval.n else None
        cells |= {f"{metric}.difference": gap.interval.estimate, f"{metric}.difference.low": gap.interval.low}
        cells |= {f"{metric}.difference.high": gap.interval.high, f"{metric}.difference.n": gap.interval.n}
        cells |= {f"{metric}.p": gap.p, f"{metric}: difference.ids": runs.ids(arm, runs.baseline)}
    return cells


def _published(printed: Sequence[Row], runs: Runs, metric: str, arm: str) -> str | None:
    found = of_arm(printed, runs, metric, arm)
    texts = []
    for row in found[:3]:
        value = "crashed" if row["value"] is None else f"{row['value']:g}"
        # What tells the rows of one arm apart: the settings in which they differ.
        apart = [k for k in row["setting"] if any(r["setting"].get(k) != row["setting"][k] for r in found)]
        detail = ", ".join(f"{k}={row['setting'][k]}" for k in apart)
        texts.append(f"{value} ({detail})" if detail else value)
    return "; ".join(texts + (["..."] if len(found) > 3 else [])) or None


def _notes(runs: Runs, study: StudyView, rows: list[Row], beside: bool) -> list[str]:
    notes = []
    most = max((row["n"] for row in rows), default=0)
    if most >= 2:
        notes.append(
            "mean over n seeds with its 95 % t interval; differences over the seeds that both arms have"
        )
    else:
        notes.append("one seed an arm: no interval, and no difference can be told from chance")
    if 2 <= most < 6:
        floor = statistics.sign_flip_floor(most)
        notes.append(
            f"with {most} seeds the exact sign-flip test cannot go below p = {floor:.2g}: intervals rest on t"
        )
    if len(runs.arms) > 1 and runs.baseline is not None:
        told = [m for m in runs.metrics if any(_tells(row, m) for row in rows)]
        if most >= 2 and not told:
            notes.append(f"no arm can be told from {runs.baseline}; this does not show that they are equal")
        if len(runs.arms) > 3:
            notes.append("intervals are one by one, not adjusted for the number of arms; `claims` adjusts")
    if runs.failures():
        notes.append(f"not done and left out of the means: {runs.failures()}")
    missing = [arm for arm in runs.arms if not runs.configurations.get(arm)]
    if missing:
        notes.append(f"not run yet: {', '.join(missing)}")
    if beside and study.reproduces:
        where = " ".join(filter(None, (study.reproduces["paper"], study.reproduces.get("table"))))
        notes.append(
            f"paper: as printed in {where}, another protocol (data, backbone, length): compare orders only"
        )
    return notes + runs.selection_note()


def _tells(row: Row, metric: str) -> bool:
    low, high = row.get(f"{metric}.difference.low"), row.get(f"{metric}.difference.high")
    return low is not None and high is not None and (low > 0 or high < 0)
