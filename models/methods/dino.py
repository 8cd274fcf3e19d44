"""DINO, EsViT and GLSD: self-distillation of views, and of the places of dense maps matched between views.

    L = w_V mean_av CE(P_t(view a), P_s(view v))  +  w_R mean_av mean_i CE(P_t(place j*(i)), P_s(place i)),

P = softmax of a head's logits (the teacher's centred), pairs of a global view a of the teacher and any other
view v of the student, j* the match of the student's place i among the teacher's:

- `matching: none`: DINO, GLSD's "Vanilla", EsViT's L_V (Caron et al., https://arxiv.org/abs/2104.14294);
- `similarity`: EsViT, the most similar feature (Li et al., https://arxiv.org/abs/2106.09785, eq. 2);
- `geometric`: GLSD, the nearest cell of the picture (Lebailly & Tuytelaars, https://arxiv.org/abs/2207.14676);
- `optimal_transport`: a Sinkhorn assignment (EsViT's text).

The teacher is the exponential mean of the student, of every iteration, and is what evaluations are given.
Unlike BYOL there is no predictor: centring and sharpening prevent collapse. Unlike DenseCL or PixPro, places
are classified among prototypes instead of compared with each other.

Smallest set: with few steps a batch of 64 needs a faster teacher (momentum 0.99), about 512 prototypes, local
crops that still hold most of a digit, and a batch-normed head; the paper's numbers there stay at ln K.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any, Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from models import parallel
from models.backbones.backbone import Backbone
from models.backbones.blocks import without_drop_path
from models.dino_head import DinoHead
from models.distillation import weighted_cross_entropy, weighted_squared_error
from models.geometry import centres, half_diagonal2
from models.health import in_use
from models.matching import geometric, optimal_transport, similarity
from models.method import Batch, Method, Moment, Step, cosine
from models.norms import BatchNorm1d, convert
from models.spec import Spec


class DinoSpec(Spec):
    """Defaults are the published EsViT and GLSD runs: 2 x 224 + 8 x 96 px, 300 epochs."""

    name: Literal["dino"] = Field("dino", description="DINO, EsViT and GLSD, told apart by `matching`")
    matching: Literal["none", "similarity", "geometric", "optimal_transport"] = Field(
        "none", description="partners of places: none DINO, similarity EsViT, geometric GLSD"
    )
    direction: Literal["student", "teacher"] = Field(
        "student",
        description="whose places each look for a partner; GLSD's equations have the teacher's (G2)",
    )
    threshold: bool = Field(
        True, description="geometric: partners further than half the larger cell's diagonal do not count"
    )
    region_metric: Literal["cross_entropy", "mse"] = Field(
        "cross_entropy", description="mse: squared distance of the projections on the bottleneck's sphere"
    )
    region_from_epoch: int = Field(0, ge=0, description="epochs of the view loss alone, before regions join")
    view_weight: float | None = Field(
        None, ge=0, description="weight of L_V; None as the released code: 1 alone, 0.5 beside L_R (E1, G1)"
    )
    region_weight: float = Field(0.5, ge=0, description="weight of L_R; 1 in the papers' equations (E1, G1)")
    sinkhorn_epsilon: float = Field(0.05, gt=0, description="optimal_transport: entropy of the assignment")
    sinkhorn_iterations: int = Field(3, ge=1, le=100, description="optimal_transport: normalisations")
    globals: int = Field(2, ge=1, le=16, description="first views that the teacher sees; the rest are local")
    out_dim: int = Field(65_536, ge=2, description="prototypes of a head (K)")
    hidden: int = Field(2048, ge=1, description="hidden width of a head")
    bottleneck: int = Field(256, ge=1, description="width of the head's sphere")
    layers: int = Field(3, ge=1, le=8, description="linear layers of a head before the prototypes")
    head_norm: bool = Field(False, description="batch norm in the heads (DINO's use_bn_in_head)")
    norm_last_layer: bool = Field(
        False, description="freeze the prototypes' gains at 1: steadier; the published runs learn them"
    )
    freeze_last_layer: int = Field(1, ge=0, description="epochs in which the prototypes get no gradient")
    student_temperature: float = Field(0.1, gt=0, description="tau_s")
    warmup_teacher_temperature: float = Field(0.04, gt=0, description="tau_t of the first epoch")
    teacher_temperature: float = Field(0.07, gt=0, description="tau_t after its warm-up")
    warmup_teacher_temperature_epochs: int = Field(30, ge=0, description="epochs of tau_t's linear warm-up")
    centre_momentum: float = Field(0.9, ge=0, le=1, description="of the centres of the teacher's logits")
    momentum: float = Field(0.996, ge=0, le=1, description="of the teacher at the start")
    momentum_end: float = Field(1.0, ge=0, le=1, description="of the teacher at the end, along half a cosine")
    teacher_update: Literal["iteration", "epoch"] = Field(
        "iteration", description="when the teacher moves; GLSD's text says once an epoch (G3)"
    )
    batch_norm: Literal["per_device", "sync"] = Field(
        "sync", description="batch norms of backbone and heads, if any"
    )
    devices: int = Field(0, ge=0, description="virtual devices of per_device batch norm; 0: the real ones")

    @model_validator(mode="after")
    def _agree(self) -> DinoSpec:
        if self.batch_norm == "sync" and self.devices > 1:
            raise ValueError(f"devices {self.devices} needs batch_norm per_device, but it is sync")
        return self

    def tau_t(self, epoch: int) -> float:
        """The teacher's temperature: a line over the warm-up's epochs that includes both ends."""
        epochs, first, last = (
            self.warmup_teacher_temperature_epochs,
            self.warmup_teacher_temperature,
            self.teacher_temperature,
        )
        if epoch >= epochs:
            return last
        return first + (last - first) * epoch / max(1, epochs - 1)

    def momentum_at(self, t: float) -> float:
        """The teacher's momentum at progress t."""
        return cosine(self.momentum, self.momentum_end, t)


