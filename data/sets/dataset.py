"""What every set is: a spec that loads two splits of labelled uint8 pictures."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from data.spec import Spec

Metric = Literal["accuracy", "mean_class", "map11", "roc_auc"]


class DataError(Exception):
    """Pictures that cannot be had; one line: what is missing, where, what to do."""


class Split(ABC):
    """N pictures with their labels.

    labels: int64 (N,), -1 where unknown.
    targets: int8 (N, K) where a picture may be of several classes: 1 it is, 0 it is not, -1 left open; labels
    are -1 then. None where every picture has one class.
    native: the pictures' shorter side in pixels (the median where they differ).
    fingerprint: 16 hex digits of the content and the labels; recorded with every result.
    held: uint8 (N, 3, H, W) where all pictures are of one size and fit into memory, else None.
    corrupt: pictures found so far that cannot be decoded, by file, and why; others stand for them.
    """

    labels: Tensor
    native: int
    fingerprint: str
    targets: Tensor | None = None
    held: Tensor | None = None
    corrupt: Mapping[str, str] = MappingProxyType({})

    def __len__(self) -> int:
        return len(self.labels)

    @abstractmethod
    def read(self, indices: Sequence[int] | Tensor) -> list[Tensor]:
        """The pictures at `indices`: uint8 (3, H, W) each."""

    @abstractmethod
    def sizes(self, indices: Sequence[int] | Tensor) -> Tensor:
        """Height and width in pixels of the pictures at `indices`: int64 (B, 2). Nothing is decoded."""


class HeldSplit(Split):
    """Pictures of one size, kept in memory. held: uint8 (N, 3, H, W); labels: int64 (N,)."""

    def __init__(
        self,
        held: Tensor,
        labels: Tensor,
        fingerprint: str | None = None,
        corrupt: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        if len(held) != len(labels):
            raise DataError(
                f"{len(held)} pictures but {len(labels)} labels: the set is damaged; load it anew"
            )
        self.held: Tensor = held
        self.labels = labels
        self.corrupt = corrupt
        self.native = min(held.shape[2:])
        self.fingerprint = fingerprint or digest(held.contiguous().numpy(), labels.contiguous().numpy())

    def read(self, indices: Sequence[int] | Tensor) -> list[Tensor]:
        return [self.held[int(i)] for i in indices]  # views: nothing is copied

    def sizes(self, indices: Sequence[int] | Tensor) -> Tensor:
        height, width = self.held.shape[2:]
        return torch.tensor([height, width]).expand(len(indices), 2)


@dataclass(frozen=True)
class Dataset:
    """A training and a test split, disjoint, over the same classes.

    native: the pictures' side in pixels. metric: how the set is scored in the literature: accuracy, the mean
    of the classes' accuracies, the 11-point mean average precision of several classes a picture, or the area
    under the ROC curve of two classes. validation: int64 (M,), the training pictures that its authors set
    apart to choose knobs with, if they did.
    """

    train: Split
    test: Split
    classes: int
    native: int
    metric: Metric = "accuracy"
    validation: Tensor | None = None

    @property
    def corrupt(self) -> dict[str, str]:
        """Pictures of both splits, found so far, that cannot be decoded: why, by file."""
        return {**self.train.corrupt, **self.test.corrupt}


class SetSpec(Spec):
    """Which pictures. A subclass has `name: Literal[...]` and `load`.

    pictures: of the training split; classes: of both. None where that is not known without loading them.
    side: pixels of the views that suit its pictures, for files that name no `views.size`.
    annotated: what is known beside labels, "pixels" (data.sets.annotations.Semantic), "objects" (Detection)
    and their "masks".
    metric: how it is scored, as in Dataset.
    """

    pictures: ClassVar[int | None] = None
    classes: ClassVar[int | None] = None
    side: ClassVar[int] = 224
    annotated: ClassVar[tuple[str, ...]] = ()
    metric: ClassVar[Metric] = "accuracy"

    fraction: float = Field(
        1.0, gt=0, le=1, description="class-balanced part of the training split that is used; nested, by seed"
    )

    def training_pictures(self) -> int | None:
        """`pictures`, where a knob decides them too; of the whole split, whatever `fraction` is used."""
        return self.pictures

    def load(self, root: Path) -> Dataset:
        """Both splits, from files under `root`. Raises DataError with what to do."""
        raise NotImplementedError


def digest(*parts: object) -> str:
    """16 hex digits of SHA-256 over buffers and strings, in order."""
    total = hashlib.sha256()
    for part in parts:
        total.update(part.encode() if isinstance(part, str) else memoryview(part).cast("B"))  # type: ignore[arg-type]
        total.update(b"\0")
    return total.hexdigest()[:16]
