"""COCO's layout: annotations/instances_<list>.json and a folder of pictures a list, with boxes and masks.

Crowds are ignored: not trained on, and a detection on one counts neither way. Polygons and run lengths become
masks by pycocotools where it is installed (the extra `detection`); without it there are boxes only.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from data.sets.annotations import Objects
from data.sets.boxes import BoxSplit
from data.sets.dataset import DataError, Dataset, SetSpec


class Coco(SetSpec):
    """COCO 2017: 118,287 training and 5,000 validation pictures, 80 classes; or a folder laid out like it."""

    annotated = ("objects", "masks")
    name: Literal["coco"] = Field("coco", description="COCO's layout, boxes and masks; COCO 2017: 80 classes")
    path: str = Field(
        "coco", min_length=1, description="the folder of annotations/; a relative one starts at the data root"
    )
    train: str = Field(
        "train2017", min_length=1, description="annotations/instances_<this>.json, pictures in <this>/"
    )
    test: str = Field("val2017", min_length=1, description="the same of the test pictures")

    def training_pictures(self) -> int | None:
        return 118_287 if self.train == "train2017" else None

    def load(self, root: Path) -> Dataset:
        path = root / Path(self.path).expanduser()
        train, test = (_read(path, name) for name in (self.train, self.test))
        if {c["id"]: c["name"] for c in train["categories"]} != {
            c["id"]: c["name"] for c in test["categories"]
        }:
            raise DataError(f"the categories of {self.train} and {self.test} in {path}/annotations differ")
        shared = {p["file_name"] for p in train["images"]} & {p["file_name"] for p in test["images"]}
        if shared:
            raise DataError(
                f"{len(shared)} of {len(test['images'])} test pictures of {path} are training pictures, "
                f"{min(shared)} first: use lists without common pictures"
            )
        splits = CocoSplit(path / self.train, train), CocoSplit(path / self.test, test)
        return Dataset(*splits, len(splits[0].object_classes), splits[0].native)


class CocoSplit(BoxSplit):
    """One list of pictures. content: of its annotation file."""

    crowds = True

    def __init__(self, path: Path, content: dict[str, Any]) -> None:
        categories = sorted(content["categories"], key=lambda c: c["id"])
        number = {c["id"]: i for i, c in enumerate(categories)}
        pictures = sorted(content["images"], key=lambda p: p["id"])
        row = {p["id"]: i for i, p in enumerate(pictures)}
        found = sorted(
            (a for a in content["annotations"] if a["image_id"] in row), key=lambda a: row[a["image_id"]]
        )
        corners = torch.tensor([a["bbox"] for a in found], dtype=torch.float64).view(-1, 4)
        corners[:, 2:] += corners[:, :2]  # they are stored as corner and extent
        super().__init__(
            path,
            [p["file_name"] for p in pictures],
            torch.tensor([row[a["image_id"]] for a in found], dtype=torch.int64),
            corners.float(),
            torch.tensor([number[a["category_id"]] for a in found], dtype=torch.int64),
            torch.tensor([bool(a.get("iscrowd", 0)) for a in found], dtype=torch.bool),
            tuple(c["name"] for c in categories),
        )
        self.shapes = [_compact(a.get("segmentation")) for a in found]
        self.with_masks = find_spec("pycocotools") is not None and all(s is not None for s in self.shapes)

    def objects(self, indices: Sequence[int] | Tensor, masks: bool = True) -> list[Objects]:
        plain = super().objects(indices)
        if not masks or not self.with_masks:
            return plain
        sizes = self.sizes(indices).tolist()
        return [
            Objects(o.boxes, o.labels, o.ignored, _masks(self.shapes[self.rows(int(i))], *size))
            for o, i, size in zip(plain, indices, sizes)
        ]


def _compact(shape: Any) -> Any:
    """Polygons as arrays, a tenth of the memory; run lengths as they are."""
    return [np.asarray(p, dtype=np.float64) for p in shape] if isinstance(shape, list) else shape


def _masks(shapes: list[Any], height: int, width: int) -> Tensor:
    """Bool (n, H, W) of polygons and run lengths."""
    from pycocotools import mask as coder

    out = torch.zeros(len(shapes), height, width, dtype=torch.bool)
    for row, shape in zip(out, shapes):
        if isinstance(shape, list):
            runs = coder.merge(coder.frPyObjects([p.tolist() for p in shape], height, width))
        elif isinstance(shape["counts"], list):
            runs = coder.frPyObjects(shape, height, width)
        else:
            runs = shape
        row.copy_(torch.from_numpy(coder.decode(runs)))
    return out


def _read(path: Path, name: str) -> dict[str, Any]:
    """An annotation file. Raises DataError with what is expected."""
    file = path / "annotations" / f"instances_{name}.json"
    if not file.is_file() or not (path / name).is_dir():
        missing = file if not file.is_file() else path / name
        raise DataError(
            f"COCO's layout is not at {path}: {missing} is not there; expected are "
            f"annotations/instances_{name}.json and pictures in {name}/ (cocodataset.org), `path` names the folder"
        )
    try:
        content = json.loads(file.read_text())
        return {key: content[key] for key in ("images", "annotations", "categories")}
    except (ValueError, KeyError) as error:
        raise DataError(f"{file} cannot be read ({type(error).__name__}: {error}): restore it") from error
