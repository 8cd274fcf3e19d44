"""The levels of MCL: what every montage shows, and the encoder that reads one feature off every tile.

Shared by MCL and its supervised form. Level i sees its view at 1/2^i, in montages of 2^i x 2^i tiles, on the
pyramid's map of stride 1/2^i of the last one: a tile owns the same number of places at every level.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from models import parallel
from models.backbones.backbone import Backbone
from models.fpn import C4, FPN, BoxConvs, Pyramid
from models.montage import Downsampling, assemble, cells, divisor, draw, montages, shrink
from models.spec import Spec

Weighting = Literal["released", "halving", "normalised", "equal"]


class LevelSpec(Spec):
    """The knobs of the levels; defaults are MCL's released configuration."""

    levels: int = Field(4, ge=1, le=6, description="levels (S); level i shows its view at 1/2^i (M1)")
    weighting: Weighting = Field(
        "released",
        description="weights of the levels: released = 1/2, 1/4, 1/8, 1/8 (the last doubled: they sum to "
        "1), halving = 1/2^(i+1), normalised = halving over its sum, equal = 1/levels (M2)",
    )
    weights: tuple[float, ...] | None = Field(
        None, strict=False, description="weights of the levels, instead of `weighting`'s"
    )
    showings: tuple[int, ...] | None = Field(
        None,
        strict=False,
        description="times each picture is shown at least, per level; none = 1, from level 3 on 2 (M3)",
    )
    downsampling: Downsampling = Field(
        "nearest", description="how a view is shrunk: nearest = every r-th pixel, area, bilinear (M4)"
    )
    group: int = Field(
        128,
        ge=1,
        description="pictures that share montages, the authors' 128 a device; the largest divisor of the "
        "batch up to this is taken, so that the number of processes changes nothing",
    )
    pyramid: Literal["fpn", "c4"] = Field(
        "fpn", description="maps of the levels: an FPN, or the last map resized"
    )
    c4_resize: Literal["bilinear", "nearest"] = Field(
        "bilinear", description="how c4 resizes: bilinear = the paper, nearest = the authors' module (M5)"
    )
    width: int = Field(256, ge=1, description="channels of the pyramid and of the head's convolutions")
    convs: int = Field(4, ge=0, le=8, description="3x3 convolutions of the shared head")
    slices: Literal["all", "used"] = Field(
        "all",
        description="which pictures go through every level's head: all = as the authors' code, so that the "
        "unread ones enter batch-norm statistics; used = those the loss reads, much cheaper (M6)",
    )

    @model_validator(mode="after")
    def _one_number_a_level(self) -> LevelSpec:
        for name, given in (("weights", self.weights), ("showings", self.showings)):
            if given is not None and len(given) != self.levels:
                raise ValueError(f"{name} has {len(given)} numbers for {self.levels} levels")
        if self.weights is not None and (min(self.weights) < 0 or sum(self.weights) == 0):
            raise ValueError(f"weights must not be negative nor all 0; they are {list(self.weights)}")
        if self.showings is not None and min(self.showings) < 1:
            raise ValueError(f"showings must be at least 1; the least is {min(self.showings)}")
        return self

    def level_weights(self) -> tuple[float, ...]:
        if self.weights is not None:
            return self.weights
        halves = [0.5 ** (i + 1) for i in range(self.levels)]
        if self.weighting == "released":
            halves[-1] = 1 - sum(halves[:-1])
        elif self.weighting == "normalised":
            halves = [h / sum(halves) for h in halves]
        elif self.weighting == "equal":
            halves = [1 / self.levels] * self.levels
        return tuple(halves)

    def level_showings(self) -> tuple[int, ...]:
        return self.showings or tuple(1 if i < 3 else 2 for i in range(self.levels))


@dataclass(frozen=True)
class Sheet:
    """The montages of one side on this process.

    images: (N, 3, s, s), level 0's pictures first. rows: the pictures of each level. ids: each tile's picture
    as its place in the global batch, (tiles of the level,) int64.
    """

    images: Tensor
    rows: list[slice]
    ids: list[Tensor]


def draw_tables(pictures: int, spec: LevelSpec, sides: int, device: torch.device) -> list[list[Tensor]]:
    """For each side and level, the picture of every tile of the *global* batch: (montages, 4^level) int64.

    Drawn group by group on the CPU generator; all processes take the first one's, so that R processes make
    the montages that one would make.
    """
    group = divisor(pictures, spec.group)
    tables = []
    for _ in range(sides):
        for level, showings in enumerate(spec.level_showings()):
            count = group if level == 0 else montages(group, 2**level, showings)
            parts = [draw(group, 2**level, count) + first for first in range(0, pictures, group)]
            tables.append(torch.cat(parts).view(-1, 4**level))
    flat = torch.cat([t.flatten() for t in tables]).to(device)
    parts = parallel.broadcast(flat).split([t.numel() for t in tables])
    shaped = [part.view(table.shape) for part, table in zip(parts, tables)]
    return [shaped[i : i + spec.levels] for i in range(0, len(shaped), spec.levels)]


