"""Where the last block of a ViT or Swin looks from one place, head by head: what pictures of attention show."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from models.backbones.backbone import Backbone
from models.backbones.swin import Swin, SwinBlock, partition, relative_index
from models.backbones.vit import Block, ViT


def has_attention(backbone: Backbone) -> bool:
    """Whether `last_attention` knows the backbone."""
    return isinstance(backbone, ViT | Swin)


@torch.no_grad()
def last_attention(backbone: Backbone, images: Tensor, row: int, column: int) -> Tensor:
    """Attention (B, heads, H, W) of the last block from the place (row, column) of its map; it sums to 1 over
    the map. Shares of the [CLS] token and of padded tokens are left out; outside the place's window it is 0.

    Raises ValueError for a backbone without such attention.
    """
    block: Any
    if isinstance(backbone, ViT):
        block = backbone.blocks[-1]
    elif isinstance(backbone, Swin):
        block = backbone.layers[-1].blocks[-1]  # type: ignore[index, union-attr]
    else:
        raise ValueError(f"{type(backbone).__name__} has no attention that is known here; ViT and Swin have")
    given: list[Any] = []
    hook = block.attn.register_forward_pre_hook(lambda module, args: given.extend(args))  # type: ignore[union-attr]
    try:
        height, width = backbone(images).dense.shape[2:]
    finally:
        hook.remove()
    place = row * width + column
    if isinstance(block, Block):
        weights = _weights(block, given[0], None)[:, :, 1 + place, 1:]  # (B, heads, H W)
    else:
        assert isinstance(block, SwinBlock)
        x, window, mask = given
        ids = windows(block, height, width)
        found, position = (ids == place).nonzero()[0].tolist()
        bias = block.attn.relative_position_bias_table[relative_index(window, block.attn.window, x.device)]
        bias = bias.permute(2, 0, 1)[None]  # (1, heads, N, N)
        if mask is not None:
            bias = (bias + mask).repeat(len(images), 1, 1, 1)
        inside = _weights(block, x, bias).unflatten(0, (len(images), -1))[:, found, :, position]
        known = ids[found] >= 0
        weights = inside.new_zeros(*inside.shape[:2], height * width)
        weights[:, :, ids[found][known]] = inside[:, :, known]
    weights = weights / weights.sum(-1, keepdim=True)
    return weights.unflatten(-1, (height, width))


def windows(block: SwinBlock, height: int, width: int) -> Tensor:
    """The places of each window of a map, (windows, N), row-major numbers; -1 where there is padding."""
    window, shift = block.window, block.shift
    if block.padding == "shrink" and min(height, width) <= window:
        window, shift = min(height, width), 0
    places = torch.full((1, height + -height % window, width + -width % window, 1), -1)
    places[0, :height, :width, 0] = torch.arange(height * width).view(height, width)
    if shift:
        places = places.roll((-shift, -shift), (1, 2))
    return partition(places, window).squeeze(-1)


def _weights(block: Any, x: Tensor, bias: Tensor | None) -> Tensor:
    """Softmax of the block's products of queries and keys, (N, heads, L, L)."""
    heads = block.attn.heads
    q, k, _ = (part.unflatten(-1, (heads, -1)).transpose(1, 2) for part in block.attn.qkv(x).chunk(3, dim=-1))
    products = q @ k.transpose(-2, -1) * block.attn.scale
    return (products if bias is None else products + bias).softmax(-1)
