"""Pictures in folders: path/train/<class>/* and path/test/<class>/* (or val), decoded when they are read."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

from pydantic import Field

from data.sets import overlap
from data.sets.dataset import DataError, Dataset, SetSpec, Split
from data.sets.files import SUFFIXES, FolderSplit, below


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
    overlap.refuse(*splits, path)
    return Dataset(*splits, len(names), splits[0].native)


def _split(path: Path, names: list[str]) -> Split:
    found = [
        (f"{name}/{file}", length, label)
        for label, name in enumerate(names)
        for file, length in sorted(below(path / name))
    ]
    if not found:
        raise DataError(
            f"{path} holds no pictures: put files ({' '.join(sorted(SUFFIXES))}) into its class folders"
        )
    split = FolderSplit(path, [f for f, _, _ in found], [n for _, n, _ in found], [c for _, _, c in found])
    return split.hold() or split
