"""Sets whose pixels have classes: Pascal VOC's layout, folders of masks, and VOC 2012 and CamVid by name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from data.sets.annotations import IGNORED
from data.sets.dataset import DataError, Dataset, SetSpec
from data.sets.masks import MaskSplit, by_list, by_stem, class_names

VOC = (
    *("background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow"),
    *(
        "diningtable",
        "dog",
        "horse",
        "motorbike",
        "person",
        "pottedplant",
        "sheep",
        "sofa",
        "train",
        "tvmonitor",
    ),
)
CAMVID = (
    *("sky", "building", "pole", "road", "pavement", "tree", "sign_symbol", "fence", "car", "pedestrian"),
    "bicyclist",
)
CAMVID_VOID = 11  # in the folders of SegNet's authors
LISTS = "ImageSets/Segmentation"
WHOLE = "absent: classes.txt in the folder (a name a line)"

Pairs = list[tuple[str, str]]
Categories = (
    Annotated[int, Field(ge=2, le=255)] | Annotated[tuple[str, ...], Field(strict=False, min_length=2)]
)


class VocSegmentation(SetSpec):
    """Pascal VOC's layout: JPEGImages/, SegmentationClass/, ImageSets/Segmentation/<list>.txt."""

    annotated = ("pixels",)

    name: Literal["voc_segmentation"] = Field(
        "voc_segmentation", description="a folder in Pascal VOC's layout, with SegmentationClass/"
    )
    path: str = Field(
        "VOCdevkit",
        min_length=1,
        description="the folder, or one above its VOCdevkit/VOC*; a relative one starts at the data root",
    )
    train: str = Field("train", min_length=1, description="list of training pictures, without .txt")
    test: str = Field("val", min_length=1, description="list of test pictures, without .txt")
    masks: str = Field("SegmentationClass", min_length=1, description="folder of the masks")
    categories: Categories | None = Field(
        None, description=f"the classes of pixels, or their number; {WHOLE}, else VOC's 21"
    )

    def load(self, root: Path) -> Dataset:
        path = root / Path(self.path).expanduser()
        devkit = devkit_of(path)
        if devkit is None:
            raise DataError(
                f"{path} has no JPEGImages/ (nor a VOCdevkit/VOC*/ with it): expected are JPEGImages/*.jpg, "
                f"{self.masks}/*.png and {LISTS}/{self.train}.txt and {self.test}.txt; `path` names the folder"
            )
        names = _classes(self.categories, [devkit, path], VOC)
        return listed(devkit, (self.train, self.test), (self.masks, self.masks), names)


class MaskFolder(SetSpec):
    """Any folder of pictures and masks: path/train/images/*, path/train/masks/*, and test/ or val/ likewise."""

    annotated = ("pixels",)

    name: Literal["mask_folder"] = Field(
        "mask_folder", description="path/train/images/*, path/train/masks/*, and test/ (or val/) likewise"
    )
    path: str = Field(
        "mask_folder", min_length=1, description="the folder; a relative one starts at the data root"
    )
    categories: Categories | None = Field(
        None, description=f"the classes of pixels, or their number; {WHOLE}"
    )
    void: int = Field(IGNORED, ge=0, le=255, description="value of pixels that count nowhere, beside 255")

    def load(self, root: Path) -> Dataset:
        path = root / Path(self.path).expanduser()
        test = next((name for name in ("test", "val") if (path / name / "images").is_dir()), None)
        if test is None or not (path / "train/images").is_dir():
            missing = "train/images/" if test else "test/images/ or val/images/"
            raise DataError(
                f"{path} has no {missing}: expected are train/images/*, train/masks/*.png of equal names, and "
                "test/ (or val/) likewise; `path` names the folder"
            )
        names = _classes(self.categories, [path], None)
        parts = ("train", test)
        return _dataset(
            path, [by_stem(path, f"{p}/images", f"{p}/masks") for p in parts], names, void=self.void
        )


