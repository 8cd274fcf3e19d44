"""One whole study: what stands is kept, what is missing is run, what was asked is answered."""

from __future__ import annotations

import contextlib
import math
import os
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

from study import guard, perform, rungs, sources, table
from study.agenda import FINAL, Agenda, Proposer
from study.cells import Cell
from study.freeze import freeze
from study.mistake import Mistakes
from study.progress import Progress
from study.space import Space, Trial
from study.task import Task, locked, stop_file, study_folder, task_of

EXIT_INTERRUPTED, EXIT_TERMINATED, EXIT_NO_TRIAL = 130, 143, 1
LEAST_DISK = 64 << 20
SMALL = 16 << 20  # bytes of a state that others may start from, kept though no arm of the study does


@dataclass(frozen=True)
class Where:
    """How a study is run: none of it changes a number, none of it is hashed."""

    out: Path = Path("results")
    root: Path = Path("~/.cache/ssl-study")
    local: bool = False
    address: str | None = None
    workers: int = 1
    cpus: int = 1
    gpus: float | None = None  # a worker; None: one where the cluster has any
    at_once: int | None = None  # cores that a local Ray may use
    save_every: float = 60.0
    compile: bool = False
    channels_last: bool = False

    @staticmethod
    def of(options: object) -> Where:
        """From parsed options (see `commandline.add_where`)."""
        o = vars(options)
        same = (
            "out",
            "local",
            "address",
            "workers",
            "cpus",
            "gpus",
            "save_every",
            "compile",
            "channels_last",
        )
        return Where(root=o["data"], at_once=o["cores"], **{name: o[name] for name in same})


@dataclass
class Ending:
    """How a run of a study ended. code: the exit code."""

    code: int = 0
    counts: dict[str, int] = field(default_factory=dict)
    kept: int = 0
    seconds: float = 0.0
    reasons: list[str] = field(default_factory=list)


