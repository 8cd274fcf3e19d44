"""What a drawing is given: a trial, its pictures, and what it left of its method."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from data import views
from data.sets.dataset import Dataset, Split
from models.backbones.backbone import Features
from models.method import Method
from study.evaluations.evaluation import Part, Subject, resting
from study.pretrain import MEAN, STD, mixed
from study.spec import TrialSpec


@dataclass(frozen=True)
class Views:
    """The views of some pictures: V tensors (B, 3, s, s), normalised; boxes (V, B, 4) in source pixels."""

    images: list[Tensor]
    boxes: Tensor
    draws: views.Draws


class Absent(Exception):
    """Why a picture cannot be drawn of this trial, in a few words."""


@dataclass(frozen=True)
class Exhibit:
    """name: arm and seed, as titles show them. method: None where nothing is trained yet. count: pictures that
    are shown."""

    name: str
    spec: TrialSpec
    data: Dataset
    method: Method | None = None
    count: int = 6

    @property
    def trained(self) -> Method:
        """The method with its trained encoder. Raises Absent."""
        if self.method is None:
            raise Absent("no encoder is kept of it")
        return self.method

    @property
    def subject(self) -> Subject:
        """The encoder before the pictures, as evaluations are given it. Raises Absent."""
        return Subject(
            self.trained.encoder,
            self.data,
            size=self.spec.views.size,
            mean=MEAN,
            std=STD,
            seed=self.spec.seed,
        )

    def split(self, part: Part) -> Split:
        return self.data.train if part == "train" else self.data.test

    def chosen(self, part: Part, count: int | None = None) -> Tensor:
        """The pictures that are shown, (count,) int64: the same for every arm and seed of a set."""
        order = torch.randperm(len(self.split(part)), generator=torch.Generator().manual_seed(0))
        return order[: count or self.count]

    def views(self, part: Part, indices: Tensor) -> Views:
        """The views that training makes of the pictures, drawn anew."""
        plan = views.plan(self.spec.views)
        generator = torch.Generator().manual_seed(mixed("pictures", part))
        draws = views.draw(plan, self.split(part).sizes(indices), generator)
        images, boxes = views.render(self.split(part), indices, draws, plan, "cpu", MEAN, STD)
        return Views(images, boxes, draws)

    def features(self, images: Tensor) -> Features:
        """Of the resting encoder, without gradient."""
        encoder = self.trained.encoder
        with resting(encoder), torch.no_grad():
            return encoder(images)


def seen(images: Tensor) -> Tensor:
    """Normalised (..., 3, s, s) back to [0, 1]."""
    mean, std = (torch.tensor(values)[:, None, None] for values in (MEAN, STD))
    return (images * std + mean).clamp(0, 1)