class Network(nn.Module):
    """Backbone, view head, and the head of places where there is a region term."""

    def __init__(self, spec: DinoSpec, backbone: Backbone) -> None:
        super().__init__()
        self.backbone = backbone

        def head(prototypes: int | None) -> DinoHead:
            return DinoHead(
                backbone.channels,
                prototypes,
                spec.hidden,
                spec.bottleneck,
                spec.layers,
                spec.norm_last_layer,
                BatchNorm1d if spec.head_norm else None,
            )

        self.head = head(spec.out_dim)
        if spec.matching != "none":
            self.head_dense = head(None if spec.region_metric == "mse" else spec.out_dim)

    def features(self, views: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
        """Pooled (B, V, C) and the dense map of every view, V x (B, C, H_v, W_v).

        Views of one size are one pass, pictures outermost: a split batch norm splits pictures, not views.
        """
        pooled, dense = [], []
        start = 0
        while start < len(views):
            size = views[start].shape[-2:]
            end = start + 1
            while end < len(views) and views[end].shape[-2:] == size:
                end += 1
            count = end - start
            found = self.backbone(torch.stack(views[start:end], 1).flatten(0, 1))
            pooled.append(found.pooled.unflatten(0, (-1, count)))  # (B, count, C)
            dense += found.dense.unflatten(0, (-1, count)).unbind(1)
            start = end
        return torch.cat(pooled, 1), dense


def tokens(maps: list[Tensor]) -> Tensor:
    """V x (B, C, H_v, W_v) -> (B, T, C), all places of all views, view after view, row-major."""
    return torch.cat([m.flatten(2) for m in maps], dim=2).transpose(1, 2)


def logits(head: DinoHead, features: Tensor) -> Tensor:
    """(B, T, C) -> (B, T, K), one call for all rows."""
    out: Tensor = head(features.flatten(0, 1))
    return out.unflatten(0, features.shape[:2])


def view_pairs(teachers: int, views: int) -> list[tuple[int, int]]:
    """(teacher's view, student's view), equal ones left out."""
    return [(a, v) for a in range(teachers) for v in range(views) if a != v]


class Dino(Method):
    """The method with any `matching`."""

    Spec = DinoSpec
    recipe = "dino"
    spec: DinoSpec
    centre: Tensor
    centre_dense: Tensor

    def __init__(self, spec: DinoSpec, make_backbone: Callable[..., Backbone]) -> None:
        super().__init__(spec, make_backbone)
        self.student = Network(spec, make_backbone())
        convert(self.student, spec.batch_norm, spec.devices)
        self.teacher = copy.deepcopy(self.student).requires_grad_(False)
        without_drop_path(self.teacher)
        self.register_buffer("centre", torch.zeros(spec.out_dim))
        if spec.matching != "none" and spec.region_metric == "cross_entropy":
            self.register_buffer("centre_dense", torch.zeros(spec.out_dim))

    @property
    def encoder(self) -> Backbone:
        return self.teacher.backbone

    def prepare(self, moment: Moment) -> None:
        for network in (self.student, self.teacher):
            network.backbone.prepare(moment.t)

    def forward(self, batch: Batch, moment: Moment) -> Step:
        spec, views = self.spec, batch.views
        if len(views) < 2 or len(views) < spec.globals:
            raise ValueError(f"dino with globals {spec.globals} needs more views: the batch has {len(views)}")
        regions = spec.matching != "none" and moment.epoch >= spec.region_from_epoch
        pooled, maps = self.student.features(views)
        with torch.no_grad():
            others, other_maps = self.teacher.features(views[: spec.globals])
            goals = logits(self.teacher.head, others)  # (B, globals, K)
        pairs = view_pairs(spec.globals, len(views))
        weights = goals.new_zeros(1, len(views), spec.globals)
        for a, v in pairs:
            weights[0, v, a] = 1 / len(pairs)
        weights = weights.expand(len(goals), -1, -1)
        tau_t = spec.tau_t(moment.epoch)
        taus = (spec.student_temperature, tau_t)
        loss, entropy = weighted_cross_entropy(
            logits(self.student.head, pooled), goals, weights, self.centre, *taus
        )
        monitors = {
            "teacher_entropy": entropy.mean(),
            "teacher_kl": loss.detach().mean() - (weights.sum(1) * entropy).sum(1).mean(),
        }
        if (moment.step + 1) % moment.per_epoch == 0:  # a softmax more: only where monitors are kept
            shares = ((goals.float() - self.centre) / tau_t).softmax(-1)
            monitors["prototypes_in_use"] = in_use(shares.flatten(0, 1))
        weight = spec.view_weight if spec.view_weight is not None else (0.5 if regions else 1.0)
        step = Step(
            {"view": weight * loss.mean()},
            memo={"view": goals.mean((0, 1))[None]},
            embedding=pooled[:, : spec.globals].detach().flatten(0, 1),
            monitors=monitors,
        )
        if regions:
            self._regions(step, maps, other_maps, batch.boxes, taus)
        return step

    def _regions(
        self,
        step: Step,
        maps: list[Tensor],
        other_maps: list[Tensor],
        boxes: Tensor,
        taus: tuple[float, float],
    ) -> None:
        """Adds the region term, its share of the memo and its monitors to `step`."""
        spec = self.spec
        places, others = tokens(maps), tokens(other_maps)
        weights = self.match(maps, other_maps, boxes)  # (B, S, T) over all pairs, their mean
        if spec.region_metric == "mse":
            p = self.student.head_dense.project(places.flatten(0, 1)).unflatten(0, places.shape[:2])
            with torch.no_grad():
                q = self.teacher.head_dense.project(others.flatten(0, 1)).unflatten(0, others.shape[:2])
            loss = weighted_squared_error(p, q, weights)
        else:
            with torch.no_grad():
                goals = logits(self.teacher.head_dense, others)
            loss, entropy = weighted_cross_entropy(
                logits(self.student.head_dense, places), goals, weights, self.centre_dense, *taus
            )
            step.memo["region"] = goals.mean((0, 1))[None]
            step.monitors["region_entropy"] = entropy.mean()
        step.terms["region"] = spec.region_weight * loss.mean()
        step.monitors["matched"] = weights.sum((1, 2)).mean()  # share of places that have a partner

    @torch.no_grad()
    def match(self, maps: list[Tensor], other_maps: list[Tensor], boxes: Tensor) -> Tensor:
        """Weights (B, S, T) of all student places with all teacher places, summing to the share matched.

        maps: V x (B, C, H, W) of the student, other_maps: of the teacher's globals, boxes (V, B, 4).
        """
        pairs = view_pairs(len(other_maps), len(maps))
        sizes, other_sizes = [m[0, 0].numel() for m in maps], [m[0, 0].numel() for m in other_maps]
        wide = torch.promote_types(maps[0].dtype, torch.float32)
        weights = maps[0].new_zeros(len(maps[0]), sum(sizes), sum(other_sizes), dtype=wide)
        for a, v in pairs:
            w = self.match_pair(maps[v], other_maps[a], boxes[v], boxes[a])
            rows = sizes[v] if self.spec.direction == "student" else other_sizes[a]
            top, left = sum(sizes[:v]), sum(other_sizes[:a])
            weights[:, top : top + sizes[v], left : left + other_sizes[a]] = w / (rows * len(pairs))
        return weights

    @torch.no_grad()
    def match_pair(self, one: Tensor, other: Tensor, box: Tensor, other_box: Tensor) -> Tensor:
        """Weights (B, S, T) of one student's map with one teacher's: rows of whoever looks for a partner."""
        turned = self.spec.direction == "teacher"
        if turned:
            one, other, box, other_box = other, one, other_box, box
        if self.spec.matching == "geometric":
            size, other_size = one.shape[-2:], other.shape[-2:]
            limit2 = None
            if self.spec.threshold:
                limit2 = torch.maximum(half_diagonal2(box, *size), half_diagonal2(other_box, *other_size))
            w = geometric(centres(box, *size), centres(other_box, *other_size), limit2)
        elif self.spec.matching == "similarity":
            w = similarity(tokens([one]), tokens([other]))
        else:
            epsilon, iterations = self.spec.sinkhorn_epsilon, self.spec.sinkhorn_iterations
            w = optimal_transport(tokens([one]), tokens([other]), epsilon, iterations)
        return w.transpose(1, 2) if turned else w

    def trim(self, moment: Moment) -> None:
        if moment.epoch < self.spec.freeze_last_layer:
            for name, parameter in self.student.named_parameters():
                if "last_layer" in name:
                    parameter.grad = None

    @torch.no_grad()
    def update(self, memo: Any, moment: Moment) -> None:
        """The teacher's parameters (each network keeps its own buffers), then the centres."""
        spec = self.spec
        if spec.teacher_update == "iteration" or (moment.step + 1) % moment.per_epoch == 0:
            keep = spec.momentum_at(moment.t)
            for old, new in zip(self.teacher.parameters(), self.student.parameters()):
                old.mul_(keep).add_(new, alpha=1 - keep)
        for key, centre in (("view", "centre"), ("region", "centre_dense")):
            if key in memo:
                mean = parallel.plain_mean(memo[key].mean(0))
                old = getattr(self, centre)
                old.mul_(spec.centre_momentum).add_(mean.to(old.dtype), alpha=1 - spec.centre_momentum)
