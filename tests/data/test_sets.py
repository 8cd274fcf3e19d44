"""Sets: splits disjoint, labels in range, the same fingerprint twice, and one clear error."""

import pickle

import numpy as np
import pytest
import torch
from PIL import Image

from data.plain import centre
from data.sets import SETS
from data.sets.cifar import Cifar10, Cifar100
from data.sets.dataset import DataError, HeldSplit
from data.sets.digits import Digits
from data.sets.files import FolderSplit
from data.sets.folder import Folder
from data.sets.imagenet import HUNDRED, ImageNet, ImageNet100


def fill(root, sizes=((10, 12), (9, 15)), classes=("ant", "bee"), test="test"):
    """A folder set: 3 training and 2 test pictures a class, of alternating (height, width)."""
    numbers = np.random.default_rng(0)
    for part, count in (("train", 3), (test, 2)):
        for name in classes:
            (root / part / name).mkdir(parents=True)
            for i in range(count):
                pixels = numbers.integers(0, 256, (*sizes[i % len(sizes)], 3), dtype=np.uint8)
                Image.fromarray(pixels).save(root / part / name / f"{i}.png")
    return root


def test_the_registry_names_its_specs():
    for name, spec in SETS.items():
        assert spec.model_fields["name"].default == name
        assert spec().fraction == 1.0


def test_digits(tmp_path):
    data = Digits().load(tmp_path)
    again = Digits().load(tmp_path)
    assert (len(data.train), len(data.test), data.classes, data.native) == (1442, 355, 10, 8)
    assert data.train.held.shape == (1442, 3, 8, 8)
    assert int(data.train.held.max()) == 255
    for split in (data.train, data.test):
        assert split.labels.unique().tolist() == list(range(10))
    rows = [{bytes(x.numpy().tobytes()) for x in split.held} for split in (data.train, data.test)]
    assert len(rows[0] & rows[1]) <= 1  # the set itself may repeat a picture, the split does not
    assert data.train.fingerprint == again.train.fingerprint != data.test.fingerprint
    assert len(data.train.fingerprint) == 16
    picture = data.train.read([3])[0]
    assert picture.dtype == torch.uint8
    assert picture.shape == (3, 8, 8)


def test_a_fingerprint_is_of_content_and_labels():
    x, y = torch.zeros(2, 3, 4, 4, dtype=torch.uint8), torch.zeros(2).long()
    changed = x.clone()
    changed[0, 0, 0, 0] = 1
    assert len({HeldSplit(a, b).fingerprint for a in (x, changed) for b in (y, y + 1)}) == 4


@pytest.mark.parametrize("spec", [Cifar10(), Cifar100()])
def test_absent_cifar_says_what_to_do(spec, tmp_path):
    with pytest.raises(DataError, match=f"CIFAR.* not under {tmp_path}: set `download: true`"):
        spec.load(tmp_path)


def test_cifar_is_read(tmp_path, monkeypatch):
    from torchvision import datasets

    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    numbers = np.random.default_rng(0)
    for name in [f"data_batch_{i}" for i in range(1, 6)] + ["test_batch"]:
        content = {"data": numbers.integers(0, 256, (4, 3072), dtype=np.uint8), "labels": [0, 1, 9, 3]}
        (folder / name).write_bytes(pickle.dumps(content))
    (folder / "batches.meta").write_bytes(pickle.dumps({"label_names": [str(i) for i in range(10)]}))
    monkeypatch.setattr(datasets.CIFAR10, "_check_integrity", lambda self: True)
    monkeypatch.setattr(datasets.CIFAR10, "_load_meta", lambda self: None)
    data = Cifar10().load(tmp_path)
    assert data.train.held.shape == (20, 3, 32, 32)
    assert data.test.labels.tolist() == [0, 1, 9, 3]
    expected = pickle.loads((folder / "test_batch").read_bytes())["data"][0].reshape(3, 32, 32)
    assert (data.test.read([0])[0].numpy() == expected).all()


def test_folder_of_several_sizes(tmp_path):
    data = Folder(path="set").load(fill(tmp_path / "set").parent)
    assert (len(data.train), len(data.test), data.classes) == (6, 4, 2)
    assert isinstance(data.train, FolderSplit)
    assert data.train.labels.tolist() == [0, 0, 0, 1, 1, 1]
    assert data.train.sizes([0, 1, 2]).tolist() == [[10, 12], [9, 15], [10, 12]]
    pictures = data.train.read(range(6))
    assert [tuple(p.shape) for p in pictures[:2]] == [(3, 10, 12), (3, 9, 15)]
    stored = np.asarray(Image.open(tmp_path / "set/train/bee/1.png")).transpose(2, 0, 1)
    assert (pictures[4].numpy() == stored).all()
    assert centre(data.train, [0, 1], 8, "cpu", (0,) * 3, (1,) * 3).shape == (2, 3, 8, 8)
    again = Folder(path="set").load(tmp_path)
    assert again.train.fingerprint == data.train.fingerprint != data.test.fingerprint
    assert not set(data.train.files) & {f"../test/{f}" for f in data.test.files}


