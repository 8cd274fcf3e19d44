"""Detectors on a backbone: Faster R-CNN and Mask R-CNN with an FPN or on C4, and RetinaNet, by torchvision.

torchvision gives proposals, sampling, losses and post-processing; here are the parts that the papers change:
the FPN with batch norm, the box head of four convolutions and one linear layer, the last stage as a head with
a norm behind it (C4), and anchors that follow the strides of the backbone. Numbers are detectron2's for these
models. Sides of anchors are a multiple of a level's stride: 8 for Faster and Mask R-CNN (32 px on P2), 4 for
RetinaNet (32 px on P3), so small pictures with small strides have small anchors.
"""

from __future__ import annotations

import copy
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.backbones.backbone import Backbone
from models.fpn import FPN, BoxConvs

Model = Literal["faster_rcnn", "mask_rcnn", "retinanet"]
RATIOS = (0.5, 1.0, 2.0)
OCTAVE = tuple(2 ** (i / 3) for i in range(3))  # RetinaNet's sizes of a level
C4_SIZES = (2, 4, 8, 16, 32)  # of the stride: 32 to 512 px at 16


class Plan(NamedTuple):
    """What is built. classes: without the background. width: channels of FPN and heads. rois: regions a picture
    that train the heads. proposals: kept before and after suppression, as a part of the papers' numbers. anchor: side of an anchor over its level's stride. short: sides in pixels among which
    a training picture's shorter side is drawn; the last is the test's. longest: at most, of the longer side.
    """

    model: Model
    neck: Literal["fpn", "c4"]
    head: Literal["4conv1fc", "2fc"]
    frozen: bool
    classes: int
    width: int
    rois: int
    proposals: float
    anchor: float
    short: tuple[int, ...]
    longest: int
    mean: Sequence[float]
    std: Sequence[float]


def build(backbone: Backbone, plan: Plan, parts: Mapping[str, nn.Module] | None = None) -> nn.Module:
    """A torchvision detector that owns `backbone` (its last stage is taken off for C4).

    Training: (pictures, targets) to named losses, labels from 1, or from 0 for RetinaNet; `parts` are trained
    modules to start from, `pyramid` and `convs`. Raises ValueError where the plan does not fit the backbone.
    """
    parts = parts or {}
    strides = _strides(backbone)
    if plan.frozen:
        _freeze(backbone)
    if plan.model == "retinanet":
        return _retinanet(backbone, plan, strides, parts)
    if plan.neck == "c4":
        return _on_c4(backbone, plan, strides)
    return _on_fpn(backbone, plan, strides, parts)


class _Pyramid(nn.Module):
    """Backbone and FPN: pictures to P2, P3, ... and what stands above: a pooled map for R-CNNs, two
    convolutions on C5 for RetinaNet."""

    def __init__(self, backbone: Backbone, plan: Plan, strides: list[int], trained: nn.Module | None) -> None:
        super().__init__()
        self.backbone = backbone
        channels = backbone.stage_channels
        self.skipped = _skipped(plan, strides)
        self.fpn = FPN(channels, plan.width) if trained is None else _taken(trained, channels, plan.width)
        self.fpn.requires_grad_(True)
        del self.fpn.lateral_convs[: self.skipped], self.fpn.fpn_convs[: self.skipped]
        self.out_channels = plan.width
        self.higher = nn.ModuleList()
        if plan.model == "retinanet":
            for inputs in (channels[-1], plan.width):
                layer = nn.Conv2d(inputs, plan.width, 3, stride=2, padding=1)
                nn.init.kaiming_uniform_(layer.weight, a=1)
                self.higher.append(layer)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        maps = self.backbone.stages(images)[self.skipped :]
        levels = self.fpn(maps, [None] * len(maps))[::-1]  # fine to coarse
        if self.higher:
            levels.append(self.higher[0](maps[-1]))
            levels.append(self.higher[1](F.relu(levels[-1])))
        else:
            levels.append(levels[-1][:, :, ::2, ::2])
        return OrderedDict((str(i), level) for i, level in enumerate(levels))


def _skipped(plan: Plan, strides: Sequence[int]) -> int:
    """How many shallow stages no level reads: those of stride 1, too many places for what they know, and
    RetinaNet's first (it begins with P3)."""
    first = 1 if plan.model == "retinanet" else 0
    return min(max(first, sum(stride < 2 for stride in strides)), len(strides) - 1)


def _taken(trained: nn.Module, channels: Sequence[int], width: int) -> FPN:
    """A copy of the pyramid that the method trained."""
    if not isinstance(trained, FPN):
        raise ValueError(
            f"transfer takes over an FPN, but the method trained a pyramid {type(trained).__name__}"
        )
    own = width_of(trained)
    if own != width or len(trained.fpn_convs) != len(channels):
        raise ValueError(f"width {width} is not that of the FPN that the method trained, {own}")
    return copy.deepcopy(trained)


