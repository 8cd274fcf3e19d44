"""Optuna proposes the sampled points of a cell; the table of points is what it is rebuilt from.

A proposal is a function of the search so far and of (sampler.seed, cell, index): a new sampler with a seed of
its own is made for every ask, so none carries hidden state from one ask to the next.

What is the same for one seed, whatever happens:

    random, qmc           every proposal, with any number of trials at once
    tpe, gp, cmaes, nsga2 with one trial at a time. With several at once the points that have ended when the
                          next is asked depend on how long they take; after a kill the events that happened
                          are replayed, and the search goes on as it would have
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.samplers import BaseSampler
from optuna.trial import TrialState, create_trial

from study.agenda import Proposer
from study.axes import Dimension
from study.cells import Cell
from study.cluster.journal import Journal, Sheet
from study.mistake import Mistakes
from study.search import Point, Record, excluded, marks, outcome
from study.space import Space
from study.task import study_folder

OWN_TRIES = 20  # proposals of the sampler itself for one point, before uniform draws take over
MAX_TRIES = 2000
REMEMBERS = ("qmc", "cmaes", "nsga2")  # what they propose leaves a trace in the study, and is proposed again
POPULATION = 20  # of NSGA-II; Optuna's 50 is more than most studies have points


def proposer(out: Path) -> Callable[[Space, Cell], Proposer]:
    """What the agenda takes: a search for every sampled cell, with its record and journal under `out`."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    out = out.expanduser().resolve()  # Tune changes the folder
    records: dict[str, Record] = {}
    journals: list[Journal] = []

    def propose(space: Space, cell: Cell) -> Proposer:
        name = space.settings.study
        if not journals:
            cells = [c for c in space.cells if space.dimensions_of(c)]
            records.update({c.label: Record(out, space, c) for c in cells})
            sheets = [
                Sheet(
                    _title(space, c),
                    _directions(space),
                    distributions(space.dimensions_of(c)),
                    records[c.label].points,
                )
                for c in cells
            ]
            journals.append(Journal(study_folder(out, name) / "optuna.journal", sheets))
        return Search(space, cell, records[cell.label], journals[0])

    return propose


