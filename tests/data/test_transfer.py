"""Published sets: tiny copies of their layouts are read as their authors meant them; absent ones say what to do."""

import csv
import json
import pickle
import struct
import sys
import types

import numpy as np
import pytest
import scipy.io
import torch
from PIL import Image
from torchvision import datasets

from data.sets import SETS
from data.sets.dataset import DataError
from data.sets.transfer import ROWS

BYTES = np.random.default_rng(0)


def picture(path, side=None):
    """A noisy picture of uneven size at `path`, its folders made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    shape = (side or int(BYTES.integers(8, 12)), side or 10, 3)
    Image.fromarray(BYTES.integers(0, 256, shape, dtype=np.uint8)).save(path)
    return path


def text(path, lines):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n")


def food101(root):
    names = {"train": ["pie/1", "pie/2", "soup/3"], "test": ["soup/4", "pie/5"]}
    for part, rows in names.items():
        by_class = {c: [r for r in rows if r.startswith(c)] for c in ("pie", "soup")}
        text(root / f"food-101/meta/{part}.json", [json.dumps(by_class)])
        for row in rows:
            picture(root / f"food-101/images/{row}.jpg")
    text(root / "food-101/meta/classes.txt", ["pie", "soup"])
    return [0, 0, 1], [0, 1], None


def sun397(root):
    rows = {
        "Training_01.txt": ["/a/abbey/sun_a.jpg", "/b/bar/indoor/sun_b.jpg"],
        "Testing_01.txt": ["/a/abbey/sun_c.jpg"],
    }
    for name, files in rows.items():
        text(root / "SUN397" / name, files)
        for file in files:
            picture(root / f"SUN397{file}")
    picture(root / "SUN397/a/abbey/sun_in_no_list.jpg")
    text(root / "SUN397/ClassName.txt", ["/a/abbey", "/b/bar/indoor"])
    return [0, 1], [0], None


def cars(root):
    folder = root / "stanford_cars"
    (folder / "devkit").mkdir(parents=True)
    kind = np.dtype([("fname", object), ("class", object)])
    for part, file, rows in (
        ("train", "devkit/cars_train_annos.mat", [("1.jpg", 1), ("2.jpg", 3)]),
        ("test", "cars_test_annos_withlabels.mat", [("1.jpg", 2), ("2.jpg", 1)]),
    ):
        scipy.io.savemat(folder / file, {"annotations": np.array(rows, dtype=kind)})
        for name, _ in rows:
            picture(folder / f"cars_{part}" / name)
    scipy.io.savemat(
        folder / "devkit/cars_meta.mat", {"class_names": np.array(["a", "b", "c"], dtype=object)}
    )
    return [0, 2], [1, 0], None


def aircraft(root):
    data = root / "fgvc-aircraft-2013b/data"
    text(data / "variants.txt", ["707-320", "A 300"])
    for part, rows in (("train", ["1 707-320"]), ("val", ["2 A 300"]), ("test", ["3 A 300"])):
        text(data / f"images_variant_{part}.txt", rows)
        picture(data / f"images/{rows[0][0]}.jpg")
    return [0, 1], [1], [1]


def voc2007_classification(root):
    folder = root / "VOCdevkit/VOC2007"
    things = {
        "1": [("dog", 0), ("dog", 1), ("cat", 1)],
        "2": [("cat", 0), ("person", 0)],
        "3": [("tvmonitor", 0)],
    }
    for name, objects in things.items():
        picture(folder / f"JPEGImages/{name}.jpg")
        inside = [f"<object><name>{n}</name><difficult>{d}</difficult></object>" for n, d in objects]
        text(folder / f"Annotations/{name}.xml", ["<annotation>", *inside, "</annotation>"])
    text(folder / "ImageSets/Main/train.txt", ["1"])
    text(folder / "ImageSets/Main/val.txt", ["2"])
    text(folder / "ImageSets/Main/test.txt", ["3"])
    return [-1, -1], [-1], [1]


def dtd(root):
    rows = {
        "train": ["dotted/1.jpg", "banded/5.jpg"],
        "val": ["banded/2.jpg", "dotted/3.jpg"],
        "test": ["banded/4.jpg", "dotted/6.jpg"],
    }
    for part, files in rows.items():
        text(root / f"dtd/dtd/labels/{part}1.txt", files)
        for file in files:
            picture(root / "dtd/dtd/images" / file)
    return [1, 0, 0, 1], [0, 1], [2, 3]


def pets(root):
    folder = root / "oxford-iiit-pet"
    for part, rows in (("trainval", ["Abyssinian_1 1 1 1", "pug_1 2 2 1"]), ("test", ["pug_2 2 2 1"])):
        text(folder / f"annotations/{part}.txt", rows)
        for row in rows:
            picture(folder / f"images/{row.split()[0]}.jpg")
    return [0, 1], [1], None


def caltech101(root):
    for name, count in (("BACKGROUND_Google", 33), ("accordion", 31)):
        for i in range(count):
            picture(root / f"caltech101/101_ObjectCategories/{name}/image_{i:04d}.jpg")
    return [0] * 30 + [1] * 30, [0, 0, 0, 1], None


def flowers102(root):
    folder = root / "flowers-102"
    for i in range(1, 7):
        picture(folder / f"jpg/image_{i:05d}.jpg")
    scipy.io.savemat(folder / "imagelabels.mat", {"labels": np.array([3, 1, 2, 3, 1, 2])})
    scipy.io.savemat(
        folder / "setid.mat",
        {"trnid": np.array([1, 2]), "valid": np.array([4, 6]), "tstid": np.array([3, 5])},
    )
    return [2, 0, 2, 1], [1, 0], [2, 3]


def mnist(root):
    folder = root / "MNIST/raw"
    folder.mkdir(parents=True)
    for part, labels in (("train", [5, 0, 4]), ("t10k", [7])):
        pixels = BYTES.integers(0, 256, (len(labels), 28, 28), dtype=np.uint8)
        head = struct.pack(">IIII", 0x803, len(labels), 28, 28)
        (folder / f"{part}-images-idx3-ubyte").write_bytes(head + pixels.tobytes())
        (folder / f"{part}-labels-idx1-ubyte").write_bytes(
            struct.pack(">II", 0x801, len(labels)) + bytes(labels)
        )
    return [5, 0, 4], [7], None


def fer2013(root):
    path = root / "fer2013/icml_face_data.csv"
    path.parent.mkdir()
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["emotion", " Usage", " pixels"])
        for label, usage in ((3, "Training"), (0, "PrivateTest"), (6, "PublicTest"), (1, "Training")):
            writer.writerow([label, usage, " ".join(map(str, BYTES.integers(0, 256, 48 * 48)))])
    return [3, 1, 6], [0], [2]


def stl10(root):
    folder = root / "stl10_binary"
    folder.mkdir()
    for part, count in (("train", 3), ("test", 2), ("unlabeled", 4)):
        BYTES.integers(0, 256, (count, 3, 96, 96), dtype=np.uint8).tofile(folder / f"{part}_X.bin")
    np.array([1, 10, 2], dtype=np.uint8).tofile(folder / "train_y.bin")
    np.array([3, 3], dtype=np.uint8).tofile(folder / "test_y.bin")
    return [0, 9, 1], [2, 2], None


def stl10_unlabeled(root):
    stl10(root)
    return [0, 9, 1, -1, -1, -1, -1], [2, 2], None


def gtsrb(root):
    for name in ("00000/00000_00000.ppm", "00014/00000_00000.ppm"):
        picture(root / "gtsrb/GTSRB/Training" / name)
    rows = ["Filename;Width;Height;ClassId", "00000.ppm;10;10;16"]
    text(root / "gtsrb/GT-final_test.csv", rows)
    picture(root / "gtsrb/GTSRB/Final_Test/Images/00000.ppm")
    return [0, 1], [16], None


def ucf101(root):
    for name in ("train/Archery/1.jpg", "train/Yoyo/2.jpg", "test/Yoyo/3.jpg"):
        picture(root / "ucf101" / name)
    return [0, 1], [1], None


def hateful_memes(root):
    for part, rows in (("train", [("1", 0), ("2", 1)]), ("dev_seen", [("3", 1)])):
        text(
            root / f"hateful_memes/{part}.jsonl",
            [json.dumps({"id": name, "img": f"img/{name}.png", "label": label}) for name, label in rows],
        )
        for name, _ in rows:
            picture(root / f"hateful_memes/img/{name}.png")
    return [0, 1], [1], None


def eurosat(root):
    for name in ("Forest", "River"):
        for i in range(5):
            picture(root / f"eurosat/2750/{name}/{name}_{i}.jpg", 64)
    return [0] * 4 + [1] * 4, [0, 1], None


def tiny_imagenet(root):
    folder = root / "tiny-imagenet-200"
    for name in ("n01", "n02"):
        picture(folder / f"train/{name}/images/{name}_0.JPEG", 64)
        picture(folder / f"val/images/val_{name}.JPEG", 64)
    rows = ["val_n02.JPEG\tn02\t0\t0\t9\t9", "val_n01.JPEG\tn01\t0\t0\t9\t9"]
    text(folder / "val/val_annotations.txt", rows)
    return [0, 1], [1, 0], None


def nct_crc_he_100k(root):
    for name in ("NCT-CRC-HE-100K/ADI/1.tif", "NCT-CRC-HE-100K/TUM/2.tif", "CRC-VAL-HE-7K/TUM/3.tif"):
        picture(root / name)
    return [0, 1], [1], None


def pcam(root):
    class File(dict):
        """HDF5 as this test stores it: one array a file."""

        def __init__(self, path, mode):
            key = str(path)[-4]
            super().__init__({key: np.load(str(path), allow_pickle=False)})

        def __enter__(self):
            return self

        def __exit__(self, *error):
            return None

    sys.modules["h5py"] = types.SimpleNamespace(File=File)
    (root / "pcam").mkdir()
    for part, labels in (("train", [1, 0, 1]), ("valid", [0, 1]), ("test", [1])):
        stem = root / f"pcam/camelyonpatch_level_2_split_{part}"
        with open(f"{stem}_x.h5", "wb") as file:
            np.save(file, BYTES.integers(0, 256, (len(labels), 96, 96, 3), dtype=np.uint8))
        with open(f"{stem}_y.h5", "wb") as file:
            np.save(file, np.array(labels, dtype=np.uint8).reshape(-1, 1, 1, 1))
    return [1, 0, 1, 0, 1], [1], [3, 4]


FAKES = {name: made for name, made in globals().items() if name in ROWS}


@pytest.fixture
def unchecked(monkeypatch):
    """Without torchvision's checksums, which tiny copies do not have."""
    for module in ("flowers102", "stl10", "mnist"):
        monkeypatch.setattr(f"torchvision.datasets.{module}.check_integrity", lambda path, md5=None: True)
    monkeypatch.setitem(sys.modules, "h5py", None)


