"""Pictures with masks as files: a mask is a PNG whose values (palette or grey) are the classes of pixels."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from data.sets.annotations import IGNORED, Semantic
from data.sets.dataset import DataError, digest
from data.sets.folder import SUFFIXES, FolderSplit


class MaskSplit(FolderSplit, Semantic):
    """Pictures below `path` and their masks, both decoded when they are read, and kept where the set is small.

    pairs: a picture and its mask, relative to `path`. classes: the names of the values 0, 1, ... of a mask.
    void: the value, beside 255, of pixels that count nowhere. The pictures have no labels (-1).
    """

    def __init__(
        self, path: Path, pairs: Sequence[tuple[str, str]], classes: tuple[str, ...], void: int = IGNORED
    ) -> None:
        pictures, masks = ([pair[i] for pair in pairs] for i in range(2))
        lengths = [_bytes(path / file) for file in pictures]
        super().__init__(path, pictures, lengths, [-1] * len(pairs))
        self.semantic_classes = classes
        self.void = void
        self.masks = masks
        named = (f"{file} {_bytes(path / file)}" for file in masks)
        self.fingerprint = digest(self.fingerprint, *named, *classes, str(void))
        self._kept_masks: dict[int, Tensor] = {}

    def semantic(self, indices: Sequence[int] | Tensor) -> list[Tensor]:
        """uint8 (H, W) each. Raises DataError where a mask is broken, is not of its picture's size, or holds a
        value that is no class."""
        return [self._mask(int(i)) for i in indices]

    def _mask(self, i: int) -> Tensor:
        if i in self._kept_masks:
            return self._kept_masks[i]
        file = self.path / self.masks[i]
        mask = decode(file)
        if self.void != IGNORED:
            mask[mask == self.void] = IGNORED
        height, width = self.sizes([i])[0].tolist()
        if mask.shape != (height, width):
            shapes = f"{mask.shape[1]} x {mask.shape[0]}, but its picture {width} x {height}"
            raise DataError(f"{file} is {shapes}: a mask has one value for each pixel")
        strange = mask[(mask != IGNORED) & (mask >= len(self.semantic_classes))]
        if len(strange):
            raise DataError(
                f"{file} holds the value {int(strange.max())}, but the classes are 0 to "
                f"{len(self.semantic_classes) - 1} and {IGNORED} (not counted): name more classes or mend the mask"
            )
        if self._kept is not None:
            self._kept_masks[i] = mask
        return mask


def decode(file: Path) -> Tensor:
    """A mask's values: uint8 (H, W). Raises DataError where it cannot be read or has colours, not values."""
    from PIL import Image

    try:
        with Image.open(file) as picture:
            mode = picture.mode
            values = np.array(picture)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise DataError(f"{file} cannot be decoded ({error}): restore the mask") from error
    if values.ndim != 2 or (values.size and int(values.max()) > 255):
        raise DataError(
            f"{file} is of mode {mode}: a mask is a palette or 8-bit grey PNG whose values are classes"
        )
    return torch.from_numpy(values.astype(np.uint8))


def by_stem(path: Path, pictures: str, masks: str) -> list[tuple[str, str]]:
    """Pairs of files of two folders below `path` with equal stems, sorted. Raises DataError where a picture
    has no mask."""
    found = {Path(file).stem: file for file in _names(path / masks)}
    pairs = []
    for file in _names(path / pictures):
        mask = found.get(Path(file).stem)
        if mask is None:
            raise DataError(f"{path / pictures / file} has no mask of its name in {path / masks}: add it")
        pairs.append((f"{pictures}/{file}", f"{masks}/{mask}"))
    if not pairs:
        raise DataError(f"{path / pictures} holds no pictures: put files there, and their masks in {masks}/")
    return pairs


def by_list(path: Path, listed: Path, pictures: str, masks: str) -> list[tuple[str, str]]:
    """Pairs named by a text file, one stem a line, as Pascal VOC does. Raises DataError where one is absent."""
    try:
        stems = [line.split()[0] for line in listed.read_text().splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        there = ", ".join(sorted(file.stem for file in listed.parent.glob("*.txt"))) or "none"
        raise DataError(f"{listed} cannot be read: the lists beside it are {there}") from error
    if not stems:
        raise DataError(f"{listed} names no picture: one stem a line")
    found = [{Path(f).stem: f"{part}/{f}" for f in _names(path / part)} for part in (pictures, masks)]
    for stem in stems:
        for part, files in zip((pictures, masks), found):
            if stem not in files:
                raise DataError(f"{listed} names {stem}, but {path / part} has no file {stem}.*: add it")
    return [(found[0][stem], found[1][stem]) for stem in stems]


def class_names(file: Path) -> tuple[str, ...]:
    """The classes of a text file: a name a line, or a value, its name and whatever follows. 255 is left out.
    Raises DataError where values are not 0, 1, 2, ..."""
    try:
        lines = [line.split("#")[0].split() for line in file.read_text().splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{file} cannot be read ({error}): one class a line") from error
    lines = [words for words in lines if words]
    if not all(len(words) > 1 and words[0].isdigit() for words in lines):
        return tuple(" ".join(words) for words in lines)
    named = {int(words[0]): words[1] for words in lines if int(words[0]) != IGNORED}
    if sorted(named) != list(range(len(named))):
        raise DataError(f"{file} has {len(named)} classes, but their values are not 0 to {len(named) - 1}")
    return tuple(named[value] for value in range(len(named)))


def _names(folder: Path) -> list[str]:
    if not folder.is_dir():
        return []
    return sorted(e.name for e in os.scandir(folder) if os.path.splitext(e.name)[1].lower() in SUFFIXES)


def _bytes(file: Path) -> int:
    return file.stat().st_size
