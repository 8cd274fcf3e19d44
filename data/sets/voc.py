"""Detection in Pascal VOC's layout: any such folder, and VOC 2007, 2012 and 07 + 12 by name.

JPEGImages/<picture>.jpg, Annotations/<picture>.xml, ImageSets/Main/<list>.txt. Difficult objects are ignored:
neither trained on nor counted. Boxes are stored from 1 with both ends inside; here ends are outside, from 0.
"""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Literal

import torch
from pydantic import Field

from data.sets.boxes import BoxSplit
from data.sets.dataset import DataError, Dataset, SetSpec
from data.sets.files import SUFFIXES
from data.sets.segmentation import VOC, devkit_of

LISTS = "ImageSets/Main"
CLASSES = VOC[1:]  # without the background

Lists = list[tuple[Path, str]]  # folders in VOC's layout and the list in each


class VocDetection(SetSpec):
    """Any folder in Pascal VOC's layout with boxes."""

    annotated = ("objects",)
    name: Literal["voc_detection"] = Field(
        "voc_detection", description="a folder in Pascal VOC's layout, with Annotations/*.xml"
    )
    path: str = Field(
        "VOCdevkit",
        min_length=1,
        description="the folder, or one above its VOCdevkit/VOC*; a relative one starts at the data root",
    )
    train: str | None = Field(
        None,
        min_length=1,
        description="list of training pictures, without .txt; absent: trainval where there is a test list",
    )
    test: str | None = Field(
        None, min_length=1, description="list of test pictures, without .txt; absent: test, else val"
    )
    categories: tuple[str, ...] | None = Field(
        None,
        strict=False,
        min_length=1,
        description="the classes; absent: VOC's 20 where no other occurs, else those of the training pictures",
    )

    def load(self, root: Path) -> Dataset:
        path = root / Path(self.path).expanduser()
        devkit = devkit_of(path)
        if devkit is None:
            raise DataError(
                f"{path} has no JPEGImages/ (nor a VOCdevkit/VOC*/ with it): expected are JPEGImages/*.jpg, "
                f"Annotations/*.xml and {LISTS}/*.txt; `path` names the folder"
            )
        have = {file.stem for file in (devkit / LISTS).glob("*.txt")}
        test = self.test or ("test" if "test" in have else "val")
        train = self.train or ("trainval" if "trainval" in have and test != "val" else "train")
        return _load(devkit, [(devkit, train)], [(devkit, test)], self.categories)


class Voc2007(SetSpec):
    """Pascal VOC 2007: 5,011 training and 4,952 test pictures, 20 classes."""

    annotated = ("objects",)
    pictures, classes = 5011, 20
    name: Literal["voc2007"] = Field("voc2007", description="Pascal VOC 2007, boxes of 20 classes")
    path: str = Field(
        "VOCdevkit", min_length=1, description="the folder of VOC2007/; a relative one starts at the root"
    )

    def load(self, root: Path) -> Dataset:
        devkit = _years(root, self.path, "2007")
        return _load(devkit, [(devkit / "VOC2007", "trainval")], [(devkit / "VOC2007", "test")], CLASSES)


class Voc2012Boxes(SetSpec):
    """Pascal VOC 2012: 5,717 training and 5,823 validation pictures, 20 classes; the test's boxes are secret."""

    annotated = ("objects",)
    pictures, classes = 5717, 20
    name: Literal["voc2012_boxes"] = Field(
        "voc2012_boxes", description="Pascal VOC 2012, boxes of 20 classes"
    )
    path: str = Field(
        "VOCdevkit", min_length=1, description="the folder of VOC2012/; a relative one starts at the root"
    )

    def load(self, root: Path) -> Dataset:
        devkit = _years(root, self.path, "2012")
        return _load(devkit, [(devkit / "VOC2012", "train")], [(devkit / "VOC2012", "val")], CLASSES)


class Voc0712(SetSpec):
    """Pascal VOC 07 + 12, the papers' set: trainval of both years (16,551 pictures), tested on 2007's test."""

    annotated = ("objects",)
    pictures, classes = 16_551, 20
    name: Literal["voc0712"] = Field(
        "voc0712", description="Pascal VOC, trained on 2007 and 2012, tested on 2007"
    )
    path: str = Field(
        "VOCdevkit",
        min_length=1,
        description="the folder of VOC2007/ and VOC2012/; a relative one starts at the root",
    )

    def load(self, root: Path) -> Dataset:
        devkit = _years(root, self.path, "2007", "2012")
        train = [(devkit / f"VOC{year}", "trainval") for year in ("2007", "2012")]
        return _load(devkit, train, [(devkit / "VOC2007", "test")], CLASSES)


