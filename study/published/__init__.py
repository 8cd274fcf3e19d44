"""Numbers that the papers printed, to stand beside ours: always under another protocol, never a target.

Each row of the CSV: paper, table, method and setting (JSON) as printed; metric, value, unit; origin (own
result, cited, or reproduced by that paper's authors; empty where the paper does not say); note. A training
that the paper reports as crashed has no value.
"""

import csv
import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cache
from importlib import resources
from typing import Any

Row = dict[str, Any]

# The last word of a key of ours, and the symbol that the papers' tables print for it.
SYMBOLS = {"groups": "h", "dim": "d", "channels": "c", "weight": "beta", "window": "window"}
# Words of a published evaluation by which ours is recognised.
# Tables without masks print a detector's metrics without saying that they are of boxes.
BOXES = {f"{metric}_bb": metric for metric in ("AP", "AP50", "AP75")}
_EVALUATIONS = {
    "knn": ("knn",),
    "linear": ("linear",),
    "finetune": ("finetune", "finetuning"),
    "segmentation": ("segmentation",),
    "correspondence": ("correspondence",),
    "detection": ("detection", "retinanet", "rcnn"),
    "logistic": ("logistic",),
}


@cache
def _all() -> tuple[Row, ...]:
    found = []
    for file in sorted(resources.files(__name__).iterdir(), key=lambda f: f.name):
        if file.name.endswith(".csv"):
            for row in csv.DictReader(file.read_text(encoding="utf-8").splitlines()):
                value = float(row["value"]) if row["value"] else None
                found.append({**row, "setting": json.loads(row["setting"]), "value": value})
    return tuple(found)


def rows(paper: str, table: str | None = None) -> list[Row]:
    """Published rows of a paper (one table of it, or all), in the order printed; empty without any."""
    return [
        {**row, "setting": dict(row["setting"])}
        for row in _all()
        if row["paper"].lower() == paper.lower() and (table is None or row["table"].lower() == table.lower())
    ]


def tables() -> dict[str, list[str]]:
    """Names of the tables that are held, by paper."""
    found: dict[str, list[str]] = {}
    for row in _all():
        names = found.setdefault(row["paper"], [])
        if row["table"] not in names:
            names.append(row["table"])
    return found


def matching(
    printed: Sequence[Row],
    metric: str,
    names: Sequence[str],
    axes: Mapping[str, Any],
    said: Mapping[str, Any] | None = None,
) -> list[Row]:
    """Those of `printed` that stand for one arm of ours and one metric such as linear.top1.

    names: what the arm may be called (label, method's name); axes: the arm's varying parameters. A row fits
    when its evaluation and metric do, when its method is one of the names or of the axes' values, and when
    every symbol it prints for one of the axes has the arm's value. Of several rows the ones nearest to the
    table's usual setting stay: the row of h = 4 at the usual d, not the d ablation's. said: method and
    settings of the rows, where the study file says which they are; then names and axes do not matter.
    """
    evaluation, _, measured = metric.rpartition(".")
    words = _EVALUATIONS.get(evaluation.partition("_")[0], (_bare(evaluation),))  # finetune_few is a finetune
    called = {_bare(str(name)) for name in [*names, *(v for v in axes.values() if isinstance(v, str))]}
    symbols = {SYMBOLS.get(key.rpartition(".")[2], key): value for key, value in axes.items()}
    alike = [
        row
        for row in printed
        if row["metric"] in (measured, BOXES.get(measured))
        and any(word in _bare(str(row["setting"].get("eval", ""))) for word in words)
    ]
    if said is not None:
        return [
            row
            for row in alike
            if all({**row["setting"], "method": row["method"]}.get(k) == v for k, v in said.items())
        ]
    found = [
        row
        for row in alike
        if _bare(row["method"]) in called
        and all(row["setting"].get(s, value) == value for s, value in symbols.items())
    ]
    usual = {
        key: Counter(str(r["setting"].get(key)) for r in alike).most_common(1)[0][0] for key in _keys(found)
    }
    fit = [sum(str(row["setting"].get(key)) == value for key, value in usual.items()) for row in found]
    return [row for row, n in zip(found, fit) if n == max(fit)]


def _keys(printed: Sequence[Row]) -> set[str]:
    return {key for row in printed for key in row["setting"]}


def _bare(text: str) -> str:
    return re.sub(r"[^a-z0-9]", "", text.lower())
