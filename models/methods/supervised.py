"""Supervised pre-training: cross-entropy on labels, the baseline of every table, in the same harness.

L = the mean over views of CE(W pooled + b, y). ResNet-50 of the papers: SGD 0.1 per 256 pictures, decay 1e-4,
90 epochs; Swin-T: AdamW 1e-3 per 1024, decay 0.05, 300 epochs, label smoothing 0.1, drop path 0.2. Unlike all
others it reads labels, which must be known and below `classes`. On the smallest set it passes every
self-supervised method within a few epochs: it is a ceiling there, not a rival.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import nn

from models.backbones.backbone import Backbone
from models.method import Batch, Method, Moment, Step
from models.norms import convert
from models.spec import Spec


class SupervisedSpec(Spec):
    """Knobs of the supervised baseline."""

    name: Literal["supervised"] = Field("supervised", description="cross-entropy on labels")
    classes: int = Field(1000, ge=2, description="classes of the set")
    label_smoothing: float = Field(0.0, ge=0, lt=1, description="share of the target spread over all classes")
    batch_norm: Literal["per_device", "sync"] = Field(
        "per_device", description="batch statistics of each process, or over all of them"
    )


class Supervised(Method):
    """A linear classifier on the pooled feature."""

    Spec = SupervisedSpec
    recipe = "supervised"
    spec: SupervisedSpec

    def __init__(self, spec: SupervisedSpec, make_backbone: Callable[..., Backbone]) -> None:
        super().__init__(spec, make_backbone)
        self.backbone = make_backbone()
        self.classifier = nn.Linear(self.backbone.channels, spec.classes)
        convert(self, spec.batch_norm)

    def forward(self, batch: Batch, moment: Moment) -> Step:
        pooled = [self.backbone(view).pooled for view in batch.views]
        logits = self.classifier(torch.cat(pooled))  # (V B, classes)
        labels = batch.labels.repeat(len(pooled))
        loss = F.cross_entropy(logits, labels, label_smoothing=self.spec.label_smoothing)
        right = (logits.argmax(1) == labels).float().mean()
        return Step({"label": loss}, embedding=torch.cat(pooled).detach(), monitors={"accuracy": right})
