"""The columns of every table: name, kind, unit and meaning, as they are written into each Parquet file."""

from typing import NamedTuple

VERSION = "1"  # of the columns; a reader passes over columns that it does not know
STATUSES = ("done", "pruned", "diverged", "collapsed", "failed", "interrupted")


class Column(NamedTuple):
    """One column. kind: a Parquet type; `json` is text, `utc` a time in microseconds. needed: never null."""

    name: str
    kind: str
    unit: str
    meaning: str
    needed: bool = False


_ID = Column("id", "string", "", "hash of the whole resolved spec: the trial's name", True)
_ATTEMPT = Column("attempt", "int32", "count", "1 for the first run of this id; the highest counts", True)

TABLES: dict[str, tuple[Column, ...]] = {
    "trials": (
        _ID,
        _ATTEMPT,
        Column("study", "string", "", "name of the study", True),
        Column("arm", "string", "", "label of what is compared, such as groups=4 or byol", True),
        Column("seed", "int64", "", "seed of the paired block: arms with one seed share data order"),
        Column("status", "string", "", "one of " + ", ".join(STATUSES), True),
        Column("reason", "string", "", "why the trial did not end as done, in a sentence"),
        Column("spec", "json", "JSON", "the whole resolved spec"),
        Column("axes", "json", "JSON", "the parameters that vary in this study, and their values here"),
        Column("epochs_planned", "double", "epochs", "length of the planned training"),
        Column("epochs_done", "double", "epochs", "length of the training that this trial did"),
        Column("seconds", "double", "s", "wall time of training and evaluations"),
        Column("device", "string", "", "device the trial ran on, such as cpu or the accelerator's name"),
        Column("workers", "int32", "count", "processes that trained together, one device each"),
        Column("parameters", "int64", "count", "trainable parameters of the whole method"),
        Column("peak_memory_mb", "double", "MiB", "largest memory held by one worker"),
        Column("started", "utc", "UTC", "when the attempt began"),
        Column("finished", "utc", "UTC", "when the attempt ended"),
        Column("code", "string", "", "digest of the code that ran"),
        Column("environment", "json", "JSON", "versions of the packages and the machine's description"),
        Column("data_fingerprint", "string", "", "digest of the pictures and labels that were used"),
        Column(
            "corrupt", "json", "JSON", "pictures that could not be decoded and why; others stood for them"
        ),
        Column("subset", "list of int32", "index", "pictures of the training split that were used"),
    ),
    "scores": (
        _ID,
        _ATTEMPT,
        Column("evaluation", "string", "", "name of the evaluation, such as knn", True),
        Column("metric", "string", "", "name of the number, such as top1", True),
        Column("value", "double", "of the metric", "the number; absent where it was not finite"),
        Column("n", "int64", "count", "test items that the number is a mean over"),
        Column("step", "int64", "steps", "optimiser's steps done when it was measured"),
    ),
    "curves": (
        _ID,
        _ATTEMPT,
        Column("step", "int64", "steps", "optimiser's steps done", True),
        Column("epoch", "double", "epochs", "passes over the training pictures done"),
        Column("name", "string", "", "what was measured, such as loss or lr", True),
        Column("value", "double", "of the name", "the number; absent where it was not a number"),
    ),
    "points": (
        Column("study", "string", "", "name of the study", True),
        Column("cell", "string", "", "arm in which the point was sampled", True),
        Column("search", "string", "", "digest of axes, objectives, sampler and cell", True),
        Column("index", "int64", "", "0 for the first point of the search", True),
        Column("params", "json", "JSON", "the sampled axes and their values", True),
        Column("rejected", "int64", "count", "proposals before this one that `where` excluded"),
        Column("asked", "int64", "", "place of the proposal in the order of the search", True),
        Column("told", "int64", "", "place of the answer in that order; absent while it runs"),
        Column("state", "string", "", "one of running, done, pruned, failed", True),
        Column("values", "list of double", "of the objectives", "means over the seeds; of done points"),
        Column("steps", "list of int64", "steps", "rungs that every seed of the point reached"),
        Column("marks", "list of double", "of the scheduler's metric", "means over the seeds there"),
        Column("began", "utc", "UTC", "when it was proposed"),
        Column("ended", "utc", "UTC", "when its last seed ended"),
    ),
    "rungs": (
        _ID,
        Column("study", "string", "", "name of the study", True),
        Column("arm", "string", "", "as in trials", True),
        Column("seed", "int64", "", "as in trials", True),
        Column("rung", "int64", "", "0 for the first rung", True),
        Column("step", "int64", "steps", "optimiser's steps done at the rung", True),
        Column("value", "double", "of the metric", "the scheduler's metric; absent where not finite"),
        Column("stopped", "string", "", "why the scheduler ended the trial here; absent: it went on"),
    ),
    "claims": (
        Column("study", "string", "", "name of the study", True),
        Column("digest", "string", "", "hash of the whole claim", True),
        Column("claim", "json", "JSON", "the claim as the file says it", True),
        Column("frozen", "utc", "UTC", "when a run of the study first had it", True),
        Column("trials", "int64", "count", "trials that had ended by then; above 0: made post hoc", True),
    ),
}
