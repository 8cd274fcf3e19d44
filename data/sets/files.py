"""Pictures that are files: decoded by threads when they are read, kept where they are few and small."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from data.sets.annotations import Detection, Semantic
from data.sets.dataset import DataError, HeldSplit, Split, digest
from data.sets.decode import Unreadable, decode, size

SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm"}
KEPT = 2**30  # bytes: a split that decodes to less is decoded once and kept
PROBED = 64  # pictures of a split whose sizes are read to learn its native side
CORRUPT = 0.01  # of a split's pictures, at most


class FolderSplit(Split):
    """Files under `path`, decoded by threads when read; a small split's pictures are kept.

    A picture that cannot be decoded is listed in `corrupt`, and the next readable one of its class stands for
    it, resized to its size where that is known; more than 1 % of them is an error. Where pictures have masks
    or boxes, which would be another picture's, the first one is.

    The fingerprint is of the relative names, sizes in bytes and labels: reading a million files for a
    checksum would cost more than an epoch.
    """

    def __init__(self, path: Path, files: list[str], lengths: list[int], labels: list[int]) -> None:
        self.path = path
        self.files = files
        self.lengths = lengths
        self.labels = torch.tensor(labels)
        self.fingerprint = digest(*(f"{f} {n} {c}" for f, n, c in zip(files, lengths, labels)))
        self.corrupt: dict[str, str] = {}
        self._kept: list[Tensor | None] | None = None
        self._sizes = torch.zeros(len(files), 2, dtype=torch.int64)  # 0: not yet known
        probed = self.sizes(torch.linspace(0, len(files) - 1, min(PROBED, len(files))).long())
        self.native = int(probed.amin(1).median())
        self._even = bool((probed == probed[0]).all())
        if float(probed.prod(1).float().mean()) * 3 * len(files) <= KEPT:
            self._kept = [None] * len(files)

    def hold(self) -> HeldSplit | None:
        """The same pictures as one tensor, where they are small and all of one size."""
        if self._kept is None or not self._even:
            return None
        pictures = self.read(range(len(self)))
        if any(picture.shape != pictures[0].shape for picture in pictures):
            return None
        return HeldSplit(torch.stack(pictures), self.labels, self.fingerprint, self.corrupt)

    def read(self, indices: Sequence[int] | Tensor) -> list[Tensor]:
        wanted = [int(i) for i in indices]
        return (
            list(_pool().map(self._picture, wanted))
            if len(wanted) > 1
            else [self._picture(i) for i in wanted]
        )

    def sizes(self, indices: Sequence[int] | Tensor) -> Tensor:
        wanted = torch.as_tensor(indices)
        unknown = [int(i) for i in wanted if not self._sizes[i, 0]]
        for i, found in zip(unknown, _pool().map(self._size, unknown)):
            self._sizes[i] = torch.tensor(found)
        return self._sizes[wanted]

    def _picture(self, i: int) -> Tensor:
        kept = self._kept[i] if self._kept is not None else None
        if kept is None:
            try:
                kept = decode(self.path / self.files[i])
            except Unreadable as error:
                self._note(i, error)
                kept = self._replaced(i)
            if self._kept is not None:
                self._kept[i] = kept
        return kept

    def _size(self, i: int) -> tuple[int, int]:
        try:
            return size(self.path / self.files[i])
        except Unreadable as error:  # not even its head can be read
            self._note(i, error)
            height, width = self._next(i).shape[1:]
            return height, width

    def _replaced(self, i: int) -> Tensor:
        """What stands for a picture that cannot be decoded, of the size that `sizes` gives: crops are drawn
        before anything is decoded, and must not depend on what was read before."""
        picture = self._next(i)
        try:
            wanted = size(self.path / self.files[i])
        except Unreadable:
            return picture
        if picture.shape[1:] == wanted:
            return picture
        resized = F.interpolate(picture[None].float(), wanted, mode="bilinear", antialias=True)
        return resized[0].round().clamp(0, 255).to(torch.uint8)

    def _next(self, i: int) -> Tensor:
        """The first picture after the i-th, of its class and around the end, that can be decoded."""
        same = (self.labels == self.labels[i]).nonzero()[:, 0]
        for j in torch.cat([same[same > i], same[same < i]]).tolist():
            try:
                return decode(self.path / self.files[j])
            except Unreadable as error:
                self._note(j, error)
        raise DataError(
            f"{self._listed(i)} cannot be decoded ({self.corrupt[self._listed(i)]}), nor can any of its class"
        )

    def _listed(self, i: int) -> str:
        """The set's and the split's folder, class and file: nothing of this machine."""
        return "/".join([*self.path.resolve().parts[-2:], self.files[i]])

    def _note(self, i: int, why: Unreadable) -> None:
        self.corrupt[self._listed(i)] = str(why)
        if isinstance(self, Semantic | Detection):
            raise DataError(f"{self.path / self.files[i]} cannot be decoded ({why}): restore the picture")
        if len(self.corrupt) > CORRUPT * len(self.files):
            found = dict(self.corrupt)
            first = min(found)
            share = f"{len(found)} of {len(self.files)} pictures, more than {100 * CORRUPT:g} %,"
            raise DataError(
                f"{share} of {self.path} cannot be decoded (such as {first}: {found[first]}): "
                "restore them or remove them"
            )


def below(folder: Path) -> Iterator[tuple[str, int]]:
    """Names of pictures below `folder` and their sizes in bytes."""
    if not folder.is_dir():
        return
    for entry in os.scandir(folder):
        if entry.is_dir():
            yield from ((f"{entry.name}/{file}", length) for file, length in below(Path(entry.path)))
        elif os.path.splitext(entry.name)[1].lower() in SUFFIXES:
            yield entry.name, entry.stat().st_size


@cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(min(8, os.cpu_count() or 1))
