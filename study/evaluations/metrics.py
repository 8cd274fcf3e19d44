"""How predictions are scored, by the metric that a set is known for; all in %."""

from __future__ import annotations

import torch
from torch import Tensor

RECALLS = 11  # points of VOC 2007's average precision: recalls of 0, 0.1, ..., 1


def mean_class(predicted: Tensor, labels: Tensor) -> float:
    """The mean of the accuracies of the classes that there are. predicted, labels: (N,)."""
    hit = (predicted == labels).double()
    return 100 * torch.stack([hit[labels == c].mean() for c in labels.unique()]).mean().item()


def map11(scores: Tensor, targets: Tensor) -> float:
    """Mean over classes of the 11-point average precision (Pascal VOC 2007): the best precision at a recall of
    at least r, averaged over r = 0, 0.1, ..., 1.

    scores: (N, K), of equals the first ranks higher; targets: (N, K), 1 yes, 0 no, -1 not counted. Classes
    without a picture are left out. Raises ValueError where no class has one.
    """
    found = []
    for k in range(scores.shape[1]):
        counted = targets[:, k] >= 0
        truth = targets[counted, k][scores[counted, k].argsort(descending=True, stable=True)].double()
        if not truth.any():
            continue
        hits = truth.cumsum(0)
        recall = hits / truth.sum()
        precision = hits / torch.arange(1, len(hits) + 1, device=hits.device)
        best = precision.flip(0).cummax(0).values.flip(0)  # at this rank or a later one
        points = torch.linspace(0, 1, RECALLS, dtype=torch.float64, device=hits.device)
        first = torch.searchsorted(recall, points - 1e-9)  # 0.3 of 10 pictures is 3 of them
        found.append(best[first].mean())
    if not found:
        raise ValueError(f"none of the {scores.shape[1]} classes has a picture among {len(scores)}")
    return 100 * torch.stack(found).mean().item()


def roc_auc(scores: Tensor, positive: Tensor) -> float:
    """The share of pairs of a positive and a negative that the scores order rightly, equals counting half.

    scores: (N,); positive: bool (N,). Raises ValueError where one kind is absent.
    """
    n, yes = len(positive), int(positive.sum())
    if not 0 < yes < n:
        raise ValueError(f"{yes} of {n} pictures are of the second class: an area under the curve needs both")
    _, group, counts = scores.double().unique(return_inverse=True, return_counts=True)
    last = counts.cumsum(0)
    rank = (last - (counts - 1) / 2)[group]  # from 1, the mean of equals
    above = rank[positive].sum() - yes * (yes + 1) / 2
    return 100 * (above / (yes * (n - yes))).item()
