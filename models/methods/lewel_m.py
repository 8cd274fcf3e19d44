"""LEWEL_M: MoCo v2 that also contrasts aligned embeddings (Huang et al. 2022, arXiv 2203.14898).

L = (1 - beta) L_g + beta L_a: L_g is InfoNCE against a queue, L_a InfoNCE of aligned embedding k of a picture
with embedding k of its other view, against all aligned embeddings of the other pictures of the batch (eq. 4,
which prints the sum over negatives inside the exponent). One direction, as MoCo. There is no public code:
batch norm in the heads, h = 4, the queue's length and where negatives come from are readings, and knobs.
Differs from LEWEL_B by negatives instead of predictors.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from models import parallel
from models.align import AlignedNetwork, AlignSpec, sharpness
from models.backbones.backbone import Backbone
from models.losses import in_batch_info_nce, info_nce, queue_logits
from models.memory import Queue, Schedule, Teacher, momentum_at
from models.method import Batch, Method, Moment, Step
from models.norms import KINDS, Kind, convert


class LEWELMSpec(AlignSpec):
    """Knobs of LEWEL_M."""

    name: Literal["lewel_m"] = Field("lewel_m", description="learning where to learn, on MoCo v2")
    dim: int = Field(128, ge=1, description="d, width of the global embedding and number of alignment maps")
    hidden: int = Field(2048, ge=1, description="width of the heads' hidden layer")
    momentum: float = Field(0.999, ge=0, le=1, description="EMA momentum of the key encoder")
    momentum_schedule: Schedule = Field(
        "constant", description="momentum constant, or cosine to 1 over training"
    )
    batch_norm: Kind = Field("shuffle", description=KINDS)
    queue: int = Field(
        65536, ge=1, description="K, length of the queue; a multiple of the batch, below the set"
    )
    temperature: float = Field(0.2, gt=0, description="tau of both losses")
    negatives: Literal["device", "batch"] = Field(
        "device", description="pictures that aligned negatives come from: this device's, or the whole batch"
    )
    negatives_per_picture: Literal["all", "same"] = Field(
        "all", description="all aligned embeddings of another picture are negatives, or the same k's only"
    )


class LEWELM(Method):
    Spec = LEWELMSpec
    recipe = "moco_v2"

    def __init__(self, spec: LEWELMSpec, make_backbone: Callable[..., Backbone]) -> None:
        super().__init__(spec, make_backbone)
        self.online = AlignedNetwork(make_backbone(), spec)
        convert(self, spec.batch_norm, spec.devices)
        self.target = Teacher(self.online, spec.batch_norm)
        self.queue = None if spec.loss == "aligned" else Queue(spec.dim, spec.queue)

    def prepare(self, moment: Moment) -> None:
        momentum = momentum_at(self.spec.momentum, self.spec.momentum_schedule, moment)
        self.target.follow(self.online, momentum)

    def shown(self) -> nn.Module | None:
        return self.online.head

    def forward(self, batch: Batch, moment: Moment) -> Step:
        first, second = batch.views
        online, target = self.online(first), self.target(second)
        weight = {"both": self.spec.weight, "global": 0.0, "aligned": 1.0}[self.spec.loss]  # beta
        step = Step({})
        if self.queue is not None:
            query, key = F.normalize(online.embedding, dim=1), F.normalize(target.embedding, dim=1)
            # A copy: backward needs the keys of now, and update writes over them.
            logits = queue_logits(query, key, self.queue.keys.clone(), self.spec.temperature)
            step.terms["global"] = (1 - weight) * info_nce(logits)
            step.memo, step.embedding = key, query.detach()
        if online.aligned is not None:
            query, key = F.normalize(online.aligned, dim=-1), F.normalize(target.aligned, dim=-1)
            step.terms["aligned"] = weight * self.aligned_loss(query, key)
            step.monitors["map_sharpness"] = sharpness(online.maps)
            if step.embedding is None:
                step.embedding = query.detach().flatten(0, 1)
        return step

    def aligned_loss(self, query: Tensor, key: Tensor) -> Tensor:
        """L_a of unit rows (B, n, c)."""
        spec, same = self.spec, self.spec.negatives_per_picture == "same"
        if spec.negatives == "batch":
            first = parallel.rank() * len(query)
            everybody = parallel.plain_gather(key)
            return in_batch_info_nce(query, everybody, spec.temperature, first=first, same_only=same)
        parts = max(spec.devices // parallel.world(), 1)
        pairs = zip(query.chunk(parts), key.chunk(parts))
        losses = [in_batch_info_nce(q, k, spec.temperature, same_only=same) for q, k in pairs]
        return sum(losses[1:], losses[0]) / parts

    def update(self, memo: Any, moment: Moment) -> None:
        if self.queue is not None:
            self.queue.push(memo)
