"""What no block can see alone: combinations of blocks that cannot work."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import lru_cache
from importlib.util import find_spec
from typing import Any, NamedTuple

from data import views as recipes
from data.sets import SETS
from study.spec import TrialSpec
from study.start import TIMM

Found = tuple[tuple[str | int, ...], str]  # the key to blame, and a sentence with both values

TWO_VIEWS = ("byol", "moco_v2", "lewel_b", "lewel_m", "simclr", "simsiam", "barlow_twins", "vicreg")


class Shape(NamedTuple):
    """What other blocks must know of a backbone: pixels a place, channels of the last map, stages, and
    pixels a patch (1 where there are none)."""

    stride: int
    channels: int
    stages: int
    patch: int


def crosscheck(spec: TrialSpec) -> list[Found]:
    """Every impossible combination of a trial."""
    return [found for check in CHECKS for found in check(spec)]


plan = lru_cache(maxsize=256)(recipes.plan)  # the cells of a grid mostly share their views


def _batch(spec: TrialSpec) -> Iterator[Found]:
    batch, accumulate = spec.budget.batch, spec.budget.accumulate
    if batch < 2:
        yield ("budget", "batch"), f"must be at least 2 (batch statistics need two pictures), not {batch}"
    elif batch % accumulate:
        yield ("budget", "accumulate"), f"must divide budget.batch {batch}, not {accumulate}"
    elif batch // accumulate < 2:
        what = (
            f"{accumulate} leaves {batch // accumulate} picture a pass of budget.batch {batch}; 2 are needed"
        )
        yield ("budget", "accumulate"), what
    known = spec.data.training_pictures()
    if known is not None:
        used = round(known * spec.data.fraction)
        if batch > used + (spec.data.classes or 0):  # a class's share is rounded
            part = f"{spec.data.fraction:g} of {spec.data.name}" if spec.data.fraction < 1 else spec.data.name
            yield ("budget", "batch"), f"{batch} is more than the {used} training pictures of {part}"


def _memory(spec: TrialSpec) -> Iterator[Found]:
    queue = getattr(spec.method, "queue", None)
    if not isinstance(queue, int) or not queue:
        return
    if queue % spec.budget.batch:
        yield ("method", "queue"), f"must be a multiple of budget.batch {spec.budget.batch}, not {queue}"
    known = spec.data.training_pictures()
    if known is not None and queue > known * spec.data.fraction:
        used = round(known * spec.data.fraction)
        what = f"{queue} keys are more than the {used} training pictures: own keys would be negatives"
        yield ("method", "queue"), what


def _devices(spec: TrialSpec) -> Iterator[Found]:
    devices = getattr(spec.method, "devices", 0)
    rows = spec.budget.batch // spec.budget.accumulate
    if devices > 1 and (rows % devices or rows // devices < 2):
        what = f"must divide the {rows} pictures of a pass into parts of 2 or more, not {devices}"
        yield ("method", "devices"), what


def _schedule(spec: TrialSpec) -> Iterator[Found]:
    epochs, optim = spec.budget.epochs, spec.optim
    if not epochs:  # only evaluated
        return
    if optim.warmup > epochs:
        default = "" if "warmup" in optim.model_fields_set else f", {optim.name}'s default,"
        yield ("optim", "warmup"), f"{optim.warmup:g} epochs{default} are more than budget.epochs {epochs}"
    late = [m for m in optim.milestones if m >= epochs]
    if late:
        yield ("optim", "milestones"), f"epoch {late[0]} is never reached: budget.epochs is {epochs}"
    regions = getattr(spec.method, "region_from_epoch", 0)
    if getattr(spec.method, "matching", "none") != "none" and regions >= epochs:
        yield ("method", "region_from_epoch"), f"{regions} is never reached: budget.epochs is {epochs}"


def _views(spec: TrialSpec) -> Iterator[Found]:
    method, views = spec.method, plan(spec.views)
    count, what = len(views), ("views", "count")
    if method.name in TWO_VIEWS and count != 2:
        yield what, f"{method.name} takes exactly 2 views, not {count}"
    elif method.name in TWO_VIEWS and views[0].size != views[1].size:
        yield what, f"{method.name} takes 2 views of one size, not {views[0].size} and {views[1].size} px"
    elif method.name == "mcl" and count != 2 * method.levels:
        yield what, f"mcl with method.levels {method.levels} takes {2 * method.levels} views, not {count}"
    elif method.name == "mcl_supervised" and count != method.levels:
        yield (
            what,
            f"mcl_supervised with method.levels {method.levels} takes {method.levels} views, not {count}",
        )
    elif method.name == "dino":
        large = sum(view.size == views[0].size for view in views)
        if method.globals > large or count < 2:
            yield (
                what,
                f"dino with method.globals {method.globals} needs more than {large} large views of {count}",
            )


def _sizes(spec: TrialSpec) -> Iterator[Found]:
    shape = shape_of(spec.backbone)
    if shape is None:
        return
    name, levels = spec.backbone.name, getattr(spec.method, "levels", None)
    sides = dict.fromkeys(view.size for view in plan(spec.views))
    for i, side in enumerate(sides):
        key: tuple[str, ...] = ("views", "size" if i == 0 else "local_size")
        low = side // shape.stride * shape.stride
        if side < shape.stride:
            yield key, f"{side} px are fewer than the {shape.stride} px of one place of {name}'s map"
        elif side % shape.patch:
            near = side // shape.patch * shape.patch
            near_ones = f"nearest {near}, {near + shape.patch}"
            yield key, f"must be a multiple of {name}'s patch of {shape.patch} px, not {side}; {near_ones}"
        elif levels and side % 2 ** (levels - 1):
            yield (
                key,
                f"must divide by the smallest tile's 2^{levels - 1} of method.levels {levels}, not {side}",
            )
        elif levels and side % shape.stride:
            near_ones = f"nearest {low}, {low + shape.stride}"
            yield (
                key,
                f"montages need a multiple of {name}'s stride of {shape.stride} px, not {side}; {near_ones}",
            )
    planned = getattr(spec.backbone, "image_size", None)
    if planned is not None and planned != spec.views.size:
        yield (
            ("backbone", "image_size"),
            f"lays windows out for {planned} px, but views.size is {spec.views.size}",
        )
    if levels and getattr(spec.method, "pyramid", "") == "fpn" and levels > shape.stages:
        what = f"{levels} levels need as many stages for an FPN; {name} has {shape.stages} (c4 needs one)"
        yield ("method", "levels"), what
    groups = getattr(spec.method, "groups", None)
    if isinstance(groups, int) and shape.channels % groups:
        yield ("method", "groups"), f"must divide the {shape.channels} channels of {name}, not {groups}"


def _labels(spec: TrialSpec) -> Iterator[Found]:
    classes, known = getattr(spec.method, "classes", None), spec.data.classes
    if isinstance(classes, int) and known is not None and classes != known:
        yield ("method", "classes"), f"must be the {known} classes of {spec.data.name}, not {classes}"
    if isinstance(classes, int) and spec.data.metric == "map11":
        yield ("data", "name"), f"{spec.method.name} needs one class a picture; {spec.data.name} has several"


def _start(spec: TrialSpec) -> Iterator[Found]:
    if spec.start is None:
        if not spec.budget.epochs:
            what = "must be at least 1, not 0 (0 needs a `start`, such as {name: random}, to be evaluated as it is)"
            yield ("budget", "epochs"), what
        return
    if spec.start.name == "random" and spec.budget.epochs:
        what = f"random weights are what every training starts from: budget.epochs is {spec.budget.epochs}, not 0"
        yield ("start", "name"), what
    if spec.start.name == "timm" and spec.backbone.name not in TIMM:
        yield ("start", "name"), f"timm has no {spec.backbone.name}; it has {', '.join(TIMM)}"


def _evaluations(spec: TrialSpec) -> Iterator[Found]:
    labels = [evaluation.label for evaluation in spec.evaluate]
    shape = shape_of(spec.backbone)
    for i, evaluation in enumerate(spec.evaluate):
        data = evaluation.data or spec.data
        known = data.training_pictures()
        if evaluation.needs is not None and evaluation.needs not in data.annotated:
            fitting = ", ".join(name for name, kind in SETS.items() if evaluation.needs in kind.annotated)
            what = f"{evaluation.name} needs annotated {evaluation.needs}, which {data.name} has not"
            yield ("evaluate", i), f"{what}; set its `data` to one of {fitting}"
        if evaluation.label in labels[:i]:
            yield ("evaluate", i), f"'{evaluation.label}' stands twice; give one of them another `label`"
        if evaluation.one_class and data.metric == "map11":
            what = f"needs one class a picture, of which {data.name} has several: use logistic"
            yield ("evaluate", i), f"{evaluation.name} {what}"
        k = getattr(evaluation, "k", 1)
        most = max(k, default=1) if isinstance(k, list | tuple) else k
        if known is not None and most > known:
            yield ("evaluate", i, "k"), f"{most} neighbours are more than the {known} training pictures"
        top = getattr(evaluation, "top", None)
        if shape is not None and isinstance(top, int):
            places = max(1, spec.views.size // shape.stride) ** 2
            if top > places:
                yield ("evaluate", i, "top"), f"{top} pairs are more than the {places} places of the map"


def _detection(spec: TrialSpec) -> Iterator[Found]:
    for i, evaluation in enumerate(spec.evaluate):
        if evaluation.name != "detection":
            continue
        data, method = evaluation.data or spec.data, spec.method
        if evaluation.model == "mask_rcnn" and "objects" in data.annotated:
            if "masks" not in data.annotated:
                yield ("evaluate", i, "model"), f"mask_rcnn needs masks, but {data.name} has boxes only"
            elif data.name == "coco" and find_spec("pycocotools") is None:
                what = "the masks of coco need pycocotools, which is not installed: pip install ssl-study[detection]"
                yield ("evaluate", i, "model"), what
        if evaluation.neck == "c4" and not spec.backbone.name.startswith("resnet"):
            what = f"c4 takes a resnet's last stage as its head; {spec.backbone.name} has none: fpn"
            yield ("evaluate", i, "neck"), what
        if evaluation.transfer != "backbone" and getattr(method, "pyramid", None) != "fpn":
            what = f"{evaluation.transfer} needs a method that trains an fpn (mcl), not {method.name}"
            yield ("evaluate", i, "transfer"), what


CHECKS: tuple[Callable[[TrialSpec], Iterator[Found]], ...] = (
    _batch,
    _memory,
    _devices,
    _schedule,
    _views,
    _sizes,
    _labels,
    _start,
    _evaluations,
    _detection,
)

_RESNETS = {"resnet18": 512, "resnet34": 512, "resnet50": 2048}
_SWINS = {"swin_t": 768, "swin_s": 768, "swin_b": 1024}


@lru_cache(maxsize=256)
def shape_of(backbone: Any) -> Shape | None:
    """The shape of a backbone's maps; None where it cannot be built.

    Those that are common, or slow to make (importing timm takes longer than the rest of a file's check), are
    written out here; a test compares them with the networks.
    """
    if backbone.name in _RESNETS:
        return Shape(32 if backbone.stem == "imagenet" else 8, _RESNETS[backbone.name], 4, 1)
    if backbone.name in _SWINS:
        return Shape(32, _SWINS[backbone.name], 4, 4)
    if backbone.name == "resnet_tiny":
        return Shape(4, 8 * backbone.width, 3, 1)
    return built_shape(backbone)


def built_shape(backbone: Any) -> Shape | None:
    """The same, read off the network."""
    import torch

    from models.backbones import make

    try:
        with torch.random.fork_rng(devices=[]):
            net = make(backbone)
    except (ValueError, RuntimeError):
        return None
    embed = getattr(getattr(net, "patch_embed", None), "proj", None)
    patch = int(embed.stride[0]) if embed is not None else 1
    return Shape(net.stride, net.channels, len(net.stage_channels), patch)
