"""What a trial will cost, before it runs: from the tables where its like ran, else from stored costs.

The stored model: a step takes a fixed time (dispatching its operations) plus its floating-point operations
over the machine's rate; evaluations likewise. Its constants were fitted to laptop-scale runs on one core.
Where the tables hold finished trials, the ratio of measured to modelled seconds corrects the rest.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from statistics import median
from typing import Any

from data.views import plan as views_of
from study.crosscheck import shape_of
from study.spec import TrialSpec, digest, from_json
from study.start import TrialStart

UNKNOWN_PICTURES = 10_000  # a folder's, which would have to be read

# Multiply-adds of a forward pass a pixel of the picture.
PER_PIXEL = {
    "resnet18": 36e3,
    "resnet34": 73e3,
    "resnet50": 82e3,
    "swin_t": 90e3,
    "swin_s": 174e3,
    "swin_b": 307e3,
    "swin_tiny": 40e3,
    "resnet_tiny": 19e3,
}
SMALL_STEM = 15.3  # times as much without the stride of 4 at the beginning
DEFAULT_PER_PIXEL = 80e3

# Views that go through the student (forward and backward) and the teacher (forward), and milliseconds a step
# that a core needs beside the arithmetic. A method that is not listed: every view through both.
STUDENT, TEACHER, FIXED = 0, 1, 2
METHODS: dict[str, tuple[float | None, float, float]] = {
    "byol": (2, 2, 32.0),
    "moco_v2": (1, 1, 30.0),
    "lewel_b": (2, 2, 45.0),
    "lewel_m": (1, 1, 36.0),
    "dino": (None, 2, 60.0),
    "mcl": (3, 3, 140.0),
    "mcl_supervised": (1.5, 0, 50.0),
    "supervised": (1, 0, 16.0),
    "simclr": (2, 0, 22.0),
    "simsiam": (2, 0, 25.0),
    "barlow_twins": (2, 0, 22.0),
    "vicreg": (2, 0, 22.0),
}
FIXED_MS = 30.0
RATE = {"cpu": 5.0e10, "gpu": 2.5e13}  # floating-point operations a second: one core, one recent accelerator
GPU_FIXED = 0.5  # of a core's fixed time a step
UPDATE = {"cpu": 1e-8, "gpu": 1e-11}  # a parameter: the optimiser's step and the teacher's
VIEW_SECONDS = {"cpu": 1.1e-7, "gpu": 1e-9}  # a pixel of a view: cropping and augmenting
PROPOSALS = {"cpu": 5e-3, "gpu": 1e-3}  # a picture of a detector's: anchors, matching, suppression


@dataclass
class Costs:
    """What the tables say about costs: seconds by what ran, and how the model fared.

    rows: rows of the table `trials`.
    """

    rows: Iterable[Mapping[str, Any]] = ()
    device: str = "cpu"
    exact: dict[str, float] = field(default_factory=dict)
    ratio: float | None = None

    def __post_init__(self) -> None:
        seconds: dict[str, list[float]] = {}
        ratios: list[float] = []
        for row in self.rows:
            if row.get("status") != "done" or not row.get("seconds") or not isinstance(row.get("spec"), dict):
                continue
            seconds.setdefault(_likeness(row["spec"]), []).append(row["seconds"])
            if len(ratios) < 200:
                spec = _spec(row["spec"])
                if spec is not None:
                    ratios.append(
                        row["seconds"] / modelled(spec, "cpu" if row.get("device") == "cpu" else "gpu")
                    )
        self.exact = {key: median(values) for key, values in seconds.items()}
        self.ratio = median(ratios) if ratios else None

    def seconds(self, spec: TrialSpec) -> float:
        """Expected seconds of a trial on one core or one accelerator."""
        known = self.exact.get(_likeness(spec.model_dump(mode="json")))
        return known if known is not None else modelled(spec, self.device) * (self.ratio or 1.0)

    @property
    def source(self) -> str:
        if self.exact:
            return "from the trials in the tables"
        return "from stored costs, within a factor of two or so"


def _likeness(spec: Mapping[str, Any]) -> str:
    """The same for trials that differ in their seed only, and in the trial of that seed that they start from."""
    start = {k: v for k, v in (spec.get("start") or {}).items() if k != "id"}
    return digest({**{k: v for k, v in spec.items() if k != "seed"}, "start": start})


def _spec(spec: Mapping[str, Any]) -> TrialSpec | None:
    import json

    try:
        return from_json(json.dumps(spec))
    except ValueError:  # of another version
        return None


def pictures(data: Any) -> int:
    """Pictures of a set's whole training split, as far as they are known without loading it."""
    known: int | None = data.training_pictures()
    return UNKNOWN_PICTURES if known is None else known