def test_folder_of_one_size_is_held_and_val_counts_as_test(tmp_path):
    data = Folder(path=str(fill(tmp_path / "x", sizes=((8, 8),), test="val"))).load(tmp_path / "elsewhere")
    assert data.train.held.shape == (6, 3, 8, 8)
    assert data.native == 8


def test_wrong_folders_are_refused(tmp_path):
    with pytest.raises(DataError, match=r"nowhere has no train/: put pictures at"):
        Folder(path="nowhere").load(tmp_path)
    with pytest.raises(DataError, match="holds 2 class folders, not 1000"):
        ImageNet(path="set").load(fill(tmp_path / "set").parent)
    (tmp_path / "set/test/wasp").mkdir()
    with pytest.raises(DataError, match="class 'wasp'"):
        Folder(path="set").load(tmp_path)


def test_lists_choose_training_pictures(tmp_path):
    fill(tmp_path / "set")
    (tmp_path / "few.txt").write_text("# of ants and bees\nant/1.png\nbee/0.png\n")
    data = Folder(path="set", list="few.txt").load(tmp_path)
    assert data.train.files == ["ant/1.png", "bee/0.png"]
    assert data.train.labels.tolist() == [0, 1]
    assert len(data.test) == 4
    assert data.train.fingerprint != Folder(path="set").load(tmp_path).train.fingerprint
    (tmp_path / "few.txt").write_text("ant/1.png\nwasp/1.png\n")
    with pytest.raises(
        DataError, match=r"few\.txt names 2 pictures, of which 1, such as wasp/1\.png, are not there"
    ):
        Folder(path="set", list="few.txt").load(tmp_path)
    (tmp_path / "few.txt").write_text("1.png\n")
    with pytest.raises(DataError, match=r"names 1 pictures, of which 1, are there more than once"):
        Folder(path="set", list="few.txt").load(tmp_path)
    with pytest.raises(DataError, match=r"none\.txt cannot be read .*: it should name pictures, one a line"):
        Folder(path="set", list="none.txt").load(tmp_path)


def test_lists_of_imagenet_name_files_without_their_folder(tmp_path, monkeypatch):
    monkeypatch.setattr(ImageNet, "classes", 2)
    fill(tmp_path / "imagenet", classes=("n01", "n02"), test="val")
    for name in ("n01", "n02"):
        for i in range(3):
            (tmp_path / f"imagenet/train/{name}/{i}.png").rename(
                tmp_path / f"imagenet/train/{name}/{name}_{i}.png"
            )
    (tmp_path / "1percent.txt").write_text("n02_1.png\nn01_0.png\n")
    spec = ImageNet(list="1percent.txt")
    assert spec.load(tmp_path).train.files == ["n01/n01_0.png", "n02/n02_1.png"]
    assert (spec.training_pictures(), ImageNet().training_pictures()) == (None, 1_281_167)


def test_imagenet100_is_a_list_of_classes(tmp_path, monkeypatch):
    hundred = [line for line in HUNDRED.read_text().splitlines() if not line.startswith("#")]
    assert len(set(hundred)) == 100
    assert (hundred, hundred[0]) == (sorted(hundred), "n01558993")
    monkeypatch.setattr(ImageNet100, "classes", 2)
    fill(tmp_path / "imagenet", classes=("ant", "bee", "cat"), test="val")
    (tmp_path / "two.txt").write_text("cat\nant\n")
    data = ImageNet100(class_list="two.txt").load(tmp_path)  # there is no imagenet100: imagenet is taken
    assert (data.classes, data.train.files[3], data.train.labels.tolist()) == (
        2,
        "cat/0.png",
        [0, 0, 0, 1, 1, 1],
    )
    assert len(data.test) == 4
    fill(tmp_path / "imagenet100", classes=("cow", "dog"), test="val")
    assert ImageNet100().load(tmp_path).train.files[0] == "cow/0.png"  # a folder of just these classes
    with pytest.raises(DataError, match="lacks 2 of 2 classes, such as ant"):
        ImageNet100(class_list="two.txt").load(tmp_path)
    (tmp_path / "two.txt").write_text("cat\n")
    with pytest.raises(DataError, match=r"two\.txt names 1 classes, not 2"):
        ImageNet100(class_list="two.txt", path="imagenet").load(tmp_path)


def test_parts_of_a_set_share_its_pictures(tmp_path):
    from study.trial import load

    assert load(Digits(fraction=0.1), tmp_path) is load(Digits(), tmp_path)
