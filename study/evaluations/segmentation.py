"""Semantic segmentation: the class of every pixel by a dilated FCN, in mIoU (LEWEL Tabs 3, 5, 6, 7).

LEWEL's protocol: output stride 8, the whole network fine-tuned by SGD with a polynomial schedule on random
crops, judged on whole test pictures at one scale. Defaults are LEWEL's, the budget as passes over the training
pictures; sizes follow the pictures where those are small.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Annotated, Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from data.pixels import CropPlan, crops, whole
from data.sets.annotations import IGNORED, Semantic
from models.fcn import FCN
from models.norms import plain
from study.evaluations.evaluation import Evaluation, Part, Score, Subject
from study.optim import SGD, SGDSpec

PAPER_STEPS, PAPER_PICTURES = 20_000, 10_582  # VOC 2012 train + aug
POWER, LEAST_LR = 0.9, 1e-4
AUXILIARY = 0.4  # weight of the auxiliary head's loss
SMALL = 256  # pixels of the shorter side below which pictures stay as they are
PAPER_SIZE = 512
Scale = Annotated[float, Field(gt=0, le=10)]


class Segmentation(Evaluation):
    """Scores: mIoU, pixel_accuracy, mean_accuracy (%) of the last step, over the test split's pixels."""

    headline: ClassVar[str] = "mIoU"
    needs: ClassVar[str | None] = "pixels"
    name: Literal["segmentation"] = Field(
        "segmentation", description="the class of every pixel by a dilated FCN, in mIoU"
    )
    frozen: bool = Field(False, description="train the head alone, on the encoder as it is")
    epochs: float = Field(
        30.2,
        gt=0,
        le=10_000,
        description="passes over the training pictures; LEWEL's 20,000 steps on VOC's 10,582 are 30.2",
    )
    steps: int | None = Field(None, ge=1, le=10_000_000, description="steps, in place of epochs")
    batch: int = Field(16, ge=2, le=1024, description="pictures a step, at most those that there are")
    lr: float = Field(0.01, gt=0, description="learning rate; it falls polynomially to 1e-4, or a hundredth")
    weight_decay: float = Field(5e-4, ge=0, description="weight decay of everything")
    crop: int | None = Field(
        None,
        ge=16,
        le=4096,
        description="side of training crops in pixels; absent: 512, the pictures' own where that is below 256",
    )
    short: int | None = Field(
        None, ge=16, le=4096, description="shorter side of test pictures in pixels; absent: as `crop`"
    )
    scale: Annotated[tuple[Scale, Scale], Field(strict=False)] = Field(
        (0.5, 2.0), description="least and largest factor on `short` in training"
    )
    distort: bool = Field(True, description="random brightness, contrast, saturation and hue in training")
    width: int | None = Field(
        None, ge=8, le=4096, description="channels of the head; absent: a quarter of the backbone's (512)"
    )
    stride: Literal[4, 8, 16, 32] = Field(
        8, description="pixels a place of the map: residual networks are dilated, other maps enlarged"
    )
    tested: int | None = Field(
        None, ge=1, description="test pictures, drawn by the seed; absent: all of them"
    )

    @classmethod
    def smallest(cls) -> dict[str, Any]:
        return {"steps": 3, "batch": 4, "tested": 20}

    def run(self, subject: Subject) -> list[Score]:
        """Raises ValueError where the set has no classes of pixels, or the loss diverged."""
        train, test = self._split(subject, "train"), self._split(subject, "test")
        plan = self._plan(train)
        cuda = [subject.device] if subject.device.type == "cuda" else []
        with torch.random.fork_rng(devices=cuda):  # a head's start, dropout and drop-path
            draw = subject.generator("segmentation", "weights")
            torch.manual_seed(int(torch.randint(2**62, (), generator=draw)))
            net = self._network(subject, len(train.semantic_classes))
            self._train(net, subject, train, plan)
        chosen = torch.arange(len(test))
        if self.tested is not None:
            order = torch.randperm(len(test), generator=subject.generator("segmentation", "tested"))
            chosen = order[: self.tested].sort().values
        counts = self._judge(net, subject, test, chosen, plan.short)
        return [Score(name, value, len(chosen)) for name, value in judged(counts).items()]

    def _split(self, subject: Subject, part: Part) -> Semantic:
        split = subject.split(part)
        if not isinstance(split, Semantic):
            raise ValueError(
                "segmentation needs a set with classes of pixels, such as data: {name: digits_scenes}"
            )
        return split

    def _plan(self, train: Semantic) -> CropPlan:
        size = self.crop or (PAPER_SIZE if train.native >= SMALL else train.native)
        return CropPlan(size, self.short or size, self.scale, self.distort)

    def _network(self, subject: Subject, classes: int) -> FCN:
        # Plain: one process evaluates; a batch norm that waits for the others would wait for ever.
        encoder = plain(copy.deepcopy(subject.encoder))
        width = self.width or max(32, subject.encoder.channels // 4)
        net = FCN(encoder, classes, width=width, stride=self.stride, frozen=self.frozen)  # type: ignore[arg-type]
        return net.to(subject.device)

    def _train(self, net: FCN, subject: Subject, train: Semantic, plan: CropPlan) -> None:
        """Raises ValueError where the loss is no longer finite."""
        batch = min(self.batch, len(train))
        steps = self.steps or math.ceil(self.epochs * len(train) / batch)
        trained = [p for p in net.parameters() if p.requires_grad]
        spec = SGDSpec(lr=self.lr, weight_decay=self.weight_decay, schedule="constant")
        optimizer = SGD(trained, [], spec)
        net.train()
        for step, (images, truth) in enumerate(self._batches(subject, train, plan, batch, steps)):
            with subject.autocast():
                logits, extra = net(images)
            loss = pixel_loss(logits, truth)
            if extra is not None:
                loss = loss + AUXILIARY * pixel_loss(extra, truth)
            if step % 50 == 0 or step == steps - 1:
                _finite(loss, self.lr, step)
            optimizer.param_groups[0]["lr"] = poly(self.lr, step / steps)
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            optimizer.zero_grad()

    def _batches(
        self, subject: Subject, train: Semantic, plan: CropPlan, batch: int, steps: int
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Crops of `batch` pictures a step, each made while the one before is learned from."""
        draw = subject.generator("segmentation", "order")
        waiting = torch.empty(0, dtype=torch.int64)

        def made() -> tuple[Tensor, Tensor]:  # one at a time, in order: all that is random is drawn here
            nonlocal waiting
            if len(waiting) < batch:
                waiting = torch.cat([waiting, torch.randperm(len(train), generator=draw)])
            rows, waiting = waiting[:batch], waiting[batch:]
            return crops(train, rows, plan, draw, subject.device, subject.mean, subject.std)

        with ThreadPoolExecutor(1) as pool:
            ahead = pool.submit(made)
            for step in range(steps):
                ready = ahead.result()
                if step + 1 < steps:
                    ahead = pool.submit(made)
                yield ready

    def _judge(self, net: nn.Module, subject: Subject, test: Semantic, chosen: Tensor, short: int) -> Tensor:
        """The confusion matrix over the pixels of the chosen test pictures."""
        classes = len(test.semantic_classes)
        counts = torch.zeros(classes, classes, dtype=torch.int64, device=subject.device)
        net.eval()
        with torch.no_grad():
            for group in together(test.sizes(chosen), self.batch):
                rows = chosen[group]
                images = torch.stack(
                    [whole(test, int(i), short, subject.device, subject.mean, subject.std) for i in rows]
                )
                truth = torch.stack(test.semantic(rows)).to(subject.device)
                with subject.autocast():
                    logits = net(images)[0].float()
                if logits.shape[2:] != truth.shape[1:]:
                    logits = F.interpolate(logits, truth.shape[1:], mode="bilinear", align_corners=False)
                counts += confusion(logits.argmax(1), truth, classes)
        return counts


def poly(lr: float, progress: float) -> float:
    """The rate at `progress` in [0, 1] of the training: (1 - progress)^0.9, from `lr` to the least rate."""
    least = min(LEAST_LR, lr / 100)
    return (lr - least) * (1 - progress) ** POWER + least


def pixel_loss(logits: Tensor, truth: Tensor) -> Tensor:
    """The mean cross-entropy of the pixels that count, 0 where none does. logits: (B, K, H, W); truth: uint8
    (B, H, W)."""
    total = F.cross_entropy(logits.float(), truth.long(), ignore_index=IGNORED, reduction="sum")
    return total / (truth != IGNORED).sum().clamp(min=1)


def together(sizes: Tensor, most: int) -> list[Tensor]:
    """Which pictures, by their place in `sizes` (N, 2), pass at once: of one size, `most` at a time."""
    kinds, which = torch.unique(sizes, dim=0, return_inverse=True)
    return [part for kind in range(len(kinds)) for part in (which == kind).nonzero()[:, 0].split(most)]


def confusion(found: Tensor, truth: Tensor, classes: int) -> Tensor:
    """How often a pixel of class i is taken for class j: int64 (K, K). IGNORED pixels of `truth` are left out."""
    counted = truth != IGNORED
    pairs = truth[counted].long() * classes + found[counted].long()
    return torch.bincount(pairs, minlength=classes**2).view(classes, classes)


def judged(counts: Tensor) -> dict[str, float]:
    """mIoU, pixel_accuracy and mean_accuracy (%) of a confusion matrix (K, K), rows the truth.

    The intersection over union of a class is over all pixels of the split. A class that is neither there nor
    found is left out of the mean, as is one that is not there of the mean accuracy. Raises ValueError where no
    pixel counts.
    """
    if not int(counts.sum()):
        raise ValueError("segmentation: no pixel of the test pictures counts")
    hits, there, taken = counts.diag().double(), counts.sum(1).double(), counts.sum(0).double()
    union = there + taken - hits
    return {
        "mIoU": 100 * (hits[union > 0] / union[union > 0]).mean().item(),
        "pixel_accuracy": 100 * (hits.sum() / there.sum()).item(),
        "mean_accuracy": 100 * (hits[there > 0] / there[there > 0]).mean().item(),
    }


def _finite(loss: Tensor, lr: float, step: int) -> None:
    if not bool(loss.isfinite()):
        raise ValueError(f"segmentation diverged at lr {lr} in step {step}")
