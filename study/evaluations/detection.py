"""Detection and instance segmentation: a detector is trained from the encoder and judged by COCO's AP.

Faster and Mask R-CNN with an FPN or on C4, and RetinaNet (LEWEL Tabs 3, 4, 8; MCL Tabs 11, 12; EsViT Tabs 2, 5)
by torchvision. The whole network is trained, a copy of the encoder in it; batch norms see the whole batch
(SyncBN) and are re-estimated at the end (precise-BN). Defaults are detectron2's, which the papers use; what
depends on pixels follows the pictures' size and the backbone's strides, so that small pictures have a small
detector.
"""

from __future__ import annotations

import copy
import math
from typing import Any, ClassVar, Literal, NamedTuple

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from data.sets.annotations import Detection
from models.detectors import Model, Plan, build, width_of
from models.norms import plain
from study.evaluations.average_precision import AveragePrecision, Detections
from study.evaluations.evaluation import Evaluation, Part, Score, Subject
from study.evaluations.targets import Batches, precise_norms
from study.optim import OPTIMIZERS, AdamWSpec, Optimizer, SGDSpec

SMALL = 256  # pixels of the shorter side below which FPN and heads are narrow
TOGETHER = 8  # test pictures of one size that pass together


class Schedule(NamedTuple):
    """times: the steps of 1x. drops: where the rate falls tenfold, as parts of the whole. passes: over the
    training pictures in the papers' 1x: 90,000 steps of 16 of COCO's, 24,000 of VOC 07 + 12's."""

    times: int
    drops: tuple[float, float]
    passes: float = 90_000 * 16 / 117_266
    warmup: int = 1000


SCHEDULES = {
    "1x": Schedule(1, (2 / 3, 8 / 9)),
    "2x": Schedule(2, (2 / 3, 8 / 9)),
    "3x": Schedule(3, (3 / 4, 11 / 12)),  # epochs 27 and 33 of 36
    "6x": Schedule(6, (8 / 9, 26 / 27)),  # 480,000 and 520,000 of 540,000; the paper does not say
    "voc": Schedule(1, (3 / 4, 11 / 12), 24_000 * 16 / 16_551, 100),
}


