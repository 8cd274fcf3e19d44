"""One trial: spec in, rows out. No Ray, no YAML, callable from a notebook.

from study.trial import run
outcome = run(spec)
outcome.scores
"""

from __future__ import annotations

import traceback
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import cache, lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn

from data.sets.dataset import DataError, Dataset
from data.subsets import subset
from models import parallel
from models.backbones.backbone import Backbone
from models.method import Method
from study import checkpoint, provenance
from study.evaluations.cost import flops, forward_seconds
from study.evaluations.evaluation import Subject
from study.pretrain import (
    HERE,
    MEAN,
    STD,
    Diverged,
    Interrupted,
    Place,
    Pruned,
    Trained,
    Watch,
    build,
    pretrain,
)
from study.spec import TrialSpec

COLLAPSED = 0.02  # of the spread of the encoder's features, which is 1 for directions spread evenly
HEALTH = 2048  # pictures that spread and rank are measured on


@dataclass
class Outcome:
    """How a trial ended: its status with a reason, its numbers, and what it took."""

    status: str  # done, pruned, diverged, collapsed, failed, interrupted
    reason: str = ""
    scores: list[dict[str, Any]] = field(default_factory=list)
    curves: list[dict[str, Any]] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)  # the remaining columns of the table `trials`


class Encoder(NamedTuple):
    """What a trial trained for others to use: the backbone, and the method's parts beside it."""

    backbone: Backbone
    parts: dict[str, nn.Module]

    @classmethod
    def of(cls, method: Method) -> Encoder:
        return cls(method.encoder, method.transfer())


def load(data: Any, root: Path) -> Dataset:
    """The pictures of a spec, whole: parts of one set share them. Raises DataError."""
    return _load(data.model_copy(update={"fraction": 1.0}), root)


@lru_cache(maxsize=4)  # a warm actor trains many trials on the same pictures
def _load(data: Any, root: Path) -> Dataset:
    return data.load(root)


@cache
def _there(data: Any, root: Path) -> None:
    """Raises DataError where the pictures are not. Once a process: what is measured last on a set that is
    missing would else be told when training has ended."""
    load(data, root)


def subject(spec: TrialSpec, data: Dataset, trained: Encoder, place: Place) -> Subject:
    """What the evaluations of a trial are given."""
    return Subject(
        encoder=trained.backbone,
        dataset=data,
        train_indices=subset(data.train.labels, spec.data.fraction, spec.seed),
        size=spec.views.size,
        mean=MEAN,
        std=STD,
        device=torch.device(place.device),
        seed=spec.seed,
        parts=trained.parts,
    )


def evaluate(
    spec: TrialSpec,
    given: Subject,
    step: int,
    root: Path,
    only: set[str] | None = None,
    corrupt: dict[str, str] | None = None,
) -> list[dict[str, Any]]:
    """Every evaluation of the spec (or those labelled in `only`), as rows of the table `scores`.

    Those with data of their own are made set by set, each set's features held while it is their turn.
    corrupt: receives the pictures that could not be decoded, and why.
    """
    wanted = [e for e in spec.evaluate if only is None or e.label in only]
    sets = dict.fromkeys(e.data for e in wanted)
    rows = []
    for other in sets:
        before = given if other is None else given.on(load(other, root.expanduser()))
        for evaluation in (e for e in wanted if e.data == other):
            drawn = before.redrawn(evaluation.draw)
            torch.manual_seed(drawn.seed)
            named = {"evaluation": evaluation.label}
            for score in evaluation.run(drawn):
                at = step if score.step is None else score.step
                rows.append({**named, "metric": score.metric, "value": score.value, "n": score.n, "step": at})
        if corrupt is not None:
            corrupt |= before.dataset.corrupt
    return rows


def monitored(watch: Watch, spec: TrialSpec, data: Dataset, place: Place, root: Path) -> Watch:
    """`watch`, and beside it every evaluation of the spec that is asked for during training."""
    asked = [e for e in spec.evaluate if e.every is not None]
    if not asked:
        return watch

    def look(method: Method, epoch: int, step: int) -> dict[str, float]:
        due = {e.label for e in asked if epoch % e.every == 0}
        values = watch.look(method, epoch, step)
        if due:
            # A subject of its own: features that it caches are of this step.
            given = subject(spec, data, Encoder.of(method), place)
            values |= curve_values(evaluate(spec, given, step, root, due), step)
        return values

    return replace(watch, look=look)


