"""Barlow Twins: make the two views' features correlate one to one (Zbontar et al., arXiv 2103.03230).

    L = sum_i (1 - C_ii)^2 + lambda sum_{i != j} C_ij^2,    eq. 1,

C the correlation over the batch of the projections' features, each standardised over it. No negatives, no
predictor, no momentum: redundancy between features is what the collapsed answer would have. Close to VICReg,
which holds each view's own covariance down instead. Its views are BYOL's. The loss starts near the number of
features.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from models import parallel
from models.backbones.backbone import Backbone
from models.heads import projector
from models.method import Batch, Method, Moment, Step
from models.norms import BatchNorm1d, convert
from models.spec import Spec


class BarlowTwinsSpec(Spec):
    """Knobs of Barlow Twins at the public code's numbers."""

    name: Literal["barlow_twins"] = Field("barlow_twins", description="redundancy reduction")
    dim: int = Field(8192, ge=2, description="width of the projection, and of hidden layers")
    redundancy: float = Field(0.0051, gt=0, description="lambda, weight of the off-diagonal terms")
    batch_norm: Literal["sync", "per_device"] = Field(
        "sync", description="batch statistics over all processes, or of each process"
    )


def correlation(z1: Tensor, z2: Tensor) -> Tensor:
    """(B, D) standardised projections of this process to the correlations over all processes, (D, D)."""
    return parallel.all_sum(z1.t() @ z2) / (len(z1) * parallel.world())


def redundancy(correlations: Tensor) -> tuple[Tensor, Tensor]:
    """The squared distance of the diagonal from 1, and the squares of the rest."""
    diagonal = correlations.diagonal()
    return (diagonal - 1).square().sum(), correlations.square().sum() - diagonal.square().sum()


class BarlowTwins(Method):
    Spec = BarlowTwinsSpec
    recipe = "byol"
    spec: BarlowTwinsSpec

    def __init__(self, spec: BarlowTwinsSpec, make_backbone: Callable[..., Backbone]) -> None:
        super().__init__(spec, make_backbone)
        self.backbone = make_backbone()
        self.projector = projector([self.backbone.channels, spec.dim, spec.dim, spec.dim])
        self.standardise = BatchNorm1d(spec.dim, affine=False)
        convert(self, spec.batch_norm)

    def forward(self, batch: Batch, moment: Moment) -> Step:
        first, second = batch.views
        z1, z2 = (self.projector(self.backbone(view).pooled) for view in (first, second))
        on, off = redundancy(correlation(self.standardise(z1), self.standardise(z2)))
        terms = {"invariance": on, "redundancy": self.spec.redundancy * off}
        return Step(terms, embedding=torch.cat([z1, z2]).detach())