class ObjectDetection(Evaluation):
    """Scores: AP_bb, AP50_bb, AP75_bb (%), and for Mask R-CNN AP_mk, AP50_mk, AP75_mk, at the last step."""

    headline: ClassVar[str] = "AP_bb"
    needs: ClassVar[str | None] = "objects"
    name: Literal["detection"] = Field(
        "detection", description="a detector trained from the encoder, COCO's AP of boxes and masks"
    )
    model: Model = Field("faster_rcnn", description="which detector; mask_rcnn needs a set with masks")
    neck: Literal["fpn", "c4"] = Field(
        "fpn",
        description="fpn: a pyramid of all stages; c4: the map before the last stage, which is the head",
    )
    head: Literal["4conv1fc", "2fc"] = Field(
        "4conv1fc",
        description="the R-CNNs' head on an FPN: four convolutions with batch norm and one linear layer, as are "
        "the masks'; or two linear layers, and no norm",
    )
    norm: Literal["sync", "frozen"] = Field(
        "sync", description="the backbone's batch norms: statistics of the whole batch, or as pre-trained"
    )
    transfer: Literal["backbone", "pyramid", "head"] = Field(
        "backbone",
        description="what is taken over: the backbone; its FPN too, where the method trained one (MCL); "
        "and its convolutions as those of the R-CNN's box head",
    )
    schedule: Literal["1x", "2x", "3x", "6x", "voc"] = Field(
        "1x", description="the papers' schedules; voc: VOC's 24,000 steps"
    )
    steps: int | None = Field(
        None,
        ge=1,
        description="steps of 1x (2x has twice as many); absent: the papers' 12.3 passes over the training "
        "pictures (voc: 23.2), 90,000 steps on COCO",
    )
    batch: int = Field(16, ge=1, le=1024, description="pictures a step")
    optimizer: Literal["sgd", "adamw"] = Field("sgd", description="adamw: as Swin detectors are trained")
    lr: float | None = Field(
        None,
        gt=0,
        description="learning rate for a batch of 16; absent: 0.02, retinanet 0.01, adamw 1e-4",
    )
    weight_decay: float | None = Field(
        None, ge=0, description="weight decay of all but norms; absent: 1e-4, adamw 0.05"
    )
    warmup: int | None = Field(
        None,
        ge=0,
        description="steps of linear warm-up; absent: 1000 (voc: 100), at most a tenth of all",
    )
    size: int | None = Field(
        None,
        ge=16,
        le=4096,
        description="shorter side of a test picture; absent: 800, the pictures' own where that is below 256",
    )
    smaller: float = Field(
        0.8, gt=0, le=1, description="least shorter side in training, of `size`; LEWEL's VOC runs have 0.6"
    )
    width: int | None = Field(
        None,
        ge=8,
        le=1024,
        description="channels of FPN and heads; absent: that of a pyramid taken over, else 256, 32 below 256 px",
    )
    rois: int | None = Field(
        None,
        ge=1,
        le=2048,
        description="regions a picture that train the heads; absent: 512, 32 below 256 px",
    )
    anchor: float | None = Field(
        None,
        gt=0,
        description="side of the anchors over the stride of their map; absent: 8; retinanet, and below 256 px, 4",
    )
    precise: int | None = Field(
        None,
        ge=0,
        description="batches that re-estimate batch norms at the end; absent: 200, at most a tenth of the steps",
    )
    tested: int | None = Field(
        None, ge=1, description="test pictures, drawn by the seed; absent: all of them"
    )
    points: Literal[101, 11] = Field(
        101, description="recalls at which precision is read: COCO's 101, or VOC 2007's 11"
    )

    @model_validator(mode="after")
    def _fits(self) -> ObjectDetection:
        if self.model == "retinanet" and self.neck == "c4":
            raise ValueError("neck c4 does not go with model retinanet, which needs an fpn")
        if self.transfer != "backbone" and self.neck == "c4":
            raise ValueError(f"transfer {self.transfer} needs neck fpn, not {self.neck}")
        if self.transfer == "head" and (self.model == "retinanet" or self.head != "4conv1fc"):
            raise ValueError(
                f"transfer head needs an R-CNN with head 4conv1fc, not {self.model} with head {self.head}"
            )
        return self

    @classmethod
    def smallest(cls) -> dict[str, Any]:
        return {"steps": 2, "batch": 2, "width": 8, "rois": 8, "precise": 1, "tested": 4}

    def run(self, subject: Subject) -> list[Score]:
        """Raises ValueError where the set has no boxes (or no masks for Mask R-CNN) or the loss diverged."""
        train, test = self._split(subject, "train"), self._split(subject, "test")
        cuda = [subject.device] if subject.device.type == "cuda" else []
        with torch.random.fork_rng(devices=cuda):  # torchvision draws from the global generator
            torch.manual_seed(int(torch.randint(2**62, (), generator=subject.generator("detection"))))
            net = self._detector(subject, train)
            self._train(net, subject, train)
            return self._judge(net, subject, test)

    def _split(self, subject: Subject, part: Part) -> Detection:
        split = subject.split(part)
        if not isinstance(split, Detection):
            raise ValueError("detection needs a set with boxes, such as data: {name: digits_scenes}")
        if self.model == "mask_rcnn" and not split.with_masks:
            raise ValueError(
                "model mask_rcnn needs a set with masks, but this one has boxes only: faster_rcnn"
            )
        return split

    def _detector(self, subject: Subject, train: Detection) -> nn.Module:
        size = self.size or (train.native if train.native < SMALL else 800)
        small = size < SMALL
        parts = self._taken(subject)
        width = self.width or (32 if small else 256)
        if self.width is None and "pyramid" in parts:
            width = width_of(parts["pyramid"])
        plan = Plan(
            model=self.model,
            neck=self.neck,
            head=self.head,
            frozen=self.norm == "frozen",
            classes=len(train.object_classes),
            width=width,
            rois=self.rois or (32 if small else 512),
            proposals=0.125 if small else 1.0,  # suppression is a third of a small step otherwise
            anchor=self.anchor or (4 if small or self.model == "retinanet" else 8),
            # 800 down to 640 in steps of 32, whatever the size
            short=tuple(max(8, round(size * k / 25)) for k in range(math.ceil(25 * self.smaller), 26)),
            longest=round(size * 1333 / 800),
            mean=subject.mean,
            std=subject.std,
        )
        encoder = copy.deepcopy(subject.encoder).requires_grad_(True)
        # Plain: one process evaluates, and a batch norm that waits for the others would wait for ever.
        return plain(build(encoder, plan, parts)).to(subject.device)

    def _taken(self, subject: Subject) -> dict[str, nn.Module]:
        """The trained parts beside the backbone that the detector starts from."""
        wanted = {"backbone": (), "pyramid": ("pyramid",), "head": ("pyramid", "convs")}[self.transfer]
        if wanted and "pyramid" not in subject.parts:
            raise ValueError(f"transfer {self.transfer} needs a method that trains a pyramid, such as mcl")
        return {name: subject.parts[name] for name in wanted}

    def _train(self, net: nn.Module, subject: Subject, train: Detection) -> None:
        """Raises ValueError where the loss is no longer finite."""
        usable = subject.indices("train")  # a picture without an object has no label
        if not len(usable):
            raise ValueError(f"none of the {len(train)} training pictures has an object")
        steps = self.planned(len(usable))
        optimizer = self._optimizer(net)
        draw = subject.generator("detection", "order")
        batch, masks = min(self.batch, len(usable)), self.model == "mask_rcnn"
        batches = Batches(train, usable, batch, draw, subject.device, self._labelled_from, masks)
        net.train()
        for step, given in enumerate(batches.ahead(steps)):
            rate = self._rate(step, steps)
            for group in optimizer.param_groups:
                group["lr"] = rate
            loss: Tensor = sum(net(*given).values())  # type: ignore[assignment]
            if not bool(loss.isfinite()):
                raise ValueError(
                    f"detection diverged at step {step} of {steps}, learning rate {rate:.3g}: lower lr"
                )
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
        precise = self.precise if self.precise is not None else min(200, steps // 10)
        precise_norms(net, batches, precise)

    @property
    def _labelled_from(self) -> int:
        """The number of the first class: torchvision's R-CNNs have the background at 0."""
        return 0 if self.model == "retinanet" else 1

    def planned(self, pictures: int) -> int:
        """Steps of the whole schedule with so many training pictures."""
        schedule = SCHEDULES[self.schedule]
        one = self.steps or max(1, round(schedule.passes * pictures / self.batch))
        return one * schedule.times

    def _rate(self, step: int, steps: int) -> float:
        """Warm-up from a thousandth, then two drops by ten."""
        schedule = SCHEDULES[self.schedule]
        peak = self.lr or (1e-4 if self.optimizer == "adamw" else 0.01 if self.model == "retinanet" else 0.02)
        rate = peak * self.batch / 16 * 0.1 ** sum(step >= round(drop * steps) for drop in schedule.drops)
        warmup = self.warmup if self.warmup is not None else min(schedule.warmup, steps // 10)
        risen = min(1.0, step / warmup) if warmup else 1.0
        return rate * (0.001 + 0.999 * risen)

    def _optimizer(self, net: nn.Module) -> Optimizer:
        """Norms, and positions of Transformers, are not decayed."""
        decayed: list[Tensor] = []
        kept: list[Tensor] = []
        norms = nn.modules.batchnorm._BatchNorm | nn.LayerNorm
        idle = {id(p) for part in net.modules() if isinstance(part, norms) for p in part.parameters()}
        for name, p in net.named_parameters():
            aside = id(p) in idle or "relative_position" in name or "pos_embed" in name
            (kept if aside else decayed).append(p)
        if self.optimizer == "adamw":
            decay = 0.05 if self.weight_decay is None else self.weight_decay
            spec = AdamWSpec(lr=1e-4, weight_decay=decay, weight_decay_end=None, warmup=0.0, clip="none")
            return OPTIMIZERS["adamw"](decayed, kept, spec)
        decay = 1e-4 if self.weight_decay is None else self.weight_decay
        return OPTIMIZERS["sgd"](decayed, kept, SGDSpec(lr=0.02, weight_decay=decay))

    def _judge(self, net: nn.Module, subject: Subject, test: Detection) -> list[Score]:
        indices = torch.arange(len(test))
        if self.tested is not None:
            drawn = torch.randperm(len(test), generator=subject.generator("detection", "tested"))
            indices = drawn[: self.tested].sort().values
        measured = {"bb": False, "mk": True} if self.model == "mask_rcnn" else {"bb": False}
        classes = len(test.object_classes)
        judges = {
            kind: AveragePrecision(classes, crowds=test.crowds, points=self.points) for kind in measured
        }
        net.eval()
        # Pictures of several sizes would be padded to the largest, which moves their border.
        together = TOGETHER if test.held is not None else 1
        for part in indices.split(together):
            with torch.no_grad():
                outputs = net([picture.to(subject.device) / 255 for picture in test.read(part)])
            for out, truth in zip(outputs, test.objects(part, self.model == "mask_rcnn")):
                masks = out["masks"][:, 0] >= 0.5 if "masks" in out else None
                found = Detections(out["boxes"], out["scores"], out["labels"] - self._labelled_from, masks)
                for kind, judge in judges.items():
                    judge.add(found, truth, masks=measured[kind])
        return [
            Score(f"{metric}_{kind}", value, len(indices))
            for kind, judge in judges.items()
            for metric, value in judge.summary().items()
        ]
