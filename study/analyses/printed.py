"""Our numbers against the paper's: what differs in the protocol, and a verdict only where nothing that is known does."""

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from scipy import special

from study import published, statistics
from study.analyses.answer import Answer, Row
from study.analyses.runs import Runs, StudyView
from study.table import Tables

COLUMNS = ["arm", "metric", "ours", "n", "one new run", "paper", "printed as", "differs", "verdict"]
_SETS = {"imagenet": ("in1k", "imagenet1k", "imagenet"), "imagenet100": ("in100", "imagenet100")}
COMPARED = ("data", "backbone", "epochs")  # without all of them being printed, nothing is comparable


def run(tables: Tables, study: StudyView) -> Answer:
    """A row for every arm, metric and number that the paper prints for them.

    one new run: the 95 % prediction interval for a single run under our protocol, mean +- t s sqrt(1 + 1/n). The
    verdict is higher, lower (ours) or consistent by it, and `not comparable` where the protocols differ.
    """
    title = f"{study.name}: against the published numbers"
    if not study.reproduces:
        return Answer(title, COLUMNS, [], ["the study file names no published table"])
    runs = Runs.of(tables, study)
    paper, table = study.reproduces["paper"], study.reproduces.get("table")
    printed = published.rows(paper, table)
    rows: list[Row] = []
    for metric in runs.metrics:
        for arm in runs.arms:
            values = list(runs.values(metric, arm).values())
            for row in of_arm(printed, runs, metric, arm) if values else []:
                if row["value"] is not None:
                    rows.append(_row(runs, metric, arm, values, row))
    if not rows:
        return Answer(
            title, COLUMNS, rows, [f"no arm that has run stands in {' '.join(filter(None, (paper, table)))}"]
        )
    notes = [
        "one new run: 95 % prediction interval of a single run under our protocol; a paper's number is one such run",
        "differs: of data, backbone, epochs and labels; what the table does not print (optimiser, augmentation) "
        "may differ too",
    ]
    if all(row["verdict"] == "not comparable" for row in rows):
        notes.append("every protocol differs: orders and differences may be compared, numbers not")
    return Answer(title, COLUMNS, rows, notes + runs.selection_note())


def of_arm(printed: Sequence[Row], runs: Runs, metric: str, arm: str) -> list[Row]:
    """The published rows of one arm and metric."""
    chosen = runs.chosen(arm)
    if chosen is None or not printed:
        return []
    axes = {k: v for k, v in chosen.axes.items() if k not in (*runs.study.sampled, "arm")}
    said = ((runs.study.reproduces or {}).get("rows") or {}).get(arm)
    method = spec_of(runs, arm).get("method")
    name = method.get("name") if isinstance(method, Mapping) else None
    names = [arm, name] if isinstance(name, str) else [arm]
    return published.matching(printed, metric, names, axes, said)


def spec_of(runs: Runs, arm: str) -> Mapping[str, Any]:
    """The spec of an arm's first trial."""
    found: Any = next((row["spec"] for row in runs.by_arm.get(arm, []) if row["spec"]), {})
    return found if isinstance(found, Mapping) else {}


def prediction(values: Sequence[float], level: float = statistics.LEVEL) -> statistics.Interval:
    """The interval in which one new run lies; without bounds under two runs."""
    mean = statistics.mean(values, level)
    if mean.sd is None or mean.estimate is None:
        return mean
    half = float(special.stdtrit(mean.n - 1, (1 + level) / 2)) * mean.sd * math.sqrt(1 + 1 / mean.n)
    return statistics.Interval(mean.estimate, mean.estimate - half, mean.estimate + half, mean.n, mean.sd)


def differences(spec: Mapping[str, Any], evaluation: str, setting: Mapping[str, Any]) -> list[str]:
    """What is known to differ between a trial and a printed setting, or is not printed though it decides."""
    found = []
    ours = {
        "data": (spec.get("data") or {}).get("name"),
        "backbone": (spec.get("backbone") or {}).get("name"),
        "epochs": (spec.get("budget") or {}).get("epochs"),
    }
    theirs = {
        "data": setting.get("pretrain"),
        "backbone": setting.get("backbone"),
        "epochs": setting.get("epochs"),
    }
    for what in COMPARED:
        a, b = ours[what], theirs[what]
        if b is None:
            found.append(f"{what} not printed")
        elif not _alike(what, a, b, spec):
            found.append(f"{what} {a}, not {b}")
    fraction = (spec.get("data") or {}).get("fraction", 1)
    if fraction not in (None, 1, 1.0):
        found.append(f"{100 * fraction:g} % of the pictures")
    labels = next((e.get("fraction") for e in spec.get("evaluate") or () if evaluation in _labels(e)), None)
    if "labels" in setting and (
        labels is None or f"{100 * labels:g}%" != str(setting["labels"]).replace(" ", "")
    ):
        found.append(f"labels {'all' if labels is None else f'{100 * labels:g} %'}, not {setting['labels']}")
    elif "labels" not in setting and labels not in (None, 1, 1.0):
        found.append(f"{100 * labels:g} % of the labels")
    return found


def _labels(evaluation: Any) -> tuple[Any, ...]:
    return (evaluation.get("label"), evaluation.get("name")) if isinstance(evaluation, Mapping) else ()


def _alike(what: str, ours: Any, theirs: Any, spec: Mapping[str, Any]) -> bool:
    if what == "epochs":
        return isinstance(ours, int | float) and float(ours) == float(theirs)
    if what == "data":
        return _bare(str(theirs)) in _SETS.get(str(ours), (_bare(str(ours)),))
    name, _, detail = str(theirs).partition("/")
    patch = re.search(r"\d+", detail)
    known, base = _bare(str(ours)), _bare(name)
    if patch is None or known == base + patch[0]:
        return known == base or (patch is not None)
    window = (spec.get("backbone") or {}).get("window")
    return known == base and str(window) == patch[0]


def _row(runs: Runs, metric: str, arm: str, values: list[float], printed: Row) -> Row:
    mean, one = statistics.mean(values), prediction(values)
    apart = differences(spec_of(runs, arm), metric.rpartition(".")[0], printed["setting"])
    row: Row = {"arm": arm, "metric": metric, "ours": mean.text(), "n": mean.n, "paper": printed["value"]}
    row["one new run"] = None
    if one.low is not None and one.high is not None:
        row["one new run"] = f"[{one.low:.4g}, {one.high:.4g}]"
    words = [printed["method"], *(f"{k}={v}" for k, v in printed["setting"].items() if k != "eval")]
    row |= {"printed as": ", ".join(words), "differs": "; ".join(apart) or None, "ids": runs.ids(arm)}
    row |= {"estimate": mean.estimate, "low": one.low, "high": one.high, "verdict": "not comparable"}
    if not apart:
        row["verdict"] = _verdict(one, printed["value"])
    return row


def _verdict(one: statistics.Interval, value: float) -> str:
    if one.low is None or one.high is None:
        return "unknown"
    return "higher" if value < one.low else "lower" if value > one.high else "consistent"


def _bare(text: str) -> str:
    return re.sub(r"[^a-z0-9]", "", text.lower())
