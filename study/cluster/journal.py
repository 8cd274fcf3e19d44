"""A study's searches as a journal file of Optuna, for optuna-dashboard; made from the table of points.

Nobody reads it back: where it is torn, missing or another search's, the next run writes it anew.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from optuna.storages import JournalStorage
from optuna.storages.journal import BaseJournalBackend, JournalFileBackend
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState, create_trial

from study.search import Point

STATES = {
    "running": TrialState.RUNNING,
    "done": TrialState.COMPLETE,
    "pruned": TrialState.PRUNED,
    "failed": TrialState.FAIL,
}


@dataclass(frozen=True)
class Sheet:
    """One cell's search: its name in the journal, and its points by index."""

    name: str
    directions: list[StudyDirection]
    distributions: dict[str, Any]
    points: dict[int, Point]


class Journal:
    """The journal file of a study, written anew at construction and continued after.

    Only one process may write it: whoever holds the study's lock.
    """

    def __init__(self, path: Path, sheets: Iterable[Sheet]) -> None:
        self.path = path
        self.sheets = {sheet.name: sheet for sheet in sheets}
        self._trials: dict[tuple[str, int], int] = {}
        self._studies: dict[str, int] = {}
        self._storage = self._written()

    def rewrite(self) -> None:
        """Make the file anew: a point that had been told was told otherwise."""
        self._storage = self._written()

    def asked(self, name: str, point: Point) -> None:
        """A point has been proposed."""
        self._add(self._storage, name, point)

    def told(self, name: str, point: Point) -> None:
        """A point has ended."""
        trial = self._trials[name, point.index]
        for step, mark in zip(point.steps, point.marks, strict=True):
            self._storage.set_trial_intermediate_value(trial, step, mark)
        self._storage.set_trial_state_values(trial, STATES[point.state], _values(point))

    def _written(self) -> JournalStorage:
        lines = _Lines()
        storage = JournalStorage(lines)
        self._trials.clear()
        for sheet in self.sheets.values():
            self._studies[sheet.name] = storage.create_new_study(sheet.directions, sheet.name)
            for index in sorted(sheet.points):
                self._add(storage, sheet.name, sheet.points[index])
        self.path.parent.mkdir(parents=True, exist_ok=True)
        temporary = self.path.with_name(f".{self.path.name}.{os.getpid()}.partial")
        temporary.write_text("".join(json.dumps(line, separators=(",", ":")) + "\n" for line in lines.lines))
        os.replace(temporary, self.path)
        # A killed run's lock would hold up this one; the study's own lock says that there is no other.
        self.path.with_name(self.path.name + ".lock").unlink(missing_ok=True)
        return JournalStorage(JournalFileBackend(str(self.path)))

    def _add(self, storage: JournalStorage, name: str, point: Point) -> None:
        trial = _frozen(self.sheets[name], point)
        self._trials[name, point.index] = storage.create_new_trial(self._studies[name], trial)


class _Lines(BaseJournalBackend):
    """A journal in memory."""

    def __init__(self) -> None:
        self.lines: list[dict[str, Any]] = []

    def read_logs(self, log_number_from: int) -> list[dict[str, Any]]:  # type: ignore[override]
        return self.lines[log_number_from:]

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        self.lines += json.loads(json.dumps(logs))


def _frozen(sheet: Sheet, point: Point) -> FrozenTrial:
    trial = create_trial(
        state=STATES[point.state],
        params=point.params,
        distributions=sheet.distributions,
        values=_values(point),
        intermediate_values=dict(zip(point.steps, point.marks, strict=True)),
        user_attrs={"point": point.index},
    )
    # Optuna's times are local ones without a zone, the table's are UTC.
    if point.began:
        trial.datetime_start = point.began.astimezone().replace(tzinfo=None)
    if point.ended and point.state != "running":
        trial.datetime_complete = point.ended.astimezone().replace(tzinfo=None)
    return trial


def _values(point: Point) -> list[float] | None:
    """A pruned trial's value is its last intermediate one, as Optuna has it."""
    if point.state == "pruned" and point.marks:
        return point.marks[-1:]
    return point.values