def _years(root: Path, path: str, *years: str) -> Path:
    """The folder of VOC2007/ and the like."""
    devkit = root / Path(path).expanduser()
    absent = [year for year in years if not (devkit / f"VOC{year}" / "JPEGImages").is_dir()]
    if absent:
        raise DataError(
            f"VOC {absent[0]} is not at {devkit / f'VOC{absent[0]}'}: expected are JPEGImages/, Annotations/ and "
            f"{LISTS}/; unpack VOC's archives there, or let `path` name the VOCdevkit"
        )
    return devkit


def _load(base: Path, train: Lists, test: Lists, classes: tuple[str, ...] | None) -> Dataset:
    names = [_names(part) for part in (train, test)]
    shared = sorted(set(names[0]) & set(names[1]))
    if shared:
        raise DataError(
            f"{len(shared)} of {len(names[1])} test pictures of {base} are training pictures, "
            f"{shared[0][1]} first: use lists without common pictures"
        )
    found = [[_annotation(*name) for name in part] for part in names]
    if classes is None:
        seen = {kind for picture in found[0] for kind, _, _ in picture}
        classes = CLASSES if seen <= set(CLASSES) else tuple(sorted(seen))
    first, second = (_split(base, part, objects, classes) for part, objects in zip(names, found))
    return Dataset(first, second, len(classes), first.native)


def _names(lists: Lists) -> list[tuple[Path, str]]:
    """The pictures of some lists: their folder and name."""
    found = []
    for folder, name in lists:
        file = folder / LISTS / f"{name}.txt"
        if not file.is_file():
            have = ", ".join(sorted(f.stem for f in (folder / LISTS).glob("*.txt"))[:8]) or "none"
            raise DataError(f"{file} is not there: a picture's name a line; the lists there are {have}")
        found += [(folder, line.split()[0]) for line in file.read_text().splitlines() if line.strip()]
    if not found:
        raise DataError(f"{lists[0][0] / LISTS / lists[0][1]}.txt names no picture")
    return found


Object = tuple[str, tuple[float, ...], bool]  # class, box, whether it is difficult


def _annotation(folder: Path, name: str) -> list[Object]:
    """The objects of a picture. Raises DataError naming the file that is wrong."""
    file = folder / "Annotations" / f"{name}.xml"
    try:
        root = ElementTree.parse(file).getroot()
        return [_object(entry) for entry in root.iter("object")]
    except FileNotFoundError as error:
        raise DataError(f"{file} is not there, but {LISTS}/ lists {name}: restore it") from error
    except (ElementTree.ParseError, ValueError) as error:
        raise DataError(f"{file} cannot be read ({error}): restore it") from error


def _object(entry: ElementTree.Element) -> Object:
    kind, box = entry.findtext("name"), entry.find("bndbox")
    if not kind or box is None:
        raise ValueError("an object without name or bndbox")
    x0, y0, x1, y1 = (float(box.findtext(key, "absent")) for key in ("xmin", "ymin", "xmax", "ymax"))
    corners = (max(x0 - 1, 0.0), max(y0 - 1, 0.0), x1, y1)
    return kind.strip(), corners, entry.findtext("difficult", "0").strip() == "1"


def _split(
    base: Path, names: list[tuple[Path, str]], found: list[list[Object]], classes: tuple[str, ...]
) -> BoxSplit:
    number = {kind: i for i, kind in enumerate(classes)}
    flat = [(i, *entry) for i, picture in enumerate(found) for entry in picture]
    strange = next(((i, kind) for i, kind, _, _ in flat if kind not in number), None)
    if strange is not None:
        picture = names[strange[0]][1]
        raise DataError(
            f"{picture} in {base} has an object {strange[1]!r}, but the classes are {', '.join(classes)}: "
            "name it in `categories` or remove it"
        )
    return BoxSplit(
        base,
        [str((folder / "JPEGImages" / _file(folder, name)).relative_to(base)) for folder, name in names],
        torch.tensor([i for i, _, _, _ in flat], dtype=torch.int64),
        torch.tensor([box for _, _, box, _ in flat], dtype=torch.float32).view(-1, 4),
        torch.tensor([number[kind] for _, kind, _, _ in flat], dtype=torch.int64),
        torch.tensor([difficult for _, _, _, difficult in flat], dtype=torch.bool),
        classes,
    )


def _file(folder: Path, name: str) -> str:
    """VOC's pictures are .jpg; other sets in its layout have .png and the like."""
    if (folder / "JPEGImages" / f"{name}.jpg").is_file():
        return f"{name}.jpg"
    others = (f"{name}{suffix}" for suffix in sorted(SUFFIXES))
    return next((file for file in others if (folder / "JPEGImages" / file).is_file()), f"{name}.jpg")
