"""A transformer in stages (Swin, CvT, ViL): what a backbone gives, read off the maps of its blocks."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from models.backbones.backbone import Backbone, Features
from models.backbones.blocks import to_map


class Hierarchy(Backbone):
    """pooled: the mean of the tokens after the last LayerNorm; dense: those tokens.

    A subclass has `norm`, that LayerNorm, and `block_maps`. `stages` gives every stage's map before it is
    merged; only the last stage's maps are normalised, everywhere.
    """

    norm: nn.LayerNorm

    def block_maps(self, images: Tensor) -> list[list[Tensor]]:
        """The map (B, H, W, C) after every block, a list a stage."""
        raise NotImplementedError

    def forward(self, images: Tensor) -> Features:
        dense: Tensor = self.norm(self.block_maps(images)[-1][-1])
        return Features(dense.mean((1, 2)), to_map(dense, *dense.shape[1:3]))

    def stages(self, images: Tensor) -> list[Tensor]:
        maps = [blocks[-1] for blocks in self.block_maps(images)]
        maps[-1] = self.norm(maps[-1])
        return [to_map(x, *x.shape[1:3]) for x in maps]

    def last_blocks(self, images: Tensor, blocks: int) -> Tensor:
        """Token means of the last blocks, shallow to deep."""
        maps = self.block_maps(images)
        maps[-1] = [self.norm(x) for x in maps[-1]]
        flat = [x for stage in maps for x in stage]
        return torch.cat([x.mean((1, 2)) for x in flat[-blocks:]], dim=-1)
