"""Swin Transformer (https://arxiv.org/abs/2103.14030) as EsViT and GLSD run it, on crops of several sizes.

Windows and shifts are fixed when the network is built, from the size of a global crop (`image_size`). A
smaller crop's map is zero-padded on the right and bottom to a multiple of the window, and padded tokens
take part in the attention (`padding: mask_free`, the released code); `padding: shrink` instead cuts the
window down to a map that it exceeds, without shift, as timm does. Parameter names are those of the
released checkpoints.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Literal

import torch
from pydantic import Field, model_validator
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
from models.spec import Spec

Padding = Literal["mask_free", "shrink"]
PADDINGS = (
    "maps smaller than a window: mask_free pads them with tokens that take part in attention (EsViT, GLSD); "
    "shrink cuts the window to the map, without shift (timm)"
)


def partition(x: Tensor, window: int) -> Tensor:
    """(B, H, W, C) -> (B * windows, window^2, C), windows row-major."""
    b, h, w, c = x.shape
    x = x.view(b, h // window, window, w // window, window, c)
    return x.transpose(2, 3).reshape(-1, window * window, c)


def reverse(windows: Tensor, window: int, height: int, width: int) -> Tensor:
    """The inverse of `partition`: -> (B, height, width, C)."""
    c = windows.shape[-1]
    x = windows.view(-1, height // window, width // window, window, window, c)
    return x.transpose(2, 3).reshape(-1, height, width, c)


@lru_cache(maxsize=64)
def shift_mask(height: int, width: int, window: int, shift: int, device: torch.device) -> Tensor:
    """(windows, 1, window^2, window^2): -100 between tokens that the cyclic shift brought together."""
    region = torch.zeros(1, height, width, 1)
    slices = (slice(0, -window), slice(-window, -shift), slice(-shift, None))
    for number, (rows, columns) in enumerate((r, c) for r in slices for c in slices):
        region[:, rows, columns] = number
    region = partition(region, window).squeeze(-1)  # (windows, N)
    apart = region[:, None, :] != region[:, :, None]
    return (apart * -100.0).unsqueeze(1).to(device)


@lru_cache(maxsize=64)
def relative_index(window: int, table: int, device: torch.device) -> Tensor:
    """(window^2, window^2) rows of a bias table that was made for windows of side `table` >= window."""
    y, x = torch.meshgrid(torch.arange(window), torch.arange(window), indexing="ij")
    y, x = y.flatten(), x.flatten()
    dy, dx = y[:, None] - y[None, :], x[:, None] - x[None, :]
    return ((dy + table - 1) * (2 * table - 1) + dx + table - 1).to(device)


class WindowAttention(nn.Module):
    """Attention within windows with a learned bias for every relative position."""

    def __init__(self, dim: int, window: int, heads: int) -> None:
        super().__init__()
        self.window, self.heads, self.scale = window, heads, (dim // heads) ** -0.5
        self.relative_position_bias_table = nn.Parameter(torch.empty((2 * window - 1) ** 2, heads))
        nn.init.trunc_normal_(self.relative_position_bias_table, std=0.02)
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: Tensor, window: int, mask: Tensor | None) -> Tensor:
        """x (B * windows, window^2, C); mask (windows, 1, window^2, window^2) or None."""
        index = relative_index(window, self.window, x.device)
        bias = self.relative_position_bias_table[index].permute(2, 0, 1)[None]  # (1, heads, N, N)
        if mask is not None:
            bias = (bias + mask.to(bias.dtype)).repeat(x.shape[0] // mask.shape[0], 1, 1, 1)
        q, k, v = self.qkv(x).chunk(3, dim=-1)
        out: Tensor = self.proj(attend(q, k, v, self.heads, self.scale, bias))
        return out


class SwinBlock(nn.Module):
    """(Shifted) window attention and an MLP, pre-norm. Maps (B, H, W, C)."""

    def __init__(
        self, dim: int, heads: int, window: int, shift: int, mlp_ratio: float, rate: float, padding: Padding
    ) -> None:
        super().__init__()
        self.window, self.shift, self.padding = window, shift, padding
        self.norm1 = nn.LayerNorm(dim, eps=LAYER_NORM_EPS)
        self.attn = WindowAttention(dim, window, heads)
        self.drop_path = DropPath(rate)
        self.norm2 = nn.LayerNorm(dim, eps=LAYER_NORM_EPS)
        self.mlp = Mlp(dim, int(dim * mlp_ratio))

    def _attend(self, x: Tensor) -> Tensor:
        h, w = x.shape[1:3]
        window, shift = self.window, self.shift
        if self.padding == "shrink" and min(h, w) <= window:
            window, shift = min(h, w), 0
        right, bottom = -w % window, -h % window
        x = pad(x, (0, 0, 0, right, 0, bottom))  # after norm1: a padded key is the qkv bias
        height, width = x.shape[1:3]
        mask = None
        if shift:
            x = x.roll((-shift, -shift), (1, 2))
            mask = shift_mask(height, width, window, shift, x.device)
        x = reverse(self.attn(partition(x, window), window, mask), window, height, width)
        if shift:
            x = x.roll((shift, shift), (1, 2))
        return x[:, :h, :w]

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.drop_path(self._attend(self.norm1(x)))
        out: Tensor = x + self.drop_path(self.mlp(self.norm2(x)))
        return out


class PatchMerging(nn.Module):
    """2 x 2 neighbours concatenated, LayerNorm, Linear: (B, H, W, C) -> (B, ceil(H/2), ceil(W/2), 2C)."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(4 * dim, eps=LAYER_NORM_EPS)
        self.reduction = nn.Linear(4 * dim, 2 * dim, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        x = pad(x, (0, 0, 0, x.shape[2] % 2, 0, x.shape[1] % 2))
        x = torch.cat([x[:, 0::2, 0::2], x[:, 1::2, 0::2], x[:, 0::2, 1::2], x[:, 1::2, 1::2]], dim=-1)
        out: Tensor = self.reduction(self.norm(x))
        return out


class PatchEmbed(nn.Module):
    """Non-overlapping patches to normalised tokens: (B, 3, s, s) -> (B, H, W, C)."""

    def __init__(self, dim: int, patch: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, dim, patch, patch)
        self.norm = nn.LayerNorm(dim, eps=LAYER_NORM_EPS)

    def forward(self, images: Tensor) -> Tensor:
        out: Tensor = self.norm(self.proj(images).permute(0, 2, 3, 1))
        return out


class SwinStage(nn.Module):
    """Blocks of one width, then the merging that ends the stage (none after the last)."""

    def __init__(self, blocks: list[SwinBlock], downsample: PatchMerging | None) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(blocks)
        self.downsample = downsample


class Swin(Hierarchy):
    """Stages of windowed attention, joined by patch merging."""

    def __init__(
        self,
        dim: int,
        depths: tuple[int, ...],
        heads: tuple[int, ...],
        window: int,
        drop_path: float,
        patch: int = 4,
        mlp_ratio: float = 4.0,
        image_size: int = 224,
        padding: Padding = "mask_free",
    ) -> None:
        super().__init__()
        self.patch_embed = PatchEmbed(dim, patch)
        self.layers = nn.ModuleList()
        rates = drop_path_rates(drop_path, depths)
        side = image_size // patch  # nominal places a side, which fix window and shift
        for stage, depth in enumerate(depths):
            width = dim * 2**stage
            w = min(window, side)
            blocks = [
                SwinBlock(
                    width,
                    heads[stage],
                    w,
                    0 if i % 2 == 0 or side <= window else w // 2,
                    mlp_ratio,
                    rates[stage][i],
                    padding,
                )
                for i in range(depth)
            ]
            last = stage == len(depths) - 1
            self.layers.append(SwinStage(blocks, None if last else PatchMerging(width)))
            side = side if last else (side + 1) // 2
        self.channels = dim * 2 ** (len(depths) - 1)
        self.stride = patch * 2 ** (len(depths) - 1)
        self.stage_channels = tuple(dim * 2**stage for stage in range(len(depths)))
        self.norm = nn.LayerNorm(self.channels, eps=LAYER_NORM_EPS)
        self.apply(init_transformer)

    def block_maps(self, images: Tensor) -> list[list[Tensor]]:
        """The map (B, H, W, C) after every block, a list a stage."""
        x = self.patch_embed(images)
        out: list[list[Tensor]] = []
        for stage in self.layers:
            assert isinstance(stage, SwinStage)
            outputs = []
            for block in stage.blocks:
                x = block(x)
                outputs.append(x)
            out.append(outputs)
            if stage.downsample is not None:
                x = stage.downsample(x)
        return out


class SwinSpec(Spec):
    """Liu et al., arXiv 2103.14030: 28, 49 and 87 M parameters, 32 source pixels a place."""

    name: Literal["swin_t", "swin_s", "swin_b"] = Field("swin_t", description="size")
    window: int = Field(7, ge=2, le=64, description="window's side in places; the papers have 7 and 14")
    drop_path: float | None = Field(
        None, ge=0, lt=1, description="stochastic depth of the last block; None: 0.1 for swin_t, else 0.2"
    )
    image_size: int = Field(
        224, ge=32, description="side of a large view, by which windows and shifts are laid out"
    )
    padding: Padding = Field("mask_free", description=PADDINGS)


class SwinTinySpec(Spec):
    """A three-stage Swin for 16 to 32 px pictures on a CPU: 0.5 M parameters, 8 source pixels a place."""

    name: Literal["swin_tiny"] = Field("swin_tiny", description="the laptop's Swin")
    dim: int = Field(32, ge=8, le=256, description="channels of the first stage; the others have 2x and 4x")
    patch: int = Field(2, ge=1, le=8, description="side of a patch in pixels; a place is 4 patches wide")
    window: int = Field(4, ge=2, le=16, description="window's side in places")
    drop_path: float = Field(0.0, ge=0, lt=1, description="stochastic depth of the last block")
    image_size: int = Field(
        32, ge=8, description="side of a large view, by which windows and shifts are laid out"
    )
    padding: Padding = Field("mask_free", description=PADDINGS)

    @model_validator(mode="after")
    def _heads(self) -> SwinTinySpec:
        if self.dim % 16:
            raise ValueError(f"dim {self.dim} must be a multiple of 16, the width of a head")
        return self


_SIZES = {  # dim, depths, heads, drop-path
    "swin_t": (96, (2, 2, 6, 2), (3, 6, 12, 24), 0.1),
    "swin_s": (96, (2, 2, 18, 2), (3, 6, 12, 24), 0.2),
    "swin_b": (128, (2, 2, 18, 2), (4, 8, 16, 32), 0.2),
}


def build_swin(spec: SwinSpec) -> Backbone:
    """Swin-T, -S or -B without a classifier."""
    dim, depths, heads, rate = _SIZES[spec.name]
    rate = rate if spec.drop_path is None else spec.drop_path
    return Swin(dim, depths, heads, spec.window, rate, image_size=spec.image_size, padding=spec.padding)


def build_swin_tiny(spec: SwinTinySpec) -> Backbone:
    """The laptop's Swin: 4 x 4 places at 32 px."""
    heads = tuple(spec.dim // 16 * 2**i for i in range(3))
    return Swin(
        spec.dim,
        (2, 2, 2),
        heads,
        spec.window,
        spec.drop_path,
        spec.patch,
        4.0,
        spec.image_size,
        spec.padding,
    )
