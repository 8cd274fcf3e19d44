"""One study as its report tells it: every answer, figure and fact, from the tables and the study's view alone."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from study import figures, frame, plots
from study.analyses import ANALYSES, Answer, StudyView, confirmation
from study.analyses.answer import Row
from study.analyses.runs import Runs
from study.plots import Figure
from study.table import Tables

FORMAT = 1  # of the numbers that a page carries
_NAMES = ("claim", "arm", "axis", "level", "metric", "fraction", "what")  # columns that name a row


@dataclass(frozen=True)
class Chapter:
    """A study's tables and view; what is told of them is worked out when it is first asked for."""

    tables: Tables
    view: StudyView

    @property
    def name(self) -> str:
        return self.view.name

    @cached_property
    def runs(self) -> Runs:
        return Runs.of(self.tables, self.view)

    @cached_property
    def answers(self) -> dict[str, Answer]:
        """Every analysis, then where the numbers come from."""
        found = {name: run(self.tables, self.view) for name, run in ANALYSES.items()}
        return {**found, "provenance": _provenance(self.runs)}

    @cached_property
    def figures(self) -> list[Figure]:
        """Every figure, in the order of the page."""
        return [f for f in plots.of(self.tables, self.runs, self.answers) if f.svg]

    def title(self, name: str) -> str:
        """The title of an answer, without the study's own name."""
        words = self.answers[name].title.removeprefix(f"{self.name}: ")
        return words[:1].upper() + words[1:]

    @property
    def facts(self) -> str:
        """How many trials, how they ended, which seeds, how long."""
        trials = self.runs.trials
        seeds = sorted({row["seed"] for row in trials if row["seed"] is not None})
        parts = [
            f"{len(trials)} trials",
            *(f"{n} {status}" for status, n in self.runs.statuses().most_common()),
        ]
        if self.view.scale:
            parts.insert(0, f"{self.view.scale} scale")
        if seeds:
            parts.append(f"seeds {', '.join(map(str, seeds[:12]))}{' ...' if len(seeds) > 12 else ''}")
        hours = sum(row["seconds"] or 0.0 for row in trials) / 3600
        return " · ".join([*parts, f"{hours:.2g} hours of trials"])

    @cached_property
    def numbers(self) -> dict[str, Any]:
        """What a page embeds and `verify` works out anew: every number with its study, table, row and column."""
        again = confirmation.fresh(self.tables, self.view)
        order = {row["id"]: i for i, row in enumerate([*self.runs.trials, *again.trials])}
        return {
            "study": self.name,
            "facts": self.facts,
            "view": asdict(self.view),
            "metrics": self.runs.metrics,
            "trials": _trials(self.runs) + _trials(again),
            "answers": {name: _numbers(answer, order) for name, answer in self.answers.items()},
            "figures": {f.name: hashlib.sha256(f.svg.encode()).hexdigest()[:16] for f in self.figures},
        }


def drawn() -> str:
    """12 hex digits of the code that draws figures: another version may draw the same numbers otherwise."""
    sources = (Path(module.__file__ or "").read_bytes() for module in (figures, frame, plots))
    return hashlib.sha256(b"".join(sources)).hexdigest()[:12]


def row_name(row: Row) -> str:
    """What tells a row of an answer from its others."""
    return ", ".join(str(row[key]) for key in _NAMES if row.get(key) is not None) or "row"


def _trials(runs: Runs) -> list[list[Any]]:
    """id, arm, seed, status, seconds and the metrics of every trial, in the order that rows refer to."""
    values: dict[str, dict[str, float]] = {}
    for metric in runs.metrics:
        for identity, value in runs.by_trial(metric).items():
            values.setdefault(identity, {})[metric] = value
    return [
        [row["id"], row["arm"], row["seed"], row["status"], row["seconds"]]
        + [values.get(row["id"], {}).get(metric) for metric in runs.metrics]
        for row in runs.trials
    ]


def _numbers(answer: Answer, order: dict[str, int]) -> dict[str, Any]:
    """rows: all that is known of each; trials: of each row, by column, the places of the trials behind it."""
    rows = [{k: v for k, v in row.items() if not _is_ids(k)} for row in answer.rows]
    trials = [
        {
            k.removesuffix("ids").rstrip("."): [order[i] for i in v if i in order]
            for k, v in row.items()
            if _is_ids(k)
        }
        for row in answer.rows
    ]
    plain: list[Row] = json.loads(json.dumps(rows, default=str))
    return {"columns": answer.columns, "rows": plain, "trials": trials, "notes": answer.notes}


def _is_ids(key: str) -> bool:
    return key == "ids" or key.endswith(".ids")


def _provenance(runs: Runs) -> Answer:
    rows: list[Row] = []
    for column, words in (
        ("code", "code"),
        ("data_fingerprint", "data"),
        ("device", "device"),
        ("workers", "workers"),
    ):
        rows += _counted(runs, words, {r["id"]: r[column] for r in runs.trials if r[column] is not None})
    told = {}
    for row in runs.trials:
        if row["environment"]:
            told[row["id"]] = ", ".join(f"{key} {value}" for key, value in sorted(row["environment"].items()))
    rows += _counted(runs, "environment", told)
    notes = []
    if len({row["code"] for row in runs.trials if row["code"]}) > 1:
        notes.append("trials ran with different code: differences between them may be the code's")
    return Answer("Provenance", ["what", "value", "trials"], rows, notes)


def _counted(runs: Runs, what: str, told: dict[str, Any]) -> list[Row]:
    """The commonest values of a column, with the trials that have them."""
    found: list[Row] = []
    for value, n in Counter(told.values()).most_common(8):
        ids = [identity for identity, own in told.items() if own == value]
        found.append({"what": what, "value": str(value), "trials": n, "ids": ids})
    return found