def modelled(spec: TrialSpec, device: str = "cpu") -> float:
    """Seconds of a trial by the stored costs."""
    epochs = spec.budget.epochs
    if isinstance(spec.start, TrialStart) and spec.start.schedule == "continue":
        epochs -= min(epochs, spec.start.epoch or 0)
    train = max(spec.budget.batch, round(pictures(spec.data) * spec.data.fraction))
    steps = train // spec.budget.batch * epochs
    total = steps * step_seconds(spec, device)
    evaluations = 0.0
    for evaluation in spec.evaluate:
        times = math.ceil(epochs / (evaluation.every or epochs)) if epochs else 1
        evaluations += times * _evaluation(spec, evaluation, device)
    return 0.5 + total + evaluations


def step_seconds(spec: TrialSpec, device: str) -> float:
    """Seconds of one step of training."""
    views = views_of(spec.views)
    student, teacher, fixed = METHODS.get(spec.method.name, (None, float(len(views)), FIXED_MS))
    pixels = [float(view.size**2) for view in views]
    seen = len(views) if student is None else student
    through = sum(pixels) if student is None else student * pixels[0]
    passes = 3 * seen + teacher  # a backward pass costs two forward ones
    head, parameters = _heads(spec)
    operations = 2 * (per_pixel(spec) * (3 * through + sum(pixels[:1]) * teacher) + head * passes)
    fixed *= 1e-3 * spec.budget.accumulate * (1 if device == "cpu" else GPU_FIXED)
    drawn = spec.budget.batch * sum(pixels) * VIEW_SECONDS[device]
    return fixed + spec.budget.batch * operations / rate(spec, device) + drawn + parameters * UPDATE[device]


def _heads(spec: TrialSpec) -> tuple[float, float]:
    """Multiply-adds a view of the heads, and their parameters, by the widths that the method names."""
    method, shape = spec.method, shape_of(spec.backbone)
    inputs = shape.channels if shape else 512
    dim = getattr(method, "dim", 0)
    hidden = getattr(method, "hidden", 0) or dim
    prototypes = getattr(method, "out_dim", 0) * getattr(method, "bottleneck", 0)
    middle = hidden**2 * (1 if hasattr(method, "hidden") and not prototypes else 2)
    if hasattr(method, "hidden") and not prototypes:
        middle = 2 * hidden * dim  # a predictor or a second head
    total = float(inputs * hidden + middle + hidden * dim + prototypes)
    places = (spec.views.size / shape.stride) ** 2 if shape else 49.0
    regions = (
        1 + places if getattr(method, "matching", "none") != "none" else 1.0
    )  # a second head, on each place
    return total * regions, total * min(regions, 2.0)


def per_pixel(spec: TrialSpec) -> float:
    """Multiply-adds a pixel of the backbone's forward pass."""
    backbone = spec.backbone
    cost = PER_PIXEL.get(backbone.name, DEFAULT_PER_PIXEL)
    if getattr(backbone, "stem", None) == "small":
        cost *= SMALL_STEM
    if backbone.name == "resnet_tiny":
        cost *= (backbone.width / 16) ** 2 * backbone.blocks
    return cost