def test_every_row_has_a_copy_here():
    assert set(FAKES) == set(ROWS)
    assert set(ROWS) <= set(SETS)


@pytest.mark.parametrize("name", ROWS)
def test_a_set_is_read(name, tmp_path, unchecked):
    train, test, validation = FAKES[name](tmp_path)
    spec = SETS[name]()
    data = spec.load(tmp_path)
    assert data.train.labels.tolist() == train
    assert sorted(data.test.labels.tolist()) == sorted(test)
    assert (data.validation.tolist() if data.validation is not None else None) == validation
    assert (data.classes, data.metric) == (spec.classes, spec.metric)
    for split in (data.train, data.test):
        pictures = split.read(range(len(split)))
        assert [list(p.shape[1:]) for p in pictures] == split.sizes(range(len(split))).tolist()
        assert all(p.dtype == torch.uint8 and p.shape[0] == 3 for p in pictures)
    assert data.train.fingerprint != data.test.fingerprint
    assert SETS[name](path=".", download=True).load(tmp_path).train.fingerprint == data.train.fingerprint
    assert pickle.loads(pickle.dumps(spec)) == spec


def test_several_classes_a_picture(tmp_path):
    voc2007_classification(tmp_path)
    data = SETS["voc2007_classification"]().load(tmp_path)
    cat, dog, person, tv = 7, 11, 14, 19
    assert data.train.targets.shape == (2, 20)
    assert data.train.targets[:, [cat, dog, person, tv]].tolist() == [[-1, 1, 0, 0], [1, 0, 1, 0]]
    assert data.test.targets.sum() == data.test.targets[0, tv] == 1


