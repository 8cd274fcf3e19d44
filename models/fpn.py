"""Feature pyramids: the maps of a backbone's stages turned into one map a level, all of one width.

FPN: Lin et al. 2017 (arXiv 1612.03144), with MCL's batch norm after every convolution and no activation.
C4: the single last map, resized to every level's size, for detectors without an FPN (MCL, appendix B).
Both work for any number of stages; attribute names are those that mmdetection gives the same parts, so that
a detector can load them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn


class ConvNorm(nn.Module):
    """A bias-free convolution, padded to keep the size, batch norm, and ReLU if asked for."""

    def __init__(self, inputs: int, outputs: int, kernel: int, relu: bool = False) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, bias=False)
        nn.init.xavier_uniform_(self.conv.weight)
        self.bn = nn.BatchNorm2d(outputs)
        self.relu = relu

    def forward(self, maps: Tensor) -> Tensor:
        out = self.bn(self.conv(maps))
        return F.relu(out) if self.relu else out


class Pyramid(nn.Module):
    """The stages' maps to the levels' maps.

    forward(maps, rows): `maps`, (N, C_i, H_i, W_i) a stage, shallow to deep; `rows[i]`, the pictures that
    level i reads, None for all of them. Returns one map a level, deep to shallow: level 0 is the coarsest.
    """

    def forward(self, maps: Sequence[Tensor], rows: Sequence[slice | None]) -> list[Tensor]:
        raise NotImplementedError


class FPN(Pyramid):
    """Lateral 1x1 convolutions, nearest top-down addition, 3x3 output convolutions.

    inputs: channels of the stages, shallow to deep. Level i is the i-th stage from the deep end.
    """

    def __init__(self, inputs: Sequence[int], width: int) -> None:
        super().__init__()
        self.lateral_convs = nn.ModuleList(ConvNorm(channels, width, 1) for channels in inputs)
        self.fpn_convs = nn.ModuleList(ConvNorm(width, width, 3) for _ in inputs)

    def forward(self, maps: Sequence[Tensor], rows: Sequence[slice | None]) -> list[Tensor]:
        """All laterals are computed, whatever `rows`: each feeds the finer ones."""
        if len(rows) > len(maps):
            raise ValueError(f"{len(rows)} levels need as many stages; the backbone gives {len(maps)}")
        merged: list[Tensor] = []
        for lateral, stage in zip(reversed(self.lateral_convs), reversed(maps)):
            here = lateral(stage)
            if merged:
                here = here + F.interpolate(merged[-1], size=here.shape[-2:], mode="nearest")
            merged.append(here)
        levels = zip(reversed(self.fpn_convs), merged, rows)
        return [conv(here if own is None else here[own]) for conv, here, own in levels]

    def unread(self, levels: int) -> list[nn.Parameter]:
        """The parameters that no loss reaches when only the first `levels` levels are read."""
        idle = len(self.fpn_convs) - levels
        parts = [*self.lateral_convs[:idle], *self.fpn_convs[:idle]]
        return [p for part in parts for p in part.parameters()]


class C4(Pyramid):
    """One map for all levels: 1x1 convolution, batch norm and ReLU on the deepest stage, then x1, x2, x4, ...

    resize: bilinear as the paper writes (M5); nearest as the authors' module does.
    """

    def __init__(self, inputs: Sequence[int], width: int, resize: Literal["bilinear", "nearest"]) -> None:
        super().__init__()
        self.conv = ConvNorm(inputs[-1], width, 1, relu=True)
        self.resize = resize

    def forward(self, maps: Sequence[Tensor], rows: Sequence[slice | None]) -> list[Tensor]:
        base = self.conv(maps[-1])
        out = []
        for level, own in enumerate(rows):
            here = base if own is None else base[own]
            if level:
                size = (here.shape[-2] * 2**level, here.shape[-1] * 2**level)
                corners = False if self.resize == "bilinear" else None
                here = F.interpolate(here, size=size, mode=self.resize, align_corners=corners)
            out.append(here)
        return out


class BoxConvs(nn.Sequential):
    """The detector's shared head: `count` 3x3 convolutions with batch norm and ReLU, (N, D, s, s) kept."""

    def __init__(self, width: int, count: int) -> None:
        super().__init__(*(ConvNorm(width, width, 3, relu=True) for _ in range(count)))
