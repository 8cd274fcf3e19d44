"""SimSiam: predict the other view's projection, whose gradient is stopped (Chen and He, arXiv 2011.10566).

    L = -1/2 [cos(p1, sg z2) + cos(p2, sg z1)]    (eq. 1 to 3).

BYOL without a momentum encoder: the stopped gradient and the narrow predictor alone keep it from collapse,
which the spread of the embedding shows first. Its views are MoCo v2's. The public code can keep the learning
rate of the predictor constant; here all parameters follow the schedule. The loss runs from 0 to -1.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from models.backbones.backbone import Backbone
from models.heads import projector
from models.method import Batch, Method, Moment, Step
from models.norms import BatchNorm1d, convert
from models.spec import Spec


class SimSiamSpec(Spec):
    """Knobs of SimSiam at the public code's numbers."""

    name: Literal["simsiam"] = Field("simsiam", description="siamese networks with a stopped gradient")
    dim: int = Field(2048, ge=1, description="d, width of projection and prediction, and of hidden layers")
    bottleneck: int = Field(512, ge=1, description="width of the predictor's hidden layer")
    batch_norm: Literal["sync", "per_device"] = Field(
        "sync", description="batch statistics over all processes, or of each process"
    )


def similarity(p1: Tensor, p2: Tensor, z1: Tensor, z2: Tensor) -> Tensor:
    """-1/2 of both mean cosines of (B, D) predictions with the other side's projections (no gradient)."""
    one = F.cosine_similarity(p1, z2.detach(), dim=1).mean()
    two = F.cosine_similarity(p2, z1.detach(), dim=1).mean()
    return -(one + two) / 2


class SimSiam(Method):
    Spec = SimSiamSpec
    recipe = "moco_v2"
    spec: SimSiamSpec

    def __init__(self, spec: SimSiamSpec, make_backbone: Callable[..., Backbone]) -> None:
        super().__init__(spec, make_backbone)
        self.backbone = make_backbone()
        channels = self.backbone.channels
        self.projector = projector([channels, channels, channels, spec.dim], last_norm=True)  # h
        self.predictor = nn.Sequential(
            nn.Linear(spec.dim, spec.bottleneck, bias=False),
            BatchNorm1d(spec.bottleneck),
            nn.ReLU(),
            nn.Linear(spec.bottleneck, spec.dim),
        )
        convert(self, spec.batch_norm)

    def forward(self, batch: Batch, moment: Moment) -> Step:
        first, second = batch.views
        z1, z2 = (self.projector(self.backbone(view).pooled) for view in (first, second))
        loss = similarity(self.predictor(z1), self.predictor(z2), z1, z2)
        return Step({"similarity": loss}, embedding=torch.cat([z1, z2]).detach())
