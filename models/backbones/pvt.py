"""PVT, the Pyramid Vision Transformer (https://arxiv.org/abs/2102.12122), in EsViT's 2-2-6-2 layout.

Every token attends to all, but to a map of keys that a strided convolution has shrunk (8, 4, 2, 1 times a
side). Positions are learned a stage and resampled to a crop's size; the last stage has a [CLS] token.
EsViT gives no configuration: widths and heads are PVT-Small's, whose 24 M parameters (3-4-6-3) it prints.
"""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from models.backbones.backbone import Backbone, Features
from models.backbones.blocks import (
    LAYER_NORM_EPS,
    DropPath,
    Mlp,
    attend,
    drop_path_rates,
    init_transformer,
    resize_positions,
    to_map,
)
from models.spec import Spec

DIMS, HEADS, MLP_RATIOS, SHRINKS = (64, 128, 320, 512), (1, 2, 5, 8), (8, 8, 4, 4), (8, 4, 2, 1)


class ShrunkAttention(nn.Module):
    """Attention with keys and values of a map that is `shrink` times smaller. Tokens (B, L, C)."""

    def __init__(self, dim: int, heads: int, shrink: int) -> None:
        super().__init__()
        self.heads, self.scale, self.shrink = heads, (dim // heads) ** -0.5, shrink
        self.q, self.kv, self.proj = nn.Linear(dim, dim), nn.Linear(dim, 2 * dim), nn.Linear(dim, dim)
        if shrink > 1:
            self.sr = nn.Conv2d(dim, dim, shrink, shrink)
            self.norm = nn.LayerNorm(dim, eps=LAYER_NORM_EPS)

    def forward(self, x: Tensor, height: int, width: int) -> Tensor:
        """x (B, L, C) with L = height * width, or one more ([CLS]) where nothing is shrunk."""
        source = x
        if self.shrink > 1:
            # A map smaller than the kernel is one key: zeros are laid around it, as for any ragged rim.
            grid = to_map(x, height, width)
            grid = nn.functional.pad(grid, (0, -width % self.shrink, 0, -height % self.shrink))
            source = self.norm(self.sr(grid).flatten(2).transpose(1, 2))
        k, v = self.kv(source).chunk(2, dim=-1)
        out: Tensor = self.proj(attend(self.q(x), k, v, self.heads, self.scale))
        return out


class PvTBlock(nn.Module):
    """Shrunk attention and an MLP, pre-norm. Tokens (B, L, C)."""

    def __init__(self, dim: int, heads: int, ratio: int, shrink: int, rate: float) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim, eps=LAYER_NORM_EPS)
        self.attn = ShrunkAttention(dim, heads, shrink)
        self.drop_path = DropPath(rate)
        self.norm2 = nn.LayerNorm(dim, eps=LAYER_NORM_EPS)
        self.mlp = Mlp(dim, ratio * dim)

    def forward(self, x: Tensor, height: int, width: int) -> Tensor:
        x = x + self.drop_path(self.attn(self.norm1(x), height, width))
        out: Tensor = x + self.drop_path(self.mlp(self.norm2(x)))
        return out


class Embed(nn.Module):
    """Patches to normalised tokens with positions: (B, C, H, W) -> (B, H' * W', C')."""

    def __init__(self, inputs: int, dim: int, patch: int, side: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(inputs, dim, patch, patch)
        self.norm = nn.LayerNorm(dim, eps=LAYER_NORM_EPS)
        self.positions = nn.Parameter(torch.zeros(1, dim, side, side))
        nn.init.trunc_normal_(self.positions, std=0.02)

    def forward(self, x: Tensor) -> tuple[Tensor, int, int]:
        x = self.proj(x)
        height, width = x.shape[-2:]
        x = self.norm(x.flatten(2).transpose(1, 2))
        return x + resize_positions(self.positions, height, width).flatten(2).transpose(1, 2), height, width


class PvT(Backbone):
    """pooled: the [CLS] token of the last stage; dense: its places; both after the last LayerNorm."""

    def __init__(self, depths: tuple[int, ...], image_size: int, drop_path: float) -> None:
        super().__init__()
        rates = drop_path_rates(drop_path, depths)
        self.embeds, self.layers = nn.ModuleList(), nn.ModuleList()
        inputs, side = 3, image_size
        for stage, dim in enumerate(DIMS):
            patch = 2 if stage else 4
            side //= patch
            self.embeds.append(Embed(inputs, dim, patch, side))
            knobs = (dim, HEADS[stage], MLP_RATIOS[stage], SHRINKS[stage])
            self.layers.append(nn.ModuleList(PvTBlock(*knobs, rate) for rate in rates[stage]))
            inputs = dim
        self.channels, self.stride, self.stage_channels = DIMS[-1], 32, DIMS
        self.cls_token = nn.Parameter(torch.zeros(1, 1, DIMS[-1]))
        nn.init.trunc_normal_(self.cls_token, std=0.02)
        self.norm = nn.LayerNorm(self.channels, eps=LAYER_NORM_EPS)
        self.apply(init_transformer)

    def _blocks(self, images: Tensor) -> list[list[tuple[Tensor, Tensor]]]:
        """(pooled, map) after every block, a list a stage; the last stage has [CLS] and is normalised."""
        x, out = images, []
        for stage, (embed, blocks) in enumerate(zip(self.embeds, self.layers)):
            tokens, height, width = embed(x)
            last = stage == len(DIMS) - 1
            if last:
                tokens = torch.cat([self.cls_token.expand(len(tokens), -1, -1), tokens], dim=1)
            outputs = []
            assert isinstance(blocks, nn.ModuleList)
            for block in blocks:
                tokens = block(tokens, height, width)
                seen = self.norm(tokens) if last else tokens
                pooled, places = (seen[:, 0], seen[:, 1:]) if last else (seen.mean(1), seen)
                outputs.append((pooled, to_map(places, height, width)))
            out.append(outputs)
            x = outputs[-1][1]
        return out

    def forward(self, images: Tensor) -> Features:
        return Features(*self._blocks(images)[-1][-1])

    def stages(self, images: Tensor) -> list[Tensor]:
        return [blocks[-1][1] for blocks in self._blocks(images)]

    def last_blocks(self, images: Tensor, blocks: int) -> Tensor:
        """The pooled features of the last blocks, shallow to deep."""
        flat = [pooled for stage in self._blocks(images) for pooled, _ in stage]
        return torch.cat(flat[-blocks:], dim=-1)


class PvTSpec(Spec):
    """PVT with 64-128-320-512 channels, 32 source pixels a place; 20 M parameters in the 2-2-6-2 layout."""

    name: Literal["pvt_t"] = Field("pvt_t", description="Pyramid Vision Transformer")
    depths: tuple[int, int, int, int] = Field(
        (2, 2, 6, 2), description="blocks a stage; 3-4-6-3 is PVT-Small with 24 M parameters", strict=False
    )
    drop_path: float = Field(0.1, ge=0, lt=1, description="stochastic depth of the last block")
    image_size: int = Field(224, ge=32, description="side of a large view, to which positions belong")


def build_pvt(spec: PvTSpec) -> Backbone:
    """The PVT without a classifier."""
    return PvT(spec.depths, spec.image_size, spec.drop_path)
