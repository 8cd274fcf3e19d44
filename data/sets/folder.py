"""Pictures in folders: path/train/<class>/* and path/test/<class>/* (or val), decoded when they are read."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from data.sets.dataset import DataError, Dataset, HeldSplit, SetSpec, Split, digest

SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm"}
KEPT = 2**30  # bytes: a split that decodes to less is decoded once and kept
PROBED = 64  # pictures of a split whose sizes are read to learn its native side


class Folder(SetSpec):
    """A folder of labelled pictures in ImageFolder's layout."""

    name: Literal["folder"] = Field("folder", description="path/train/<class>/*, path/test/<class>/*")
    path: str = Field(
        "folder", min_length=1, description="the folder; a relative one starts at the data root"
    )

    def load(self, root: Path) -> Dataset:
        return load(root / self.path)


class ImageNet100(SetSpec):
    """ImageNet-100: a hundred classes of ImageNet-1k in ImageFolder's layout."""

    pictures, classes = 126_689, 100

    name: Literal["imagenet100"] = Field(
        "imagenet100", description="100 classes of ImageNet, train/ and val/"
    )
    path: str = Field(
        "imagenet100", min_length=1, description="the folder; a relative one starts at the root"
    )

    def load(self, root: Path) -> Dataset:
        return load(root / self.path, self.classes)


class ImageNet(SetSpec):
    """ImageNet-1k (ILSVRC 2012) in ImageFolder's layout."""

    pictures, classes = 1_281_167, 1000

    name: Literal["imagenet"] = Field("imagenet", description="ImageNet-1k, train/ and val/")
    path: str = Field("imagenet", min_length=1, description="the folder; a relative one starts at the root")

    def load(self, root: Path) -> Dataset:
        return load(root / self.path, self.classes)


def load(path: Path, classes: int | None = None) -> Dataset:
    """Both splits of a folder; `classes`, where given, is checked."""
    train = path / "train"
    test = next((path / name for name in ("test", "val") if (path / name).is_dir()), None)
    if not train.is_dir() or test is None:
        missing = "train/" if not train.is_dir() else "test/ or val/"
        raise DataError(
            f"{path} has no {missing}: put pictures at {path}/train/<class>/* and {path}/test/<class>/*"
        )
    names = sorted(entry.name for entry in os.scandir(train) if entry.is_dir())
    if not names or (classes is not None and len(names) != classes):
        wanted = classes if classes is not None else "at least 1"
        raise DataError(f"{train} holds {len(names)} class folders, not {wanted}: complete the folder")
    strange = sorted(
        entry.name for entry in os.scandir(test) if entry.is_dir() and entry.name not in set(names)
    )
    if strange:
        raise DataError(
            f"{test} has a class {strange[0]!r} that {train} lacks: add it there or remove it here"
        )
    splits = _split(train, names), _split(test, names)
    return Dataset(*splits, len(names), splits[0].native)


def _split(path: Path, names: list[str]) -> Split:
    found = [
        (f"{name}/{file}", size, label)
        for label, name in enumerate(names)
        for file, size in sorted(_files(path / name))
    ]
    if not found:
        raise DataError(
            f"{path} holds no pictures: put files ({' '.join(sorted(SUFFIXES))}) into its class folders"
        )
    split = FolderSplit(path, [f for f, _, _ in found], [s for _, s, _ in found], [c for _, _, c in found])
    return split.hold() or split


def _files(folder: Path) -> Iterator[tuple[str, int]]:
    """Names below `folder` and their sizes in bytes."""
    if not folder.is_dir():
        return
    for entry in os.scandir(folder):
        if entry.is_dir():
            yield from ((f"{entry.name}/{file}", size) for file, size in _files(Path(entry.path)))
        elif os.path.splitext(entry.name)[1].lower() in SUFFIXES:
            yield entry.name, entry.stat().st_size


class FolderSplit(Split):
    """Files under `path`, decoded by threads when read; a small split's pictures are kept.

    The fingerprint is of the relative names, sizes in bytes and labels: reading a million files for a
    checksum would cost more than an epoch.
    """

    def __init__(self, path: Path, files: list[str], lengths: list[int], labels: list[int]) -> None:
        self.path = path
        self.files = files
        self.labels = torch.tensor(labels)
        self.fingerprint = digest(*(f"{f} {n} {c}" for f, n, c in zip(files, lengths, labels)))
        self._sizes = torch.zeros(len(files), 2, dtype=torch.int64)  # 0: not yet known
        probed = self.sizes(torch.linspace(0, len(files) - 1, min(PROBED, len(files))).long())
        self.native = int(probed.amin(1).median())
        self._even = bool((probed == probed[0]).all())
        small = float(probed.prod(1).float().mean()) * 3 * len(files) <= KEPT
        self._kept: list[Tensor | None] | None = [None] * len(files) if small else None

    def hold(self) -> HeldSplit | None:
        """The same pictures as one tensor, where they are small and all of one size."""
        if self._kept is None or not self._even:
            return None
        pictures = self.read(range(len(self)))
        if any(picture.shape != pictures[0].shape for picture in pictures):
            return None
        return HeldSplit(torch.stack(pictures), self.labels, self.fingerprint)

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
        for i, size in zip(unknown, _pool().map(self._size, unknown)):
            self._sizes[i] = torch.tensor(size)
        return self._sizes[wanted]

    def _picture(self, i: int) -> Tensor:
        kept = self._kept[i] if self._kept is not None else None
        if kept is None:
            kept = decode(self.path / self.files[i])
            if self._kept is not None:
                self._kept[i] = kept
        return kept

    def _size(self, i: int) -> tuple[int, int]:
        from PIL import Image

        file = self.path / self.files[i]
        try:
            with Image.open(file) as picture:
                return picture.height, picture.width
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
            raise _broken(file, error) from error


def decode(file: Path) -> Tensor:
    """One picture: uint8 (3, H, W), stored channels last. Raises DataError where it cannot be decoded."""
    from PIL import Image

    try:
        with Image.open(file) as picture:
            pixels = np.array(picture.convert("RGB"))
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise _broken(file, error) from error
    return torch.from_numpy(pixels).permute(2, 0, 1)


def _broken(file: Path, error: Exception) -> DataError:
    return DataError(f"{file} cannot be decoded ({error}): restore the file or remove it")


@cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(min(8, os.cpu_count() or 1))
