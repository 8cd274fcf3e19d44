"""Semi-supervised fine-tuning (LEWEL Tab 2): the whole network on 1 % or 10 % of the labels.

The labelled pictures are balanced over classes and nested by seed. The encoder is copied, so that what stands
in the study is not trained further.
"""

from __future__ import annotations

import copy
from typing import Any, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from data.recipes import Interpolation
from data.subsets import subset
from models.backbones.backbone import Backbone
from models.method import Moment
from models.norms import plain
from study.evaluations.evaluation import Evaluation, Score, Subject, accuracies, resting
from study.optim import SGD, SGDSpec, lr_at

RATES = {0.01: (1e-4, 1.0), 0.1: (0.01, 0.1)}  # fraction: of the backbone, of the classifier
DROPS = (0.6, 0.8)  # of the epochs: 30 and 40 of 50


class Finetune(Evaluation):
    """Scores: top1, top5 (%) of the last epoch."""

    one_class = True

    name: Literal["finetune"] = Field("finetune", description="fine-tuning on part of the labels")
    fraction: float = Field(0.01, gt=0, le=1, description="part of each class's labels; nested, by seed")
    epochs: int = Field(50, ge=1, le=10_000, description="epochs; the rate falls tenfold at 60 and 80 %")
    batch: int = Field(256, ge=2, description="pictures a step, at most those that are labelled")
    lr: float | None = Field(
        None,
        gt=0,
        description="learning rate of the backbone; absent: 1e-4 up to 3 % of the labels, else 0.01",
    )
    classifier_lr: float | None = Field(
        None,
        gt=0,
        description="learning rate of the classifier; absent: 1.0 up to 3 % of the labels, else 0.1",
    )
    weight_decay: float = Field(1e-4, ge=0, description="weight decay of everything")
    interpolation: Interpolation = Field("bilinear", description="resampling of the pictures")

    @classmethod
    def smallest(cls) -> dict[str, Any]:
        return {"fraction": 0.5, "epochs": 5, "batch": 16}

    def run(self, subject: Subject) -> list[Score]:
        """Raises ValueError where the loss diverged."""
        device = subject.device
        labels = subject.labels("train")
        rows = subset(labels, self.fraction, subject.seed)
        indices, labels = subject.indices("train")[rows], labels[rows].to(device)
        # Plain: one process evaluates; a batch norm that waits for the others would wait for ever.
        encoder: Any = plain(copy.deepcopy(subject.encoder)).requires_grad_(True)
        head = _head(encoder.channels, subject)
        default = RATES[0.01 if self.fraction <= 0.03 else 0.1]  # the geometric middle of the two
        rates = (self.lr or default[0], self.classifier_lr or default[1])
        optimizers = [
            SGD(module.parameters(), [], _optim(rate, self.weight_decay, self.epochs))
            for module, rate in zip((encoder, head), rates)
        ]
        order = subject.generator("finetune", "order")
        batch = min(self.batch, len(rows))
        steps = max(1, len(rows) // batch)  # a last part of a batch is dropped: batch norm needs its size
        encoder.train()
        for epoch in range(self.epochs):
            for optimizer in optimizers:
                moment = Moment(epoch * steps, steps, self.epochs)
                optimizer.param_groups[0]["lr"] = lr_at(optimizer.spec, moment)
            shuffled = torch.randperm(len(rows), generator=order)
            for part in shuffled.split(batch)[:steps]:
                images = subject.augmented("train", indices[part], order, self.interpolation)
                with subject.autocast():
                    logits = head(encoder(images).pooled)
                loss = F.cross_entropy(logits.float(), labels[part.to(device)])
                loss.backward()
                for optimizer in optimizers:
                    optimizer.step()
                    optimizer.zero_grad()
        logits = self._logits(subject, encoder, head)
        if not bool(logits.isfinite().all()):
            raise ValueError(f"fine-tuning diverged at lr {rates[0]} and classifier_lr {rates[1]}")
        return accuracies(logits, subject.labels("test"))

    def _logits(self, subject: Subject, encoder: Backbone, head: nn.Linear) -> Tensor:
        """(N, K) of the test split."""
        out = []
        with resting(encoder), torch.no_grad():
            for part in subject.indices("test").split(subject.batch):
                images = subject.pictures("test", part, self.interpolation)
                with subject.autocast():
                    out.append(head(encoder(images).pooled).float())
        return torch.cat(out)


def _head(channels: int, subject: Subject) -> nn.Linear:
    """torch's default start, U(-1/sqrt(C), 1/sqrt(C)), from the subject's seed."""
    head = nn.Linear(channels, subject.classes)
    draw, bound = subject.generator("finetune", "head"), channels**-0.5
    with torch.no_grad():
        for p in head.parameters():
            p.copy_((2 * torch.rand(p.shape, generator=draw) - 1) * bound)
    return head.to(subject.device)


def _optim(rate: float, weight_decay: float, epochs: int) -> SGDSpec:
    drops = tuple(sorted({d for d in (round(epochs * share) for share in DROPS) if 0 < d < epochs}))
    schedule: dict[str, Any] = (
        {"schedule": "step", "milestones": drops} if drops else {"schedule": "constant"}
    )
    return SGDSpec(lr=rate, weight_decay=weight_decay, warmup=0.0, **schedule)
