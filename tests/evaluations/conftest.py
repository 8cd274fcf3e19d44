"""Toy subjects: pictures of one colour a class, and an encoder that names the colour."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
import torch
from torch import Tensor, nn

from data.sets.annotations import Detection, Objects, Semantic
from data.sets.dataset import Dataset, HeldSplit
from models.backbones.backbone import Backbone, Features
from study.evaluations import Subject

CORNERS = torch.tensor([[r, g, b] for r in (0.1, 0.9) for g in (0.1, 0.9) for b in (0.1, 0.9)])[:7]
CLASSES, SIDE = len(CORNERS), 16


class Namer(Backbone):
    """The pooled feature is the class's one-hot code, softened; counts the pictures that it sees."""

    channels = CLASSES
    stride = 4
    stage_channels = (3, CLASSES)

    def __init__(self) -> None:
        super().__init__()
        self.sharpness = nn.Parameter(torch.tensor(40.0))
        self.norm = nn.BatchNorm2d(CLASSES, affine=False)
        self.register_buffer("corners", CORNERS.clone())
        self.norm.eval()
        self.seen = 0

    def forward(self, images: Tensor) -> Features:
        self.seen += len(images)
        cells = nn.functional.avg_pool2d(images, self.stride)
        distance = (cells[:, None] - self.corners[None, :, :, None, None]).square().sum(2)
        dense = self.norm(torch.softmax(-self.sharpness * distance, 1))
        return Features(dense.mean((2, 3)), dense)

    def stages(self, images: Tensor) -> list[Tensor]:
        return [images, self.forward(images).dense]


class Coloured(HeldSplit, Semantic, Detection):
    """Every pixel of a picture is of the picture's class, and all of it is one object."""

    semantic_classes = object_classes = tuple(map(str, range(CLASSES)))
    with_masks = True

    def semantic(self, indices: Sequence[int] | Tensor) -> list[Tensor]:
        return [self.labels[int(i)].to(torch.uint8).expand(SIDE, SIDE) for i in indices]

    def objects(self, indices: Sequence[int] | Tensor, masks: bool = True) -> list[Objects]:
        box, whole = torch.tensor([[0.0, 0.0, SIDE, SIDE]]), torch.ones(1, SIDE, SIDE, dtype=torch.bool)
        none = torch.zeros(1, dtype=torch.bool)
        return [Objects(box, self.labels[int(i)][None], none, whole) for i in indices]


def pictures(n: int, seed: int, shuffled: bool) -> Coloured:
    draw = torch.Generator().manual_seed(seed)
    labels = torch.arange(n) % CLASSES
    noise = 0.05 * torch.randn(n, 3, SIDE, SIDE, generator=draw)
    held = ((CORNERS[labels][:, :, None, None] + noise).clamp(0, 1) * 255).round().to(torch.uint8)
    if shuffled:
        labels = labels[torch.randperm(n, generator=draw)]
    return Coloured(held, labels)


def toy(shuffled: bool = False, seed: int = 0, train: int = 210, test: int = 350) -> Subject:
    data = Dataset(pictures(train, 1, shuffled), pictures(test, 2, shuffled), CLASSES, SIDE)
    return Subject(Namer(), data, size=SIDE, mean=(0.0,) * 3, std=(1.0,) * 3, seed=seed, batch=64)


@pytest.fixture
def subject() -> Subject:
    return toy()


@pytest.fixture
def make_subject() -> Callable[..., Subject]:
    return toy