def lay(views: Sequence[Tensor], tables: Sequence[Tensor], spec: LevelSpec) -> Sheet:
    """One view a level, (B, 3, s, s), to this process's share of the montages that `tables` describe.

    Where a group of pictures is spread over processes, the shrunk views are gathered first. A level with
    fewer montages than processes cannot be shared: ValueError.
    """
    own = len(views[0])
    first = own * parallel.rank()
    whole_groups = own % divisor(own * parallel.world(), spec.group) == 0
    images, rows, ids, seen = [], [], [], 0
    for level, (view, table) in enumerate(zip(views, tables)):
        if level == 0:
            sheet, mine = view, table.flatten()[first : first + own]
        else:
            processes = parallel.world()
            if len(table) % processes:
                raise ValueError(
                    f"level {level} has {len(table)} montages, which {processes} processes cannot share: "
                    "a larger batch, fewer levels or more showings would do"
                )
            mine = table.chunk(processes)[parallel.rank()].flatten()
            tiles = shrink(view, 2**level, spec.downsampling)
            if whole_groups:
                sheet = assemble(tiles, mine - first, 2**level)
            else:
                sheet = assemble(parallel.plain_gather(tiles), mine, 2**level)
        images.append(sheet)
        rows.append(slice(seen, seen + len(sheet)))
        ids.append(mine)
        seen += len(sheet)
    return Sheet(torch.cat(images), rows, ids)


class LevelEncoder(nn.Module):
    """Backbone, pyramid, shared convolutions, average over a tile's cell, and an optional projector.

    forward(images, rows): images (N, 3, s, s) to one feature a tile, (tiles, D) a level. Cells are cut out
    before the convolutions, which pad with zeros: tiles mix in backbone and pyramid, not in the head.
    With slices = all the head sees every picture at every level that is read, and the loss's are kept;
    a stage that no level reads is left out (in the authors' code it moves running statistics, no more).
    """

    def __init__(
        self, spec: LevelSpec, make_backbone: Callable[..., Backbone], projector: nn.Module | None = None
    ) -> None:
        super().__init__()
        self.backbone = make_backbone()
        channels = self.backbone.stage_channels
        self.pyramid: Pyramid
        if spec.pyramid == "fpn":
            if spec.levels > len(channels):
                raise ValueError(
                    f"{spec.levels} levels need as many stages for an FPN; the backbone has {len(channels)} "
                    "(pyramid: c4 resizes the last one)"
                )
            self.pyramid = fpn = FPN(channels, spec.width)
            for parameter in fpn.unread(spec.levels):
                # No loss reaches them; left trainable they would stall a distributed backward.
                parameter.requires_grad_(False)
        else:
            self.pyramid = C4(channels, spec.width, spec.c4_resize)
        self.cls_convs = BoxConvs(spec.width, spec.convs)
        self.mlp = projector if projector is not None else nn.Identity()
        self.spec = spec

    def forward(self, images: Tensor, rows: Sequence[slice]) -> list[Tensor]:
        maps = self.backbone.stages(images)
        side = maps[-1].shape[-1]
        levels = self.pyramid(maps, rows if self.spec.slices == "used" else [None] * len(rows))
        for level, here in enumerate(levels):
            if here.shape[-1] != side * 2**level:
                raise ValueError(
                    f"level {level} needs a map of {side * 2**level} places a side, the pyramid gives "
                    f"{here.shape[-1]}: the picture's side {images.shape[-1]} and the strides do not divide"
                )
        out: list[Tensor] = []
        for level in reversed(range(len(levels))):  # fine to coarse, the order of running statistics
            tiles = self.cls_convs(cells(levels[level], side))  # (n * 4^level, D, side, side)
            features = self.mlp(tiles.mean((2, 3)))
            if self.spec.slices == "all":
                own = rows[level]
                features = features[own.start * 4**level : own.stop * 4**level]
            out.append(features)
        return out[::-1]

    def transfer(self) -> dict[str, nn.Module]:
        """What a detector may take beside the backbone: the pyramid (an FPN's laterals and outputs, with norms)
        and the convolutions of the box head (for Mask R-CNN; the paper does not load them into RetinaNet)."""
        return {"pyramid": self.pyramid, "convs": self.cls_convs}
