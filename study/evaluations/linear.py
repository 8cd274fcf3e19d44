"""Linear probe: one linear layer on the frozen encoder, by the recipe of each paper.

A paper's number depends on the probe's learning rate, so several can be trained at once (`lrs`) and one is
chosen on a held-out tenth of the training pictures; the chosen one is trained anew on all of them. The test
pictures choose nothing. `best_epoch` adds the papers' optimistic reading, the best of all epochs on the test
pictures.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as F
from pydantic import Field, model_validator
from torch import Tensor, nn

from data.recipes import Interpolation
from data.subsets import subset
from models.method import Moment
from study.evaluations.evaluation import Evaluation, Part, Score, Subject, accuracies
from study.optim import OPTIMIZERS, LARSSpec, OptimSpec, SGDSpec, lr_at

HELD_OUT = 0.1  # of each class's training pictures, to choose a learning rate
DROPS = (0.6, 0.8)  # of the epochs: 30 and 40 of 50


@dataclass(frozen=True)
class Recipe:
    """lr is for a batch of `per`. blocks: last blocks whose pooled features are concatenated."""

    optimizer: Literal["sgd", "lars"]
    lr: float
    per: int
    batch: int
    epochs: int
    schedule: Literal["cosine", "step"]
    blocks: int = 1
    interpolation: Interpolation = "bilinear"


RECIPES: dict[str, Recipe] = {
    "lewel_m": Recipe("lars", 3.2, 4096, 4096, 90, "cosine"),  # after SimSiam; MoCo v2
    "lewel_b": Recipe("sgd", 0.4, 256, 256, 50, "step"),  # and BYOL
    "esvit": Recipe("sgd", 0.001, 256, 1024, 100, "cosine", blocks=4, interpolation="bicubic"),  # and GLSD
    "mcl": Recipe("sgd", 10.0, 256, 256, 100, "step"),
}


class Linear(Evaluation):
    """Scores: top1, top5 (%) of the last epoch; top1_best with `best_epoch`; with `lrs` the chosen lr."""

    one_class = True

    name: Literal["linear"] = Field("linear", description="linear probe on frozen features")
    recipe: Literal["lewel_m", "lewel_b", "esvit", "mcl"] = Field(
        "lewel_b", description="the paper whose optimiser, schedule and features are used"
    )
    features: Literal["augmented", "cached"] = Field(
        "augmented",
        description="augmented: a random crop and flip every epoch (the papers); cached: centre crops",
    )
    epochs: int | None = Field(None, ge=1, le=10_000, description="epochs; the recipe's where absent")
    batch: int | None = Field(
        None, ge=1, description="pictures a step, at most the training pictures; the recipe's where absent"
    )
    lr: float | None = Field(
        None, gt=0, description="learning rate for a batch of 256 (lewel_m: 4096); the recipe's where absent"
    )
    lrs: list[float] | None = Field(
        None, min_length=2, description="learning rates trained at once, chosen among on a held-out tenth"
    )
    blocks: int | None = Field(
        None,
        ge=1,
        le=24,
        description="last blocks whose features are concatenated; the recipe's where absent",
    )
    interpolation: Interpolation | None = Field(
        None, description="resampling of the pictures; the recipe's where absent"
    )
    best_epoch: bool = Field(
        False, description="also report the best epoch on the test pictures, as top1_best"
    )

    @model_validator(mode="after")
    def _one_rate(self) -> Linear:
        if self.lr is not None and self.lrs is not None:
            raise ValueError(f"lr {self.lr} and lrs {self.lrs} exclude each other: give one of them")
        if self.lrs is not None and min(self.lrs) <= 0:
            raise ValueError(f"the smallest of lrs is {min(self.lrs)}, but a learning rate is above 0")
        return self

    @classmethod
    def smallest(cls) -> dict[str, Any]:
        return {"features": "cached", "epochs": 30}

    def run(self, subject: Subject) -> list[Score]:
        """Raises ValueError where every learning rate diverged."""
        recipe = RECIPES[self.recipe]
        rate, extra = self.lr or recipe.lr, []
        if self.lrs is not None:
            rate, n = self._choose(subject, self.lrs)
            extra.append(Score("lr", rate, n))
        test, truth = self._rows(subject, "test").to(subject.device), subject.labels("test")
        best = 0.0

        def watch(heads: list[nn.Linear]) -> None:
            nonlocal best
            if self.best_epoch:
                best = max(best, accuracies(heads[0](test), truth)[0].value)

        everything = torch.arange(len(subject.labels("train")))
        (head,) = self._train(subject, everything, [rate], watch)
        with torch.no_grad():
            logits = head(test)
        if not bool(logits.isfinite().all()):
            raise ValueError(f"the linear probe diverged at learning rate {rate}: give lr below it, or lrs")
        scores = accuracies(logits, truth)
        if self.best_epoch:
            extra.append(Score("top1_best", best, len(truth)))
        return scores + extra

    def _choose(self, subject: Subject, rates: list[float]) -> tuple[float, int]:
        """The rate that is best on held-out training pictures (the first of equals), and their number."""
        labels = subject.labels("train")
        held = subset(labels, HELD_OUT, subject.seed)
        rest = torch.ones(len(labels), dtype=torch.bool)
        rest[held] = False
        heads = self._train(subject, rest.nonzero().squeeze(1), rates, lambda _: None)
        test, truth = _take(self._rows(subject, "train"), held, subject.device), labels[held]
        found = []
        for head in heads:
            with torch.no_grad():
                logits = head(test)
            found.append(accuracies(logits, truth)[0].value if bool(logits.isfinite().all()) else -1.0)
        best = max(range(len(rates)), key=lambda i: found[i])
        if found[best] < 0:
            raise ValueError(
                f"the linear probe diverged at all {len(rates)} learning rates, the least {min(rates)}"
            )
        return rates[best], len(held)

    def _rows(self, subject: Subject, part: Part) -> Tensor:
        """(N, C): features of centre crops, where the subject keeps them."""
        recipe = RECIPES[self.recipe]
        blocks, mode = self.blocks or recipe.blocks, self.interpolation or recipe.interpolation
        return subject.features(part, mode) if blocks == 1 else subject.last_blocks(part, blocks, mode)

    def _train(
        self, subject: Subject, rows: Tensor, rates: list[float], watch: Callable[[list[nn.Linear]], None]
    ) -> list[nn.Linear]:
        """One head a learning rate, on the training pictures `rows`; `watch` sees them every epoch."""
        recipe, device = RECIPES[self.recipe], subject.device
        labels = subject.labels("train").to(device)
        order = subject.generator("linear", "order")
        batch = min(self.batch or recipe.batch, len(rows))
        epochs = self.epochs or recipe.epochs
        steps = -(-len(rows) // batch)
        width = self._rows(subject, "test").shape[1]
        heads: list[nn.Linear] = []
        optimizers = []
        for rate in rates:
            spec = _optim(recipe, rate * batch / recipe.per, epochs)
            heads.append(_head(width, subject))
            optimizers.append(OPTIMIZERS[spec.name]([heads[-1].weight], [heads[-1].bias], spec))
        for epoch in range(epochs):
            shuffled = rows[torch.randperm(len(rows), generator=order)]
            for optimizer in optimizers:
                for group in optimizer.param_groups:
                    group["lr"] = lr_at(optimizer.spec, Moment(epoch * steps, steps, epochs))
            for part in shuffled.split(batch):
                inputs = self._inputs(subject, part, order)
                truth = labels[part.to(device)]
                loss = torch.stack([F.cross_entropy(head(inputs), truth) for head in heads]).sum()
                loss.backward()  # the heads share no parameter: each has the gradient of its own loss
                for optimizer in optimizers:
                    optimizer.step()
                    optimizer.zero_grad()
            with torch.no_grad():
                watch(heads)
        return heads

    def _inputs(self, subject: Subject, rows: Tensor, order: torch.Generator) -> Tensor:
        """(B, C): the features of some labelled training pictures."""
        recipe = RECIPES[self.recipe]
        if self.features == "cached":
            return _take(self._rows(subject, "train"), rows, subject.device)
        blocks, mode = self.blocks or recipe.blocks, self.interpolation or recipe.interpolation
        encoder, indices = subject.encoder, subject.indices("train")[rows]

        def forward(images: Tensor) -> Tensor:
            return encoder(images).pooled if blocks == 1 else encoder.last_blocks(images, blocks)

        parts = indices.split(subject.batch)
        return torch.cat([subject.encode(subject.augmented("train", p, order, mode), forward) for p in parts])


def _take(features: Tensor, rows: Tensor, device: torch.device) -> Tensor:
    """Rows of features that may stand in host memory, on the device."""
    return features[rows.to(features.device)].to(device, non_blocking=True)


def _head(width: int, subject: Subject) -> nn.Linear:
    """The papers' start: weights N(0, 0.01^2), biases 0; the same for every learning rate."""
    head = nn.Linear(width, subject.classes)
    with torch.no_grad():
        head.weight.copy_(
            0.01 * torch.randn(head.weight.shape, generator=subject.generator("linear", "head"))
        )
        head.bias.zero_()
    return head.to(subject.device)


def _optim(recipe: Recipe, rate: float, epochs: int) -> OptimSpec:
    """The optimiser of a head: no weight decay, no warm-up, momentum 0.9, steps of an epoch."""
    drops = tuple(sorted({d for d in (round(epochs * share) for share in DROPS) if 0 < d < epochs}))
    knobs: dict[str, Any] = {"lr": rate, "weight_decay": 0.0, "warmup": 0.0, "schedule": "cosine_epoch"}
    if recipe.schedule == "step":
        knobs |= {"schedule": "step", "milestones": drops} if drops else {"schedule": "constant"}
    return LARSSpec(**knobs) if recipe.optimizer == "lars" else SGDSpec(**knobs)
