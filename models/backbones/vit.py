"""The plain Vision Transformer (https://arxiv.org/abs/2010.11929), DeiT-S/16 as DINO trains it.

One resolution throughout and all tokens attend to all: EsViT's "monolithic" rival. Position embeddings are
resampled bicubically to the size of a crop. Parameter names are those of DINO's checkpoints.
"""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field, model_validator
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


class Attention(nn.Module):
    """Attention of all tokens with all."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads, self.scale = heads, (dim // heads) ** -0.5
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(x).chunk(3, dim=-1)
        out: Tensor = self.proj(attend(q, k, v, self.heads, self.scale))
        return out


class Block(nn.Module):
    """Attention and an MLP, pre-norm. Tokens (B, L, C)."""

    def __init__(self, dim: int, heads: int, rate: float) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim, eps=LAYER_NORM_EPS)
        self.attn = Attention(dim, heads)
        self.drop_path = DropPath(rate)
        self.norm2 = nn.LayerNorm(dim, eps=LAYER_NORM_EPS)
        self.mlp = Mlp(dim, 4 * dim)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.drop_path(self.attn(self.norm1(x)))
        out: Tensor = x + self.drop_path(self.mlp(self.norm2(x)))
        return out


class PatchEmbed(nn.Module):
    """Patches to tokens, (B, 3, s, s) -> (B, C, H, W), not normalised."""

    def __init__(self, dim: int, patch: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, dim, patch, patch)

    def forward(self, images: Tensor) -> Tensor:
        out: Tensor = self.proj(images)
        return out


class ViT(Backbone):
    """pooled: the [CLS] token; dense: the patch tokens, both after the last LayerNorm. One stage."""

    def __init__(
        self, dim: int, depth: int, heads: int, patch: int, image_size: int, drop_path: float
    ) -> None:
        super().__init__()
        self.side = image_size // patch
        self.patch_embed = PatchEmbed(dim, patch)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, dim))
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + self.side**2, dim))
        rates = drop_path_rates(drop_path, (depth,))[0]
        self.blocks = nn.ModuleList(Block(dim, heads, rate) for rate in rates)
        self.norm = nn.LayerNorm(dim, eps=LAYER_NORM_EPS)
        self.channels, self.stride, self.stage_channels = dim, patch, (dim,)
        self.apply(init_transformer)
        nn.init.trunc_normal_(self.cls_token, std=0.02)
        nn.init.trunc_normal_(self.pos_embed, std=0.02)

    def _tokens(self, images: Tensor) -> tuple[Tensor, int, int]:
        """[CLS] and patches with their positions (B, 1 + H * W, C), H, W."""
        patches = self.patch_embed(images)
        height, width = patches.shape[-2:]
        positions = to_map(self.pos_embed[:, 1:], self.side, self.side)
        patches = patches + resize_positions(positions, height, width)
        first = (self.cls_token + self.pos_embed[:, :1]).expand(len(images), -1, -1)
        return torch.cat([first, patches.flatten(2).transpose(1, 2)], dim=1), height, width

    def forward(self, images: Tensor) -> Features:
        x, height, width = self._tokens(images)
        for block in self.blocks:
            x = block(x)
        x = self.norm(x)
        return Features(x[:, 0], to_map(x[:, 1:], height, width))

    def stages(self, images: Tensor) -> list[Tensor]:
        return [self.forward(images).dense]

    def last_blocks(self, images: Tensor, blocks: int) -> Tensor:
        """The [CLS] tokens of the last blocks, shallow to deep, each through the last LayerNorm (DINO)."""
        x, _, _ = self._tokens(images)
        found = []
        for number, block in enumerate(self.blocks):
            x = block(x)
            if number >= len(self.blocks) - blocks:
                found.append(self.norm(x[:, :1])[:, 0])
        return torch.cat(found, dim=-1)


class ViTSpec(Spec):
    """DeiT-S/16: 384 channels, 12 blocks, 6 heads, 22 M parameters, 16 source pixels a place."""

    name: Literal["vit_s16"] = Field("vit_s16", description="ViT-S (DeiT-S) with patches of 16 px")
    drop_path: float = Field(0.1, ge=0, lt=1, description="stochastic depth of the last block")
    image_size: int = Field(224, ge=32, description="side of a large view, to which positions belong")


class ViTTinySpec(Spec):
    """A plain Transformer for 16 to 32 px pictures on a CPU: 0.8 M parameters, 4 source pixels a place."""

    name: Literal["vit_tiny"] = Field("vit_tiny", description="the laptop's ViT")
    dim: int = Field(128, ge=16, le=512, description="channels; a multiple of 32, the width of a head")
    depth: int = Field(4, ge=1, le=24, description="blocks")
    patch: int = Field(4, ge=1, le=16, description="side of a patch in pixels")
    drop_path: float = Field(0.0, ge=0, lt=1, description="stochastic depth of the last block")
    image_size: int = Field(32, ge=8, description="side of a large view, to which positions belong")

    @model_validator(mode="after")
    def _heads(self) -> ViTTinySpec:
        if self.dim % 32:
            raise ValueError(f"dim {self.dim} must be a multiple of 32, the width of a head")
        if self.image_size < self.patch:
            raise ValueError(f"image_size {self.image_size} is below patch {self.patch}")
        return self


def build_vit(spec: ViTSpec) -> Backbone:
    """DeiT-S/16 without a classifier."""
    return ViT(384, 12, 6, 16, spec.image_size, spec.drop_path)


def build_vit_tiny(spec: ViTTinySpec) -> Backbone:
    """The laptop's ViT: 8 x 8 places at 32 px."""
    return ViT(spec.dim, spec.depth, spec.dim // 32, spec.patch, spec.image_size, spec.drop_path)
