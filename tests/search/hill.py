"""A small sampled study, driven through the agenda with an objective that is a formula."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from study.agenda import Agenda
from study.cluster.searcher import proposer
from study.space import Space, Trial
from study.studyfile import load

TEXT = """
study: hill
question: Which learning rate and weight are best?
base:
  data:     {name: digits}
  backbone: {name: resnet_tiny}
  method:   {name: lewel_b, dim: 16, channels: 16, groups: 4, weight: 0.5, hidden: 16, batch_norm: sync}
  views:    {size: 16}
  optim:    {name: sgd, lr: 0.1}
  budget:   {epochs: 2, batch: 32}
evaluate: [knn]
search:
  optim.lr: {log: [0.01, 1.0]}
  method.weight: {uniform: [0.0, 1.0]}
seeds: 1
"""

Numbers = Callable[[Trial], tuple[str, Mapping[str, float]]]


def space_of(folder: Path, *overrides: str, text: str = TEXT) -> Space:
    path = folder / "hill.yaml"
    path.write_text(text)
    return Space(load(path, overrides=overrides))


def height(trial: Trial) -> tuple[str, Mapping[str, float]]:
    """Best at lr 0.1 and weight 0.3."""
    point = trial.point
    off = (abs(point.get("optim.lr", 0.1) - 0.1)) + abs(point.get("method.weight", 0.3) - 0.3)
    return "done", {"knn.top1": 100 - 50 * off, "knn.top5": 10 * off}


class Killed(Exception):
    """The driver was killed, at an event."""


class Driver:
    """Runs the agenda as the conductor does, and remembers what stands, as the tables do.

    at_once: trials that run together; the oldest ends first. kill: die at this event (a start or an end).
    """

    def __init__(self, space: Space, out: Path, numbers: Numbers = height, at_once: int = 1) -> None:
        self.space, self.out, self.numbers_of, self.at_once = space, out, numbers, at_once
        self.status: dict[str, str] = {}
        self.numbers: dict[str, Mapping[str, float]] = {}
        self.points: list[Mapping[str, Any]] = []
        self.ran: list[str] = []

    def run(self, kill: int | None = None) -> list[Mapping[str, Any]]:
        """The points in the order of their first start."""
        self.agenda = Agenda(
            self.space, self.status, lambda i: self.numbers.get(i, {}), proposer(self.out), limit=None
        )
        events = 0
        running: list[Trial] = []
        while not self.agenda.finished:
            while len(running) < self.at_once and (trial := self.agenda.next()) is not None:
                running.append(trial)
                if events == kill:
                    raise Killed
                events += 1
                if trial.point not in self.points:
                    self.points.append(trial.point)
            if not running:
                break
            trial = running.pop(0)
            self.ran.append(trial.id)
            self.status[trial.id], self.numbers[trial.id] = self.numbers_of(trial)
            if events == kill:
                raise Killed
            events += 1
            self.agenda.ended(trial, self.status[trial.id])
        return self.points