def curve_values(scores: list[dict[str, Any]], step: int) -> dict[str, float]:
    """Scores of an evaluation as points of curves: those without steps of their own."""
    return {f"{row['evaluation']}.{row['metric']}": row["value"] for row in scores if row["step"] == step}


def run(
    spec: TrialSpec,
    root: Path = Path("~/.cache/ssl-study"),
    place: Place = HERE,
    watch: Watch | None = None,
) -> Outcome:
    """Train, evaluate, report. Whatever happens is an outcome, but a fault of the surroundings (a full disk, a
    broken process group) and being interrupted by the keyboard are raised.

    root: where sets that are files are looked for. With a folder in `place`, a checkpoint of the same trial
    found there is continued; when training has ended the encoder is kept there as `encoder.pt`.
    """
    started = datetime.now(UTC)
    provenance.reset_peak(place.device)
    outcome = _run(spec, root, place, watch or Watch())
    seconds = (datetime.now(UTC) - started).total_seconds()
    outcome.facts = {
        "epochs_planned": float(spec.budget.epochs),
        "epochs_done": 0.0,
        "seconds": seconds,
        "device": torch.cuda.get_device_name() if place.device.startswith("cuda") else place.device,
        "workers": parallel.world(),
        "peak_memory_mb": provenance.peak_memory_mb(place.device),
        "started": started,
        "finished": datetime.now(UTC),
        "code": provenance.code(),
        "environment": provenance.environment(),
        **outcome.facts,
    }
    return outcome


def _run(spec: TrialSpec, root: Path, place: Place, watch: Watch) -> Outcome:
    try:
        for other in {e.data for e in spec.evaluate if e.data is not None}:
            _there(other, root.expanduser())
        data = load(spec.data, root.expanduser())
        indices = subset(data.train.labels, spec.data.fraction, spec.seed)
        facts: dict[str, Any] = {"data_fingerprint": data.train.fingerprint, "subset": indices.tolist()}
        trained = pretrain(spec, data, indices, place, monitored(watch, spec, data, place, root))
    except (DataError, ValueError) as error:
        return Outcome("failed", str(error))
    except Interrupted as error:
        return Outcome("interrupted", str(error))
    except Diverged as error:
        return Outcome("diverged", str(error))
    except Pruned as error:
        facts |= {"epochs_done": error.epochs, "corrupt": data.corrupt or None}
        return Outcome("pruned", str(error), [], error.curves, facts)
    except torch.OutOfMemoryError as error:
        return Outcome("failed", _memory(spec, error))
    except RuntimeError as error:
        if "out of memory" in str(error) or "DefaultCPUAllocator" in str(error):
            return Outcome("failed", _memory(spec, error))
        return Outcome("failed", _short(error))
    facts |= {
        "epochs_done": trained.done / trained.per_epoch,
        "parameters": sum(p.numel() for p in trained.method.parameters() if p.requires_grad),
    }
    if parallel.rank() != 0:
        return Outcome("done", facts=facts)  # evaluations are one process's work
    return _evaluated(spec, data, trained, place, facts, root)


def _evaluated(
    spec: TrialSpec, data: Dataset, trained: Trained, place: Place, facts: dict[str, Any], root: Path
) -> Outcome:
    encoder = Encoder.of(trained.method)
    if place.folder is not None:
        shown = trained.method.shown()
        checkpoint.save(
            place.folder / "encoder.pt",
            {
                "id": spec.id,
                "step": trained.steps,
                "epoch": spec.budget.epochs,
                "planned": spec.budget.epochs,
                "shown": shown.state_dict() if shown is not None else None,
                "encoder": encoder.backbone.state_dict(),
                "parts": {name: part.state_dict() for name, part in encoder.parts.items()},
            },
        )
    given = subject(spec, data, encoder, place)
    corrupt: dict[str, str] = {}
    try:
        health = features_health(given)
        scores = evaluate(spec, given, trained.steps, root, None, corrupt)
    except (RuntimeError, ValueError, DataError) as error:
        why = str(error) if isinstance(error, DataError) else _short(error)
        return Outcome("failed", f"evaluation: {why}", [], trained.curves, facts)
    facts["corrupt"] = {**data.corrupt, **corrupt} or None
    watched = {e.label for e in spec.evaluate if e.every is not None}
    last = curve_values([row for row in scores if row["evaluation"] in watched], trained.steps)
    for name, value in [*health.items(), *last.items()]:
        at = {"step": trained.steps, "epoch": trained.steps / trained.per_epoch}
        trained.curves.append({**at, "name": name, "value": value})
    scores += [
        {"evaluation": "trial", "metric": name, "value": value, "n": trained.steps, "step": trained.steps}
        for name, value in costs(spec, trained, given).items()
    ]
    if trained.done and health["feature_std"] < COLLAPSED:
        reason = f"features all point one way: their spread is {health['feature_std']:.4f}, below {COLLAPSED}"
        return Outcome("collapsed", reason, scores, trained.curves, facts)
    return Outcome("done", "", scores, trained.curves, facts)


