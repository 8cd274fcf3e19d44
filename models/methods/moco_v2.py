"""MoCo v2: tell a picture's other view from a queue of earlier pictures (arXiv 1911.05722, 2003.04297).

L = -log exp(q.k+ / tau) / sum over k+ and the queue of exp(q.k / tau) (eq. 1), in one direction only. Differs
from BYOL by negatives instead of a predictor; the momentum encoder moves before the step, and ShuffleBN keeps
batch statistics from betraying the positive. The loss starts near log(1 + queue).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from models import parallel
from models.backbones.backbone import Backbone
from models.heads import MLP
from models.losses import in_batch_info_nce, info_nce, queue_logits
from models.memory import Queue, Schedule, Teacher, momentum_at
from models.method import Batch, Method, Moment, Step
from models.norms import KINDS, Kind, convert
from models.spec import Spec


class MoCoV2Spec(Spec):
    """Knobs of MoCo v2, at the numbers of the public code."""

    name: Literal["moco_v2"] = Field("moco_v2", description="momentum contrast, version 2")
    dim: int = Field(128, ge=1, description="d, width of the embedding")
    hidden: int = Field(2048, ge=1, description="width of the head's hidden layer")
    head_norm: bool = Field(False, description="batch norm in the head's hidden layer, as in LEWEL's heads")
    extra_head: bool = Field(
        False, description="a second head with in-batch negatives, weighing a half: LEWEL Table 6, `extra p`"
    )
    queue: int = Field(
        65536, ge=1, description="K, length of the queue; a multiple of the batch, below the set"
    )
    temperature: float = Field(0.2, gt=0, description="tau")
    momentum: float = Field(0.999, ge=0, le=1, description="EMA momentum of the key encoder")
    momentum_schedule: Schedule = Field(
        "constant", description="momentum constant, or cosine to 1 over training"
    )
    batch_norm: Kind = Field("shuffle", description=KINDS)
    devices: int = Field(
        0,
        ge=0,
        description="virtual devices of batch norm: statistics over batch/devices pictures; 0: processes",
    )


class _Network(nn.Module):
    def __init__(self, backbone: Backbone, head: nn.Module, extra: nn.Module | None) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = head
        self.extra = extra

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor | None]:
        pooled = self.backbone(images).pooled
        extra = None if self.extra is None else F.normalize(self.extra(pooled), dim=1)
        return F.normalize(self.head(pooled), dim=1), extra


class MoCoV2(Method):
    Spec = MoCoV2Spec
    recipe = "moco_v2"

    def __init__(self, spec: MoCoV2Spec, make_backbone: Callable[..., Backbone]) -> None:
        super().__init__(spec, make_backbone)
        backbone = make_backbone()
        sizes = (backbone.channels, spec.hidden, spec.dim)
        head = MLP(*sizes) if spec.head_norm else MLP(*sizes, norm=False, bias=True, init="torch")
        self.online = _Network(backbone, head, MLP(*sizes) if spec.extra_head else None)
        convert(self, spec.batch_norm, spec.devices)
        self.target = Teacher(self.online, spec.batch_norm)
        self.queue = Queue(spec.dim, spec.queue)

    def prepare(self, moment: Moment) -> None:
        momentum = momentum_at(self.spec.momentum, self.spec.momentum_schedule, moment)
        self.target.follow(self.online, momentum)

    def forward(self, batch: Batch, moment: Moment) -> Step:
        first, second = batch.views
        query, query_extra = self.online(first)
        key, key_extra = self.target(second)
        spec = self.spec
        terms = {"global": info_nce(queue_logits(query, key, self.queue.keys.clone(), spec.temperature))}
        if query_extra is not None:
            # The batch that negatives come from is a device's, as with the batch norms.
            parts = max(spec.devices // parallel.world(), 1)
            pairs = zip(query_extra[:, None].chunk(parts), key_extra[:, None].chunk(parts))
            inner = [in_batch_info_nce(q, k, spec.temperature) for q, k in pairs]
            terms = {"global": 0.5 * terms["global"], "extra": 0.5 * sum(inner) / parts}  # type: ignore[dict-item]
        return Step(terms, memo=key, embedding=query.detach())

    def update(self, memo: Any, moment: Moment) -> None:
        self.queue.push(memo)
