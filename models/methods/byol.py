"""BYOL: predict the momentum network's projection of one view from the other (arXiv 2006.07733).

L = l(q(z1), t2) + l(q(z2), t1), l(a, t) = 2 - 2 cos(a, sg t): the sum of both directions (eq. 2).
As in the EMAN code that LEWEL builds on: heads without biases, the target on EMA'd batch statistics, crops
from 20 % of the picture. Differs from MoCo v2 by a predictor instead of negatives. The loss starts near 4.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from models.backbones.backbone import Backbone
from models.heads import MLP
from models.losses import regression
from models.memory import Schedule, Teacher, momentum_at
from models.method import Batch, Method, Moment, Step
from models.norms import KINDS, Kind, convert
from models.spec import Spec


class BYOLSpec(Spec):
    """Knobs of BYOL; batch norm `sync` goes with momentum 0.996, `eman` with 0.98."""

    name: Literal["byol"] = Field("byol", description="bootstrap your own latent")
    dim: int = Field(256, ge=1, description="d, width of projection and prediction")
    hidden: int = Field(4096, ge=1, description="width of the heads' hidden layer")
    momentum: float = Field(0.98, ge=0, le=1, description="EMA momentum of the target at the start")
    momentum_schedule: Schedule = Field(
        "cosine", description="momentum constant, or cosine to 1 over training"
    )
    batch_norm: Kind = Field("eman", description=KINDS)
    devices: int = Field(
        0,
        ge=0,
        description="virtual devices of batch norm: statistics over batch/devices pictures; 0: processes",
    )


class _Network(nn.Module):
    def __init__(self, backbone: Backbone, projector: nn.Module) -> None:
        super().__init__()
        self.backbone = backbone
        self.projector = projector  # g

    def forward(self, images: Tensor) -> Tensor:
        return self.projector(self.backbone(images).pooled)


class BYOL(Method):
    Spec = BYOLSpec
    recipe = "byol"

    def __init__(self, spec: BYOLSpec, make_backbone: Callable[..., Backbone]) -> None:
        super().__init__(spec, make_backbone)
        backbone = make_backbone()
        self.online = _Network(backbone, MLP(backbone.channels, spec.hidden, spec.dim))
        self.predictor = MLP(spec.dim, spec.hidden, spec.dim, init="small")  # q
        convert(self, spec.batch_norm, spec.devices)
        self.target = Teacher(self.online, spec.batch_norm)

    def forward(self, batch: Batch, moment: Moment) -> Step:
        first, second = batch.views
        # Two passes, not one: each view is a batch of its own to the batch norms.
        z1, z2 = self.online(first), self.online(second)
        p1, p2 = self.predictor(z1), self.predictor(z2)
        t1, t2 = self.target(first), self.target(second)
        terms = {"global": regression(p1, t2) + regression(p2, t1)}
        return Step(terms, embedding=torch.cat([z1, z2]).detach())

    def update(self, memo: Any, moment: Moment) -> None:
        momentum = momentum_at(self.spec.momentum, self.spec.momentum_schedule, moment)
        self.target.follow(self.online, momentum)
