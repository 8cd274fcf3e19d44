"""Weighted k-nearest-neighbour classification of frozen features (DINO; EsViT and GLSD report it).

The votes of the k nearest training pictures by cosine are exp(similarity / T). LEWEL's monitor is the same
without weights. Nothing is trained, so it is the cheapest evaluation and the first to read.
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from pydantic import Field, field_validator
from torch import Tensor

from data.recipes import Interpolation
from study.evaluations.evaluation import Evaluation, Score, Subject, accuracies
from study.evaluations.neighbours import nearest


class Knn(Evaluation):
    """Scores: top1, top5 (%); where `k` is a list, top1_k10, top5_k10, ... for each."""

    one_class = True

    name: Literal["knn"] = Field("knn", description="weighted k-nearest-neighbour classification")
    k: int | list[int] = Field(20, description="neighbours that vote; a list gives one score each")
    temperature: float = Field(0.07, ge=0.02, le=100, description="T of the vote exp(similarity / T)")
    weights: Literal["similarity", "uniform"] = Field(
        "similarity", description="votes of exp(similarity / T), or one each (LEWEL's monitor)"
    )
    interpolation: Interpolation = Field("bicubic", description="resampling of the pictures")

    @field_validator("k")
    @classmethod
    def _positive(cls, k: int | list[int]) -> int | list[int]:
        ks = [k] if isinstance(k, int) else k
        if not ks or min(ks) < 1:
            raise ValueError(f"k is {k}, but at least 1 neighbour must vote")
        if len(set(ks)) < len(ks):
            raise ValueError(f"k is {k}, but {len(ks) - len(set(ks))} of its values are repeated")
        return k

    def run(self, subject: Subject) -> list[Score]:
        """Raises ValueError where k exceeds the training pictures."""
        ks = [self.k] if isinstance(self.k, int) else self.k
        bank = F.normalize(subject.features("train", self.interpolation))
        queries = F.normalize(subject.features("test", self.interpolation))
        labels, truth = subject.labels("train"), subject.labels("test")
        similarity, index = nearest(queries, bank, max(ks))
        temperature = self.temperature if self.weights == "similarity" else None
        votes = vote(similarity, labels.to(index.device)[index], subject.classes, ks, temperature)
        scores: list[Score] = []
        for k in ks:
            suffix = "" if isinstance(self.k, int) else f"_k{k}"
            scores += accuracies(votes[k], truth, suffix)
        return scores


def vote(
    similarity: Tensor, labels: Tensor, classes: int, ks: list[int], temperature: float | None
) -> dict[int, Tensor]:
    """Vote mass of every class after the first k neighbours, for each k of `ks`: {k: (Q, K)}.

    similarity: (Q, k_max), descending; labels: (Q, k_max), the neighbours' classes. temperature: None gives
    every neighbour one vote.
    """
    weights = torch.ones_like(similarity) if temperature is None else (similarity / temperature).exp()
    mass = similarity.new_zeros(len(similarity), classes)
    out = {}
    for rank in range(max(ks)):  # one neighbour at a time: no one-hot tensor, and a fixed order of summation
        column = slice(rank, rank + 1)
        mass.scatter_add_(1, labels[:, column], weights[:, column])
        if rank + 1 in ks:
            out[rank + 1] = mass.clone()
    return out
