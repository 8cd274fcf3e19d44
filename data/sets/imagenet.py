"""ImageNet-1k (ILSVRC 2012) and ImageNet-100, a hundred of its classes, in ImageFolder's layout."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from data.sets.dataset import DataError, Dataset, SetSpec
from data.sets.folder import LIST, class_folders, lines_of, listed, load

# The hundred classes of "Contrastive Multiview Coding" (Tian et al., arXiv 1906.05849), which later papers took.
HUNDRED = Path(__file__).with_name("imagenet100.txt")
HOW = "ImageNet is had from image-net.org, whose validation pictures have to be sorted into class folders"


class ImageNet(SetSpec):
    """ImageNet-1k (ILSVRC 2012) in ImageFolder's layout."""

    pictures, classes = 1_281_167, 1000

    name: Literal["imagenet"] = Field("imagenet", description="ImageNet-1k, train/ and val/")
    path: str = Field("imagenet", min_length=1, description="the folder; a relative one starts at the root")
    list: str | None = Field(None, description=f"{LIST}, such as SimCLR's 1 % and 10 %")

    def training_pictures(self) -> int | None:
        return self.pictures if self.list is None else None

    def load(self, root: Path) -> Dataset:
        path = root / Path(self.path).expanduser()
        return load(path, self.classes, chosen=listed(self.list, root), how=HOW)


class ImageNet100(SetSpec):
    """ImageNet-100: a hundred classes of ImageNet-1k, from a folder of their own or from that of all classes."""

    pictures, classes = 126_689, 100

    name: Literal["imagenet100"] = Field(
        "imagenet100", description="100 classes of ImageNet, train/ and val/"
    )
    path: str = Field(
        "imagenet100",
        min_length=1,
        description="the folder, of these or of all classes; a relative one starts at the data root, and where "
        "there is no imagenet100 there, imagenet is taken",
    )
    class_list: str | None = Field(
        None,
        description="file with the names of 100 class folders, one a line; absent: those of CMC (Tian et al. "
        "2019), or of the folder where it has just 100",
    )
    list: str | None = Field(None, description=LIST)

    def training_pictures(self) -> int | None:
        return self.pictures if self.list is None and self.class_list is None else None

    def load(self, root: Path) -> Dataset:
        path = root / Path(self.path).expanduser()
        if self.path == "imagenet100" and not path.is_dir() and (root / "imagenet").is_dir():
            path = root / "imagenet"
        return load(
            path, self.classes, names=self._names(path, root), chosen=listed(self.list, root), how=HOW
        )

    def _names(self, path: Path, root: Path) -> tuple[str, ...] | None:
        own = listed(self.class_list, root)
        if own is None and (path / "train").is_dir() and len(class_folders(path / "train")) == self.classes:
            return None
        names = lines_of(own or HUNDRED, "class folders")
        if len(set(names)) != self.classes:
            raise DataError(
                f"{own or HUNDRED} names {len(set(names))} classes, not {self.classes}: complete it"
            )
        return tuple(names)
