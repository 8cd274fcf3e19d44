"""Training batches of detectors, and the batch norms of a detector at the end of its training."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import torch
from torch import Tensor, nn

from data.sets.annotations import Detection, Objects

Batch = tuple[list[Tensor], list[dict[str, Tensor]]]


class Batches(Iterator[Batch]):
    """Training batches in torchvision's form: each picture once a pass, half of them mirrored.

    indices: the pictures, (M,). draw: on the CPU. first: the number of class 0. masks: whether targets have them.
    """

    def __init__(
        self,
        split: Detection,
        indices: Tensor,
        batch: int,
        draw: torch.Generator,
        device: torch.device,
        first: int,
        masks: bool,
    ) -> None:
        self.split, self.indices, self.batch = split, indices, batch
        self.draw, self.device, self.first, self.masks = draw, device, first, masks
        self._queue = indices[:0]

    def ahead(self, count: int) -> Iterator[Batch]:
        """`count` batches, each read while the one before is learned from."""
        with ThreadPoolExecutor(1) as pool:
            coming = pool.submit(next, self)
            for i in range(count):
                ready = coming.result()
                if i + 1 < count:
                    coming = pool.submit(next, self)
                yield ready

    def __next__(self) -> Batch:
        """Pictures, float (3, H, W) in [0, 1], and their targets."""
        while len(self._queue) < self.batch:
            shuffled = self.indices[torch.randperm(len(self.indices), generator=self.draw)]
            self._queue = torch.cat([self._queue, shuffled])
        chosen, self._queue = self._queue[: self.batch], self._queue[self.batch :]
        flips = torch.rand(len(chosen), generator=self.draw) < 0.5
        images, targets = [], []
        for picture, found, flip in zip(
            self.split.read(chosen), self.split.objects(chosen, self.masks), flips.tolist()
        ):
            image = picture.to(self.device) / 255
            images.append(image.flip(2) if flip else image)
            targets.append(self._target(found, picture.shape[2], flip))
        return images, targets

    def _target(self, found: Objects, across: int, flip: bool) -> dict[str, Tensor]:
        """Without what is ignored or has no area, which torchvision refuses."""
        boxes = found.boxes
        keep = ~found.ignored & (boxes[:, 2:] > boxes[:, :2]).all(1)
        boxes = boxes[keep]
        if flip:
            boxes = torch.stack([across - boxes[:, 2], boxes[:, 1], across - boxes[:, 0], boxes[:, 3]], 1)
        target = {"boxes": boxes, "labels": found.labels[keep] + self.first}
        if self.masks and found.masks is not None:
            shapes = found.masks[keep]
            target["masks"] = (shapes.flip(2) if flip else shapes).to(torch.uint8)
        return {name: value.to(self.device) for name, value in target.items()}


def precise_norms(net: nn.Module, batches: Batches, count: int) -> None:
    """Precise-BN: running statistics become the plain mean over `count` batches of the final network."""
    norms = [part for part in net.modules() if isinstance(part, nn.modules.batchnorm._BatchNorm)]
    if not count or not norms:
        return
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # a plain mean
    with torch.no_grad():
        for batch in batches.ahead(count):
            net(*batch)
