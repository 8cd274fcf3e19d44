"""Losses: pure functions of tensors, no state and no collectives."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def regression(prediction: Tensor, target: Tensor) -> Tensor:
    """2 - 2 cos, the mean over rows (..., D); no gradient to the target. BYOL (arXiv 2006.07733), eq. 2."""
    p = F.normalize(prediction, dim=-1)
    t = F.normalize(target.detach(), dim=-1)
    return 2 - 2 * (p * t).sum(-1).mean()


def queue_logits(query: Tensor, key: Tensor, negatives: Tensor, temperature: float) -> Tensor:
    """Unit rows query, key (B, D) and negatives (D, K) to logits (B, 1 + K), positive first. MoCo, eq. 1."""
    positive = (query * key).sum(1, keepdim=True)
    return torch.cat([positive, query @ negatives], 1) / temperature


def info_nce(logits: Tensor, targets: Tensor | None = None) -> Tensor:
    """Mean cross-entropy of rows (B, K); the positive is column 0, or `targets` (B,)."""
    if targets is None:
        targets = torch.zeros(logits.shape[0], dtype=torch.long, device=logits.device)
    return F.cross_entropy(logits, targets)


def in_batch_info_nce(
    query: Tensor, key: Tensor, temperature: float, *, first: int = 0, same_only: bool = False
) -> Tensor:
    """InfoNCE of several embeddings a picture against those of the other pictures of a batch. LEWEL, eq. 4.

    query: (B, n, D) unit rows. key: (B', n, D), B' >= B: query picture i is key picture first + i. The
    positive of (i, k) is (i, k); its negatives are (j, k') with j != i, for all k', or with `same_only` for
    k' = k. The printed equation puts the sum over negatives into the exponent; the usual InfoNCE is meant.
    """
    pictures, count, _ = query.shape
    others = key.shape[0]
    if others < 2:
        raise ValueError(f"in-batch negatives need at least 2 pictures, not {others}")
    logits = (query.flatten(0, 1) @ key.flatten(0, 1).T) / temperature  # (B n, B' n)
    image = torch.arange(count * others, device=query.device).div(count, rounding_mode="floor")
    slot = torch.arange(count * others, device=query.device) % count
    rows = torch.arange(count * pictures, device=query.device) + count * first  # the positive's column
    banned = image[rows, None] == image[None]
    if same_only:
        banned |= slot[rows, None] != slot[None]
    banned[torch.arange(len(rows), device=query.device), rows] = False
    return F.cross_entropy(logits.masked_fill(banned, float("-inf")), rows)
