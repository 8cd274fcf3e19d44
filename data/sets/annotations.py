"""What dense sets know of a picture beyond its label: the class of every pixel, and the objects in it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from data.sets.dataset import Split

IGNORED = 255  # the class of a pixel that counts nowhere


@dataclass(frozen=True)
class Objects:
    """The n objects of a picture.

    boxes: float32 (n, 4), x0 y0 x1 y1 in pixels of the picture, x1 and y1 exclusive.
    labels: int64 (n,), from 0. masks: bool (n, H, W), or None where the set has boxes only.
    ignored: bool (n,): difficult (VOC) or crowds (COCO); neither trained on nor counted as missed.
    """

    boxes: Tensor
    labels: Tensor
    ignored: Tensor
    masks: Tensor | None = None


class Semantic(Split, ABC):
    """Pictures whose pixels have classes. semantic_classes: their names, class k being the k-th."""

    semantic_classes: tuple[str, ...]

    @abstractmethod
    def semantic(self, indices: Sequence[int] | Tensor) -> list[Tensor]:
        """The pixels' classes of the pictures at `indices`: uint8 (H, W) each, IGNORED where they count nowhere."""


class Detection(Split, ABC):
    """Pictures with objects. object_classes: their names. with_masks: whether `Objects.masks` are known.
    crowds: whether what is ignored is a region of many objects (COCO), rather than a single one (VOC).

    A picture's label is the class of its largest object, -1 where it has none that is not ignored."""

    object_classes: tuple[str, ...]
    with_masks: bool
    crowds: bool = False

    @abstractmethod
    def objects(self, indices: Sequence[int] | Tensor, masks: bool = True) -> list[Objects]:
        """The objects of the pictures at `indices`. masks: whether they are wanted, where they are known."""
