"""Where every planned trial went: done, failed by cause, or not run. No seed goes missing in silence."""

from collections import Counter

from study.analyses.answer import Answer, Row
from study.analyses.runs import Runs, StudyView
from study.table import STATUSES, Tables

_MANY = 6


def run(tables: Tables, study: StudyView) -> Answer:
    """One row an arm and one for all: planned, every status, not run; notes give the commonest reasons."""
    runs = Runs.of(tables, study)
    title = f"{study.name}: planned and done"
    used = [status for status in STATUSES if status == "done" or runs.statuses()[status]]
    columns = ["arm", "planned", *used, "not run", "seeds done"]
    rows: list[Row] = []
    for arm in runs.arms:
        rows.append(_row(runs, arm, used))
    if rows:
        total: Row = {"arm": "all", "seeds done": None, "ids": runs.all_ids()}
        for column in columns[1:-1]:
            known = [row[column] for row in rows if row[column] is not None]
            total[column] = sum(known) if known else None
        rows.append(total)
    reasons = Counter(
        (row["status"], row["reason"] or "no reason given") for row in runs.trials if row["status"] != "done"
    )
    notes = [f"{count} {status}: {reason}" for (status, reason), count in reasons.most_common(_MANY)]
    if len(reasons) > _MANY:
        notes.append(f"and {len(reasons) - _MANY} other reasons")
    if tables.torn:
        notes.append(f"{len(tables.torn)} parts of the tables cannot be read; their trials count as not run")
    if not runs.trials:
        notes.append("no trial has ended yet")
    return Answer(title, columns, rows, notes)


def _row(runs: Runs, arm: str, used: list[str]) -> Row:
    counts, planned = runs.statuses(arm), runs.study.planned.get(arm)
    trials = runs.by_arm[arm]
    seeds = sorted({r["seed"] for r in trials if r["status"] == "done" and r["seed"] is not None})
    row: Row = {"arm": arm, "planned": planned, **{status: counts[status] for status in used}}
    row["not run"] = max(0, planned - sum(counts.values())) if planned is not None else None
    row["seeds done"] = " ".join(map(str, seeds[:12])) + (" ..." if len(seeds) > 12 else "") or None
    row["ids"] = runs.all_ids(arm)
    for status in used:
        row[f"{status}.ids"] = [r["id"] for r in trials if r["status"] == status]
    return row
