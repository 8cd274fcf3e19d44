"""ViL, the Vision Longformer (https://arxiv.org/abs/2103.15358), in EsViT's 2-2-6-2 layout.

A place attends to the places of its own window and of the eight windows around it, and to one global token,
which attends to everything; the last stage has no global token. As in the release, training first takes one
random neighbour window instead of eight (`neighbours: random`), and all of them after 75 % of the training.
"""

from __future__ import annotations

from functools import lru_cache
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
from models.backbones.swin import PatchEmbed, partition, reverse
from models.spec import Spec

DIMS, DEPTHS = (96, 192, 384, 768), (2, 2, 6, 2)
HEADS = {"release": (3, 6, 12, 24), "paper": (3, 3, 6, 12)}
OWN = (0, 0)
AROUND = tuple((dy, dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1) if (dy, dx) != OWN)
Offsets = tuple[tuple[int, int], ...]


def around(windows: Tensor, offsets: Offsets) -> Tensor:
    """The windows at `offsets` of every window, zeros beyond the map.

    windows (B, rows, columns, N, C) -> (B, rows, columns, len(offsets) * N, C).
    """
    rows, columns = windows.shape[1:3]
    wide = pad(windows, (0, 0, 0, 0, 1, 1, 1, 1))
    parts = [wide[:, 1 + dy : 1 + dy + rows, 1 + dx : 1 + dx + columns] for dy, dx in offsets]
    return torch.cat(parts, dim=3)


@lru_cache(maxsize=64)
def bias_index(window: int, offsets: Offsets, device: torch.device) -> Tensor:
    """(window^2, len(offsets) * window^2) rows of a table of (4 * window - 1)^2 relative positions."""
    y, x = torch.meshgrid(torch.arange(window), torch.arange(window), indexing="ij")
    y, x = y.flatten(), x.flatten()
    reach, side = 2 * window - 1, 4 * window - 1
    parts = [
        (y[:, None] - y - dy * window + reach) * side + x[:, None] - x - dx * window + reach
        for dy, dx in offsets
    ]
    return torch.cat(parts, dim=1).to(device)


@lru_cache(maxsize=64)
def beyond(height: int, width: int, window: int, offsets: Offsets, device: torch.device) -> Tensor:
    """(rows * columns, 1, 1, len(offsets) * window^2): true where a key lies outside the map."""
    inside = pad(torch.ones(1, height, width, 1), (0, 0, 0, -width % window, 0, -height % window))
    rows, columns = inside.shape[1] // window, inside.shape[2] // window
    keys = around(partition(inside, window).view(1, rows, columns, window**2, 1), offsets)
    return (keys.view(rows * columns, 1, 1, -1) == 0).to(device)


class LongAttention(nn.Module):
    """Attention of the places (B, H, W, C) with neighbouring windows, and of global tokens (B, G, C)."""

    def __init__(self, dim: int, heads: int, window: int, tokens: int) -> None:
        super().__init__()
        self.heads, self.window, self.scale = heads, window, (dim // heads) ** -0.5
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)
        self.relative_position_bias_table = nn.Parameter(torch.empty((4 * window - 1) ** 2, heads))
        if tokens:
            self.to_global = nn.Parameter(
                torch.zeros(heads, tokens)
            )  # bias of a place towards a global token
            self.from_global = nn.Parameter(torch.zeros(heads, tokens))  # of a global token towards any place
        nn.init.trunc_normal_(self.relative_position_bias_table, std=0.02)

    def forward(self, x: Tensor, tokens: Tensor, offsets: Offsets) -> tuple[Tensor, Tensor]:
        _, h, w, _ = x.shape
        q, k, v = self.qkv(x).chunk(3, dim=-1)
        q0, k0, v0 = self.qkv(tokens).chunk(3, dim=-1)
        out: Tensor = self.proj(self._places(q, k, v, k0, v0, offsets))
        if not tokens.shape[1]:
            return out, tokens
        keys, values = torch.cat([k0, k.flatten(1, 2)], 1), torch.cat([v0, v.flatten(1, 2)], 1)
        bias = pad(self.from_global[:, :, None].expand(-1, -1, h * w), (tokens.shape[1], 0))[None]
        return out, self.proj(attend(q0, keys, values, self.heads, self.scale, bias))

    def _places(self, q: Tensor, k: Tensor, v: Tensor, k0: Tensor, v0: Tensor, offsets: Offsets) -> Tensor:
        b, h, w, c = q.shape
        window = self.window
        q, k, v = (pad(x, (0, 0, 0, -w % window, 0, -h % window)) for x in (q, k, v))
        rows, columns = q.shape[1] // window, q.shape[2] // window
        if rows == columns == 1:
            offsets = (OWN,)

        def gathered(x: Tensor, x0: Tensor) -> Tensor:
            near = around(partition(x, window).view(b, rows, columns, window**2, c), offsets)
            first = x0[:, None, None].expand(-1, rows, columns, -1, -1)
            return torch.cat([first, near], dim=3).flatten(0, 2)  # (B * windows, G + keys, C)

        index = bias_index(window, offsets, q.device)
        bias = self.relative_position_bias_table[index].permute(2, 0, 1)  # (heads, N, keys)
        bias = bias.masked_fill(beyond(h, w, window, offsets, q.device), float("-inf"))
        if k0.shape[1]:
            first = self.to_global[None, :, None].expand(len(bias), -1, window**2, -1)
            bias = torch.cat([first, bias], dim=-1)
        bias = bias.repeat(b, 1, 1, 1)
        out = attend(partition(q, window), gathered(k, k0), gathered(v, v0), self.heads, self.scale, bias)
        return reverse(out, window, rows * window, columns * window)[:, :h, :w]


