"""Signs of collapse in a set of embeddings."""

from __future__ import annotations

import torch
from torch import Tensor


def spread(embedding: Tensor) -> float:
    """Mean over dimensions of the standard deviation of the L2-normalised rows, times sqrt(D): 1 for
    directions spread evenly over the sphere, 0 for one direction (SimSiam, section 4.1). embedding: (N, D)."""
    rows = torch.nn.functional.normalize(embedding.float(), dim=1)
    return float(rows.std(dim=0, correction=0).mean() * rows.shape[1] ** 0.5)


def in_use(shares: Tensor) -> Tensor:
    """Share of prototypes in use: exp of the entropy of their mean share, over their number. 1 when all are
    used alike, 1 / K when all rows are one prototype's. shares: (N, K), rows summing to 1 -> ()."""
    mean = shares.float().mean(0)
    return torch.special.entr(mean).sum().exp() / len(mean)


def rank_me(embedding: Tensor) -> float:
    """RankMe (Garrido et al. 2023, eq. 1): exp of the entropy of the normalised singular values, from 1 to
    min(N, D). embedding: (N, D)."""
    values = torch.linalg.svdvals(embedding.float())
    total = values.sum()
    if not torch.isfinite(total) or total <= 0:
        return 1.0
    share = values / total + 1e-7
    return float(torch.exp(-(share * share.log()).sum()))
