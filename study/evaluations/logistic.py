"""Logistic regression on frozen features, its L2 strength searched: the probe of 18 data sets (EsViT Tab 11).

CLIP's procedure: minimise sum_i CE(W x_i + b, y_i) + lambda / 2 |W|^2 by L-BFGS, at most 1000 iterations.
lambda is one of 97 values from 1e-6 to 1e6, eight a decade: seven spread over the range are tried on a
validation part of the training pictures, then the distance around the best is halved until it is one value.
The last fit is on all training pictures. In scikit-learn's terms C = 1 / lambda.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from data.recipes import Interpolation
from data.subsets import subset
from study.evaluations.evaluation import Evaluation, Score, Subject, accuracies

STRENGTHS = [10 ** (-6 + step / 8) for step in range(97)]
FIRST = 16  # values between the first seven


class Logistic(Evaluation):
    """Scores: top1, top5, mean_class (the mean of the classes' accuracies) in %, and the strength chosen."""

    name: Literal["logistic"] = Field("logistic", description="logistic regression, its L2 strength searched")
    validation: float = Field(
        0.2, gt=0, lt=1, description="part of the training pictures that chooses lambda"
    )
    iterations: int = Field(1000, ge=1, le=100_000, description="L-BFGS iterations at most, each fit")
    interpolation: Interpolation = Field("bicubic", description="resampling of the pictures")

    @classmethod
    def smallest(cls) -> dict[str, Any]:
        return {"iterations": 50}

    def run(self, subject: Subject) -> list[Score]:
        """Deterministic but for the validation part, which the seed draws."""
        train = subject.features("train", self.interpolation)
        labels = subject.labels("train").to(train.device)
        held = torch.zeros(len(labels), dtype=torch.bool, device=train.device)
        held[subset(labels.cpu(), self.validation, subject.seed).to(train.device)] = True
        step = self._search(train, labels, held, subject.classes)
        weight, bias = fit(train, labels, subject.classes, STRENGTHS[step], self.iterations)
        test, truth = subject.features("test", self.interpolation), subject.labels("test")
        logits = test.double() @ weight.to(test.device).t() + bias.to(test.device)
        hit = (logits.argmax(1).cpu() == truth).double()
        present = truth.unique()
        mean_class = 100 * torch.stack([hit[truth == c].mean() for c in present]).mean().item()
        return [
            *accuracies(logits, truth),
            Score("mean_class", mean_class, len(truth)),
            Score("strength", STRENGTHS[step], int(held.sum())),
        ]

    def _search(self, rows: Tensor, labels: Tensor, held: Tensor, classes: int) -> int:
        """The place in STRENGTHS with the best validation accuracy; of equals the strongest."""
        found: dict[int, float] = {}
        start: tuple[Tensor, Tensor] | None = None

        def score(step: int) -> float:
            nonlocal start
            if step not in found:
                start = fit(rows[~held], labels[~held], classes, STRENGTHS[step], self.iterations, start)
                logits = rows[held].double() @ start[0].t() + start[1]
                found[step] = (logits.argmax(1) == labels[held]).double().mean().item()
            return found[step]

        best = max(range(len(STRENGTHS) - 1, -1, -FIRST), key=score)
        distance = FIRST // 2
        while distance:
            around = [s for s in (best + distance, best, best - distance) if 0 <= s < len(STRENGTHS)]
            best = max(around, key=score)
            distance //= 2
        return best


def fit(
    rows: Tensor,
    labels: Tensor,
    classes: int,
    strength: float,
    iterations: int = 1000,
    start: tuple[Tensor, Tensor] | None = None,
    tolerance: float = 1e-4,
) -> tuple[Tensor, Tensor]:
    """Weight (K, C) and bias (K,), float64, of the minimum of sum CE + strength / 2 |W|^2.

    rows: (N, C); labels: (N,) int64. start: where to begin; zeros where None. tolerance: of the largest
    gradient of the mean loss. The bias is not penalised.
    """
    from scipy.optimize import minimize  # here: a file check must be fast

    x = rows.double()
    n, width = x.shape
    shape = (classes, width + 1)
    truth = F.one_hot(labels, classes).double()

    def loss(flat: Any) -> tuple[float, Any]:
        theta = torch.from_numpy(np.asarray(flat)).view(shape).to(x.device)
        weight, bias = theta[:, :-1], theta[:, -1]
        log_p = F.log_softmax(x @ weight.t() + bias, dim=1)
        value = -(log_p * truth).sum() / n + strength / (2 * n) * weight.square().sum()
        slope = (log_p.exp() - truth) / n  # (N, K)
        gradient = torch.cat([slope.t() @ x + strength / n * weight, slope.sum(0)[:, None]], 1)
        return value.item(), gradient.cpu().numpy().ravel()

    begin = np.zeros(classes * (width + 1))
    if start is not None:
        begin = torch.cat([start[0], start[1][:, None]], 1).cpu().numpy().ravel()
    options = {"maxiter": iterations, "maxls": 50, "gtol": tolerance, "ftol": 64 * np.finfo(float).eps}
    found = minimize(loss, begin, jac=True, method="L-BFGS-B", options=options)
    theta = torch.from_numpy(found.x).view(shape).to(x.device)
    return theta[:, :-1].contiguous(), theta[:, -1].contiguous()
