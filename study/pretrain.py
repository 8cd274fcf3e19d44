"""The loop: which pictures, which views, one step after another, the same for every method.

A run is a pure function of its spec: pictures, views and every other draw of step s come from (seed, s),
so that a run that is stopped at any step and resumed from its checkpoint gives the same weights.
"""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from data import batches, views
from data.sets.dataset import Dataset
from models import backbones, methods, parallel
from models.health import rank_me, spread
from models.method import Batch, Method, Moment, Step
from study import checkpoint, optim
from study import start as beginning
from study.effort import Effort
from study.spec import TrialSpec

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # ImageNet's, as in every recipe of the papers
CURVE_POINTS = 1000
PATIENCE = 2  # losses in a row that may be non-finite


class Interrupted(Exception):
    """Training was asked to stop; a checkpoint was written first."""


class Diverged(Exception):
    """The loss stayed non-finite, also after one return to the last good checkpoint."""


class Pruned(Exception):
    """A scheduler ended the training at a rung, a checkpoint written. epochs: of training that were done."""

    def __init__(self, why: str, epochs: float, curves: list[dict[str, Any]]) -> None:
        super().__init__(why)
        self.epochs, self.curves = epochs, curves


@dataclass(frozen=True)
class Progress:
    """Where a training is, for whoever watches it."""

    step: int
    total: int
    loss: float
    seconds: float


@dataclass(frozen=True)
class Place:
    """How and where a trial runs: none of it can change a number beyond rounding, none of it is hashed."""

    device: str = "cpu"
    folder: Path | None = None  # for checkpoints; None keeps none
    save_every: float = 60.0  # seconds
    compile: bool = False
    channels_last: bool = False
    # Epochs after which the whole state is left in the folder for others to start from; that of the end is left
    # anyway up to `small` bytes.
    keep: tuple[int, ...] = ()
    small: int = 0


HERE = Place()


@dataclass
class Watch:
    """What a caller may hang into the loop.

    stop: asked after every step; True ends the training with Interrupted, a checkpoint written.
    tell: told about the progress, at most once a second.
    rungs: the steps, of so many in all, at which `measure` is called with the method, in the first process;
    what it returns, if anything, is why the training ends there (Pruned).
    look: called with (method, epochs done, step) after every epoch but the last, in the first process; what it
    returns goes into the curves.
    """

    stop: Callable[[], bool] = lambda: False
    tell: Callable[[Progress], None] = lambda progress: None
    rungs: Callable[[int], tuple[int, ...]] = lambda total: ()
    measure: Callable[[Method, int], str | None] = lambda method, step: None
    look: Callable[[Method, int, int], dict[str, float]] = lambda method, epoch, step: {}


@dataclass
class Trained:
    """What training left: the method, its curves, and how long it took without evaluations on the way."""

    method: Method
    steps: int  # as schedules count them
    done: int  # of them by this trial: those before belong to what it started from
    per_epoch: int
    seconds: float
    flops: float  # of all steps and processes; see study/effort.py
    curves: list[dict[str, Any]] = field(default_factory=list)
    health: dict[str, float] = field(default_factory=dict)


def mixed(*parts: object) -> int:
    """A 63-bit seed from any parts, the same on every machine."""
    return int.from_bytes(hashlib.sha256(repr(parts).encode()).digest()[:8], "little") >> 1


