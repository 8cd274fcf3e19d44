"""How published sets lie on a disk: readers of their layouts, through torchvision's classes where it has them."""

from __future__ import annotations

import csv
import fcntl
import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import torch
from torch import Tensor

from data.sets.dataset import DataError, HeldSplit, Split, digest
from data.sets.files import FolderSplit, below
from data.sets.folder import class_folders, lines_of
from data.subsets import subset

DRAWN = 0  # seed of the splits that are ours, where the authors gave none; a trial's seed never changes them
VOC = (
    *("aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "diningtable"),
    *("dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor"),
)
USAGES = ("Training", "PublicTest", "PrivateTest")  # of FER2013
Parts = tuple[
    list[Split], Split
]  # of the training split, the last of several for validation; and the test split


@dataclass(frozen=True)
class Source:
    """Where a set is: below `root`, fetched first where `download` allows it and `kind` (a class of
    torchvision) can. train, test: arguments of that class for the parts of each split."""

    root: Path
    kind: str = ""
    train: tuple[dict[str, Any], ...] = ()
    test: dict[str, Any] = field(default_factory=dict)
    download: bool = False

    def open(self, **arguments: Any) -> Any:
        """torchvision's dataset. Raises OSError or RuntimeError where it is absent, damaged or not fetched."""
        from torchvision import datasets  # here: a file check must be fast

        made = getattr(datasets, self.kind)
        try:
            return made(str(self.root), **arguments)
        except (OSError, RuntimeError, ValueError):
            if not self.download:
                raise
        with _alone(self.root):
            return made(str(self.root), **arguments, download=True)

    def fetched(self, there: Path, **arguments: Any) -> Path:
        """`there`, a folder that torchvision's download makes. Raises as `open` does."""
        if not there.exists():
            if self.download and self.kind:
                self.open(**arguments)
            if not there.exists():
                raise FileNotFoundError(f"{there} does not exist")
        return there


def arrays(source: Source) -> Parts:
    """Pictures that torchvision keeps in memory: `data`, and `targets` or `labels`."""

    def part(arguments: dict[str, Any]) -> Split:
        made = source.open(**arguments)
        pixels = torch.as_tensor(np.ascontiguousarray(made.data))
        pixels = pixels[:, None].repeat(1, 3, 1, 1) if pixels.dim() == 3 else pixels  # (N, 3, H, W)
        labels = made.targets if hasattr(made, "targets") else made.labels
        return HeldSplit(pixels, torch.as_tensor(np.asarray(labels)).long())

    return [part(arguments) for arguments in source.train], part(source.test)


def files(source: Source) -> Parts:
    """Pictures that torchvision lists: `_samples`, or `_image_files` (`_images`) and `_labels`."""

    def part(arguments: dict[str, Any]) -> Split:
        made = source.open(**arguments)
        if hasattr(made, "_samples"):
            return listed((path, int(label)) for path, label in made._samples)
        paths = made._images if hasattr(made, "_images") else made._image_files
        return listed(zip(paths, map(int, made._labels), strict=True))

    return [part(arguments) for arguments in source.train], part(source.test)


def drawn(folder: str, each: float) -> Callable[[Source], Parts]:
    """Folders of classes without a split: `each` pictures of each class (a share of them where below 1), drawn
    once and for all, are for training, the others for testing."""

    def read(source: Source) -> Parts:
        path = source.fetched(source.root / folder)
        found = [
            (path / name / file, label)
            for label, name in enumerate(class_folders(path))
            for file, _ in sorted(below(path / name))
        ]
        labels = torch.tensor([label for _, label in found])
        chosen = torch.zeros(len(found), dtype=torch.bool)
        if each < 1:
            chosen[subset(labels, each, DRAWN)] = True
        else:
            order = torch.randperm(len(found), generator=torch.Generator().manual_seed(DRAWN))
            for label in labels.unique():
                chosen[order[labels[order] == label][: int(each)]] = True
        train, test = (
            [row for row, here in zip(found, chosen) if bool(here) is want] for want in (True, False)
        )
        return [listed(train)], listed(test)

    return read


def sun(source: Source) -> Parts:
    """SUN397's first pair of lists, beside its pictures."""
    path = source.fetched(source.root / "SUN397")
    names = {name: label for label, name in enumerate(lines_of(path / "ClassName.txt", "classes"))}

    def part(name: str) -> Split:
        there = next((p for p in (path / name, path / "Partitions" / name) if p.exists()), source.root / name)
        rows = lines_of(there, "pictures (Partitions.zip of the set's page)")
        return listed((path / row.lstrip("/"), names[row.rsplit("/", 1)[0]]) for row in rows)

    return [part("Training_01.txt")], part("Testing_01.txt")


def voc(source: Source) -> Parts:
    """Several classes a picture; those of which it has difficult objects only are left open."""

    def part(arguments: dict[str, Any]) -> Split:
        made = source.open(**arguments)
        targets = torch.zeros(len(made.images), len(VOC), dtype=torch.int8)
        for row, file in enumerate(made.annotations):
            for thing in ElementTree.parse(file).iter("object"):
                at = VOC.index(thing.findtext("name", ""))
                sure = thing.findtext("difficult", "0").strip() != "1"
                targets[row, at] = 1 if sure or targets[row, at] == 1 else -1
        split = listed((path, -1) for path in made.images)
        split.targets = targets
        split.fingerprint = digest(split.fingerprint, targets.numpy())
        return split

    return [part(arguments) for arguments in source.train], part(source.test)


def fer(source: Source) -> Parts:
    """FER2013's table of pixels, fer2013.csv or icml_face_data.csv; PublicTest is for validation."""
    folder = source.root / "fer2013"
    there = next((p for p in (folder / "fer2013.csv", folder / "icml_face_data.csv") if p.exists()), None)
    if there is None:
        raise FileNotFoundError(f"{folder}/fer2013.csv does not exist")
    pixels: dict[str, list[np.ndarray]] = {usage: [] for usage in USAGES}
    labels: dict[str, list[int]] = {usage: [] for usage in USAGES}
    with there.open(newline="") as file:
        for line in csv.DictReader(file, skipinitialspace=True):
            usage = line["Usage"]
            labels[usage].append(int(line["emotion"]))
            pixels[usage].append(np.array(line["pixels"].split(), dtype=np.uint8).reshape(48, 48))
    made = [
        HeldSplit(
            torch.from_numpy(np.stack(pixels[usage]))[:, None].repeat(1, 3, 1, 1), torch.tensor(labels[usage])
        )
        for usage in USAGES
    ]
    return [made[0], made[1]], made[2]


def memes(source: Source) -> Parts:
    """Hateful Memes: train.jsonl and dev.jsonl beside img/."""
    path = source.root / "hateful_memes"

    def part(*names: str) -> Split:
        there = next((path / name for name in names if (path / name).exists()), path / names[0])
        rows = [json.loads(line) for line in there.read_text().splitlines() if line.strip()]
        return listed((path / row["img"], int(row["label"])) for row in rows)

    return [part("train.jsonl")], part("dev.jsonl", "dev_seen.jsonl")


def tiny(source: Source) -> Parts:
    """Tiny-ImageNet: train/<class>/images/*, and val/images/* with val_annotations.txt."""
    path = source.root / "tiny-imagenet-200"
    names = class_folders(path / "train")
    train = [
        (path / "train" / name / file, label)
        for label, name in enumerate(names)
        for file, _ in sorted(below(path / "train" / name))
    ]
    rows = [line.split("\t")[:2] for line in (path / "val/val_annotations.txt").read_text().splitlines()]
    test = [(path / "val/images" / file, names.index(name)) for file, name in rows]
    return [listed(train)], listed(test)


def folders(train: str, test: str) -> Callable[[Source], Parts]:
    """Class folders for each split; the training split's name the classes."""

    def read(source: Source) -> Parts:
        names = class_folders(source.root / train)

        def part(path: Path) -> Split:
            return listed(
                (path / name / file, label)
                for label, name in enumerate(names)
                for file, _ in sorted(below(path / name))
            )

        if strange := sorted(set(class_folders(source.root / test)) - set(names)):
            raise ValueError(f"{test} has a class {strange[0]!r} that {train} lacks")
        return [part(source.root / train)], part(source.root / test)

    return read


def listed(rows: Iterable[tuple[str | Path, int]]) -> FolderSplit:
    """The pictures and classes that a list names, in its order. Raises OSError where one is absent."""
    found = [(Path(path), label) for path, label in rows]
    if not found:
        raise ValueError("a split names no pictures")
    base = Path(os.path.commonpath([path.parent for path, _ in found]))
    names = [path.relative_to(base).as_posix() for path, _ in found]
    lengths = [path.stat().st_size for path, _ in found]
    return FolderSplit(base, names, lengths, [label for _, label in found])


class H5Split(Split):
    """PatchCamelyon's pictures in HDF5 files, read when they are asked for. pairs: files of x and of y."""

    def __init__(self, pairs: Sequence[tuple[Path, Path]]) -> None:
        self.pairs = list(pairs)
        labels = [_rows(y, "y", slice(None)).reshape(-1) for _, y in pairs]
        self.labels = torch.from_numpy(np.concatenate(labels)).long()
        self.starts = np.cumsum([0, *map(len, labels)])
        self.native = int(_rows(pairs[0][0], "x", slice(0, 1)).shape[1])
        lengths = (str(x.stat().st_size) for x, _ in pairs)
        self.fingerprint = digest(*lengths, self.labels.numpy())

    def read(self, indices: Sequence[int] | Tensor) -> list[Tensor]:
        wanted = np.asarray(indices)
        out = [torch.empty(0)] * len(wanted)
        for k, (file, _) in enumerate(self.pairs):
            here = ((wanted >= self.starts[k]) & (wanted < self.starts[k + 1])).nonzero()[0]
            if len(here):
                rows, back = np.unique(
                    wanted[here] - self.starts[k], return_inverse=True
                )  # HDF5 wants them so
                pixels = torch.from_numpy(_rows(file, "x", rows)).permute(0, 3, 1, 2)
                for place, row in zip(here, back):
                    out[place] = pixels[row]
        return out

    def sizes(self, indices: Sequence[int] | Tensor) -> Tensor:
        return torch.tensor([self.native, self.native]).expand(len(indices), 2)


def pcam(source: Source) -> Parts:
    """PatchCamelyon; needs the package h5py."""
    try:
        import h5py  # noqa: F401
    except ImportError as error:
        raise DataError("pcam is read with the package h5py, which is not here: pip install h5py") from error

    def part(name: str, split: str) -> H5Split:
        x, y = (source.root / "pcam" / f"camelyonpatch_level_2_split_{name}_{kind}.h5" for kind in "xy")
        return H5Split([(source.fetched(x, split=split), source.fetched(y, split=split))])

    return [part("train", "train"), part("valid", "val")], part("test", "test")


def _rows(path: Path, key: str, rows: Any) -> np.ndarray:
    import h5py

    with h5py.File(path, "r") as file:
        return np.asarray(file[key][rows])


def joined(parts: Sequence[Split]) -> tuple[Split, Tensor | None]:
    """The parts of a split as one; and which pictures of it are the last part, if there are several."""
    first = parts[0]
    whole = first
    if len(parts) > 1:
        if all(isinstance(part, HeldSplit) for part in parts):
            whole = HeldSplit(
                torch.cat([part.held for part in parts if part.held is not None]),
                torch.cat([part.labels for part in parts]),
            )
        elif isinstance(first, H5Split):
            whole = H5Split([pair for part in parts if isinstance(part, H5Split) for pair in part.pairs])
        else:
            whole = listed(
                (part.path / file, label)
                for part in parts
                if isinstance(part, FolderSplit)
                for file, label in zip(part.files, part.labels.tolist())
            )
            several = [part.targets for part in parts if part.targets is not None]
            if several:
                whole.targets = torch.cat(several)
                whole.fingerprint = digest(whole.fingerprint, whole.targets.numpy())
    if isinstance(whole, FolderSplit) and whole.targets is None:
        whole = whole.hold() or whole
    return whole, torch.arange(len(whole) - len(parts[-1]), len(whole)) if len(parts) > 1 else None


@contextmanager
def _alone(root: Path) -> Iterator[None]:
    """One process at a time fetches into `root`."""
    root.mkdir(parents=True, exist_ok=True)
    with (root / ".fetching").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
