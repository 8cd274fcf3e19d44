"""Pictures in folders: path/train/<class>/* and path/test/<class>/* (or val), decoded when they are read."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from pydantic import Field

from data.sets import overlap
from data.sets.dataset import DataError, Dataset, SetSpec, Split
from data.sets.files import SUFFIXES, FolderSplit, below

LIST = (
    "file that names the training pictures that are used, one a line; a relative one starts at the data root"
)


class Folder(SetSpec):
    """A folder of labelled pictures in ImageFolder's layout."""

    name: Literal["folder"] = Field("folder", description="path/train/<class>/*, path/test/<class>/*")
    path: str = Field(
        "folder", min_length=1, description="the folder; a relative one starts at the data root"
    )
    list: str | None = Field(None, description=LIST)

    def load(self, root: Path) -> Dataset:
        return load(root / Path(self.path).expanduser(), chosen=listed(self.list, root))


def load(
    path: Path,
    classes: int | None = None,
    names: Sequence[str] | None = None,
    chosen: Path | None = None,
    parts: tuple[str, tuple[str, ...]] = ("train", ("test", "val")),
    how: str = "",
) -> Dataset:
    """Both splits of a folder, its classes in the order of their names.

    classes: their number, checked. names: the classes that are used, of more that may be there. chosen: a
    file that names the training pictures that are used. parts: the folders of the training and of the test
    split, the first of several that is there. how: for the error's text, where such a folder can be had.
    """
    train = path / parts[0]
    test = next((path / name for name in parts[1] if (path / name).is_dir()), None)
    if not train.is_dir() or test is None:
        missing = f"{parts[0]}/" if not train.is_dir() else " or ".join(f"{name}/" for name in parts[1])
        raise DataError(
            f"{path} has no {missing}: put pictures at {path}/{parts[0]}/<class>/* and "
            f"{path}/{parts[1][0]}/<class>/*{how and f'; {how}'}"
        )
    there = class_folders(train)
    strange = sorted(set(class_folders(test)) - set(there))
    if strange:
        raise DataError(
            f"{test} has a class {strange[0]!r} that {train} lacks: add it there or remove it here"
        )
    if names is not None:
        if absent := sorted(set(names) - set(there)):
            raise DataError(
                f"{train} lacks {len(absent)} of {len(names)} classes, such as {absent[0]}: add them"
            )
        there = sorted(names)
    names = there
    if not names or (classes is not None and len(names) != classes):
        wanted = classes if classes is not None else "at least 1"
        raise DataError(f"{train} holds {len(names)} class folders, not {wanted}: complete the folder")
    splits = split_of(train, names, chosen), split_of(test, names)
    overlap.refuse(*splits, path)
    return Dataset(*splits, len(names), splits[0].native)


def listed(name: str | None, root: Path) -> Path | None:
    """Where a list is, or None."""
    return None if name is None else root / Path(name).expanduser()


def class_folders(path: Path) -> list[str]:
    return sorted(entry.name for entry in os.scandir(path) if entry.is_dir())


def split_of(path: Path, names: Sequence[str], chosen: Path | None = None) -> Split:
    """The pictures of the class folders `names` below `path`, the k-th of class k."""
    found = [
        (f"{name}/{file}", length, label)
        for label, name in enumerate(names)
        for file, length in sorted(below(path / name))
    ]
    if not found:
        raise DataError(
            f"{path} holds no pictures: put files ({' '.join(sorted(SUFFIXES))}) into its class folders"
        )
    if chosen is not None:
        found = _listed(found, chosen, path)
    split = FolderSplit(path, [f for f, _, _ in found], [n for _, n, _ in found], [c for _, _, c in found])
    return split.hold() or split


def lines_of(file: Path, what: str) -> list[str]:
    """The first words of a text file's lines, without comments and empty ones. Raises DataError."""
    try:
        words = [line.split("#")[0].split() for line in file.read_text().splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{file} cannot be read ({error}): it should name {what}, one a line") from error
    return [line[0] for line in words if line]


def _listed(found: list[tuple[str, int, int]], chosen: Path, path: Path) -> list[tuple[str, int, int]]:
    """Those of `found` that a list names, with or without their class folder."""
    wanted = set(lines_of(chosen, "pictures"))
    kept = [row for row in found if row[0] in wanted or row[0].rsplit("/", 1)[1] in wanted]
    if len(kept) != len(wanted):
        named = {name for row in kept for name in (row[0], row[0].rsplit("/", 1)[1])}
        absent = sorted(wanted - named)
        what = f"such as {absent[0]}, are not there" if absent else "are there more than once"
        raise DataError(
            f"{chosen} names {len(wanted)} pictures, of which {abs(len(wanted) - len(kept))}, {what} in {path}"
        )
    return kept