def build(spec: TrialSpec) -> Method:
    """The method with the weights of the spec's seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(mixed("weights", spec.seed))
        return methods.build(spec.method, lambda **changes: backbones.make(spec.backbone, **changes))


def pretrain(
    spec: TrialSpec, data: Dataset, indices: Tensor, place: Place = HERE, watch: Watch | None = None
) -> Trained:
    """Train the method of `spec` on the pictures `indices` of the training split.

    Raises:
        Interrupted, Diverged, Pruned: see there. ValueError: a batch larger than the set.
    """
    return _Training(spec, data, indices, place, watch or Watch()).run()


class _Training:
    def __init__(self, spec: TrialSpec, data: Dataset, indices: Tensor, place: Place, watch: Watch) -> None:
        self.spec, self.data, self.indices, self.place, self.watch = spec, data, indices, place, watch
        self.per_epoch = batches.steps_per_epoch(len(indices), spec.budget.batch)
        self.total = self.per_epoch * spec.budget.epochs
        self.device = torch.device(place.device)
        self.method = build(spec).to(self.device)
        if place.channels_last:
            self.method = self.method.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.optimizer = optim.build(self.method, spec.optim)
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=spec.budget.precision == "fp16")
        self.plan = views.plan(spec.views)
        self.every = max(1, self.total // CURVE_POINTS)
        self.rungs = self.watch.rungs(self.total)
        self.step = self.first = 0
        self.bad = 0  # non-finite losses in a row
        self.returned = False  # to the last good checkpoint
        self.curves: list[dict[str, Any]] = []
        self.spent = 0.0  # seconds of earlier runs of this trial, less those of evaluations on the way
        self.effort = Effort(place.compile)
        self.file = place.folder / "training.pt" if place.folder else None
        state = checkpoint.shared(self.file)
        if state is not None and state["id"] == spec.id:
            self._restore(state)
        elif spec.start is not None:
            epoch = beginning.begin(self.method, spec.start, place.folder, spec.budget.epochs)
            self.step = self.first = epoch * self.per_epoch
        self.started = time.monotonic()
        self.network: nn.Module = self._wrapped()

    def _wrapped(self) -> nn.Module:
        network: nn.Module = self.method
        if self.place.compile:
            network = torch.compile(network)  # type: ignore[assignment]
        if parallel.world() > 1:
            ids = [self.device.index or 0] if self.device.type == "cuda" else None
            # Batch statistics are the method's matter (models/norms), not the wrapper's.
            return nn.parallel.DistributedDataParallel(
                network, device_ids=ids, broadcast_buffers=False, find_unused_parameters=True
            )
        return network

    def run(self) -> Trained:
        self.method.train()
        saved = told = time.monotonic()
        if self.step in self.rungs:  # resumed there: the decision may not have been acted on
            self._rung()
        while self.step < self.total:
            moment = Moment(self.step, self.per_epoch, self.spec.budget.epochs)
            with self.effort.watching():
                loss, last = self._step(moment)
            self.effort.took(",".join(sorted(last.terms)))
            self.step += 1
            if self.step < self.total and self.step % self.per_epoch == 0:
                self._keep(self.step // self.per_epoch, 0)
            if self.step % self.per_epoch == 0 or self.step == self.total:
                self._monitor(last)
            if self.step % self.per_epoch == 0 and self.step < self.total:
                self._look()
            if self.step in self.rungs:
                self._rung()
            now = time.monotonic()
            if now - told >= 1 or self.step == self.total:
                told = now
                self.watch.tell(Progress(self.step, self.total, loss, self.seconds))
            stop = self._agreed(self.watch.stop())
            if stop or self._agreed(now - saved >= self.place.save_every):
                self._save()
                saved = time.monotonic()
            if stop and self.step < self.total:
                raise Interrupted(f"stopped at step {self.step} of {self.total}")
        self._save()
        self._keep(self.spec.budget.epochs, self.place.small if self.total else 0)
        flops = self.effort.total * parallel.world()
        return Trained(
            self.method,
            self.step,
            self.step - self.first,
            self.per_epoch,
            self.seconds,
            flops,
            self.curves,
            self._health(),
        )

    @property
    def seconds(self) -> float:
        return self.spent + time.monotonic() - self.started

    def _agreed(self, flag: bool) -> bool:
        """Any process's wish is everybody's: a process that stops alone would leave the others waiting."""
        if parallel.world() == 1:
            return flag
        return bool(parallel.plain_sum(torch.tensor(float(flag), device=self.device)).item() > 0)

    def _batches(self) -> Iterator[tuple[Batch, float]]:
        """This process's share of the step's pictures, cut for gradient accumulation; and each cut's weight.

        Everything random is drawn for the whole batch, and every process takes its rows of it: R processes
        see what one process sees.
        """
        budget, step = self.spec.budget, self.step
        chosen = self.indices[batches.indices_at(step, len(self.indices), budget.batch, self.spec.seed)]
        generator = torch.Generator().manual_seed(mixed("views", self.spec.seed, step))
        draws = views.draw(self.plan, self.data.train.sizes(chosen), generator)
        share = budget.batch // parallel.world()
        start = parallel.rank() * share
        cut = share // budget.accumulate
        for i in range(budget.accumulate):
            rows = slice(start + i * cut, start + (i + 1) * cut)
            pictures, boxes = views.render(
                self.data.train, chosen[rows], draws.rows(rows), self.plan, self.device, MEAN, STD
            )
            labels = self.data.train.labels[chosen[rows]].to(self.device)
            yield Batch(pictures, boxes, labels), 1 / budget.accumulate

    def _autocast(self) -> AbstractContextManager[Any]:
        kind = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(self.spec.budget.precision)
        return torch.autocast(self.device.type, dtype=kind) if kind else nullcontext()

    def _step(self, moment: Moment) -> tuple[float, Step]:
        torch.manual_seed(mixed("step", self.spec.seed, moment.step, parallel.rank()))
        self.optimizer.zero_grad(set_to_none=True)
        self.method.prepare(moment)
        memos: list[Any] = []
        terms: dict[str, Tensor] = {}
        last: Step | None = None
        cuts = self.spec.budget.accumulate
        for i, (batch, weight) in enumerate(self._batches()):
            synchronised = parallel.world() == 1 or i == cuts - 1
            with nullcontext() if synchronised else self.network.no_sync():  # type: ignore[operator]
                with self._autocast():
                    last = self.network(batch, moment)
                self.scaler.scale(last.loss * weight).backward()
            for name, value in last.terms.items():
                terms[name] = terms.get(name, torch.zeros_like(value)) + weight * value.detach()
            memos.append(last.memo)
        assert last is not None
        loss = float(parallel.plain_mean(torch.stack(list(terms.values())).sum()))
        if not math.isfinite(loss):
            self._record({"skipped_step": 1.0})
            self._non_finite(moment, loss)
            return loss, last
        self.bad = 0
        if moment.step % self.every == 0:
            self._record({"loss": loss, **terms, "lr": optim.lr_at(self.spec.optim, moment)})
        self.scaler.unscale_(self.optimizer)  # type: ignore[arg-type]
        self.method.trim(moment)
        optim.apply(self.optimizer, self.spec.optim, moment, lambda: self.scaler.step(self.optimizer))  # type: ignore[arg-type]
        self.scaler.update()
        self.method.update(_joined(memos), moment)
        return loss, last

    def _non_finite(self, moment: Moment, loss: float) -> None:
        self.bad += 1
        if self.bad <= PATIENCE:
            return
        state = None if self.returned else checkpoint.shared(self.file)
        if state is None or state["id"] != self.spec.id or state["bad"]:
            raise Diverged(
                f"the loss was {loss} for {self.bad} steps, last at step {moment.step} of {self.total}"
            )
        self._restore(state)
        self.step -= 1  # `run` counts the step that is given up
        self.returned, self.bad = True, 0

    def _record(self, values: dict[str, Any], step: int | None = None) -> None:
        at = self.step if step is None else step
        for name, value in values.items():
            self.curves.append(
                {"step": at, "epoch": at / self.per_epoch, "name": name, "value": float(value)}
            )

    def _monitor(self, last: Step) -> None:
        """The signs of collapse, once an epoch, and the monitors of the method."""
        values: dict[str, Any] = dict(last.monitors)
        if last.embedding is not None:
            rows = parallel.plain_gather(last.embedding.detach().float())[:1024]
            values |= {"embedding_std": spread(rows), "embedding_rank": rank_me(rows)}
        self._record(
            {name: parallel.plain_mean(v) if isinstance(v, Tensor) else v for name, v in values.items()}
        )

    def _health(self) -> dict[str, float]:
        names = ("embedding_std", "embedding_rank")
        return {c["name"]: c["value"] for c in self.curves if c["name"] in names}

    def _look(self) -> None:
        """Evaluations during training. They draw what they like: every step seeds its own draws."""
        if parallel.rank() == 0:
            started = time.monotonic()
            self._record(self.watch.look(self.method, self.step // self.per_epoch, self.step))
            self.spent -= time.monotonic() - started

    def _rung(self) -> None:
        started = time.monotonic()
        self.method.eval()
        why = self.watch.measure(self.method, self.step) if parallel.rank() == 0 else None
        ends = self._agreed(bool(why))
        self.method.train()
        self.spent -= time.monotonic() - started
        if ends:
            self._save()
            raise Pruned(why or "stopped at a rung", (self.step - self.first) / self.per_epoch, self.curves)

    def _keep(self, epoch: int, small: int) -> None:
        """Leave the state for trials that start from here."""
        if self.place.folder is None or parallel.rank() != 0:
            return
        size = sum(t.numel() * t.element_size() for t in self.method.state_dict().values()) if small else 1
        if epoch in self.place.keep or size <= small:
            beginning.keep(self.place.folder, self.spec.id, self.method, epoch, self.spec.budget.epochs)

    def _save(self) -> None:
        if self.file is None or self.bad:
            return
        if parallel.rank() == 0:
            state = {
                "id": self.spec.id,
                "step": self.step,
                "first": self.first,
                "bad": self.bad,
                "returned": self.returned,
                "seconds": self.seconds,
                "method": self.method.state_dict(),
                "optimizer": self.optimizer.state_dict(),
                "scaler": self.scaler.state_dict(),
                "curves": self.curves,
                "effort": self.effort.state,
            }
            checkpoint.save(self.file, state)
        parallel.barrier()

    def _restore(self, state: dict[str, Any]) -> None:
        self.method.load_state_dict(state["method"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.scaler.load_state_dict(state["scaler"])
        self.step, self.curves = state["step"], list(state["curves"])
        self.first = state.get("first", 0)
        self.spent, self.returned = state["seconds"], state["returned"]
        self.effort.restore(state["effort"])


def _joined(memos: list[Any]) -> Any:
    """The memos of a step's cuts as the memo of one batch: rows after rows."""
    first = memos[0]
    if len(memos) == 1 or first is None:
        return first
    if isinstance(first, Tensor):
        return torch.cat(memos)
    if isinstance(first, dict):
        return {key: _joined([m[key] for m in memos]) for key in first}
    if isinstance(first, list | tuple):
        return type(first)(_joined(list(parts)) for parts in zip(*memos, strict=True))
    return first
