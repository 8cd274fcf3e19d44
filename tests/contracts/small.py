"""The smallest working configuration of every method, for the contract tests. A new method adds its lines."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from models import backbones, methods
from models.backbones.resnet import TinySpec
from models.backbones.swin import SwinTinySpec
from models.method import Batch, Method
from models.methods.barlow_twins import BarlowTwinsSpec
from models.methods.byol import BYOLSpec
from models.methods.dino import DinoSpec
from models.methods.lewel_b import LEWELBSpec
from models.methods.lewel_m import LEWELMSpec
from models.methods.mcl import MCLSpec
from models.methods.mcl_supervised import MCLSupervisedSpec
from models.methods.moco_v2 import MoCoV2Spec
from models.methods.simclr import SimCLRSpec
from models.methods.simsiam import SimSiamSpec
from models.methods.supervised import SupervisedSpec
from models.methods.vicreg import VICRegSpec

TINY = TinySpec(width=8)
PICTURES = 8
CLASSES = 3


@dataclass(frozen=True)
class Small:
    """sizes: the views' sides in pixels. teacher: where the momentum network stands in the method, None where
    there is none. world_free: R processes with B/R pictures are to equal one with B (statistics of batch norm
    do so where they are synchronised, or over a fixed number of virtual devices)."""

    method: Any
    backbone: Any = TINY
    sizes: tuple[int, ...] = (16, 16)
    teacher: str | None = "target"
    world_free: bool = True


BYOL = {"dim": 8, "hidden": 12, "devices": 1}
MOCO = {"dim": 8, "hidden": 12, "queue": 16, "devices": 2}
SWIN = {"backbone": SwinTinySpec(dim=16, window=2), "sizes": (16, 16, 8), "teacher": "teacher"}
DINO = {"hidden": 12, "bottleneck": 8, "out_dim": 16}
LEVELS = {"levels": 2, "width": 4, "convs": 1}

SMALL: dict[str, Small] = {
    "byol": Small(BYOLSpec(**BYOL)),
    "byol, synchronised": Small(BYOLSpec(dim=8, hidden=12, batch_norm="sync")),
    "moco_v2": Small(MoCoV2Spec(**MOCO)),
    "moco_v2, extra head": Small(MoCoV2Spec(**MOCO, extra_head=True, head_norm=True)),
    "lewel_b": Small(LEWELBSpec(**BYOL, groups=2)),
    "lewel_b, narrow aligned": Small(LEWELBSpec(**BYOL, channels=6, groups=4, batch_norm="sync")),
    "lewel_b, global alone": Small(LEWELBSpec(**BYOL, loss="global")),
    "lewel_b, aligned alone": Small(LEWELBSpec(**BYOL, loss="aligned")),
    "lewel_b, uncoupled": Small(LEWELBSpec(**BYOL, coupled=False)),
    "lewel_b, uncoupled, aligned alone": Small(LEWELBSpec(**BYOL, coupled=False, loss="aligned")),
    "lewel_b, shared projector": Small(LEWELBSpec(**BYOL, projector="shared")),
    "lewel_b, random maps": Small(LEWELBSpec(**BYOL, maps="random"), world_free=False),
    "lewel_m": Small(LEWELMSpec(**MOCO, groups=2)),
    "lewel_m, whole batch": Small(LEWELMSpec(**MOCO, negatives="batch", negatives_per_picture="same")),
    "lewel_m, aligned alone": Small(LEWELMSpec(**MOCO, loss="aligned", coupled=False)),
    "dino": Small(DinoSpec(**DINO), **SWIN),
    "dino, similarity": Small(DinoSpec(**DINO, matching="similarity"), **SWIN),
    "dino, geometric": Small(DinoSpec(**DINO, matching="geometric"), **SWIN),
    "dino, optimal transport": Small(DinoSpec(**DINO, matching="optimal_transport"), **SWIN),
    "dino, teacher's places": Small(
        DinoSpec(**DINO, matching="geometric", direction="teacher", threshold=False, globals=3), **SWIN
    ),
    "dino, squared error": Small(DinoSpec(**DINO, matching="similarity", region_metric="mse"), **SWIN),
    "dino, batch norms": Small(
        DinoSpec(**DINO, matching="geometric", head_norm=True), sizes=(16, 16, 8), teacher="teacher"
    ),
    "mcl": Small(MCLSpec(**LEVELS, dim=8, hidden=12), sizes=(16,) * 4),
    "mcl_supervised": Small(MCLSupervisedSpec(**LEVELS, classes=CLASSES), teacher=None),
    "mcl, one map": Small(
        MCLSpec(**LEVELS, dim=8, hidden=12, slices="used", pyramid="c4", predictor="shared"), sizes=(16,) * 4
    ),
    "simclr": Small(SimCLRSpec(dim=8, hidden=12), teacher=None),
    "simsiam": Small(SimSiamSpec(dim=8, bottleneck=4), teacher=None),
    "barlow_twins": Small(BarlowTwinsSpec(dim=8), teacher=None),
    "vicreg": Small(VICRegSpec(dim=8), teacher=None),
    "supervised": Small(SupervisedSpec(classes=CLASSES, batch_norm="sync"), teacher=None),
}


def build(small: Small, seed: int = 0) -> Method:
    """The method in double precision, training."""
    torch.manual_seed(seed)
    method = methods.build(small.method, lambda **changes: backbones.make(small.backbone, **changes))
    return method.double().train()


def batch_of(small: Small, seed: int = 1) -> Batch:
    """PICTURES pictures with random views and boxes; some boxes are mirrored."""
    draw = torch.Generator().manual_seed(seed)
    views = [torch.randn(PICTURES, 3, s, s, generator=draw, dtype=torch.float64) for s in small.sizes]
    corner = 10 * torch.rand(len(views), PICTURES, 2, generator=draw)
    boxes = torch.cat([corner, corner + 10 + 10 * torch.rand(corner.shape, generator=draw)], 2)
    boxes[:, ::2] = boxes[:, ::2, [2, 1, 0, 3]]
    return Batch(views, boxes, torch.arange(PICTURES) % CLASSES)


def part(batch: Batch, rank: int, world: int) -> Batch:
    """The pictures of one of `world` processes."""
    rows = slice(rank * PICTURES // world, (rank + 1) * PICTURES // world)
    return Batch([v[rows] for v in batch.views], batch.boxes[:, rows], batch.labels[rows])
