"""VICReg: keep views together, features spread and uncorrelated (Bardes et al., arXiv 2105.04906).

    L = 25 mse(z1, z2) + 25 mean over views and features of max(0, 1 - std) + sum over views of c(z),

eq. 6; c(z) the squared off-diagonal covariances over D (eq. 4), std with 1e-4 under the root (eq. 2). To sum
c over views but average the hinge is the public code's. Differs from Barlow Twins in regularising each view
alone, with no standardisation: embeddings keep a scale. Its views are BYOL's. A collapsed start costs 25.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from models import parallel
from models.backbones.backbone import Backbone
from models.heads import projector
from models.method import Batch, Method, Moment, Step
from models.norms import convert
from models.spec import Spec


class VICRegSpec(Spec):
    """Knobs of VICReg at the public code's numbers."""

    name: Literal["vicreg"] = Field("vicreg", description="variance, invariance, covariance")
    dim: int = Field(8192, ge=2, description="width of the expander, and of its hidden layers")
    invariance: float = Field(25.0, ge=0, description="weight of the distance of views (lambda)")
    variance: float = Field(25.0, ge=0, description="weight of the hinge on standard deviations (mu)")
    covariance: float = Field(1.0, ge=0, description="weight of squared covariances (nu)")
    eps: float = Field(1e-4, gt=0, description="added to variances under the root")
    batch_norm: Literal["sync", "per_device"] = Field(
        "sync", description="batch statistics over all processes, or of each process"
    )


def hinge(rows: Tensor, eps: float) -> Tensor:
    """The mean over features of max(0, 1 - std) of rows (B, D), unbiased."""
    return F.relu(1 - torch.sqrt(rows.var(0) + eps)).mean()


def redundancy(rows: Tensor) -> Tensor:
    """The squared covariances between different features of rows (B, D), over D."""
    centred = rows - rows.mean(0)
    covariance = centred.t() @ centred / (len(rows) - 1)  # (D, D)
    return (covariance.square().sum() - covariance.diagonal().square().sum()) / rows.shape[1]


class VICReg(Method):
    Spec = VICRegSpec
    recipe = "byol"
    spec: VICRegSpec

    def __init__(self, spec: VICRegSpec, make_backbone: Callable[..., Backbone]) -> None:
        super().__init__(spec, make_backbone)
        self.backbone = make_backbone()
        self.projector = projector([self.backbone.channels, spec.dim, spec.dim, spec.dim])
        convert(self, spec.batch_norm)

    def forward(self, batch: Batch, moment: Moment) -> Step:
        first, second = batch.views
        z1, z2 = (self.projector(self.backbone(view).pooled) for view in (first, second))
        return Step(self.terms(z1, z2), embedding=torch.cat([z1, z2]).detach())

    def terms(self, z1: Tensor, z2: Tensor) -> dict[str, Tensor]:
        """The weighted terms of this process's (B, D); statistics are over the rows of all processes."""
        spec = self.spec
        all1, all2 = parallel.gather(z1), parallel.gather(z2)
        spread = (hinge(all1, spec.eps) + hinge(all2, spec.eps)) / 2
        return {
            "invariance": spec.invariance * F.mse_loss(z1, z2),
            "variance": spec.variance * spread,
            "covariance": spec.covariance * (redundancy(all1) + redundancy(all2)),
        }
