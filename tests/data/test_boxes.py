"""Sets with boxes: VOC's and COCO's layouts, read as they are defined, and one clear error for what is wrong."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from data.sets.boxes import BoxSplit
from data.sets.coco import Coco
from data.sets.dataset import DataError
from data.sets.voc import CLASSES, Voc0712, Voc2007, VocDetection

OBJECT = (
    "<object><name>{}</name><difficult>{}</difficult><bndbox><xmin>{}</xmin><ymin>{}</ymin>"
    "<xmax>{}</xmax><ymax>{}</ymax></bndbox></object>"
)
LISTS = {"trainval": ("a", "b"), "train": ("a",), "val": ("b",), "test": ("c", "d")}
OBJECTS = {
    "a": [("dog", 0, 1, 2, 10, 12), ("cat", 0, 3, 3, 5, 5), ("cat", 1, 1, 1, 20, 16)],
    "b": [("cat", 0, 5, 5, 8, 9)],
    "c": [("dog", 0, 1, 1, 4, 4)],
    "d": [("dog", 1, 1, 1, 4, 4)],
}


def voc(folder, lists=None, objects=None):
    for part in ("JPEGImages", "Annotations", "ImageSets/Main"):
        (folder / part).mkdir(parents=True)
    draw = np.random.default_rng(0)
    for name, entries in (objects or OBJECTS).items():
        Image.fromarray(draw.integers(0, 256, (16, 20, 3), dtype=np.uint8)).save(
            folder / "JPEGImages" / f"{name}.jpg"
        )
        body = "".join(OBJECT.format(*entry) for entry in entries)
        (folder / "Annotations" / f"{name}.xml").write_text(f"<annotation>{body}</annotation>")
    for name, pictures in (lists or LISTS).items():
        (folder / "ImageSets/Main" / f"{name}.txt").write_text("".join(f"{p}  1\n" for p in pictures))
    return folder


def test_voc_is_read(tmp_path):
    voc(tmp_path / "VOCdevkit/VOC2007")
    data = VocDetection(path=".").load(tmp_path)
    assert (len(data.train), len(data.test), data.classes) == (2, 2, 20)
    assert isinstance(data.train, BoxSplit)
    assert data.train.object_classes == CLASSES
    first, second = data.train.objects([0, 1])
    assert first.boxes.tolist() == [[0, 1, 10, 12], [2, 2, 5, 5], [0, 0, 20, 16]]  # from 0, ends outside
    assert [CLASSES[k] for k in first.labels] == ["dog", "cat", "cat"]
    assert first.ignored.tolist() == [False, False, True]
    assert first.masks is None
    assert not data.train.with_masks
    assert not data.train.crowds
    assert second.boxes.tolist() == [[4, 4, 8, 9]]
    # the class of the largest object that is not ignored; none in the last picture
    assert data.train.labels.tolist() == [CLASSES.index("dog"), CLASSES.index("cat")]
    assert data.test.labels.tolist() == [CLASSES.index("dog"), -1]
    assert data.train.read([1])[0].shape == (3, 16, 20)
    assert data.train.sizes([0]).tolist() == [[16, 20]]


def test_a_fingerprint_is_of_the_boxes_too(tmp_path):
    data = VocDetection(path="one").load(voc(tmp_path / "one").parent)
    moved = {**OBJECTS, "a": [("dog", 0, 1, 2, 10, 13)]}
    other = VocDetection(path="two").load(voc(tmp_path / "two", objects=moved).parent)
    again = VocDetection(path="one").load(tmp_path)
    assert data.train.fingerprint == again.train.fingerprint != other.train.fingerprint
    assert data.test.fingerprint == other.test.fingerprint


def test_lists_and_classes_are_chosen(tmp_path):
    cells = {"a": [("RBC", 0, 0, 0, 9, 9)], "b": [("WBC", 0, 2, 2, 9, 9)], "c": [("RBC", 0, 1, 1, 4, 4)]}
    lists = {"train": ("a", "b"), "val": ("c",)}
    voc(tmp_path / "cells", lists, cells)
    data = VocDetection(path="cells").load(tmp_path)
    assert data.train.object_classes == ("RBC", "WBC")
    assert data.train.objects([0])[0].boxes.tolist() == [[0, 0, 9, 9]]  # a box from 0 is not moved out
    assert (len(data.train), len(data.test)) == (2, 1)
    named = VocDetection(path="cells", categories=("WBC", "RBC", "other")).load(tmp_path)
    assert named.train.labels.tolist() == [1, 0]
    with pytest.raises(DataError, match=r"object 'RBC', but the classes are WBC: name it in `categories`"):
        VocDetection(path="cells", categories=("WBC",)).load(tmp_path)
    (tmp_path / "cells/ImageSets/Main/val.txt").write_text("b\n")
    with pytest.raises(DataError, match=r"1 of 1 test pictures of .* are training pictures, b first"):
        VocDetection(path="cells").load(tmp_path)
    with pytest.raises(DataError, match=r"minival.txt is not there: .*the lists there are train, val"):
        VocDetection(path="cells", test="minival").load(tmp_path)


def test_the_years_by_name(tmp_path):
    voc(tmp_path / "VOCdevkit/VOC2007")
    assert len(Voc2007().load(tmp_path).train) == 2
    with pytest.raises(DataError, match=r"VOC 2012 is not at .*VOC2012: expected are JPEGImages/"):
        Voc0712().load(tmp_path)
    later = {"e": [("cow", 0, 1, 1, 4, 4)], "a": [("cow", 0, 1, 1, 4, 4)]}  # a name may be in both years
    voc(tmp_path / "VOCdevkit/VOC2012", {"trainval": ("e", "a")}, later)
    both = Voc0712().load(tmp_path)
    assert (len(both.train), len(both.test)) == (4, 2)
    assert [len(o.labels) for o in both.train.objects(range(4))] == [3, 1, 1, 1]
    assert both.train.files[3] == "VOC2012/JPEGImages/a.jpg"


def test_wrong_annotations_are_one_clear_error(tmp_path):
    folder = voc(tmp_path / "set")
    file = folder / "Annotations/a.xml"
    for text in ("<annotation><object>", "<annotation><object><name>dog</name></object></annotation>"):
        file.write_text(text)
        with pytest.raises(DataError, match=r"a.xml cannot be read \(.*\): restore it") as error:
            VocDetection(path="set").load(tmp_path)
        assert "\n" not in str(error.value)
    file.unlink()
    with pytest.raises(DataError, match=r"a.xml is not there, but ImageSets/Main/ lists a"):
        VocDetection(path="set").load(tmp_path)
    with pytest.raises(DataError, match=r"nowhere has no JPEGImages/"):
        VocDetection(path="nowhere").load(tmp_path)


def coco(path):
    square, crowd = [[2, 3, 8, 3, 8, 9, 2, 9]], np.zeros((16, 20), dtype=np.uint8)
    crowd[:4] = 1
    runs = [0, *(n for _ in range(20) for n in (4, 12))]  # column by column: 4 of the crowd, 12 not
    annotations = [
        {"image_id": 7, "category_id": 18, "bbox": [2, 3, 6, 6], "iscrowd": 0, "segmentation": square},
        {
            "image_id": 7,
            "category_id": 3,
            "bbox": [0, 0, 20, 4],
            "iscrowd": 1,
            "segmentation": {"size": [16, 20], "counts": runs[:-1] + [12]},
        },
    ]
    (path / "annotations").mkdir(parents=True)
    for name, ids, entries in [("train2017", (7, 5), annotations), ("val2017", (9,), [])]:
        (path / name).mkdir()
        for i in ids:
            Image.fromarray(np.full((16, 20, 3), i, dtype=np.uint8)).save(path / name / f"{i}.png")
        content = {
            "images": [{"id": i, "file_name": f"{i}.png", "height": 16, "width": 20} for i in ids],
            "annotations": entries,
            "categories": [{"id": 18, "name": "dog"}, {"id": 3, "name": "car"}],
        }
        (path / "annotations" / f"instances_{name}.json").write_text(json.dumps(content))
    return path


def test_coco_is_read(tmp_path):
    coco(tmp_path / "coco")
    data = Coco().load(tmp_path)
    assert data.train.object_classes == ("car", "dog")
    empty, found = data.train.objects([0, 1], masks=False)  # by the pictures' ids
    assert len(empty.labels) == 0
    assert found.boxes.tolist() == [[2, 3, 8, 9], [0, 0, 20, 4]]
    assert found.labels.tolist() == [1, 0]
    assert found.ignored.tolist() == [False, True]
    assert data.train.crowds
    assert data.train.labels.tolist() == [-1, 1]
    assert found.masks is None


def test_coco_masks_are_polygons_and_run_lengths(tmp_path):
    pytest.importorskip("pycocotools")
    data = Coco(path="coco").load(coco(tmp_path / "coco").parent)
    assert data.train.with_masks
    empty, found = data.train.objects([0, 1])
    assert empty.masks.shape == (0, 16, 20)
    wanted = torch.zeros(2, 16, 20, dtype=torch.bool)
    wanted[0, 3:9, 2:8] = True
    wanted[1, :4] = True
    assert torch.equal(found.masks, wanted)


def test_absent_coco_says_what_is_expected(tmp_path):
    with pytest.raises(DataError, match=r"COCO's layout is not at .*instances_train2017.json is not there"):
        Coco().load(tmp_path)
    path = coco(tmp_path / "coco")
    (path / "annotations/instances_val2017.json").write_text("{}")
    with pytest.raises(DataError, match=r"instances_val2017.json cannot be read"):
        Coco().load(tmp_path)