def test_hdf5_rows_come_in_any_order(tmp_path, unchecked):
    pcam(tmp_path)
    data = SETS["pcam"]().load(tmp_path)
    whole = data.train.read(range(5))
    assert all(
        torch.equal(a, whole[i]) for a, i in zip(data.train.read(torch.tensor([4, 0, 3, 0])), [4, 0, 3, 0])
    )
    stored = np.load(str(tmp_path / "pcam/camelyonpatch_level_2_split_valid_x.h5"))
    assert (whole[4].permute(1, 2, 0).numpy() == stored[1]).all()


def test_drawn_splits_are_the_same_every_time(tmp_path):
    caltech101(tmp_path)
    data = [SETS["caltech101"]().load(tmp_path) for _ in range(2)]
    assert data[0].train.files == data[1].train.files
    assert not set(data[0].train.files) & set(data[0].test.files)


@pytest.mark.parametrize("name", ROWS)
def test_an_absent_set_is_one_clear_line(name, tmp_path, unchecked):
    with pytest.raises(DataError) as error:
        SETS[name](path="there").load(tmp_path)
    if name == "pcam":
        assert "pip install h5py" in str(error.value)
        return
    row = ROWS[name]
    assert str(error.value).startswith(f"{name} is not under {tmp_path}/there: expected is {row.where}")
    assert "download: true" in str(error.value) or row.how in str(error.value)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "there").exists()


def test_nothing_is_fetched_without_being_asked(tmp_path, monkeypatch):
    asked = []

    class Fetched:
        def __init__(self, root, split, download=False):
            asked.append((split, download))
            if not download:
                raise RuntimeError("Dataset not found")
            raise RuntimeError("the server is gone")

    monkeypatch.setattr(datasets, "Food101", Fetched)
    with pytest.raises(DataError, match="set `download: true` once"):
        SETS["food101"]().load(tmp_path)
    assert asked == [("train", False)]
    with pytest.raises(DataError, match=r"it could not be fetched \(the server is gone\)"):
        SETS["food101"](download=True).load(tmp_path)
    assert asked[1:] == [("train", False), ("train", True)]


def test_a_published_set_may_repeat_a_picture_but_not_its_split(tmp_path, unchecked):
    fer2013(tmp_path)
    path = tmp_path / "fer2013/icml_face_data.csv"
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*lines, lines[1].replace("Training", "PrivateTest")]))
    with pytest.raises(
        DataError, match=r"1 of the 2 test pictures of fer2013 under .* are among its training"
    ):
        SETS["fer2013"]().load(tmp_path)
