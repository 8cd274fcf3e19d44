"""SimCLR: find a picture's other view among all views of the batch (Chen et al., arXiv 2002.05709).

    L = mean over the 2B views i of -log [exp(cos(z_i, z_j)/tau) / sum_{k != i} exp(cos(z_i, z_k)/tau)],

eq. 1 (NT-Xent), j the other view of i's picture; the 2B - 2 others are negatives. Differs from MoCo v2 by
having no queue and no momentum encoder: negatives carry gradient, so the batch must be large (4096 in the
paper). Its views are MoCo v2's with `color: 2.0` and `scale: [0.08, 1.0]`. The loss starts near log(2B - 1).
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


class SimCLRSpec(Spec):
    """Knobs of SimCLR at the paper's ResNet-50 numbers."""

    name: Literal["simclr"] = Field("simclr", description="contrast within the batch")
    dim: int = Field(128, ge=1, description="d, width of the embedding")
    hidden: int = Field(2048, ge=1, description="width of the head's hidden layer")
    temperature: float = Field(0.1, gt=0, description="tau; 0.1 for large batches, 0.5 for small")
    batch_norm: Literal["sync", "per_device"] = Field(
        "sync", description="batch statistics over all processes, or of each process"
    )


def nt_xent(first: Tensor, second: Tensor, temperature: float) -> Tensor:
    """The mean loss of this process's 2B views among those of all processes; (B, D) rows of any length."""
    rows = len(first)
    mine = F.normalize(torch.cat([first, second]), dim=1)  # (2B, D)
    one, two = parallel.gather(mine[:rows]), parallel.gather(mine[rows:])  # (R B, D)
    total = len(one)
    logits = mine @ torch.cat([one, two]).t() / temperature  # (2B, 2 R B)
    here = torch.arange(rows, device=first.device) + parallel.rank() * rows
    itself, other = torch.cat([here, here + total]), torch.cat([here + total, here])
    return F.cross_entropy(logits.scatter(1, itself[:, None], float("-inf")), other)


class SimCLR(Method):
    Spec = SimCLRSpec
    recipe = "moco_v2"
    spec: SimCLRSpec

    def __init__(self, spec: SimCLRSpec, make_backbone: Callable[..., Backbone]) -> None:
        super().__init__(spec, make_backbone)
        self.backbone = make_backbone()
        self.projector = projector([self.backbone.channels, spec.hidden, spec.dim], last_norm=True)
        convert(self, spec.batch_norm)

    def forward(self, batch: Batch, moment: Moment) -> Step:
        first, second = batch.views
        z1, z2 = (self.projector(self.backbone(view).pooled) for view in (first, second))
        loss = nt_xent(z1, z2, self.spec.temperature)
        return Step({"contrast": loss}, embedding=torch.cat([z1, z2]).detach())
