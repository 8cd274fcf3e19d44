"""Whether test pictures stand among the training pictures: such a set is refused."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

from data.sets.dataset import DataError, Split
from data.sets.files import FolderSplit


def refuse(train: Split, test: Split, where: object, tolerated: float = 0.0) -> None:
    """Raise DataError where more than `tolerated` (a share of the test pictures) are training pictures too.

    Pictures in memory are compared by their content; files by relative name and size, and those that agree in
    both by their bytes. where: what the error names.
    """
    if train.held is not None and test.held is not None:
        seen = set(_contents(train))
        twice = [f"test picture {i}" for i, content in enumerate(_contents(test)) if content in seen]
    elif isinstance(train, FolderSplit) and isinstance(test, FolderSplit):
        twice = list(_files(train, test))
    else:
        return
    if len(twice) > tolerated * len(test):
        raise DataError(
            f"{len(twice)} of the {len(test)} test pictures of {where} are among its training pictures "
            f"(first: {twice[0]}): take them out of one of the two"
        )


def _contents(split: Split) -> Iterator[bytes]:
    assert split.held is not None
    pictures = split.held.numpy()
    return (hashlib.blake2b(picture.tobytes(), digest_size=16).digest() for picture in pictures)


def _files(train: FolderSplit, test: FolderSplit) -> Iterator[str]:
    if train.path == test.path:  # lists of one folder: a file in both is enough
        yield from sorted(set(train.files) & set(test.files))
        return
    known = set(zip(train.files, train.lengths))
    for file, length in zip(test.files, test.lengths):
        if (file, length) in known and _digest(train.path / file) == _digest(test.path / file):
            yield file


def _digest(file: Path) -> bytes:
    try:
        return hashlib.blake2b(file.read_bytes()).digest()
    except OSError as error:
        raise DataError(f"{file} cannot be read ({error.strerror}): see to the disk or the file") from error
