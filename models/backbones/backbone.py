"""What every backbone is: pictures in, a dense map and a pooled feature out."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor, nn


class Features(NamedTuple):
    """pooled: (B, C), the picture's feature. dense: (B, C, H, W), one feature a place."""

    pooled: Tensor
    dense: Tensor


class Backbone(nn.Module):
    """Pictures (B, 3, s, s) to Features.

    channels: C of the last stage. stride: source pixels a place of the last map.
    stage_channels: channels of each stage of `stages`, shallow to deep.
    """

    channels: int
    stride: int
    stage_channels: tuple[int, ...]

    def forward(self, images: Tensor) -> Features:
        raise NotImplementedError

    def prepare(self, t: float) -> None:
        """Before a training step at progress `t` in [0, 1): whatever of the network follows a schedule."""

    def stages(self, images: Tensor) -> list[Tensor]:
        """The map after every stage, (B, C_i, H_i, W_i), shallow to deep (C2..C5 of an FPN)."""
        raise NotImplementedError

    def dilate(self, stride: int) -> None:
        """Makes a place of the last map at most `stride` pixels wide, without a new parameter, where the
        network can: strides become dilations. A network that cannot stays as it is; see `self.stride`."""

    def last_blocks(self, images: Tensor, blocks: int) -> Tensor:
        """The concatenated pooled features of the last `blocks` blocks, (B, sum of channels): the linear
        probe of DINO and EsViT. A convolutional backbone gives its pooled feature."""
        return self.forward(images).pooled

    def cut(self) -> nn.Module:
        """Takes the last stage off and returns it: it turns the map of the stage before into the last one.
        Afterwards `stages` ends with the map before it, twice. For detectors that use it as their head."""
        raise ValueError(
            f"{type(self).__name__} has no last stage that a detector's head could be (C4): use neck fpn"
        )
