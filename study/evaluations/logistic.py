"""Logistic regression on frozen features, its L2 strength searched: the probe of 18 data sets (EsViT Tab 11).

CLIP's procedure: minimise sum_i CE(W x_i + b, y_i) + lambda / 2 |W|^2 by L-BFGS, at most 1000 iterations.
lambda is one of 97 values from 1e-6 to 1e6, eight a decade: seven spread over the range are tried on a
validation part of the training pictures (the authors' own where there is one), then the distance around the
best is halved until it is one value. The last fit is on all training pictures. In scikit-learn's terms
C = 1 / lambda. Where a picture may be of several classes, CE is the sum of the classes' binary ones.

The minimum is scikit-learn's, but the way there is shorter: features are centred (the bias is not penalised, so
that the minimum stays) and turned into their principal axes (the penalty knows no axes), where the Hessian is
nearly diagonal; each axis is then scaled by it, and every fit starts from that of the nearest lambda.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from data.recipes import Interpolation
from data.subsets import subset
from study.evaluations.evaluation import Evaluation, Score, Subject, accuracies
from study.evaluations.metrics import map11, mean_class, roc_auc

STRENGTHS = [10 ** (-6 + step / 8) for step in range(97)]
FIRST = 16  # values between the first seven
TOLERANCE = 1e-4  # of a fit's gradient
ROUGH = 3e-4  # the same while lambda is searched
CHUNK = 2**14  # pictures whose features are in float64 at once
FLAT = 1e-12  # of the largest variance: directions below are constant
Answers = Tensor  # (N,) int64 labels, or (N, K) int8 targets


class Logistic(Evaluation):
    """Scores: the set's own metric first (top1, mean_class, map11 or roc_auc, in %), then top1, top5 and
    mean_class where pictures have one class, roc_auc where there are two, and the strength chosen."""

    name: Literal["logistic"] = Field("logistic", description="logistic regression, its L2 strength searched")
    validation: float = Field(
        0.2,
        gt=0,
        lt=1,
        description="part of the training pictures that chooses lambda, where the set has none of its own",
    )
    iterations: int = Field(1000, ge=1, le=100_000, description="L-BFGS iterations at most, each fit")
    interpolation: Interpolation = Field("bicubic", description="resampling of the pictures")

    @classmethod
    def smallest(cls) -> dict[str, Any]:
        return {"iterations": 50}

    def run(self, subject: Subject) -> list[Score]:
        """Deterministic but for the validation part, which the seed draws."""
        train, test = (subject.features(part, self.interpolation) for part in ("train", "test"))
        answers, truth = _answers(subject, "train"), _answers(subject, "test")
        held = self._held(subject, len(train))
        metric = subject.dataset.metric
        step, start = self.search(train, answers, held, subject.classes, metric)
        weight, bias = Problem(train, answers, subject.classes).solve(STRENGTHS[step], self.iterations, start)
        logits = (test.double() @ weight.to(test.device).t() + bias.to(test.device)).cpu()
        return [*_scores(logits, truth, metric), Score("strength", STRENGTHS[step], int(held.sum()))]

    def _held(self, subject: Subject, n: int) -> Tensor:
        """(N,) bool: the training pictures that choose lambda."""
        own = subject.dataset.validation
        if own is not None:
            return torch.isin(subject.indices("train"), own)
        held = torch.zeros(n, dtype=torch.bool)
        if subject.targets("train") is None:
            held[subset(subject.labels("train"), self.validation, subject.seed)] = True
        else:
            order = torch.randperm(n, generator=subject.generator("logistic", "validation"))
            held[order[: max(1, round(self.validation * n))]] = True
        return held

    def search(
        self, rows: Tensor, answers: Answers, held: Tensor, classes: int, metric: str = "accuracy"
    ) -> tuple[int, tuple[Tensor, Tensor]]:
        """The place in STRENGTHS that is best on the pictures `held`, of equals the strongest, and its fit."""
        there = held.to(rows.device)
        problem = Problem(rows[~there], answers[~held], classes)
        asked, truth = rows[there].double(), answers[held]
        fits: dict[int, tuple[Tensor, Tensor]] = {}
        found: dict[int, float] = {}

        def score(step: int) -> float:
            if step not in found:
                near = min(fits, key=lambda other: abs(other - step), default=None)
                start = fits[near] if near is not None else None
                fits[step] = problem.solve(STRENGTHS[step], self.iterations, start, ROUGH)
                logits = (asked @ fits[step][0].t() + fits[step][1]).cpu()
                found[step] = _scores(logits, truth, metric)[0].value
            return found[step]

        best = halved(score)
        return best, fits[best]


def halved(score: Callable[[int], float]) -> int:
    """EsViT's search: the best of the seven first places in STRENGTHS, then of its neighbours at half the
    distance, down to the next place; of equals the strongest."""
    best = max(range(len(STRENGTHS) - 1, -1, -FIRST), key=score)
    distance = FIRST // 2
    while distance:
        around = [s for s in (best + distance, best, best - distance) if 0 <= s < len(STRENGTHS)]
        best = max(around, key=score)
        distance //= 2
    return best


class Problem:
    """The features and answers of a fit, prepared once for every strength.

    rows: (N, C). answers: (N,) int64 labels, or (N, K) targets of 1, 0 and -1 (not counted). exact: compute in
    float64 and not in float32.
    """

    def __init__(self, rows: Tensor, answers: Answers, classes: int, exact: bool = False) -> None:
        self.classes = classes
        self.dtype = torch.float64 if exact else torch.float32
        self.mean = rows.mean(0, dtype=torch.float64)  # (C,)
        spread = torch.zeros(rows.shape[1], rows.shape[1], dtype=torch.float64, device=rows.device)
        for part in rows.split(CHUNK):
            centred = part.double() - self.mean
            spread += centred.t() @ centred
        values, axes = torch.linalg.eigh(spread / len(rows))
        kept = values > FLAT * values[-1]
        self.axes = axes[:, kept]  # (C, R)
        self.values = torch.cat([values[kept], values.new_ones(1)])  # (R + 1,): the last is the bias's
        self.rows = torch.empty(len(rows), len(self.values), dtype=self.dtype, device=rows.device)
        for at, part in zip(self.rows.split(CHUNK), rows.split(CHUNK)):
            at[:, :-1] = (part.double() - self.mean) @ self.axes
        self.rows[:, -1] = 1
        self.answers = answers.to(rows.device)
        self.several = answers.dim() == 2

    def solve(
        self,
        strength: float,
        iterations: int = 1000,
        start: tuple[Tensor, Tensor] | None = None,
        tolerance: float = TOLERANCE,
    ) -> tuple[Tensor, Tensor]:
        """Weight (K, C) and bias (K,), float64, of the minimum of sum CE + strength / 2 |W|^2.

        start: where to begin; zeros where None. tolerance: of the largest gradient of the mean loss, in axes
        of unit curvature and as a share of the root of the loss at the start: of what an axis could gain.
        """
        from scipy.optimize import minimize  # here: a file check must be fast

        n, shape = len(self.rows), (self.classes, len(self.values))
        theta = self.values.new_zeros(shape)  # (K, R + 1), the bias last
        if start is not None:
            theta[:, :-1], theta[:, -1] = start[0] @ self.axes, start[1] + start[0] @ self.mean
        penalty = torch.full_like(self.values, strength / n)
        penalty[-1] = 0
        scale = (self._curvature(theta) * self.values + penalty).rsqrt()  # from scaled axes to ours

        def loss(flat: Any) -> tuple[float, Any]:
            here = torch.from_numpy(flat).view(shape).to(scale.device) * scale
            value, slope = self._loss(here.to(self.dtype))
            shrunk = here * penalty
            gradient = ((slope.t() @ self.rows).double() / n + shrunk) * scale
            return (value / n + (shrunk * here).sum() / 2).item(), gradient.cpu().numpy().ravel()

        begin = (theta / scale).cpu().numpy().ravel()
        size = min(1.0, loss(begin)[0])
        options = {
            "maxiter": iterations,
            "maxls": 50,
            "gtol": tolerance * size**0.5,
            "ftol": 0.01 * tolerance * size,
        }
        found = minimize(loss, begin, jac=True, method="L-BFGS-B", options=options)
        theta = torch.from_numpy(found.x).view(shape).to(scale.device) * scale
        weight = theta[:, :-1] @ self.axes.t()
        return weight, theta[:, -1] - weight @ self.mean

    def _loss(self, theta: Tensor) -> tuple[Tensor, Tensor]:
        """The sum of the losses, float64, and its slope in every logit, (N, K). theta: (K, R + 1)."""
        logits = self.rows @ theta.t()
        if self.several:
            each = F.softplus(logits) - self.answers.clamp(min=0) * logits
            counted = self.answers >= 0
            return (each * counted).sum(dtype=torch.float64), (logits.sigmoid() - self.answers) * counted
        log_p = F.log_softmax(logits, dim=1)
        at = self.answers[:, None]
        value = -log_p.gather(1, at).sum(dtype=torch.float64)
        return value, log_p.exp_().scatter_add_(1, at, log_p.new_full((1, 1), -1.0).expand(len(at), 1))

    def _curvature(self, theta: Tensor) -> float:
        """The mean of p (1 - p): the Hessian of the mean loss is about this times the features' spread."""
        logits = self.rows @ theta.to(self.dtype).t()
        p = logits.sigmoid() if self.several else logits.softmax(1)
        return max(float((p * (1 - p)).mean()), 1e-6)


def _answers(subject: Subject, part: Literal["train", "test"]) -> Answers:
    targets = subject.targets(part)
    return subject.labels(part) if targets is None else targets


def _scores(logits: Tensor, truth: Answers, metric: str) -> list[Score]:
    """The set's own metric first. logits: (N, K) on the CPU."""
    n = len(logits)
    if truth.dim() == 2:
        return [Score("map11", map11(logits, truth), n)]
    found = [*accuracies(logits, truth), Score("mean_class", mean_class(logits.argmax(1), truth), n)]
    if metric == "roc_auc":
        found.append(Score("roc_auc", roc_auc(logits[:, 1] - logits[:, 0], truth == 1), n))
    first = "top1" if metric == "accuracy" else metric
    return sorted(found, key=lambda score: score.metric != first)
