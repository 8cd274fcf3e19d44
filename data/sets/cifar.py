"""CIFAR-10 and CIFAR-100: 50,000 + 10,000 pictures of 32 x 32 pixels (Krizhevsky 2009)."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import torch
from pydantic import Field

from data.sets.dataset import DataError, Dataset, HeldSplit, SetSpec


class Cifar10(SetSpec):
    """CIFAR-10 as torchvision stores it."""

    pictures, classes = 50_000, 10
    side = 32

    name: Literal["cifar10"] = Field("cifar10", description="CIFAR-10, 32 px, 10 classes")
    download: bool = Field(False, description="fetch the archive when it is not there")

    def load(self, root: Path) -> Dataset:
        return _load("CIFAR10", root, self.download, self.classes)


class Cifar100(SetSpec):
    """CIFAR-100 as torchvision stores it, fine labels."""

    pictures, classes = 50_000, 100
    side = 32

    name: Literal["cifar100"] = Field("cifar100", description="CIFAR-100, 32 px, 100 classes")
    download: bool = Field(False, description="fetch the archive when it is not there")

    def load(self, root: Path) -> Dataset:
        return _load("CIFAR100", root, self.download, self.classes)


def _load(kind: str, root: Path, download: bool, classes: int) -> Dataset:
    train = _split(kind, root, True, download)
    return Dataset(train, _split(kind, root, False, download), classes, 32)


def _split(kind: str, root: Path, train: bool, download: bool) -> HeldSplit:
    from torchvision import datasets

    loader = getattr(datasets, kind)
    try:
        found = loader(root, train=train, download=False)
    except RuntimeError as absent:  # not there, or its checksum is wrong
        if not download:
            raise DataError(
                f"{kind} is not under {root}: set `download: true` once, or put torchvision's files there"
            ) from absent
        try:
            found = loader(root, train=train, download=True)
        except (OSError, RuntimeError) as failed:
            raise DataError(
                f"{kind} could not be downloaded to {root} ({failed}): put torchvision's files there by hand"
            ) from failed
    held = torch.from_numpy(found.data).permute(0, 3, 1, 2).contiguous()  # (N, 3, 32, 32)
    return HeldSplit(held, torch.tensor(found.targets))