class ViLBlock(nn.Module):
    """Long attention and an MLP, pre-norm, on places and global tokens with the same weights."""

    def __init__(self, dim: int, heads: int, window: int, tokens: int, rate: float) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim, eps=LAYER_NORM_EPS)
        self.attn = LongAttention(dim, heads, window, tokens)
        self.drop_path = DropPath(rate)
        self.norm2 = nn.LayerNorm(dim, eps=LAYER_NORM_EPS)
        self.mlp = Mlp(dim, 4 * dim)

    def forward(self, x: Tensor, tokens: Tensor, offsets: Offsets) -> tuple[Tensor, Tensor]:
        places, others = self.attn(self.norm1(x), self.norm1(tokens), offsets)
        _, h, w, _ = x.shape
        every = torch.cat([tokens, x.flatten(1, 2)], 1)  # one drop-path draw a sample for both
        every = every + self.drop_path(torch.cat([others, places.flatten(1, 2)], 1))
        every = every + self.drop_path(self.mlp(self.norm2(every)))
        tokens, x = every.split([tokens.shape[1], h * w], 1)
        return x.unflatten(1, (h, w)), tokens


class Merge(nn.Module):
    """2 x 2 neighbours to one place of a wider map, normalised: (B, H, W, C) -> (B, H/2, W/2, C')."""

    def __init__(self, inputs: int, dim: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(inputs, dim, 2, 2)
        self.norm = nn.LayerNorm(dim, eps=LAYER_NORM_EPS)

    def forward(self, x: Tensor) -> Tensor:
        x = pad(x, (0, 0, 0, x.shape[2] % 2, 0, x.shape[1] % 2))
        out: Tensor = self.norm(self.proj(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1))
        return out


class ViL(Hierarchy):
    """Stages of sliding-chunk attention with global tokens, which no feature shows."""

    def __init__(
        self, heads: tuple[int, ...], window: int, drop_path: float, neighbours: str, switch: float
    ) -> None:
        super().__init__()
        self.neighbours, self.switch, self.t = neighbours, switch, 0.0
        rates = drop_path_rates(drop_path, DEPTHS)
        self.embeds, self.layers = nn.ModuleList(), nn.ModuleList()
        self.tokens = nn.ParameterList()
        for stage, dim in enumerate(DIMS):
            count = 0 if stage == len(DIMS) - 1 else 1
            if count:
                self.tokens.append(nn.Parameter(torch.empty(1, count, dim).normal_(std=0.02)))
            self.embeds.append(Merge(DIMS[stage - 1], dim) if stage else PatchEmbed(dim, 4))
            blocks = [ViLBlock(dim, heads[stage], window, count, rate) for rate in rates[stage]]
            self.layers.append(nn.ModuleList(blocks))
        self.channels, self.stride, self.stage_channels = DIMS[-1], 32, DIMS
        self.norm = nn.LayerNorm(self.channels, eps=LAYER_NORM_EPS)
        self.apply(init_transformer)

    def prepare(self, t: float) -> None:
        self.t = t

    def _offsets(self) -> Offsets:
        if self.training and self.neighbours == "random" and self.t < self.switch:
            return (OWN, AROUND[int(torch.randint(len(AROUND), ()))])
        return (OWN, *AROUND)

    def block_maps(self, images: Tensor) -> list[list[Tensor]]:
        """The map (B, H, W, C) after every block, a list a stage."""
        x, out = images, []
        for stage, (embed, blocks) in enumerate(zip(self.embeds, self.layers)):
            x = embed(x)
            tokens = x.new_zeros(len(images), 0, x.shape[-1])
            if stage < len(self.tokens):
                tokens = self.tokens[stage].expand(len(images), -1, -1)
            outputs = []
            assert isinstance(blocks, nn.ModuleList)
            for block in blocks:
                x, tokens = block(x, tokens, self._offsets())
                outputs.append(x)
            out.append(outputs)
        return out


class ViLSpec(Spec):
    """ViL-T of EsViT's Table 6: 96-192-384-768 channels, 28 M parameters, 32 source pixels a place."""

    name: Literal["vil_t"] = Field("vil_t", description="Vision Longformer with two, two, six, two blocks")
    window: int = Field(7, ge=2, le=64, description="window's side in places")
    heads: Literal["release", "paper"] = Field(
        "release", description="heads a stage: release 3-6-12-24, paper 3-3-6-12 (E12)"
    )
    neighbours: Literal["random", "all"] = Field(
        "random", description="windows around that a window sees in training: one random one, or all eight"
    )
    switch: float = Field(0.75, ge=0, le=1, description="share of the training after which it sees all eight")
    drop_path: float = Field(0.1, ge=0, lt=1, description="stochastic depth of the last block")


def build_vil(spec: ViLSpec) -> Backbone:
    """ViL-T without a classifier."""
    return ViL(HEADS[spec.heads], spec.window, spec.drop_path, spec.neighbours, spec.switch)