class Search:
    """The search in one cell: `ask` gives the recorded points again, in order, and then new ones."""

    def __init__(self, space: Space, cell: Cell, record: Record, journal: Journal | None = None) -> None:
        self.space, self.cell, self.record, self.journal = space, cell, record, journal
        self.title = _title(space, cell)
        self.distributions = distributions(space.dimensions_of(cell))
        self._given = 0
        self._replay()

    def ask(self) -> dict[str, Any]:
        """The next point. Raises Mistakes when no point that `where` allows can be found."""
        index = self._given
        self._given += 1
        point = self.record.points.get(index)
        if point is None:
            point = self._propose(index)
            if self.journal is not None:
                self.journal.asked(self.title, point)
        return dict(point.params)

    def tell(self, index: int, status: str, values: Sequence[float] | None) -> None:
        """The point asked `index`-th has ended. What is told again is compared with what was told before."""
        point = self.record.points[index]
        state, means = outcome(status, values, len(self.space.settings.objectives))
        again = point.told is not None
        # A pruned point may have been trained in full since, by the guard: the search was told what it saw.
        if again and (point.state == "pruned" or (point.state, point.values) == (state, means)):
            return
        steps, at_rungs = marks(self.record.out, self.space, self.cell, point.params)
        self.record.tell(index, state, means, steps, at_rungs)
        if again:  # a failure was tried again, or a seed was added
            self._replay()
        else:
            self._settle(point)
        if self.journal is not None:
            if again:
                self.journal.rewrite()
            else:
                self.journal.told(self.title, point)

    def _propose(self, index: int) -> Point:
        reason = ""
        for attempt in range(MAX_TRIES):
            trial = self._ask(index, attempt)
            reason = excluded(self.space, self.cell, trial.params) or ""
            if not reason:
                self._trials[index] = trial
                return self.record.ask(index, dict(trial.params), attempt)
            self.study.tell(trial, state=TrialState.FAIL)
        what = f"{MAX_TRIES} proposed points in a row are excluded, the last by: {reason}"
        raise Mistakes(f"search: {self.cell.label}: {what}")

    def _ask(self, index: int, attempt: int) -> optuna.Trial:
        settings = self.space.settings.sampler
        seed = _seed(settings.seed, self.cell.label, index, attempt)
        name = "random" if attempt >= OWN_TRIES else settings.name
        self.study.sampler = make(name, seed, _seed(settings.seed, self.cell.label))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return self.study.ask(self.distributions)

    def _ask_again(self, point: Point) -> optuna.Trial:
        """A recorded point as Optuna's trial."""
        if self.space.settings.sampler.name in REMEMBERS:
            for attempt in range(point.rejected):
                self.study.tell(self._ask(point.index, attempt), state=TrialState.FAIL)
            trial = self._ask(point.index, point.rejected)
            if trial.params == point.params:
                return trial
            self.study.tell(trial, state=TrialState.FAIL)  # another version of the sampler: the record counts
        self.study.sampler = make("random", 0, 0)
        self.study.enqueue_trial(point.params)
        return self.study.ask(self.distributions)

    def _replay(self) -> None:
        """Bring the study back to where the record ends."""
        self.study = optuna.create_study(directions=_directions(self.space), study_name=self.title)
        self._trials: dict[int, optuna.Trial] = {}
        if self.space.settings.sampler.name == "qmc":
            # Its sequence begins where the axes are known: by a point that never ends, not by a random one.
            middle = {d.key: d.middle for d in self.space.dimensions_of(self.cell)}
            known = create_trial(state=TrialState.RUNNING, params=middle, distributions=self.distributions)
            self.study.add_trial(known)
        for kind, point in self.record.events():
            if kind == "tell":
                self._settle(point)
                continue
            self._trials[point.index] = self._ask_again(point)

    def _settle(self, point: Point) -> None:
        """Tell Optuna what became of a point."""
        trial = self._trials[point.index]
        settings = self.space.settings
        if len(settings.objectives) == 1:  # Optuna knows intermediate values of one objective only
            sign = 1.0 if settings.scheduler.goal == settings.objectives[0].goal else -1.0
            for step, mark in zip(point.steps, point.marks, strict=True):
                trial.report(sign * mark, step)
        if point.state == "done":
            self.study.tell(trial, point.values)
        else:
            self.study.tell(trial, state=TrialState.PRUNED if point.state == "pruned" else TrialState.FAIL)


def make(name: str, seed: int, lasting: int) -> BaseSampler:
    """A sampler by its name in the study file. lasting: the seed of a sequence that all asks share."""
    samplers = optuna.samplers
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # "experimental", said at every construction
        if name == "tpe":
            return samplers.TPESampler(seed=seed)
        if name == "qmc":
            return samplers.QMCSampler(seed=lasting, scramble=True, warn_independent_sampling=False)
        if name == "cmaes":
            return samplers.CmaEsSampler(seed=seed, warn_independent_sampling=False)
        if name == "gp":
            return samplers.GPSampler(seed=seed)
        if name == "nsga2":
            return samplers.NSGAIISampler(seed=seed, population_size=POPULATION)
        return samplers.RandomSampler(seed=seed)


def distributions(dimensions: Sequence[Dimension]) -> dict[str, BaseDistribution]:
    """The sampled axes in Optuna's terms."""
    found: dict[str, BaseDistribution] = {}
    for d in dimensions:
        if d.kind == "choice":
            found[d.key] = CategoricalDistribution(d.values)
        elif d.kind == "int":
            found[d.key] = IntDistribution(int(d.low), int(d.high))
        else:
            found[d.key] = FloatDistribution(d.low, d.high, log=d.kind == "log")
    return found


def _directions(space: Space) -> list[optuna.study.StudyDirection]:
    one = optuna.study.StudyDirection
    return [one.MAXIMIZE if o.goal == "max" else one.MINIMIZE for o in space.settings.objectives]


def _title(space: Space, cell: Cell) -> str:
    study = space.settings.study
    return study if cell.label == study else f"{study}: {cell.label}"


def _seed(*parts: object) -> int:
    return int.from_bytes(hashlib.sha256(repr(parts).encode()).digest()[:4], "little")