def width_of(pyramid: nn.Module) -> int:
    """Channels of the maps of an FPN or another pyramid: those of its last convolution."""
    convolutions = [part for part in pyramid.modules() if isinstance(part, nn.Conv2d)]
    return convolutions[-1].out_channels


class _C4(nn.Module):
    """The map before the last stage."""

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.backbone = backbone
        self.out_channels = backbone.stage_channels[-2]

    def forward(self, images: Tensor) -> Tensor:
        return self.backbone.stages(images)[-1]


class _LastStage(nn.Module):
    """Regions of the map through the last stage and a norm (res5 and its extra norm), as a RoI pool.

    In training the maps are kept for the mask branch, whose regions are some of the box branch's: they pass
    the stage, and move its statistics, once.
    """

    def __init__(self, pool: nn.Module, stage: nn.Module, channels: int) -> None:
        super().__init__()
        self.pool, self.stage, self.norm = pool, stage, nn.BatchNorm2d(channels)
        self.regions: list[Tensor] = []
        self.maps: Tensor | None = None

    def forward(self, maps: dict[str, Tensor], regions: list[Tensor], sizes: list[tuple[int, int]]) -> Tensor:
        out = self.norm(self.stage(self.pool(maps, regions, sizes)))  # (R, C, 7, 7)
        if self.training:
            self.regions, self.maps = regions, out
        return out


class _SameMaps(nn.Module):
    """The mask branch's RoI pool: in training rows of what the box branch computed."""

    def __init__(self, boxes: _LastStage) -> None:
        super().__init__()
        self.boxes = boxes

    def forward(self, maps: dict[str, Tensor], regions: list[Tensor], sizes: list[tuple[int, int]]) -> Tensor:
        kept = self.boxes.maps
        if not self.training or kept is None:
            return self.boxes(maps, regions, sizes)
        rows, start = [], 0
        for mine, all_of_it in zip(regions, self.boxes.regions):
            same = (mine[:, None] == all_of_it).all(2)  # each is exactly one of them
            rows.append(start + same.int().argmax(1))
            start += len(all_of_it)
        self.boxes.regions, self.boxes.maps = [], None
        return kept[torch.cat(rows)]


class _ConvHead(nn.Sequential):
    """Four 3x3 convolutions with batch norm and one linear layer: (R, D, 7, 7) to (R, 4 D)."""

    def __init__(self, width: int, convs: nn.Module | None) -> None:
        count = 4
        if convs is not None:
            found = [part.in_channels for part in convs.modules() if isinstance(part, nn.Conv2d)]
            if found != [width] * count:
                raise ValueError(f"transfer takes {count} convolutions of width {width} over, not {found}")
        own = BoxConvs(width, count) if convs is None else copy.deepcopy(convs).requires_grad_(True)
        super().__init__(own, nn.Flatten(), nn.Linear(49 * width, 4 * width), nn.ReLU())


def _on_fpn(backbone: Backbone, plan: Plan, strides: list[int], parts: Mapping[str, nn.Module]) -> nn.Module:
    from torchvision.models.detection import FasterRCNN, MaskRCNN
    from torchvision.models.detection.faster_rcnn import TwoMLPHead
    from torchvision.models.detection.mask_rcnn import MaskRCNNHeads, MaskRCNNPredictor
    from torchvision.ops import MultiScaleRoIAlign

    body = _Pyramid(backbone, plan, strides, parts.get("pyramid"))
    read = strides[body.skipped :]
    levels = [str(i) for i in range(len(read))]  # without the pooled one
    sides = [(plan.anchor * s,) for s in (*read, 2 * read[-1])]
    fourfold = plan.head == "4conv1fc"
    given: dict[str, Any] = {
        "box_roi_pool": MultiScaleRoIAlign(levels, 7, 2),
        "box_head": _ConvHead(plan.width, parts.get("convs"))
        if fourfold
        else TwoMLPHead(49 * plan.width, 4 * plan.width),
        "box_predictor": _predictor(4 * plan.width, plan.classes),
        **_rcnn(plan, sides, strides[-1], (2000, 1000, 1000, 1000)),
    }
    if plan.model == "faster_rcnn":
        return FasterRCNN(body, **given)
    norm = nn.BatchNorm2d if fourfold else None
    return MaskRCNN(
        body,
        mask_roi_pool=MultiScaleRoIAlign(levels, 14, 2),
        mask_head=MaskRCNNHeads(plan.width, [plan.width] * 4, 1, norm),
        mask_predictor=MaskRCNNPredictor(plan.width, plan.width, plan.classes + 1),
        **given,
    )