def rate(spec: TrialSpec, device: str) -> float:
    faster = 2.0 if device == "gpu" and spec.budget.precision != "fp32" else 1.0
    return RATE[device] * faster


def _segmentation(spec: TrialSpec, evaluation: Any, count: int, device: str) -> float:
    """Seconds of training an FCN of its default width on crops and of judging a quarter as many pictures."""
    data, shape = evaluation.data or spec.data, shape_of(spec.backbone)
    own = getattr(data, "size", data.side)
    crop = evaluation.crop or (own if own < 224 else 512)
    stride, channels, stages = (shape.stride, shape.channels, shape.stages) if shape else (32, 768, 4)
    backbone = per_pixel(spec)
    if spec.backbone.name.startswith("resnet"):  # dilated: a stage of a quarter of the cost on more places
        finer = [max(1.0, stride / 2**i / evaluation.stride) ** 2 for i in range(stages)]
        backbone *= sum(finer) / stages
    width = evaluation.width or max(32, channels // 4)
    places = min(stride, evaluation.stride) ** -2
    head = 9 * places * (2 * channels * width + 2 * width**2 + channels * width / 4)
    batch = min(evaluation.batch, count)
    steps = evaluation.steps or math.ceil(evaluation.epochs * count / batch)
    operations = 2 * ((1 if evaluation.frozen else 3) * backbone + 3 * head) / rate(spec, device)
    step = GPU_FIXED * 1e-3 * FIXED_MS + batch * crop**2 * (operations + 4 * VIEW_SECONDS[device])
    judged = min(evaluation.tested or count / 4, count / 4) * (evaluation.short or crop) ** 2
    return steps * step + judged * (2 * (backbone + head) / rate(spec, device) + VIEW_SECONDS[device])


def _detection(spec: TrialSpec, evaluation: Any, count: int, device: str) -> float:
    """Seconds of training a detector and of judging a quarter as many pictures."""
    own = getattr(evaluation.data or spec.data, "size", 800)
    side = evaluation.size or (own if own < 256 else 800)
    width, rois = (
        evaluation.width or (32 if side < 256 else 256),
        evaluation.rois or (32 if side < 256 else 512),
    )
    shape = shape_of(spec.backbone)
    last = shape.stride if shape else 32
    finest = max(2.0, last / 2 ** ((shape.stages if shape else 4) - 1))
    backbone = per_pixel(spec) * side**2
    if evaluation.neck == "c4":  # each region passes the last stage, some fifth of the network
        heads = rois * 0.2 * per_pixel(spec) * (7 * last) ** 2
    else:
        heads = 4 / 3 * 18 * width**2 * (side / finest) ** 2 + 40 * 49 * width**2 * rois
    passes = 3 * evaluation.batch * evaluation.planned(count) + min(evaluation.tested or count / 4, count / 4)
    each = 2 * (backbone + heads) / rate(spec, device) + PROPOSALS[device]
    return passes * each + 3 * side**2 * VIEW_SECONDS[device] * passes


def _evaluation(spec: TrialSpec, evaluation: Any, device: str) -> float:
    """Seconds of one evaluation: passes over the labelled pictures, forward or with gradients."""
    count = pictures(evaluation.data or spec.data)
    forward = (
        2 * per_pixel(spec) * spec.views.size**2 / rate(spec, device)
        + spec.views.size**2 * VIEW_SECONDS[device] / 4
    )
    once = 1.25 * count * forward
    name, epochs = evaluation.name, getattr(evaluation, "epochs", None)
    if name == "linear":
        cached = getattr(evaluation, "features", "augmented") == "cached"
        return once + (epochs or 100) * (1e-6 * count if cached else 0.5 * once)
    if name == "finetune":
        return once + (epochs or 50) * evaluation.fraction * once
    if name == "logistic":
        return once + 1e-3 * count
    if name == "segmentation":
        return _segmentation(spec, evaluation, count, device)
    if name == "detection":
        return _detection(spec, evaluation, count, device)
    return 0.3 * once if name in ("correspondence", "cost") else once
