"""MCL: Guo et al., Multi-Level Contrastive Learning for Dense Prediction Task (arXiv 2304.02010).

Every level i shows its own views at 1/2^i in montages; the pyramid's map of the fitting stride and a
detector head give one embedding a tile; each is to find its own picture among all pictures of the batch:

    L = sum_i w_i * 2 tau * [ CE(q_i K_0^T / tau) + CE(k_i Q_0^T / tau) ],

q_i, k_i the predicted tiles of the two sides, Q_0, K_0 the momentum encoder's level-0 pictures, all of unit
length, negatives from the batch of all processes, no queue. Unlike MoCo there is a predictor and every scale
is an anchor; unlike BYOL there are negatives; unlike DenseCL or PixPro a tile has one feature, not places.
Readings where the paper's appendix and the released code part are knobs (`models/levels.py`): M1 - M6.

Smallest set: with a ResNet of stride 4 and 32 px pictures three levels fit, the finest with tiles of 8 px;
a level costs a quarter of the one before. Temperature 1 keeps the loss near 4 log B, so small falls tell.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from models import parallel
from models.backbones.backbone import Backbone
from models.levels import LevelEncoder, LevelSpec, Sheet, draw_tables, lay
from models.memory import follow
from models.method import Batch, Method, Moment, Step, cosine
from models.norms import convert


class MCLSpec(LevelSpec):
    """The released ResNet-50 configuration: batch 4096, 100 epochs."""

    name: Literal["mcl"] = Field("mcl", description="multi-level contrastive learning")
    hidden: int = Field(2048, ge=1, description="hidden width of projector and predictors")
    dim: int = Field(256, ge=1, description="width of the embeddings")
    temperature: float = Field(1.0, gt=0, description="temperature (tau); the loss is scaled by 2 tau (M10)")
    predictor: Literal["level", "shared"] = Field("level", description="one a level, or one for all")
    momentum: float = Field(
        0.99, ge=0, le=1, description="of the momentum encoder at the start; 0.996 for small batches (M12)"
    )
    momentum_end: float = Field(1.0, ge=0, le=1, description="momentum at the end, along half a cosine")
    batch_norm: Literal["sync", "per_device"] = Field(
        "sync", description="batch statistics over all processes, or of each process"
    )


def mlp(inputs: int, hidden: int, outputs: int, last_norm: bool) -> nn.Sequential:
    """Linear, batch norm, ReLU, Linear, and batch norm without gain and bias if asked for."""
    layers: list[nn.Module] = [nn.Linear(inputs, hidden), nn.BatchNorm1d(hidden), nn.ReLU(inplace=True)]
    layers.append(nn.Linear(hidden, outputs))
    if last_norm:
        layers.append(nn.BatchNorm1d(outputs, affine=False))
    for layer in layers:
        if isinstance(layer, nn.Linear):
            if last_norm:
                nn.init.kaiming_normal_(layer.weight, mode="fan_in", nonlinearity="relu")
            else:
                nn.init.normal_(layer.weight, std=0.01)
            nn.init.zeros_(layer.bias)
    return nn.Sequential(*layers)


class MCL(Method):
    """Momentum contrast of montage tiles with whole pictures."""

    Spec = MCLSpec
    recipe = "mcl"
    spec: MCLSpec

    def __init__(self, spec: MCLSpec, make_backbone: Callable[..., Backbone]) -> None:
        super().__init__(spec, make_backbone)
        projector = mlp(spec.width, spec.hidden, spec.dim, last_norm=True)
        self.online = LevelEncoder(spec, make_backbone, projector)
        count = spec.levels if spec.predictor == "level" else 1
        self.predictors = nn.ModuleList(
            mlp(spec.dim, spec.hidden, spec.dim, last_norm=False) for _ in range(count)
        )
        convert(self, spec.batch_norm)
        self.target = copy.deepcopy(self.online).requires_grad_(False)

    def transfer(self) -> dict[str, nn.Module]:
        return self.online.transfer()

    def forward(self, batch: Batch, moment: Moment) -> Step:
        first = batch.views[0]
        pictures = len(first) * parallel.world()
        return self.contrast(batch.views, draw_tables(pictures, self.spec, 2, first.device))

    def contrast(self, views: Sequence[Tensor], tables: Sequence[Sequence[Tensor]]) -> Step:
        """The step for given tiles. views: 2 * levels tensors (B, 3, s, s), the q side's then the k side's;
        tables: the pictures of the tiles of each side and level, as `draw_tables` gives them."""
        levels = self.spec.levels
        if len(views) != 2 * levels:
            raise ValueError(
                f"{levels} levels need {2 * levels} views; the batch has {len(views)} (views.count)"
            )
        q = lay(views[:levels], tables[0], self.spec)
        k = lay(views[levels:], tables[1], self.spec)
        online_q = self.online(q.images, q.rows)
        online_k = self.online(k.images, k.rows)
        targets_q, targets_k = self.targets(q), self.targets(k)

        terms: dict[str, Tensor] = {}
        monitors: dict[str, Tensor] = {}
        for level, weight in enumerate(self.spec.level_weights()):
            predict = self.predictors[level if self.spec.predictor == "level" else 0]
            sides = (("q", online_q, targets_k, q), ("k", online_k, targets_q, k))
            for side, online, targets, sheet in sides:
                found = find(predict(online[level]), targets, sheet.ids[level], self.spec.temperature)
                terms[f"{side}{level}"] = weight * found.loss
                monitors[f"positive_{side}{level}"] = found.positive
                monitors[f"negative_{side}{level}"] = found.negative
        return Step(terms, embedding=online_q[0].detach(), monitors=monitors)

    @torch.no_grad()
    def targets(self, sheet: Sheet) -> Tensor:
        """The momentum embeddings of the whole pictures of all processes, (B, D), unit length (M11).

        Batch norm decides what goes in: with slices = all, backbone and pyramid see the montages too.
        """
        rows = sheet.rows[:1]
        images = sheet.images if self.spec.slices == "all" else sheet.images[rows[0]]
        return parallel.plain_gather(F.normalize(self.target(images, rows)[0], dim=1))

    def update(self, memo: Any, moment: Moment) -> None:
        """Parameters only: each network keeps its own running statistics."""
        momentum = cosine(self.spec.momentum, self.spec.momentum_end, moment.t)
        follow(self.target, self.online, momentum)


class Found(NamedTuple):
    """loss: 2 tau * cross-entropy. positive, negative: mean cosines with the own and the other pictures."""

    loss: Tensor
    positive: Tensor
    negative: Tensor


def find(predicted: Tensor, targets: Tensor, ids: Tensor, temperature: float) -> Found:
    """Tiles (T, D) of any length, which are to find the pictures `ids` (T,) among (B, D) of unit length."""
    cosines = F.normalize(predicted, dim=1) @ targets.t()  # (T, B)
    loss = 2 * temperature * F.cross_entropy(cosines / temperature, ids)
    seen = cosines.detach()
    own = seen.gather(1, ids[:, None]).sum()
    others = max(seen.numel() - len(seen), 1)
    return Found(loss, own / len(seen), (seen.sum() - own) / others)
