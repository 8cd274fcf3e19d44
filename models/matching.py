"""Which place of one view belongs to which place of another, as weights w (B, S, T).

Every row (a place of the first view) sums to 1, or to 0 where the place has no partner. No matching
carries a gradient. The first argument is the view whose places look for a partner: the student's in the
released code of EsViT and GLSD, the teacher's in GLSD's equations 4-7.

- `similarity`: EsViT's eq. 2, the most similar feature (https://arxiv.org/abs/2106.09785).
- `geometric`: GLSD's eqs. 4-7, the nearest cell of the source picture (https://arxiv.org/abs/2207.14676).
- `optimal_transport`: the assignment that EsViT tried in its text, by Sinkhorn-Knopp.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import normalize

from models.geometry import squared_distances


def one_hot(partner: Tensor, places: int, dtype: torch.dtype) -> Tensor:
    """Indices (B, S) -> weights (B, S, T) with T = places."""
    weights = torch.zeros(*partner.shape, places, dtype=dtype, device=partner.device)
    return weights.scatter_(-1, partner.unsqueeze(-1), 1.0)


def _cosines(features: Tensor, others: Tensor) -> Tensor:
    """(B, S, D), (B, T, D) -> (B, S, T), in float32 at least: half precision makes ties."""
    wide = torch.promote_types(features.dtype, torch.float32)
    with torch.autocast(features.device.type, enabled=False):
        one, other = normalize(features.to(wide), dim=-1), normalize(others.to(wide), dim=-1)
        return one @ other.transpose(-2, -1)


@torch.no_grad()
def similarity(features: Tensor, others: Tensor) -> Tensor:
    """The partner with the highest cosine. features (B, S, D), others (B, T, D) -> (B, S, T)."""
    cosines = _cosines(features, others)
    return one_hot(cosines.argmax(-1), others.shape[1], cosines.dtype)


@torch.no_grad()
def geometric(centres: Tensor, others: Tensor, limit2: Tensor | None = None) -> Tensor:
    """The nearest partner. centres (B, S, 2), others (B, T, 2) in source pixels -> (B, S, T).

    limit2 (B,): a place whose nearest partner's squared distance is not below it has none (GLSD: the
    square of half the larger of the two cells' diagonals). None: every place has a partner.
    """
    distance2, partner = squared_distances(centres, others).min(-1)
    weights = one_hot(partner, others.shape[1], centres.dtype)
    if limit2 is None:
        return weights
    return weights * (distance2 < limit2[:, None]).unsqueeze(-1)


@torch.no_grad()
def optimal_transport(features: Tensor, others: Tensor, epsilon: float = 0.05, iterations: int = 3) -> Tensor:
    """A soft assignment that uses every partner equally. features (B, S, D), others (B, T, D) -> (B, S, T).

    Sinkhorn-Knopp on cosine / epsilon with uniform marginals, in logarithms, rows last so that they sum
    to 1 exactly; columns sum to S / T when it has converged.
    """
    plan = _cosines(features, others) / epsilon
    rows, columns = plan.shape[-2:]
    for _ in range(iterations):
        plan = plan - plan.logsumexp(-2, keepdim=True) + math.log(rows / columns)
        plan = plan - plan.logsumexp(-1, keepdim=True)
    return plan.exp()


MATCHINGS: dict[str, Callable[..., Tensor]] = {
    "similarity": similarity,
    "geometric": geometric,
    "optimal_transport": optimal_transport,
}