def costs(spec: TrialSpec, trained: Trained, given: Subject) -> dict[str, float]:
    """What the trial cost and what its encoder costs: measured always, so that any two trials can be compared
    at equal compute. Training's seconds have no evaluations in them; operations are those of all processes."""
    images = torch.zeros(min(64, spec.budget.batch), 3, given.size, given.size, device=given.device)
    found = {"train_seconds": trained.seconds if trained.done else 0.0, "train_tflops": trained.flops / 1e12}
    if trained.done:
        step = trained.seconds / trained.done
        found |= {
            "seconds_per_step": step,
            "seconds_per_epoch": step * trained.per_epoch,
            "pictures_per_second": spec.budget.batch / max(step, 1e-9),
            "gflops_per_step": trained.flops / trained.done / 1e9,
        }
    return found | {
        "encoder_parameters": float(sum(p.numel() for p in given.encoder.parameters())),
        "encoder_gflops": flops(given, images[:1]) / 1e9,
        "encoder_images_per_second": len(images) / forward_seconds(given, images, 3),
    }


def features_health(given: Subject) -> dict[str, float]:
    """Spread and rank of the encoder's features on the test split."""
    from models.health import rank_me, spread

    if len(given.indices("test")):
        rows = given.features("test")[:HEALTH].cpu()
    else:  # a set without labels
        every = torch.arange(min(HEALTH, len(given.split("test"))))
        parts = (given.pictures("test", part) for part in every.split(given.batch))
        rows = torch.cat([given.encode(part, lambda x: given.encoder(x).pooled) for part in parts]).cpu()
    return {"feature_std": spread(rows), "feature_rank": rank_me(rows)}


def encoder_of(spec: TrialSpec, folder: Path) -> Encoder | None:
    """What a trial trained and left in its folder, or None."""
    method = method_of(spec, folder)
    return Encoder.of(method) if method is not None else None


def method_of(spec: TrialSpec, folder: Path) -> Method | None:
    """The method with what a trial left of it in its folder: the encoder, what detectors take over (`transfer`)
    and what pictures need (`shown`). All else has the weights of the seed. None where nothing is left."""
    state = checkpoint.load(folder / "encoder.pt")
    if state is None or state["id"] != spec.id:
        return None
    method = build(spec)
    method.encoder.load_state_dict(state["encoder"])
    kept = state.get("parts", {})
    for name, part in method.transfer().items():
        if name not in kept:  # of a version that did not keep it
            return None
        part.load_state_dict(kept[name])
    shown = method.shown()
    if shown is not None and state.get("shown") is not None:
        shown.load_state_dict(state["shown"])
    return method.eval()


def without_folder(place: Place) -> Place:
    return replace(place, folder=None)


def _memory(spec: TrialSpec, error: Exception) -> str:
    size = spec.budget.batch // parallel.world() // spec.budget.accumulate
    return (
        f"out of memory with {size} pictures of {spec.views.size} px a process at once: "
        f"set budget.accumulate: {2 * spec.budget.accumulate}, a smaller batch, or more --workers "
        f"({_short(error)[:120]})"
    )


def _short(error: BaseException) -> str:
    """The error in one line, with the innermost line of ours."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [
        f for f in frames if any(part in f.filename for part in ("/study/", "/models/", "/data/"))
    ] or frames
    where = f" ({Path(ours[-1].filename).name}:{ours[-1].lineno})" if ours else ""
    text = str(error).strip().splitlines()
    return f"{type(error).__name__}: {text[0] if text else ''}{where}"