class Voc2012(SetSpec):
    """Pascal VOC 2012, 21 classes. LEWEL trains on train + aug: the list `trainaug` and the masks of SBD in
    SegmentationClassAug/, which are not part of VOC's own archive."""

    annotated = ("pixels",)

    name: Literal["voc2012"] = Field("voc2012", description="Pascal VOC 2012, 21 classes of pixels")
    path: str = Field(
        "VOCdevkit/VOC2012",
        min_length=1,
        description="the folder with JPEGImages/; a relative one starts at the data root",
    )
    train: Literal["train", "trainval", "trainaug"] = Field(
        "train",
        description="1,464, 2,913 or 10,582 training pictures; trainaug needs SegmentationClassAug/",
    )
    download: bool = Field(False, description="fetch VOC's archive (2 GB) when it is not there")

    def training_pictures(self) -> int:
        return {"train": 1464, "trainval": 2913, "trainaug": 10_582}[self.train]

    def load(self, root: Path) -> Dataset:
        path = root / Path(self.path).expanduser()
        if not (path / "JPEGImages").is_dir() and self.download:
            _download(root)
        if not (path / "JPEGImages").is_dir():
            raise DataError(
                f"VOC 2012 is not at {path}: expected are JPEGImages/, SegmentationClass/ and {LISTS}/; set "
                "`download: true` once, or unpack VOCtrainval_11-May-2012.tar there"
            )
        masks = "SegmentationClassAug" if self.train == "trainaug" else "SegmentationClass"
        if not (path / masks).is_dir():
            raise DataError(
                f"{path} has no {masks}/: put the masks of SBD's 10,582 training pictures there, and their list "
                f"at {LISTS}/trainaug.txt, or use `train: train`"
            )
        return listed(path, (self.train, "val"), (masks, "SegmentationClass"), VOC)


class CamVid(SetSpec):
    """CamVid's 11 classes: 367 training, 101 validation and 233 test pictures of 480 x 360 pixels, in VOC's
    layout or in SegNet's (train/, trainannot/, test/, testannot/)."""

    annotated = ("pixels",)

    name: Literal["camvid"] = Field("camvid", description="CamVid, street scenes, 11 classes of pixels")
    path: str = Field(
        "camvid", min_length=1, description="the folder; a relative one starts at the data root"
    )
    train: Literal["train", "trainval"] = Field("train", description="367 or 468 training pictures")

    def training_pictures(self) -> int:
        return {"train": 367, "trainval": 468}[self.train]

    def load(self, root: Path) -> Dataset:
        path, names = root / Path(self.path).expanduser(), CAMVID
        devkit = devkit_of(path)
        if devkit is not None:
            return listed(devkit, (self.train, "test"), ("SegmentationClass",) * 2, names)
        if not all((path / part).is_dir() for part in ("train", "trainannot", "test", "testannot")):
            raise DataError(
                f"CamVid is not at {path}: expected is VOC's layout (JPEGImages/, SegmentationClass/) or train/, "
                "trainannot/, test/, testannot/; SegNet's authors publish it, and `path` names its folder"
            )
        parts = ["train", "val"] if self.train == "trainval" else ["train"]
        train = [pair for part in parts for pair in by_stem(path, part, f"{part}annot")]
        return _dataset(path, [train, by_stem(path, "test", "testannot")], names, void=CAMVID_VOID)


def devkit_of(path: Path) -> Path | None:
    """The folder of JPEGImages/ at `path` or in a VOCdevkit below it; of several years the latest."""
    below = [*sorted(path.glob("VOC[0-9]*")), *sorted(path.glob("VOCdevkit/VOC[0-9]*"))]
    return next((folder for folder in (path, *below[::-1]) if (folder / "JPEGImages").is_dir()), None)


def listed(devkit: Path, lists: tuple[str, str], masks: tuple[str, str], classes: tuple[str, ...]) -> Dataset:
    """Both splits of a folder in VOC's layout. Raises DataError where something is absent or in both lists."""
    pairs = [
        by_list(devkit, devkit / LISTS / f"{name}.txt", "JPEGImages", folder)
        for name, folder in zip(lists, masks)
    ]
    return _dataset(devkit, pairs, classes)


def _dataset(path: Path, pairs: list[Pairs], classes: tuple[str, ...], void: int = IGNORED) -> Dataset:
    shared = sorted({p for p, _ in pairs[0]} & {p for p, _ in pairs[1]})
    if shared:
        raise DataError(
            f"{len(shared)} of {len(pairs[1])} test pictures of {path} are training pictures, {shared[0]} first: "
            "use lists without common pictures"
        )
    train, test = (MaskSplit(path, part, classes, void) for part in pairs)
    return Dataset(train, test, 0, train.native)


def _classes(
    given: int | tuple[str, ...] | None, folders: list[Path], default: tuple[str, ...] | None
) -> tuple[str, ...]:
    if isinstance(given, int):
        return tuple(f"class_{i}" for i in range(given))
    if given is not None:
        return given
    file = next((folder / "classes.txt" for folder in folders if (folder / "classes.txt").is_file()), None)
    if file is not None:
        return class_names(file)
    if default is None:
        raise DataError(
            f"{folders[0] / 'classes.txt'} is not there: write a class a line into it, or set `categories`"
        )
    return default


def _download(root: Path) -> None:
    from torchvision import datasets

    fetch: Callable[..., object] = datasets.VOCSegmentation
    try:
        fetch(root, year="2012", image_set="train", download=True)
    except (OSError, RuntimeError) as failed:
        raise DataError(
            f"VOC 2012 could not be downloaded to {root} ({failed}): unpack its archive there by hand"
        ) from failed
