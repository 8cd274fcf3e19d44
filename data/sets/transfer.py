"""Published sets by name, a row each: those that EsViT probes (its Table 10), GLSD's, and others of the field.

Read through torchvision where it knows them. Nothing is fetched unless the file says `download: true`, which is
no part of a trial's id. Sizes are those of the sets themselves where the paper prints others (Food-101 has 101
classes, FER2013 has 7); splits that the authors left open are drawn here once and for all.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import Field, create_model

from data.sets import overlap
from data.sets.dataset import DataError, Dataset, Metric, SetSpec
from data.sets.publishers import (
    Parts,
    Source,
    arrays,
    drawn,
    fer,
    files,
    folders,
    joined,
    memes,
    pcam,
    sun,
    tiny,
    voc,
)

REPEATED = 0.01  # of the test pictures: published sets repeat a picture or two


@dataclass(frozen=True)
class Row:
    """One set. read: its reader. kind, train, test: torchvision's class, and its arguments for the parts of
    each split (of several training parts the last is for validation). where: what is looked for under the
    root. how: where it is had if torchvision cannot fetch it. side: of the views that suit it."""

    title: str
    pictures: int
    classes: int
    where: str
    read: Callable[[Source], Parts]
    metric: Metric = "accuracy"
    kind: str = ""
    train: tuple[dict[str, Any], ...] = ()
    test: dict[str, Any] = field(default_factory=dict)
    how: str = ""
    side: int = 224


def _split(*names: str) -> dict[str, Any]:
    """The training parts and the test part (the last) of a class whose argument is `split`."""
    *train, test = ({"split": name} for name in names)
    return {"train": tuple(train), "test": test}


ROWS: dict[str, Row] = {
    "food101": Row(
        "Food-101", 75_750, 101, "food-101/images/ and food-101/meta/", files, kind="Food101",
        **_split("train", "test"),
    ),
    "sun397": Row(
        "SUN397", 19_850, 397, "SUN397/a/... and SUN397/Training_01.txt, Testing_01.txt", sun, kind="SUN397",
        how="the lists are in Partitions.zip of the set's page",
    ),
    "cars": Row(
        "Stanford Cars", 8144, 196,
        "stanford_cars/cars_train/, cars_test/, devkit/ and cars_test_annos_withlabels.mat", files,
        kind="StanfordCars", **_split("train", "test"), how="its page is gone; mirrors have the archives",
    ),
    "aircraft": Row(
        "FGVC Aircraft, variants", 6667, 100, "fgvc-aircraft-2013b/data/", files, "mean_class",
        kind="FGVCAircraft", **_split("train", "val", "test"),
    ),
    "voc2007_classification": Row(
        "Pascal VOC 2007, several classes a picture", 5011, 20, "VOCdevkit/VOC2007/ with trainval and test",
        voc, "map11", kind="VOCDetection", train=({"year": "2007", "image_set": "train"}, {"year": "2007", "image_set": "val"}),
        test={"year": "2007", "image_set": "test"},
    ),
    "dtd": Row(
        "Describable Textures, first partition", 3760, 47, "dtd/dtd/images/ and labels/", files, kind="DTD",
        **_split("train", "val", "test"),
    ),
    "pets": Row(
        "Oxford-IIIT Pets", 3680, 37, "oxford-iiit-pet/images/ and annotations/", files, "mean_class",
        kind="OxfordIIITPet", **_split("trainval", "test"),
    ),
    "caltech101": Row(
        "Caltech-101 with its background class, 30 pictures of each for training", 3060, 102,
        "caltech101/101_ObjectCategories/<class>/*", drawn("caltech101/101_ObjectCategories", 30),
        "mean_class", kind="Caltech101",
    ),
    "flowers102": Row(
        "Oxford Flowers 102", 2040, 102, "flowers-102/jpg/, imagelabels.mat and setid.mat", files,
        "mean_class", kind="Flowers102", **_split("train", "val", "test"),
    ),
    "mnist": Row(
        "MNIST", 60_000, 10, "MNIST/raw/*-ubyte", arrays, kind="MNIST", train=({"train": True},),
        test={"train": False}, side=32,
    ),
    "fer2013": Row(
        "Facial Emotion Recognition 2013", 32_298, 7, "fer2013/fer2013.csv or icml_face_data.csv", fer,
        how="Kaggle has it as fer2013", side=48,
    ),
    "stl10": Row("STL-10", 5000, 10, "stl10_binary/*.bin", arrays, kind="STL10", **_split("train", "test"), side=96),
    "stl10_unlabeled": Row(
        "STL-10 with its 100,000 pictures without labels, for pre-training", 105_000, 10,
        "stl10_binary/*.bin", arrays, kind="STL10", **_split("train+unlabeled", "test"), side=96,
    ),
    "gtsrb": Row(
        "German Traffic Signs", 26_640, 43, "gtsrb/GTSRB/Training/, Final_Test/ and gtsrb/GT-final_test.csv",
        files, kind="GTSRB", **_split("train", "test"), side=32,
    ),
    "pcam": Row(
        "PatchCamelyon", 294_912, 2, "pcam/camelyonpatch_level_2_split_*.h5", pcam, kind="PCAM", side=96,
    ),
    "ucf101": Row(
        "UCF101, the middle frame of each video of the first split", 9537, 101,
        "ucf101/train/<class>/* and ucf101/test/<class>/*", folders("ucf101/train", "ucf101/test"),
        how="write the middle frames of its videos there",
    ),
    "hateful_memes": Row(
        "Hateful Memes", 8500, 2, "hateful_memes/train.jsonl, dev.jsonl and img/", memes, "roc_auc",
        how="its challenge's page has it",
    ),
    "eurosat": Row(
        "EuroSAT, four fifths of each class for training", 21_600, 10, "eurosat/2750/<class>/*",
        drawn("eurosat/2750", 0.8), kind="EuroSAT", side=64,
    ),
    "tiny_imagenet": Row(
        "Tiny-ImageNet", 100_000, 200, "tiny-imagenet-200/train/ and val/ with val_annotations.txt", tiny,
        how="tiny-imagenet-200.zip is at cs231n.stanford.edu", side=64,
    ),
    "nct_crc_he_100k": Row(
        "NCT-CRC-HE-100K, tested on CRC-VAL-HE-7K", 100_000, 9,
        "NCT-CRC-HE-100K/<class>/* and CRC-VAL-HE-7K/<class>/*", folders("NCT-CRC-HE-100K", "CRC-VAL-HE-7K"),
        how="Zenodo has it as record 1214456",
    ),
}  # fmt: skip


class Published(SetSpec):
    """A published set. row: its row of the table."""

    row: ClassVar[Row]
    name: str

    path: str = Field(
        ".",
        min_length=1,
        description="the folder that holds the set's own; a relative one starts at the data root",
    )
    download: bool = Field(
        False, description="fetch the set where it is absent and torchvision can; no part of a trial's id"
    )

    def load(self, root: Path) -> Dataset:
        row = self.row
        where = (root / Path(self.path).expanduser()).resolve()
        source = Source(where, row.kind, row.train, row.test, self.download)
        try:
            parts, test = row.read(source)
            train, validation = joined(parts)
            test, _ = joined([test])
        except (OSError, RuntimeError, ValueError, KeyError) as error:
            raise DataError(f"{self.name} is not under {where}: {self._had(error)}") from error
        most = max(int(split.labels.max()) for split in (train, test))
        if most >= row.classes:
            raise DataError(
                f"{self.name} under {where} has a class {most}, but {row.classes} classes: mend it"
            )
        overlap.refuse(train, test, f"{self.name} under {where}", REPEATED)
        return Dataset(train, test, row.classes, train.native, row.metric, validation)

    def _had(self, error: Exception) -> str:
        """What is expected, and how it is had. torchvision's own "not found" would say less."""
        row, why = self.row, " ".join(str(error).split())[:160]
        fetches = bool(row.kind) and row.kind not in BY_HAND
        if self.download and fetches:
            return f"expected is {row.where}, and it could not be fetched ({why})"
        because = "" if why.startswith("Dataset not found") else f" ({why})"
        ways = [*(["set `download: true` once"] if fetches else []), *([row.how] if row.how else [])]
        return f"expected is {row.where}{because}; {'; '.join(ways)}"


BY_HAND = ("StanfordCars",)  # torchvision reads it and cannot fetch it


def _spec(name: str, row: Row) -> type[Published]:
    literal: Any = Literal[name]
    made: Any = create_model(
        "".join(word.capitalize() for word in name.split("_")),
        __base__=Published,
        __doc__=f"{row.title}.",
        __module__=__name__,
        name=(literal, Field(name, description=f"{row.title}, {row.classes} classes")),
    )
    for key in ("pictures", "classes", "metric", "side"):
        setattr(made, key, getattr(row, key))
    made.row = row
    return made  # type: ignore[no-any-return]


TRANSFER: dict[str, type[SetSpec]] = {name: _spec(name, row) for name, row in ROWS.items()}
globals().update({spec.__name__: spec for spec in TRANSFER.values()})  # so that specs can be pickled
