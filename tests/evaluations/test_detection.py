"""Detection: every detector runs and trains its backbone, knows what it is given, and follows its schedule."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from data.sets.annotations import Detection, Objects
from data.sets.dataset import Dataset, HeldSplit
from data.sets.digits import Digits
from models.backbones import BACKBONES, make
from models.backbones.backbone import Backbone
from models.detectors import Plan, build
from models.fpn import C4, FPN, BoxConvs
from models.norms import convert
from study.evaluations import EVALUATIONS, Score, Subject
from study.evaluations.detection import SCHEDULES, ObjectDetection
from study.evaluations.targets import Batches

SIDE = 32
COLOURS = torch.tensor([[250, 30, 30], [30, 250, 30], [30, 30, 250]], dtype=torch.uint8)
MODELS = [
    ("faster_rcnn", "fpn"),
    ("faster_rcnn", "c4"),
    ("mask_rcnn", "fpn"),
    ("mask_rcnn", "c4"),
    ("retinanet", "fpn"),
]


class Squares(HeldSplit, Detection):
    """A square of one of three colours on black; every fourth picture has a second, ignored one."""

    object_classes = ("red", "green", "blue")
    with_masks = True

    def __init__(self, n: int, seed: int) -> None:
        draw = torch.Generator().manual_seed(seed)
        corner = torch.randint(0, SIDE - 12, (n, 2), generator=draw)
        extent = torch.randint(8, 13, (n, 1), generator=draw)
        self.boxes = torch.cat([corner, corner + extent], 1)
        labels = torch.arange(n) % 3
        held = torch.zeros(n, 3, SIDE, SIDE, dtype=torch.uint8)
        for picture, (x0, y0, x1, y1), c in zip(held, self.boxes.tolist(), labels.tolist()):
            picture[:, y0:y1, x0:x1] = COLOURS[c][:, None, None]
        super().__init__(held, labels)

    def objects(self, indices: Sequence[int] | Tensor, masks: bool = True) -> list[Objects]:
        return [self._objects(int(i)) for i in indices]

    def _objects(self, i: int) -> Objects:
        aside = [[0, 0, 4, 4]] if i % 4 == 0 else []
        boxes = torch.tensor([self.boxes[i].tolist(), *aside])
        masks = torch.zeros(len(boxes), SIDE, SIDE, dtype=torch.bool)
        for mask, (x0, y0, x1, y1) in zip(masks, boxes.tolist()):
            mask[y0:y1, x0:x1] = True
        labels = torch.full((len(boxes),), int(self.labels[i]))
        return Objects(boxes.float(), labels, torch.tensor([False, *[True] * len(aside)]), masks)


def squares(encoder: Backbone | None = None, train: int = 24, test: int = 12, **given: Any) -> Subject:
    torch.manual_seed(0)
    net = encoder or make(BACKBONES["resnet_tiny"][0](width=8))
    data = Dataset(Squares(train, 1), Squares(test, 2), 3, SIDE)
    return Subject(net, data, size=SIDE, mean=(0.5,) * 3, std=(0.25,) * 3, seed=0, **given)


def plan(**changes: Any) -> Plan:
    given: dict[str, Any] = {
        "model": "faster_rcnn",
        "neck": "fpn",
        "head": "4conv1fc",
        "frozen": False,
        "classes": 3,
        "width": 8,
        "rois": 16,
        "proposals": 0.1,
        "anchor": 4,
        "short": (28, 32),
        "longest": 64,
        "mean": (0.5,) * 3,
        "std": (0.25,) * 3,
    }
    return Plan(**{**given, **changes})


def batch(subject: Subject, detector: str, n: int = 3) -> tuple[list[Tensor], list[dict[str, Tensor]]]:
    first, masks = int(detector != "retinanet"), detector == "mask_rcnn"
    split, draw = subject.split("train"), torch.Generator().manual_seed(0)
    return next(Batches(split, torch.arange(len(split)), n, draw, torch.device("cpu"), first, masks))


@pytest.mark.parametrize(("model", "neck"), MODELS)
@pytest.mark.parametrize("norm", ["sync", "frozen"])
def test_every_detector_trains_its_backbone(model: str, neck: str, norm: str) -> None:
    subject = squares()
    net = build(copy.deepcopy(subject.encoder), plan(model=model, neck=neck, frozen=norm == "frozen")).train()
    before = {key: value.clone() for key, value in net.state_dict().items()}
    losses = net(*batch(subject, model))
    assert all(bool(loss.isfinite()) for loss in losses.values())
    assert ("loss_mask" in losses) == (model == "mask_rcnn")
    sum(losses.values()).backward()
    assert all(p.grad is not None for p in net.parameters() if p.requires_grad)
    moved = {key for key, value in net.state_dict().items() if not torch.equal(value, before[key])}
    assert any(key.startswith("backbone.backbone") for key in moved) == (norm == "sync")
    found = net.eval()([torch.rand(3, SIDE, SIDE), torch.rand(3, SIDE, 2 * SIDE)])
    assert [len(out["boxes"]) <= 100 for out in found] == [True, True]
    if model == "mask_rcnn":
        assert found[1]["masks"].shape[1:] == (1, SIDE, 2 * SIDE)


def test_the_mask_branch_of_c4_reads_the_maps_of_the_box_branch() -> None:
    torch.manual_seed(0)
    net = build(squares().encoder, plan(model="mask_rcnn", neck="c4")).train()
    maps = {"0": torch.rand(2, net.backbone.out_channels, 16, 16)}
    regions = [
        torch.tensor([[0.0, 0, 8, 8], [4, 4, 20, 20], [1, 2, 9, 30]]),
        torch.tensor([[2.0, 2, 30, 30]]),
    ]
    sizes = [(SIDE, SIDE)] * 2
    heads = net.roi_heads
    pooled = heads.box_roi_pool(maps, regions, sizes)
    kept = heads.mask_roi_pool(maps, [regions[0][1:2], regions[1]], sizes)
    assert torch.equal(kept, pooled[[1, 3]])
    net.eval()
    assert heads.mask_roi_pool(maps, regions, sizes).shape == pooled.shape


def test_two_linear_layers_have_no_norm() -> None:
    head = build(squares().encoder, plan(head="2fc")).roi_heads.box_head
    assert not [part for part in head.modules() if isinstance(part, nn.BatchNorm2d)]
    head = build(squares().encoder, plan()).roi_heads.box_head
    assert len([part for part in head.modules() if isinstance(part, nn.BatchNorm2d)]) == 4


def test_anchors_are_the_papers_where_the_strides_are() -> None:
    encoder = make(BACKBONES["resnet18"][0](name="resnet18"))
    fpn = build(copy.deepcopy(encoder), plan(anchor=8)).rpn.anchor_generator.sizes
    assert fpn == ((32,), (64,), (128,), (256,), (512,))
    c4 = build(copy.deepcopy(encoder), plan(anchor=8, neck="c4")).rpn.anchor_generator.sizes
    assert c4 == ((32, 64, 128, 256, 512),)
    retina = build(copy.deepcopy(encoder), plan(anchor=4, model="retinanet")).anchor_generator.sizes
    assert [level[0] for level in retina] == [32, 64, 128, 256, 512]
    assert len(retina[0]) == 3


@pytest.mark.parametrize("name", ["swin_tiny", "vit_tiny"])
def test_transformers_have_a_pyramid_but_no_head_of_their_own(name: str) -> None:
    torch.manual_seed(0)
    encoder = make(BACKBONES[name][0]())
    numbers = ObjectDetection(**ObjectDetection.smallest(), size=SIDE).run(squares(encoder))
    assert [s.metric for s in numbers] == ["AP_bb", "AP50_bb", "AP75_bb"]
    with pytest.raises(ValueError, match=r"has no last stage .*: use neck fpn"):
        ObjectDetection(neck="c4").run(squares(encoder))


def test_batches_are_mirrored_with_their_boxes_and_masks_and_without_the_ignored() -> None:
    subject = squares()
    images, targets = batch(subject, "mask_rcnn", 24)
    corners = {tuple(box) for box in subject.split("train").boxes.tolist()}
    mirrored = 0
    for image, target in zip(images, targets):
        x0, y0, x1, y1 = target["boxes"][0].long().tolist()
        assert len(target["boxes"]) == 1
        assert int(target["labels"]) == 1 + int(image[:, y0, x0].argmax())
        inside = image.amax(0) > 0.5
        assert torch.equal(inside, target["masks"][0].bool())
        assert inside.sum() == (x1 - x0) * (y1 - y0) == inside[y0:y1, x0:x1].sum()
        mirrored += (x0, y0, x1, y1) not in corners
    assert 4 < mirrored < 20


class Oracle(nn.Module):
    """Answers with the truth, in torchvision's form; `first` is the number of the first class. wrong: by how much it
    mistakes the classes."""

    def __init__(self, split: Detection, first: int, wrong: int = 0) -> None:
        super().__init__()
        self.split, self.first, self.wrong, self.seen = split, first, wrong, 0

    def forward(self, images: list[Tensor]) -> list[dict[str, Tensor]]:
        indices = range(self.seen, self.seen + len(images))
        self.seen += len(images)
        return [
            {
                "boxes": o.boxes[~o.ignored],
                "labels": (o.labels[~o.ignored] + self.wrong) % 3 + self.first,
                "scores": torch.rand(int((~o.ignored).sum())),
                "masks": o.masks[~o.ignored][:, None].float(),
            }
            for o in self.split.objects(indices)
        ]


@pytest.mark.parametrize("model", ["faster_rcnn", "mask_rcnn", "retinanet"])
def test_an_oracle_scores_100(model: str) -> None:
    subject = squares()
    test = subject.split("test")
    scores = ObjectDetection(model=model)._judge(Oracle(test, int(model != "retinanet")), subject, test)
    names = [
        f"{n}_{kind}" for kind in ("bb", "mk")[: 1 + (model == "mask_rcnn")] for n in ("AP", "AP50", "AP75")
    ]
    assert scores == [Score(name, 100.0, 12) for name in names]
    liar = Oracle(test, int(model != "retinanet"), wrong=1)
    assert {s.value for s in ObjectDetection(model=model)._judge(liar, subject, test)} == {0.0}


def test_a_detector_learns_coloured_squares() -> None:
    knobs = {"steps": 60, "batch": 8, "lr": 0.04, "width": 8, "rois": 16, "smaller": 1.0}
    (_, ap50, _) = ObjectDetection(**knobs).run(squares(train=48))
    assert ap50.value > 30  # guesses are near 0
    assert ap50.n == 12


def test_the_schedules_are_the_papers() -> None:
    coco, voc = ObjectDetection(), ObjectDetection(schedule="voc")
    assert coco.planned(117_266) == 90_000
    assert voc.planned(16_551) == 24_000
    assert ObjectDetection(schedule="6x").planned(117_266) == 540_000
    assert ObjectDetection(schedule="2x", steps=30).planned(5) == 60
    rates = [coco._rate(step, 90_000) for step in (0, 1000, 59_999, 60_000, 80_000)]
    assert rates == pytest.approx([2e-5, 0.02, 0.02, 0.002, 0.0002])
    rates = [voc._rate(step, 24_000) for step in (0, 100, 17_999, 18_000, 22_000)]
    assert rates == pytest.approx([2e-5, 0.02, 0.02, 0.002, 0.0002])
    six = ObjectDetection(schedule="6x", model="retinanet", batch=32)
    rates = [six._rate(step, 540_000) for step in (479_999, 480_000, 520_000)]
    assert rates == pytest.approx([0.02, 0.002, 0.0002])
    assert all(0 < first < second < 1 for first, second in (s.drops for s in SCHEDULES.values()))


def test_precise_norms_are_the_mean_over_batches() -> None:
    subject = squares()
    evaluation = ObjectDetection(**{**ObjectDetection.smallest(), "precise": 3})
    net = evaluation._detector(subject, subject.split("train"))
    evaluation._train(net, subject, subject.split("train"))
    norm = net.backbone.backbone.bn1
    assert int(norm.num_batches_tracked) == 3
    assert norm.momentum is None


def test_a_pyramid_that_the_method_trained_is_taken_over() -> None:
    encoder = make(BACKBONES["resnet_tiny"][0](width=8))
    torch.manual_seed(5)
    trained = {"pyramid": FPN(encoder.stage_channels, 16), "convs": BoxConvs(16, 4)}
    trained["pyramid"].requires_grad_(False)
    convert(trained["pyramid"], "sync")
    subject = squares(encoder, parts=trained)
    evaluation = ObjectDetection(transfer="head")
    net = evaluation._detector(subject, subject.split("train"))
    own = net.backbone.fpn.lateral_convs[-1].conv.weight
    assert torch.equal(own, trained["pyramid"].lateral_convs[-1].conv.weight)
    assert own.requires_grad
    assert {type(m) for m in net.modules() if "BatchNorm" in type(m).__name__} == {nn.BatchNorm2d}
    assert torch.equal(net.roi_heads.box_head[0][3].conv.weight, trained["convs"][3].conv.weight)
    assert net.roi_heads.box_head[0][3] is not trained["convs"][3]
    plain = ObjectDetection()._detector(subject, subject.split("train"))
    assert plain.backbone.fpn.lateral_convs[-1].conv.weight.shape[0] == 32
    with pytest.raises(ValueError, match="width 8 is not that of the FPN that the method trained, 16"):
        ObjectDetection(transfer="pyramid", width=8).run(subject)
    with pytest.raises(
        ValueError, match=r"transfer pyramid needs a method that trains a pyramid, such as mcl"
    ):
        ObjectDetection(transfer="pyramid").run(squares())
    other = squares(encoder, parts={"pyramid": C4(encoder.stage_channels, 16, "bilinear")})
    with pytest.raises(ValueError, match="takes over an FPN, but the method trained a pyramid C4"):
        ObjectDetection(transfer="pyramid").run(other)


def test_what_cannot_be_measured_is_one_sentence(make_subject: Callable[..., Subject]) -> None:
    data = Digits().load(Path())
    digits = Subject(squares().encoder, data, size=8, mean=(0.5,) * 3, std=(0.25,) * 3)
    with pytest.raises(ValueError, match=r"needs a set with boxes, such as data: \{name: digits_scenes\}"):
        EVALUATIONS["detection"]().run(digits)
    subject = squares()
    subject.split("test").with_masks = False
    with pytest.raises(ValueError, match="mask_rcnn needs a set with masks, but this one has boxes only"):
        ObjectDetection(model="mask_rcnn").run(subject)
    with pytest.raises(ValueError, match=r"detection diverged at step \d+ of 20, learning rate .*: lower lr"):
        ObjectDetection(**{**ObjectDetection.smallest(), "steps": 20, "lr": 1e12, "warmup": 0}).run(squares())
    for knobs in ({"model": "retinanet", "neck": "c4"}, {"transfer": "head", "head": "2fc"}):
        with pytest.raises(ValueError):
            ObjectDetection(**knobs)
