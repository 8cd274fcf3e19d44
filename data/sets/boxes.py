"""Pictures with boxes as files: the boxes of a whole split in a few tensors, pictures decoded when read."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from data.sets.annotations import Detection, Objects
from data.sets.dataset import digest
from data.sets.files import FolderSplit


class BoxSplit(FolderSplit, Detection):
    """Pictures below `path` with the boxes of their objects. A picture's label is the class of its largest
    object, -1 where it has none but ignored ones.

    files: names relative to `path`. owners: (M,), the picture of each object, rising; boxes: (M, 4); kinds:
    (M,), its class; aside: bool (M,), whether it is ignored. classes: their names.
    """

    with_masks = False

    def __init__(
        self,
        path: Path,
        files: list[str],
        owners: Tensor,
        boxes: Tensor,
        kinds: Tensor,
        aside: Tensor,
        classes: tuple[str, ...],
    ) -> None:
        self.boxes, self.kinds, self.aside, self.object_classes = boxes, kinds, aside, classes
        self.starts = torch.searchsorted(owners, torch.arange(len(files) + 1))
        labels = _largest(owners, boxes, kinds, aside, len(files))
        super().__init__(path, files, [_bytes(path / file) for file in files], labels.tolist())
        known = [x.contiguous().numpy() for x in (owners, boxes, kinds, aside.to(torch.uint8)) if len(x)]
        self.fingerprint = digest(self.fingerprint, *known, *classes)

    def rows(self, i: int) -> slice:
        """Which of all objects are the i-th picture's."""
        return slice(int(self.starts[i]), int(self.starts[i + 1]))

    def objects(self, indices: Sequence[int] | Tensor, masks: bool = True) -> list[Objects]:
        rows = [self.rows(int(i)) for i in indices]
        return [Objects(self.boxes[r], self.kinds[r], self.aside[r]) for r in rows]


def _largest(owners: Tensor, boxes: Tensor, kinds: Tensor, aside: Tensor, pictures: int) -> Tensor:
    """(N,) int64: the class of each picture's largest object, the last of equals; -1 without any."""
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(1)
    counted = (~aside & (areas > 0)).nonzero()[:, 0]
    order = counted[areas[counted].argsort(stable=True)]  # a later one overwrites a smaller
    labels = torch.full((pictures,), -1, dtype=torch.int64)
    best: dict[int, int] = dict(zip(owners[order].tolist(), kinds[order].tolist()))
    labels[list(best)] = torch.tensor(list(best.values()), dtype=torch.int64)
    return labels


def _bytes(file: Path) -> int:
    """Its length; 0 where it is absent, which is told when it is read."""
    try:
        return file.stat().st_size
    except FileNotFoundError:
        return 0