class Conductor:
    """Runs the trials of a space that the tables do not hold, here or on Ray."""

    def __init__(
        self, space: Space, where: Where, propose: Callable[[Space, Cell], Proposer] | None = None
    ) -> None:
        self.space, self.where = space, where
        self.name = space.settings.study
        self.out = where.out.expanduser().resolve()
        self.root = where.root.expanduser().resolve()
        self.propose = propose
        self.ending = Ending()
        self.signal = 0
        self.deadline = math.inf
        self.trials: dict[str, Trial] = {}
        self.numbers: dict[str, dict[str, float]] = {}
        self.refused: Mistakes | OSError | None = None  # why the search proposes nothing more
        self.keep: dict[str, list[int]] = {}  # epochs of an arm that others start from
        self.post: dict[str, str] = {}  # what a cluster's tasks take along to find the results folder
        self.full: set[str] = set()  # stopped trials that the guard trains in full

    def run(self) -> Ending:
        """Run what is missing. Raises Mistakes when the study is being run already or the disk is full."""
        started = time.monotonic()
        folder = study_folder(self.out, self.name)
        self._room(folder)
        with locked(folder / "lock", wait=False) as free:
            if not free:
                raise Mistakes(
                    f"the study {self.name} is being run already in {self.out}; `stop` ends that run"
                )
            stop_file(self.out, self.name).unlink(missing_ok=True)
            shutil.rmtree(folder / "live", ignore_errors=True)
            self._conduct(folder)
        self.ending.seconds = time.monotonic() - started
        return self.ending

    def _room(self, folder: Path) -> None:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            probe = folder / ".room"
            probe.write_bytes(b"x")
            probe.unlink()
            free = shutil.disk_usage(folder).free
        except OSError as error:
            raise Mistakes(f"--out {self.where.out}: cannot be written ({error.strerror})") from None
        if free < LEAST_DISK:
            raise Mistakes(
                f"--out {self.where.out}: {free >> 20} MiB are free on its disk; {LEAST_DISK >> 20} are needed"
            )

    def _conduct(self, folder: Path) -> None:
        freeze(self.out, self.name, [claim.model_dump() for claim in self.space.settings.claims])
        standing = table.finished(self.out)
        for row in table.read(self.out, "scores", columns=["id", "evaluation", "metric", "value"]):
            self._number(row)
        settings = self.space.settings
        self.keep = sources.kept(self.space)
        ended = {identity for identity, status in standing.items() if status in FINAL}
        if absent := list(sources.absent(self.space, self.out, ended)):
            raise Mistakes(absent)
        agenda = Agenda(
            self.space,
            standing,
            self._numbers_of,
            self.propose,
            settings.budget.trials,
            self._guarded if settings.scheduler.name != "none" else None,
            lambda trial: sources.there(self.out, trial),
        )
        self._adopt(standing)
        agenda.take_up()
        if settings.budget.hours is not None:
            self.deadline = time.monotonic() + 3600 * settings.budget.hours
        headline = headlines(self.space)
        self.progress = Progress(self.name, agenda.total, agenda.kept, 1, folder / "live", headline)
        with self._signals(agenda):
            try:
                if agenda.kept:
                    self.progress.say(
                        f"{agenda.kept} of {agenda.total} trials stand in {self.out}; they are not run again"
                    )
                if not agenda.finished:
                    (self._local if self.where.local else self._on_ray)(agenda)
            finally:
                self.progress.close()
                stop_file(self.out, self.name).unlink(missing_ok=True)
        self.ending.kept = agenda.kept
        self.ending.counts = dict(self.progress.counts)
        if self.signal:
            self.ending.code = EXIT_TERMINATED if self.signal == signal.SIGTERM else EXIT_INTERRUPTED
        elif self.progress.counts and not self.progress.counts["done"] and not agenda.kept:
            self.ending.code = EXIT_NO_TRIAL

    def _adopt(self, standing: dict[str, str]) -> None:
        """A trial belongs to the store, not to a study: one that another study ran is this study's too."""
        mine = table.finished(self.out, self.name)
        for trial in self.space.fixed():
            if standing.get(trial.id) in FINAL and trial.id not in mine:
                table.adopt(self.out, trial.id, self.name, trial.arm, dict(trial.axes))

    def _local(self, agenda: Agenda) -> None:
        """One trial after another in this process."""
        device = self._device(1 if self.where.gpus is None else int(self.where.gpus > 0))
        while not agenda.finished:
            self._tick(agenda)
            trial = agenda.next()
            if trial is None:
                break
            self.progress.begun(trial)
            status, reason = perform.perform(self._task(trial, device, 1), stopped=lambda: self._over(agenda))
            self._ended(agenda, trial, status, reason)

    def _on_ray(self, agenda: Agenda) -> None:
        from study.cluster import connect

        log = study_folder(self.out, self.name) / "ray.log"
        with connect.silenced(log), connect.connected(self.where.address, self.where.at_once) as resources:
            from study.cluster.courier import posted
            from study.cluster.sweep import Hooks, Needs, concurrency, sweep

            workers = self.where.workers
            gpus = self.where.gpus if self.where.gpus is not None else (1.0 if resources.gpus else 0.0)
            needs = Needs(self.where.cpus, gpus, workers)
            at_once = concurrency(resources, needs)
            if not at_once:
                asked = f"{needs.cpus:g} CPU" + (f" and {gpus:g} GPU" if gpus else "")
                has = ", ".join(f"{c:g} CPU and {g:g} GPU" for c, g in dict.fromkeys(resources.nodes))
                raise Mistakes(f"{workers} workers of {asked} each do not fit: Ray's nodes have {has}")
            device = "cuda" if gpus else "cpu"
            self.progress.at_once = at_once

            def give() -> Any:
                try:
                    trial = agenda.next()
                except (Mistakes, OSError) as error:  # Tune would bury it; what runs may end first
                    self.refused = error
                    agenda.close()
                    return None
                if trial is None:
                    return None
                self.trials[trial.id] = trial
                self.progress.begun(trial)
                return self._task(trial, device, workers)

            def ended(identity: str, status: str, reason: str) -> None:
                trial = self.trials[identity]
                if status == "failed" and table.finished(self.out, self.name).get(identity) is None:
                    self._failed(trial, reason)
                self._ended(agenda, trial, status, reason)

            hooks = Hooks(give, lambda: agenda.finished, ended, lambda: self._tick(agenda))
            if resources.joined:
                with posted(self.out, self.name, self.progress.say) as self.post:
                    sweep(hooks, resources, needs)
            else:
                sweep(hooks, resources, needs)
            if self.refused is not None:
                raise self.refused

    def _task(self, trial: Trial, device: str, workers: int) -> Task:
        where = self.where
        how: dict[str, Any] = {"device": device, "workers": workers, "save_every": where.save_every}
        how |= {"compile": where.compile, "channels_last": where.channels_last}
        how["extra"] = self.post | ({} if trial.id in self.full else rungs.extra(self.space, trial))
        how["extra"] |= {"keep": self.keep.get(trial.arm, []), "small": 0 if trial.point else SMALL}
        return task_of(trial, self.name, self.out, self.root, **how)

    def _guarded(self) -> list[Trial]:
        trials = guard.chosen(self.out, self.space)
        self.full = {trial.id for trial in trials}
        return trials

    def _device(self, gpus: int) -> str:
        import torch

        return "cuda" if gpus and torch.cuda.is_available() else "cpu"

    def _failed(self, trial: Trial, reason: str) -> None:
        """A trial whose process died left no row: a failure is a fact, and gets one."""
        row = {
            "id": trial.id,
            "study": self.name,
            "arm": trial.arm,
            "seed": trial.spec.seed,
            "status": "failed",
        }
        row |= {"reason": reason, "spec": trial.spec.model_dump_json(), "axes": dict(trial.axes)}
        table.record(self.out, row)

    def _ended(self, agenda: Agenda, trial: Trial, status: str, reason: str) -> None:
        if status != "interrupted":
            for row in table.scores_of(self.out, self.name, trial.id):
                self._number(row)
        agenda.ended(trial, status)
        self.progress.ended(trial, status, reason, self._numbers_of(trial.id))
        if status not in ("done", "pruned", "interrupted"):
            self.ending.reasons.append(f"{trial.arm}, seed {trial.spec.seed}: {status}: {reason}")

    def _number(self, row: dict[str, Any]) -> None:
        if row["value"] is not None:
            self.numbers.setdefault(row["id"], {})[f"{row['evaluation']}.{row['metric']}"] = row["value"]

    def _numbers_of(self, identity: str) -> dict[str, float]:
        return self.numbers.get(identity, {})

    def _over(self, agenda: Agenda) -> bool:
        if time.monotonic() > self.deadline:
            agenda.close()
        return bool(self.signal) or (agenda.closed and time.monotonic() > self.deadline)

    def _tick(self, agenda: Agenda) -> None:
        stop = stop_file(self.out, self.name)
        if self._over(agenda) and not stop.exists():
            stop.touch()
        if stop.exists():  # ours, or another shell's `stop`
            agenda.close()
        self.progress.total = agenda.total
        self.progress.draw()

    @contextlib.contextmanager
    def _signals(self, agenda: Agenda) -> Iterator[None]:
        """Once: finish the step, checkpoint, leave. Twice: leave at once."""

        def handle(number: int, frame: FrameType | None) -> None:
            if self.signal:
                os._exit(EXIT_TERMINATED if number == signal.SIGTERM else EXIT_INTERRUPTED)
            self.signal = number
            stop_file(self.out, self.name).touch()
            agenda.close()
            os.write(2, b"\nstopping: every running trial finishes its step and writes a checkpoint\n")

        try:
            before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
        except ValueError:  # not the main thread: a notebook's own affair
            yield
            return
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def headlines(space: Space) -> list[str]:
    """The metrics that a person reads first: those the file names, else every evaluation's first."""
    if space.settings.metrics:
        return list(space.settings.metrics)
    from study.resolve import resolve_evaluations

    names = [e for cell in space.cells for e in resolve_evaluations(cell.template)]
    return list(dict.fromkeys(f"{e.label}.{getattr(e, 'headline', 'top1')}" for e in names))[:4]
