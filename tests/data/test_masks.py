"""Sets of pictures with masks: layouts are read, values are classes, and what is wrong is one clear line."""

import re

import numpy as np
import pytest
import torch
from PIL import Image

from data.sets import SETS
from data.sets.annotations import IGNORED, Semantic
from data.sets.dataset import DataError
from data.sets.masks import class_names, decode


def save(path, values, palette=True):
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = Image.fromarray(np.asarray(values, dtype=np.uint8))
    if palette:
        picture = picture.convert("P") if picture.mode == "L" else picture
        picture.putdata(np.asarray(values).ravel().tolist())
        picture.putpalette([200, 10, 10] * 256)  # colours that say nothing
    picture.save(path)


def picture(path, height, width):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((height, width, 3), 99, dtype=np.uint8)).save(path)


def voc(root, lists=(("train", "ab"), ("val", "cd")), top=3):
    """A folder in VOC's layout: pictures a to d of 6 x 5 to 9 x 5 pixels, values 0, `top` and 255."""
    for i, stem in enumerate("abcd"):
        picture(root / f"JPEGImages/{stem}.jpg", 5, 6 + i)
        values = np.zeros((5, 6 + i), dtype=np.uint8)
        values[1, 2], values[0] = top, IGNORED
        save(root / f"SegmentationClass/{stem}.png", values)
    for name, stems in lists:
        file = root / f"ImageSets/Segmentation/{name}.txt"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("".join(f"{stem}\n" for stem in stems))
    return root


def folder(root, parts=("train", "val"), top=3):
    for p, part in enumerate(parts):
        for i in range(2):
            picture(root / part / f"images/{p}{i}.jpg", 4, 6)
            save(root / part / f"masks/{p}{i}.png", np.full((4, 6), top - 2 * i), palette=False)
    return root


def test_voc_layout(tmp_path):
    voc(tmp_path / "set/VOCdevkit/VOC2007")
    data = SETS["voc_segmentation"](path="set").load(tmp_path)
    assert (len(data.train), len(data.test)) == (2, 2)
    assert isinstance(data.train, Semantic)
    assert len(data.train.semantic_classes) == 21
    assert data.train.semantic_classes[15] == "person"
    mask = data.test.semantic([1])[0]
    assert mask.dtype == torch.uint8
    assert mask.shape == data.test.read([1])[0].shape[1:] == (5, 9)
    assert mask[0].tolist() == [IGNORED] * 9
    assert mask[1, :4].tolist() == [0, 0, 3, 0]
    assert data.train.labels.tolist() == [-1, -1]
    assert torch.equal(data.test.semantic(torch.tensor([1]))[0], mask)  # kept, unchanged


@pytest.mark.parametrize("below", ["", "VOC2012", "VOCdevkit/VOC2012"])
def test_the_devkit_is_found_and_the_latest_year_taken(tmp_path, below):
    voc(tmp_path / below)
    if below.startswith("VOCdevkit"):
        voc(tmp_path / "VOCdevkit/VOC2007", lists=())
    assert len(SETS["voc_segmentation"](path=str(tmp_path)).load(tmp_path / "elsewhere").train) == 2


def test_categories_come_from_the_knob_then_the_file_then_voc(tmp_path):
    voc(tmp_path / "VOCdevkit/VOC2007")
    kind = SETS["voc_segmentation"]
    assert kind(path=".", categories=4).load(tmp_path).train.semantic_classes[3] == "class_3"
    (tmp_path / "classes.txt").write_text("0\troad\t1,2,3\n1\tcar\t9\n2\ttree\n3\tsky\n255\tvoid\t0\n")
    assert kind(path=".").load(tmp_path).train.semantic_classes == ("road", "car", "tree", "sky")
    names = ["a", "b", "c", "d"]
    assert kind(path=".", categories=names).load(tmp_path).train.semantic_classes == tuple(names)


def test_class_lists(tmp_path):
    file = tmp_path / "classes.txt"
    file.write_text("# of pixels\ntraffic light\n\nroad  # grey\n")
    assert class_names(file) == ("traffic light", "road")
    file.write_text("0 road\n2 car\n")
    with pytest.raises(DataError, match="has 2 classes, but their values are not 0 to 1"):
        class_names(file)


@pytest.mark.parametrize("test", ["test", "val"])
def test_any_folder_of_masks(tmp_path, test):
    folder(tmp_path / "set", ("train", test))
    data = SETS["mask_folder"](path="set", categories=3, void=3).load(tmp_path)
    assert [m.unique().tolist() for m in data.train.semantic([0, 1])] == [[IGNORED], [1]]
    assert data.test.files == [f"{test}/images/10.jpg", f"{test}/images/11.jpg"]
    with pytest.raises(DataError, match=r"classes.txt is not there: .*`categories`"):
        SETS["mask_folder"](path="set").load(tmp_path)
    (tmp_path / "set/train/masks/00.png").unlink()
    with pytest.raises(DataError, match=r"train/images/00.jpg has no mask of its name in .*train/masks"):
        SETS["mask_folder"](path="set", categories=3).load(tmp_path)


