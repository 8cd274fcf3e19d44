"""Class-balanced parts of a training split: nested by seed, so that 1 % lies inside 10 %."""

from __future__ import annotations

import torch
from torch import Tensor


def subset(labels: Tensor, fraction: float, seed: int) -> Tensor:
    """Sorted indices of a part of the pictures, every class keeping the same share of itself.

    labels: int64 (N,), 0..C-1. fraction: in (0, 1]; a class keeps round(fraction x its size) pictures and at
    least one. seed: decides which; for one seed a smaller fraction's pictures are among a larger one's.
    Returns int64 (M,). Raises ValueError where labels are unknown or a class has no picture.
    """
    if not 0 < fraction <= 1:
        raise ValueError(f"fraction {fraction} is outside (0, 1]")
    if fraction == 1:
        return torch.arange(len(labels))
    if len(labels) == 0 or int(labels.min()) < 0:
        unknown = int((labels < 0).sum())
        raise ValueError(
            f"fraction {fraction} needs labels, but {unknown} of {len(labels)} pictures have none"
        )
    counts = torch.bincount(labels)
    if int(counts.min()) == 0:
        empty = int(counts.argmin())
        raise ValueError(
            f"class {empty} of {len(counts)} has no picture: fraction {fraction} cannot be balanced"
        )
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed))
    by_class = order[labels[order].argsort(stable=True)]  # class after class, shuffled within
    starts = counts.cumsum(0) - counts
    rank = torch.arange(len(labels)) - starts.repeat_interleave(counts)  # place within its class
    keep = (counts * fraction).round().long().clamp(min=1)
    return by_class[rank < keep.repeat_interleave(counts)].sort().values