def _on_c4(backbone: Backbone, plan: Plan, strides: list[int]) -> nn.Module:
    from torchvision.models.detection import FasterRCNN, MaskRCNN
    from torchvision.models.detection.mask_rcnn import MaskRCNNPredictor
    from torchvision.ops import MultiScaleRoIAlign

    channels, stage = backbone.channels, backbone.cut()
    sides = [tuple(plan.anchor / 8 * size * strides[-2] for size in C4_SIZES)]
    given: dict[str, Any] = {
        "box_head": nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten()),
        "box_predictor": _predictor(channels, plan.classes),
        **_rcnn(plan, sides, strides[-1], (12_000, 6000, 2000, 1000)),
    }
    if plan.model == "mask_rcnn":
        predictor = MaskRCNNPredictor(channels, plan.width, plan.classes + 1)
        net = MaskRCNN(_C4(backbone), mask_head=nn.Identity(), mask_predictor=predictor, **given)
    else:
        net = FasterRCNN(_C4(backbone), **given)
    pooled = _LastStage(MultiScaleRoIAlign(["0"], 14, 0), stage, channels)
    net.roi_heads.box_roi_pool = pooled  # the constructor takes torchvision's pools only
    if plan.model == "mask_rcnn":
        net.roi_heads.mask_roi_pool = _SameMaps(pooled)
    return net


def _retinanet(
    backbone: Backbone, plan: Plan, strides: list[int], parts: Mapping[str, nn.Module]
) -> nn.Module:
    from torchvision.models.detection import RetinaNet
    from torchvision.models.detection.anchor_utils import AnchorGenerator
    from torchvision.models.detection.retinanet import RetinaNetHead

    body = _Pyramid(backbone, plan, strides, parts.get("pyramid"))
    levels = [*strides[body.skipped :], 2 * strides[-1], 4 * strides[-1]]
    sides = tuple(tuple(plan.anchor * s * octave for octave in OCTAVE) for s in levels)
    return RetinaNet(
        body,
        plan.classes,
        anchor_generator=AnchorGenerator(sides, (RATIOS,) * len(sides)),
        head=RetinaNetHead(plan.width, len(OCTAVE) * len(RATIOS), plan.classes),
        detections_per_img=100,
        **_pictures(plan, strides[-1]),
    )


def _rcnn(
    plan: Plan, sides: Sequence[Sequence[float]], stride: int, kept: tuple[int, int, int, int]
) -> dict[str, Any]:
    """kept: proposals before suppression in training and test, and after it."""
    from torchvision.models.detection.anchor_utils import AnchorGenerator

    tops = ("pre_nms_top_n_train", "pre_nms_top_n_test", "post_nms_top_n_train", "post_nms_top_n_test")
    anchors = AnchorGenerator(tuple(map(tuple, sides)), (RATIOS,) * len(sides))
    return {
        "rpn_anchor_generator": anchors,
        **{f"rpn_{top}": max(1, round(plan.proposals * n)) for top, n in zip(tops, kept)},
        "box_batch_size_per_image": plan.rois,
        **_pictures(plan, stride),
    }


def _pictures(plan: Plan, stride: int) -> dict[str, Any]:
    return {
        "min_size": plan.short,
        "max_size": plan.longest,
        "image_mean": list(plan.mean),
        "image_std": list(plan.std),
        "size_divisible": stride,
    }


def _predictor(inputs: int, classes: int) -> nn.Module:
    from torchvision.models.detection.faster_rcnn import FastRCNNPredictor

    return FastRCNNPredictor(inputs, classes + 1)


def _strides(backbone: Backbone) -> list[int]:
    """Pixels a place of every stage, measured."""
    side = max(64, 4 * backbone.stride)
    modes = [(part, part.training) for part in backbone.modules()]
    like = next(backbone.parameters())
    with torch.no_grad():
        maps = backbone.eval().stages(torch.zeros(1, 3, side, side, device=like.device))
    for part, training in modes:
        part.training = training
    return [side // level.shape[-1] for level in maps]


def _freeze(module: nn.Module) -> None:
    """Every batch norm keeps its statistics, gain and shift."""
    from torchvision.ops import FrozenBatchNorm2d

    for parent in list(module.modules()):
        for name, child in parent.named_children():
            if isinstance(child, nn.modules.batchnorm._BatchNorm):
                still = FrozenBatchNorm2d(child.num_features, child.eps)
                known = {k: v for k, v in child.state_dict().items() if k in still.state_dict()}
                still.load_state_dict({**still.state_dict(), **known})
                setattr(parent, name, still)