def test_voc2012_by_name(tmp_path):
    root = voc(tmp_path / "VOCdevkit/VOC2012", (("train", "ab"), ("val", "c"), ("trainaug", "abd")))
    assert len(SETS["voc2012"]().load(tmp_path).train) == 2
    with pytest.raises(DataError, match="no SegmentationClassAug/: put the masks of SBD"):
        SETS["voc2012"](train="trainaug").load(tmp_path)
    for stem in "abd":
        save(root / f"SegmentationClassAug/{stem}.png", np.zeros((5, 6 + "abcd".index(stem))))
    data = SETS["voc2012"](train="trainaug").load(tmp_path)
    assert len(data.train) == 3
    assert data.train.semantic([0])[0].unique().tolist() == [0]
    assert data.test.semantic([0])[0].unique().tolist() == [0, 3, IGNORED]


def test_voc2012_is_fetched_when_asked(tmp_path, monkeypatch):
    from torchvision import datasets

    def fetched(root, year, image_set, download):
        assert (year, download) == ("2012", True)
        voc(root / "VOCdevkit/VOC2012")

    monkeypatch.setattr(datasets, "VOCSegmentation", fetched)
    assert len(SETS["voc2012"](download=True).load(tmp_path).test) == 2

    def offline(*_, **__):
        raise OSError("no route")

    monkeypatch.setattr(datasets, "VOCSegmentation", offline)
    with pytest.raises(DataError, match=r"could not be downloaded to .*no route.*by hand"):
        SETS["voc2012"](download=True).load(tmp_path / "new")


def test_camvid_in_both_layouts(tmp_path):
    voc(tmp_path / "a/VOCdevkit/VOC2007", (("train", "ab"), ("trainval", "abc"), ("test", "d")))
    data = SETS["camvid"](path="a", train="trainval").load(tmp_path)
    assert (len(data.train), len(data.test), len(data.train.semantic_classes)) == (3, 1, 11)
    for part in ("train", "val", "test"):
        picture(tmp_path / f"b/{part}/{part}.png", 4, 6)
        save(tmp_path / f"b/{part}annot/{part}.png", np.full((4, 6), 11), palette=False)
    data = SETS["camvid"](path="b", train="trainval").load(tmp_path)
    assert (len(data.train), len(data.test)) == (2, 1)
    assert data.test.semantic([0])[0].unique().tolist() == [IGNORED]  # SegNet's void is 11


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("voc_segmentation", "no JPEGImages/ .*expected are JPEGImages.*`path` names the folder"),
        ("mask_folder", "no test/images/ or val/images/: expected are train/images"),
        ("voc2012", "not at .*VOC2012: expected are JPEGImages/.*download: true"),
        ("camvid", "not at .*camvid: expected is VOC's layout.*SegNet's authors publish it"),
    ],
)
def test_an_absent_set_is_one_line(name, message, tmp_path):
    with pytest.raises(DataError, match=f"{re.escape(str(tmp_path))}.*{message}|{message}") as error:
        SETS[name]().load(tmp_path)
    assert str(tmp_path) in str(error.value)
    assert "\n" not in str(error.value)


def test_broken_lists_and_masks_are_named(tmp_path):
    root = voc(tmp_path / "v", (("train", "ab"), ("val", "bc"), ("more", "ax"), ("empty", "")))
    kind = SETS["voc_segmentation"]
    with pytest.raises(DataError, match=r"1 of 2 test pictures of .* are training pictures, JPEGImages/b"):
        kind(path="v").load(tmp_path)
    with pytest.raises(DataError, match=r"trainn.txt cannot be read: .*empty, more, train, val"):
        kind(path="v", train="trainn").load(tmp_path)
    with pytest.raises(DataError, match=r"more.txt names x, but .*JPEGImages has no file x"):
        kind(path="v", train="more").load(tmp_path)
    with pytest.raises(DataError, match=r"empty.txt names no picture"):
        kind(path="v", test="empty").load(tmp_path)
    voc(root, (("train", "ab"), ("val", "cd")))
    data = kind(path="v", categories=3).load(tmp_path)
    with pytest.raises(DataError, match=r"a.png holds the value 3, but the classes are 0 to 2 and 255"):
        data.train.semantic([0])
    save(root / "SegmentationClass/b.png", np.zeros((5, 9)))
    with pytest.raises(DataError, match=r"b.png is 9 x 5, but its picture 7 x 5"):
        data.train.semantic([1])
    (root / "SegmentationClass/c.png").write_bytes(b"no picture")
    with pytest.raises(DataError, match=r"c.png cannot be decoded .*restore the mask"):
        data.test.semantic([0])


def test_a_mask_of_colours_is_refused(tmp_path):
    picture(tmp_path / "m.png", 3, 3)
    with pytest.raises(DataError, match="is of mode RGB: a mask is a palette or 8-bit grey PNG"):
        decode(tmp_path / "m.png")


def test_the_fingerprint_covers_masks_and_categories(tmp_path):
    voc(tmp_path)
    kind = SETS["voc_segmentation"]
    first = kind(path=".").load(tmp_path).train.fingerprint
    assert kind(path=".").load(tmp_path).train.fingerprint == first
    assert kind(path=".", categories=4).load(tmp_path).train.fingerprint != first
    values = np.random.default_rng(0).integers(0, 3, (5, 6))
    save(tmp_path / "SegmentationClass/a.png", values)
    assert kind(path=".").load(tmp_path).train.fingerprint != first
