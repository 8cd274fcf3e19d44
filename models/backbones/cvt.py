"""CvT (https://arxiv.org/abs/2103.15808) in EsViT's 2-2-6-2 layout: convolutional tokens, windowed attention.

Queries, keys and values come from a depthwise-separable convolution of the map, so that nothing else needs
to say where a token is; EsViT attends within windows without shift. The scale of the attention is that of
the stage's width, not of a head's, and relative biases are off, as in the released configuration (E12).
"""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import pad

from models.backbones.backbone import Backbone
from models.backbones.blocks import (
    LAYER_NORM_EPS,
    DropPath,
    Mlp,
    attend,
    drop_path_rates,
    init_transformer,
)
from models.backbones.hierarchy import Hierarchy
from models.backbones.swin import partition, relative_index, reverse
from models.spec import Spec

DIMS, DEPTHS, HEADS = (64, 192, 384, 768), (2, 2, 6, 2), (1, 3, 6, 12)


class ConvEmbed(nn.Module):
    """Overlapping patches to normalised tokens: (B, C, H, W) -> (B, H', W', C')."""

    def __init__(self, inputs: int, dim: int, kernel: int, stride: int, padding: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(inputs, dim, kernel, stride, padding)
        self.norm = nn.LayerNorm(dim, eps=LAYER_NORM_EPS)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.norm(self.proj(x).permute(0, 2, 3, 1))
        return out


class ConvAttention(nn.Module):
    """Attention within windows of queries, keys and values that are convolved. Maps (B, H, W, C)."""

    def __init__(self, dim: int, heads: int, window: int, relative_bias: bool) -> None:
        super().__init__()
        self.heads, self.window, self.scale = heads, window, dim**-0.5
        self.depthwise = nn.Conv2d(dim, dim, 3, padding=1, groups=dim)
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)
        table = nn.Parameter(torch.zeros((2 * window - 1) ** 2, heads)) if relative_bias else None
        self.relative_position_bias_table = table

    def forward(self, x: Tensor) -> Tensor:
        h, w = x.shape[1:3]
        window = self.window
        x = self.qkv(self.depthwise(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1))
        x = pad(x, (0, 0, 0, -w % window, 0, -h % window))
        height, width = x.shape[1:3]
        q, k, v = partition(x, window).chunk(3, dim=-1)
        bias = None
        if self.relative_position_bias_table is not None:
            index = relative_index(window, window, x.device)
            bias = self.relative_position_bias_table[index].permute(2, 0, 1)[None]
        out = reverse(attend(q, k, v, self.heads, self.scale, bias), window, height, width)
        projected: Tensor = self.proj(out[:, :h, :w])
        return projected


class CvTBlock(nn.Module):
    """Convolutional attention and an MLP, pre-norm. Maps (B, H, W, C)."""

    def __init__(self, dim: int, heads: int, window: int, rate: float, relative_bias: bool) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim, eps=LAYER_NORM_EPS)
        self.attn = ConvAttention(dim, heads, window, relative_bias)
        self.drop_path = DropPath(rate)
        self.norm2 = nn.LayerNorm(dim, eps=LAYER_NORM_EPS)
        self.mlp = Mlp(dim, 4 * dim)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.drop_path(self.attn(self.norm1(x)))
        out: Tensor = x + self.drop_path(self.mlp(self.norm2(x)))
        return out


class CvT(Hierarchy):
    """Stages of convolutional token embeddings and windowed attention."""

    def __init__(self, window: int, drop_path: float, relative_bias: bool) -> None:
        super().__init__()
        rates = drop_path_rates(drop_path, DEPTHS)
        self.embeds, self.layers = nn.ModuleList(), nn.ModuleList()
        inputs = 3
        for stage, (dim, heads) in enumerate(zip(DIMS, HEADS)):
            self.embeds.append(
                ConvEmbed(inputs, dim, 7, 4, 2) if stage == 0 else ConvEmbed(inputs, dim, 3, 2, 1)
            )
            blocks = [CvTBlock(dim, heads, window, rate, relative_bias) for rate in rates[stage]]
            self.layers.append(nn.ModuleList(blocks))
            inputs = dim
        self.channels, self.stride, self.stage_channels = DIMS[-1], 32, DIMS
        self.norm = nn.LayerNorm(self.channels, eps=LAYER_NORM_EPS)
        self.apply(init_transformer)

    def block_maps(self, images: Tensor) -> list[list[Tensor]]:
        """The map (B, H, W, C) after every block, a list a stage."""
        x, out = images, []
        for embed, blocks in zip(self.embeds, self.layers):
            x = embed(x)
            outputs = []
            assert isinstance(blocks, nn.ModuleList)
            for block in blocks:
                x = block(x)
                outputs.append(x)
            out.append(outputs)
            x = x.permute(0, 3, 1, 2)
        return out


class CvTSpec(Spec):
    """CvT-T of EsViT's Table 6: 64-192-384-768 channels, 29 M parameters, 32 source pixels a place."""

    name: Literal["cvt_t"] = Field("cvt_t", description="CvT with two, two, six and two blocks")
    window: int = Field(7, ge=2, le=64, description="window's side in places")
    relative_bias: bool = Field(
        False, description="bias by relative position: off in the release, on in the paper's text (E12)"
    )
    drop_path: float = Field(0.1, ge=0, lt=1, description="stochastic depth of the last block")


def build_cvt(spec: CvTSpec) -> Backbone:
    """CvT-T without a classifier."""
    return CvT(spec.window, spec.drop_path, spec.relative_bias)
