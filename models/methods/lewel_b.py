"""LEWEL_B: BYOL whose regression also runs on aligned embeddings (Huang et al. 2022, arXiv 2203.14898).

L = (1 - beta) L_g + beta L_a, each the sum of both directions of 2 - 2 cos (eq. 3 and 5); L_a is the mean
over the n = d/h aligned embeddings. What g and its maps are stands in models/align.py. Differs from BYOL by
the aligned term and by g seeing the places; with `loss: global` it is BYOL with predictor weights drawn as
the projector's. The loss starts near 4; the evaluated network is the online one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from models.align import AlignedNetwork, AlignSpec, Projection, sharpness
from models.backbones.backbone import Backbone
from models.heads import MLP
from models.losses import regression
from models.memory import Teacher, momentum_at
from models.method import Batch, Method, Moment, Step
from models.norms import convert


class LEWELBSpec(AlignSpec):
    """Knobs of LEWEL_B; batch norm `sync` goes with momentum 0.996 (400 epochs), `eman` with 0.98."""

    name: Literal["lewel_b"] = Field("lewel_b", description="learning where to learn, on BYOL")


class LEWELB(Method):
    Spec = LEWELBSpec
    recipe = "byol"

    def __init__(self, spec: LEWELBSpec, make_backbone: Callable[..., Backbone]) -> None:
        super().__init__(spec, make_backbone)
        self.online = AlignedNetwork(make_backbone(), spec)
        self.predictor = None if spec.loss == "aligned" else MLP(spec.dim, spec.hidden, spec.dim)  # q
        self.predictor_aligned = (  # s
            None if spec.loss == "global" else MLP(spec.width, spec.hidden, spec.width)
        )
        convert(self, spec.batch_norm, spec.devices)
        self.target = Teacher(self.online, spec.batch_norm)

    def shown(self) -> nn.Module | None:
        return self.online.head

    def forward(self, batch: Batch, moment: Moment) -> Step:
        first, second = batch.views
        # Two passes, not one: each view is a batch of its own to the batch norms.
        o1, o2 = self.online(first), self.online(second)
        t1, t2 = self.target(first), self.target(second)
        there, back = self.direction(o1, t2), self.direction(o2, t1)
        step = Step({name: there[name] + back[name] for name in there})
        if o1.embedding is not None and o2.embedding is not None:
            step.embedding = torch.cat([o1.embedding, o2.embedding]).detach()
        else:
            step.embedding = torch.cat([o1.aligned, o2.aligned]).detach().flatten(0, 1)
        if o1.maps is not None:
            step.monitors["map_sharpness"] = sharpness(o1.maps)
        return step

    def direction(self, online: Projection, target: Projection) -> dict[str, Tensor]:
        """The weighted terms of predicting `target` from `online`."""
        weight = {"both": self.spec.weight, "global": 0.0, "aligned": 1.0}[self.spec.loss]  # beta
        terms = {}
        if self.predictor is not None:
            assert online.embedding is not None
            assert target.embedding is not None
            terms["global"] = (1 - weight) * regression(self.predictor(online.embedding), target.embedding)
        if self.predictor_aligned is not None:
            assert online.aligned is not None
            assert target.aligned is not None
            terms["aligned"] = weight * regression(self.predictor_aligned(online.aligned), target.aligned)
        return terms

    def update(self, memo: Any, moment: Moment) -> None:
        momentum = momentum_at(self.spec.momentum, self.spec.momentum_schedule, moment)
        self.target.follow(self.online, momentum)
