"""What the answer cost: seconds, GPU-hours and memory an arm, and which arms are worth their price."""

from study import statistics
from study.analyses.answer import Answer, Row
from study.analyses.runs import Runs, StudyView
from study.table import Row as TrialRow
from study.table import Tables

COLUMNS = ["arm", "trials", "seconds a trial", "hours", "GPU-hours", "peak MiB", "parameters"]
MEASURED = {  # of every trial that is done: means over the seeds
    "s a step": "seconds_per_step",
    "pictures/s": "pictures_per_second",
    "training TFLOP": "train_tflops",
    "encoder GFLOP": "encoder_gflops",
    "encoder pictures/s": "encoder_images_per_second",
}


def run(tables: Tables, study: StudyView) -> Answer:
    """One row an arm and one for all. Every attempt that ended counts, failed ones too: they were paid for.

    An arm is on the Pareto front when no other is as good and as quick, and better in one of the two.
    """
    runs = Runs.of(tables, study)
    title = f"{study.name}: cost"
    if not runs.trials:
        return Answer(title, COLUMNS, [], ["no trial has ended yet"])
    metric = runs.metrics[0] if runs.metrics else None
    rows: list[Row] = []
    for arm in runs.arms:
        trials = runs.by_arm[arm]
        done = [row["seconds"] for row in trials if row["status"] == "done" and row["seconds"] is not None]
        row: Row = {"arm": arm, "trials": len(trials), "seconds a trial": statistics.mean(done).estimate}
        row |= _sums(trials) | {"parameters": _most(trials, "parameters")}
        row |= {"ids": runs.all_ids(arm), "seconds a trial.ids": runs.all_ids(arm, done=True)}
        for column, name in MEASURED.items():
            row[column] = statistics.mean(list(runs.values(f"trial.{name}", arm).values())).estimate
            row[f"{column}.ids"] = runs.ids(arm)
        if metric is not None:
            row[metric] = statistics.mean(list(runs.values(metric, arm).values())).estimate
            row[f"{metric}.ids"] = runs.ids(arm)
        rows.append(row)
    if metric is not None:
        _front(rows, metric, runs.study.higher_is_better(metric))
    rows.append(
        {"arm": "all", "trials": len(runs.trials), "seconds a trial": None, **_sums(runs.trials)}
        | {"ids": runs.all_ids()}
    )
    measured = [c for c in MEASURED if any(row[c] is not None for row in rows[:-1])]
    columns = [*COLUMNS, *measured, *([metric, "Pareto"] if metric is not None else [])]
    notes = ["hours count every trial that ended, failed ones too; seconds a trial those that are done"]
    if measured:
        notes.append("FLOP: a multiplication and an addition are two; the encoder's is one picture's forward")
    devices = sorted({row["device"] for row in runs.trials if row["device"]})
    if len(devices) > 1:
        notes.append(f"trials ran on different devices, so seconds do not compare: {', '.join(devices)}")
    effort = [row["hours"] for row in rows[:-1] if row["hours"]]
    if effort and max(effort) > 1.5 * min(effort):
        notes.append(f"the dearest arm had {max(effort) / min(effort):.1f} times the hours of the cheapest")
    return Answer(title, columns, rows, notes)


def gpu_hours(row: TrialRow) -> float:
    """Hours of accelerator that a trial held: none on a CPU."""
    if not row["seconds"] or (row["device"] or "cpu").lower().startswith("cpu"):
        return 0.0
    return float(row["seconds"]) * (row["workers"] or 1) / 3600


def _sums(trials: list[TrialRow]) -> Row:
    hours = sum(row["seconds"] or 0.0 for row in trials) / 3600
    return {
        "hours": hours,
        "GPU-hours": sum(map(gpu_hours, trials)),
        "peak MiB": _most(trials, "peak_memory_mb"),
    }


def _most(trials: list[TrialRow], column: str) -> float | None:
    return max((row[column] for row in trials if row[column] is not None), default=None)


def _front(rows: list[Row], metric: str, higher: bool) -> None:
    sign = 1.0 if higher else -1.0
    known = [row for row in rows if row[metric] is not None and row["seconds a trial"] is not None]

    def beats(a: Row, b: Row) -> bool:
        gain, saved = sign * (a[metric] - b[metric]), b["seconds a trial"] - a["seconds a trial"]
        return bool(gain >= 0 and saved >= 0 and (gain > 0 or saved > 0))

    for row in rows:
        row["Pareto"] = not any(beats(other, row) for other in known) if row in known else None
