"""What is to be run next: trials in an order, blocks of seeds, points as they are proposed. No Ray, no Optuna."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from study.cells import Cell
from study.space import Space, Trial

FINAL = ("done", "pruned", "diverged", "collapsed", "failed")  # statuses that are not run again


class Proposer(Protocol):
    """Proposes the sampled points of one cell."""

    def ask(self) -> dict[str, Any]:
        """The next point."""

    def tell(self, index: int, status: str, values: Sequence[float] | None) -> None:
        """The point asked `index`-th (from 0) has ended: done with its objectives, pruned, or failed."""


@dataclass
class Block:
    """A point with all of its seeds: one unit of the search."""

    cell: Cell
    index: int
    waiting: deque[Trial]
    open: int  # seeds that have not ended
    ended: list[tuple[str, Mapping[str, float]]] = field(default_factory=list)


class Agenda:
    """The trials of a study that remain, in order; what has ended is told to it.

    done: status by id of what the tables already hold; those are not run again, but their numbers are told to
    the search. numbers: id to {evaluation.metric: value}. afterwards: called once, when all else has ended,
    for trials that follow from it. there: whether what a trial starts from still stands.
    """

    def __init__(
        self,
        space: Space,
        done: Mapping[str, str],
        numbers: Callable[[str], Mapping[str, float]],
        propose: Callable[[Space, Cell], Proposer] | None = None,
        limit: int | None = None,
        afterwards: Callable[[], Sequence[Trial]] | None = None,
        there: Callable[[Trial], bool] = lambda trial: True,
    ) -> None:
        self.space = space
        self.done = dict(done)
        self.numbers = numbers
        self.limit = limit
        self.afterwards = afterwards
        self.there = there
        self.added = 0  # trials that came afterwards, or run once more
        self.closed = False  # nothing new is begun
        self.begun = 0
        self.kept = 0  # found finished in the tables
        self._running: dict[str, list[Block | None]] = {}
        self._again: set[str] = set()  # run once more: what others start from is gone
        self._fixed: deque[Trial] = deque()
        seen: set[str] = set()
        for trial in space.fixed():
            if trial.id in seen:
                continue
            seen.add(trial.id)
            if self.done.get(trial.id) in FINAL:
                self.kept += 1
            else:
                self._fixed.append(trial)
        self._cells = [cell for cell in space.cells if space.dimensions_of(cell)]
        self._proposers = {cell.label: propose(space, cell) for cell in self._cells} if propose else {}
        self._asked = {cell.label: 0 for cell in self._cells}
        self._open: deque[Block] = deque()

    @property
    def total(self) -> int:
        return self.space.count() + self.added

    @property
    def finished(self) -> bool:
        """Nothing is left to begin, and nothing is running."""
        return not self._running and (self.closed or not (self._left or self.afterwards))

    @property
    def _left(self) -> bool:
        return bool(self._fixed or self._open or self._may_ask())

    def next(self) -> Trial | None:
        """The next trial to run; None when there is none now (ask again when one has ended, or it is finished)."""
        while not self.closed:
            if self.limit is not None and self.begun >= self.limit:
                self.closed = True
                return None
            trial = self._take()
            if trial is not None:
                return self._begin(trial, None)
            self.take_up()
            block = next((b for b in self._open if b.waiting and self._may_start(b.waiting[0])), None)
            if block is not None:
                return self._begin(block.waiting.popleft(), block)
            if not any(self._may_start(trial) for trial in tuple(self._fixed)):
                return None
        return None

    def _take(self) -> Trial | None:
        """The first of the fixed trials that may start."""
        for i, trial in enumerate(tuple(self._fixed)):
            waiting = len(self._fixed)
            if self._may_start(trial):
                del self._fixed[i]
                return trial
            if len(self._fixed) > waiting:  # what it starts from has been put in front
                return self._take()
        return None

    def _may_start(self, trial: Trial) -> bool:
        """Whether what it starts from has ended. However that ended: where nothing is left to start from, the
        trial fails and says so. What stands in the tables, but not in the store, is put in front."""
        source = trial.source
        if source is None:
            return True
        if source.id in self._running:
            return False
        status = self.done.get(source.id)
        if status == "done" and source.id not in self._again and not self.there(trial):
            self._again.add(source.id)
            self.done.pop(source.id)
            self.added += 1
            self._fixed.appendleft(source)
            return False
        return status in FINAL or all(source.id != waiting.id for waiting in self._fixed)

    def take_up(self) -> None:
        """Pass over what stands already, up to the first sampled trial that has to be run."""
        for block in list(self._open):
            self._skim(block)
        while not any(b.waiting for b in self._open) and (new := self._ask()) is not None:
            self._open.append(new)
            self._skim(new)
        if self.afterwards and not self._running and not self._left:
            follow, self.afterwards = self.afterwards, None
            self._fixed.extend(follow())
            self.added += len(self._fixed)

    def _skim(self, block: Block) -> None:
        while block.waiting and (status := self.done.get(block.waiting[0].id)) in FINAL:
            self.kept += 1
            self._seed_ended(block, str(status), self.numbers(block.waiting.popleft().id))

    def ended(self, trial: Trial, status: str) -> None:
        """A trial that `next` gave has ended with this status; its rows stand in the tables."""
        self.done[trial.id] = status
        for block in self._running.pop(trial.id, []):
            if block is not None and status != "interrupted":
                self._seed_ended(block, status, self.numbers(trial.id))

    def close(self) -> None:
        """Begin nothing new."""
        self.closed = True

    def _begin(self, trial: Trial, block: Block | None) -> Trial | None:
        if trial.id in self._running:  # the same configuration proposed twice: one run answers both
            self._running[trial.id].append(block)
            return self.next()
        self._running[trial.id] = [block]
        self.begun += 1
        return trial

    def _may_ask(self) -> bool:
        return any(
            self._asked[c.label] < self.space.points(c) for c in self._cells if c.label in self._proposers
        )

    def _ask(self) -> Block | None:
        """A new point in the cell that has been asked least."""
        cells = [c for c in self._cells if c.label in self._proposers]
        cells = [c for c in cells if self._asked[c.label] < self.space.points(c)]
        if not cells:
            return None
        cell = min(cells, key=lambda c: self._asked[c.label])
        index = self._asked[cell.label]
        self._asked[cell.label] += 1
        point = self._proposers[cell.label].ask()
        trials = [self.space.trial(cell, point, seed, index) for seed in self.space.seeds]
        return Block(cell, index, deque(trials), len(trials))

    def _seed_ended(self, block: Block, status: str, numbers: Mapping[str, float]) -> None:
        block.ended.append((status, numbers))
        block.open -= 1
        if block.open:
            return
        if block in self._open:
            self._open.remove(block)
        self._proposers[block.cell.label].tell(block.index, *self._judged(block))

    def _judged(self, block: Block) -> tuple[str, list[float] | None]:
        """A point is done when every seed is, with the mean of each objective; a failed seed fails it."""
        statuses = [status for status, _ in block.ended]
        if any(status not in ("done", "pruned") for status in statuses):
            return "failed", None
        values = []
        for objective in self.space.settings.objectives:
            seeds = [numbers.get(objective.metric, math.nan) for _, numbers in block.ended]
            mean = sum(seeds) / len(seeds)
            if not math.isfinite(mean):
                return ("pruned" if "pruned" in statuses else "failed"), None
            values.append(mean)
        return ("pruned" if "pruned" in statuses else "done"), values
