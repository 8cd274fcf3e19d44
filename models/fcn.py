"""A fully convolutional network over a backbone: the class of every pixel (Long et al., arXiv 1411.4038).

As LEWEL uses it, with mmsegmentation's head: two 3x3 convolutions on the last map, their result beside the map
itself through a third, and a classifier; while the backbone is trained, a smaller head on the map of the stage
before. Residual networks are dilated to the wanted stride. Other backbones' maps are enlarged to it.
"""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.backbones.backbone import Backbone

DROPOUT = 0.1  # of whole channels before a classifier


class FCN(nn.Module):
    """Pictures (B, 3, H, W) of any size to logits (B, K, H, W), and those of the auxiliary head, or None.

    backbone: taken over and changed (dilated, and resting for good where `frozen`). width: channels of the head;
    the auxiliary head has half of them. stride: pixels a place of the map that the head works on, at most.
    """

    def __init__(
        self, backbone: Backbone, classes: int, *, width: int, stride: int = 8, frozen: bool = False
    ) -> None:
        super().__init__()
        backbone.dilate(stride)
        self.least = max(backbone.stride, stride)  # pictures are padded to a multiple of it
        self.backbone = backbone.requires_grad_(not frozen)
        self.stride, self.frozen = stride, frozen
        channels = backbone.stage_channels
        self.convs = nn.Sequential(_unit(channels[-1], width), _unit(width, width))
        self.joint = _unit(channels[-1] + width, width)
        self.classifier = _classifier(width, classes)
        self.auxiliary: nn.Module | None = None
        if len(channels) > 1 and not frozen:  # a frozen backbone has nothing to learn from it
            half = max(1, width // 2)
            self.auxiliary = nn.Sequential(_unit(channels[-2], half), _classifier(half, classes))

    def train(self, mode: bool = True) -> FCN:
        super().train(mode)
        if self.frozen:
            self.backbone.eval()
        return self

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor | None]:
        height, width = images.shape[2:]
        tall, wide = (math.ceil(side / self.least) * self.least for side in (height, width))
        padded = F.pad(images, (0, wide - width, 0, tall - height))
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.frozen):
            maps = self.backbone.stages(padded)
        places = (tall // self.stride, wide // self.stride)
        last = _enlarged(maps[-1], places)
        logits = self.classifier(self.joint(torch.cat([last, self.convs(last)], 1)))
        logits = _to_pixels(logits, (tall, wide))[:, :, :height, :width]
        if self.auxiliary is None or not self.training:
            return logits, None
        extra = self.auxiliary(_enlarged(maps[-2], places))
        return logits, _to_pixels(extra, (tall, wide))[:, :, :height, :width]


def _unit(inputs: int, outputs: int) -> nn.Sequential:
    conv = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
    nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
    return nn.Sequential(conv, nn.BatchNorm2d(outputs), nn.ReLU(inplace=True))


def _classifier(inputs: int, classes: int) -> nn.Sequential:
    conv = nn.Conv2d(inputs, classes, 1)
    nn.init.normal_(conv.weight, std=0.01)
    nn.init.zeros_(conv.bias)  # type: ignore[arg-type]
    return nn.Sequential(nn.Dropout2d(DROPOUT), conv)


def _enlarged(maps: Tensor, places: tuple[int, int]) -> Tensor:
    """The map at `places`, where it has fewer."""
    if maps.shape[2] >= places[0] and maps.shape[3] >= places[1]:
        return maps
    return _to_pixels(maps, places)


def _to_pixels(maps: Tensor, size: tuple[int, int]) -> Tensor:
    given: Any = maps.shape[2:]
    return maps if given == size else F.interpolate(maps, size=size, mode="bilinear", align_corners=False)
