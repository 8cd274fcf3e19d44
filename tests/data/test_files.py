"""Pictures as files: broken ones are counted, listed and replaced; test pictures are never trained on."""

import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from data.draws import draw
from data.recipes import ViewsSpec, plan
from data.sets import overlap
from data.sets.annotations import Semantic
from data.sets.dataset import DataError, HeldSplit
from data.sets.files import FolderSplit
from data.sets.folder import Folder
from data.views import render

N = 210  # two broken ones are below 1 %


def colour(i):
    return (i % 250, (i * 7) % 250, i // 250)


@pytest.fixture
def files(tmp_path):
    """N pictures of one colour each, two classes in turn; the i-th is (10 + i % 3) x 12."""
    for i in range(N):
        Image.new("RGB", (12, 10 + i % 3), colour(i)).save(tmp_path / f"{i:03d}.png")
    return tmp_path


def split(folder, kind=FolderSplit):
    names = sorted(file.name for file in folder.iterdir())
    return kind(folder, names, [(folder / name).stat().st_size for name in names], [i % 2 for i in range(N)])


def shown(picture):
    """The colour of a picture, which is of one."""
    return tuple(picture[:, 0, 0].tolist())


def shorten(file, length):
    file.write_bytes(file.read_bytes()[:length])


def test_a_broken_picture_is_listed_and_the_next_of_its_class_stands_for_it(files):
    shorten(files / "004.png", 45)  # the head is there, and says 11 rows; 006 has 10
    shorten(files / "209.png", 0)  # nothing is there; the next of its class is 001
    found = split(files)
    pictures = found.read(range(N))
    assert sorted(found.corrupt) == [f"{files.parent.name}/{files.name}/{i}.png" for i in ("004", "209")]
    assert all(found.corrupt.values())
    assert [shown(p) for p in pictures] == [colour({4: 6, 209: 1}.get(i, i)) for i in range(N)]
    assert found.sizes([4, 209]).tolist() == [[11, 12], [11, 12]]
    assert [tuple(p.shape) for p in pictures] == [(3, *s) for s in found.sizes(range(N)).tolist()]


def test_what_stands_for_it_does_not_depend_on_what_was_read_before(files):
    shorten(files / "004.png", 45)
    shorten(files / "006.png", 0)
    first, second = split(files), split(files)
    first.read([6])
    assert second.sizes([4, 6]).tolist() == first.sizes([4, 6]).tolist() == [[11, 12], [12, 12]]
    assert torch.equal(first.read([4])[0], second.read([4])[0])
    assert shown(second.read([4])[0]) == colour(8)  # 006 is broken too
    assert first.corrupt == second.corrupt


def test_views_of_broken_pictures_can_be_drawn_before_they_are_read(files):
    shorten(files / "005.png", 45)  # 12 rows
    found, views = split(files), plan(ViewsSpec(name="byol", size=8))
    draws = draw(views, found.sizes([5, 7]), torch.Generator().manual_seed(0))
    made, _ = render(found, [5, 7], draws, views, "cpu", (0,) * 3, (1,) * 3)
    assert all(bool(view.isfinite().all()) for view in made)


def test_more_than_one_in_a_hundred_is_an_error(files):
    for i in (3, 40, 80):
        shorten(files / f"{i:03d}.png", 45)
    found = split(files)
    found.read([3, 40])
    with pytest.raises(
        DataError, match=r"^3 of 210 pictures, more than 1 %, of .* cannot be decoded"
    ) as error:
        found.read(range(N))
    assert "\n" not in str(error.value)


def test_a_class_without_a_readable_picture_is_an_error(files):
    shorten(files / "007.png", 45)
    found = split(files)
    found.labels[7] = 2
    with pytest.raises(DataError, match=r"007\.png cannot be decoded \(.*\), nor can any of its class"):
        found.read([7])


def test_no_picture_stands_for_one_that_has_a_mask(files):
    class Masked(FolderSplit, Semantic):
        semantic_classes = ("nothing",)

        def semantic(self, indices):
            return []

    shorten(files / "004.png", 45)
    with pytest.raises(DataError, match=r"004\.png cannot be decoded \(.*\): restore the picture"):
        split(files, Masked).read([4])


def test_a_held_folder_lists_its_broken_pictures(tmp_path):
    for part, count in (("train", 101), ("test", 3)):
        (tmp_path / part / "a").mkdir(parents=True)
        for i in range(count):
            Image.new("RGB", (4, 4), colour(i + len(part))).save(tmp_path / part / "a" / f"{i}.png")
    shorten(tmp_path / "train/a/7.png", 45)
    with pytest.raises(
        DataError, match="among its training pictures"
    ):  # of one colour, as some of the others
        Folder(path=".").load(tmp_path)
    shutil.rmtree(tmp_path / "test/a")
    (tmp_path / "test/a").mkdir()
    Image.new("RGB", (4, 4), (255, 0, 0)).save(tmp_path / "test/a/0.png")
    data = Folder(path=".").load(tmp_path)
    assert data.train.held is not None
    assert list(data.corrupt) == [f"{tmp_path.name}/train/a/7.png"]
    at = sorted(f"{i}.png" for i in range(101)).index("7.png")
    assert torch.equal(data.train.held[at], data.train.held[at + 1])


def test_pictures_in_memory_are_compared_by_content():
    held = torch.randint(
        0, 256, (200, 3, 4, 4), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )
    train, test = HeldSplit(held[:100], torch.zeros(100)), HeldSplit(held[99:], torch.zeros(101))
    with pytest.raises(
        DataError, match=r"^1 of the 101 test pictures of here are among .* \(first: test picture 0\)"
    ):
        overlap.refuse(train, test, "here")
    overlap.refuse(train, test, "here", tolerated=0.01)
    overlap.refuse(train, HeldSplit(held[100:], torch.zeros(100)), "here")


def test_files_are_compared_by_name_size_and_then_content(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (9, 10 + 5, 3), dtype=np.uint8)
    for part in ("train", "test"):
        (tmp_path / part / "a").mkdir(parents=True)
    for i, width in enumerate((10, 15)):  # of two sizes: not held
        Image.fromarray(pixels[:, :width]).save(tmp_path / f"train/a/{i}.bmp")
        Image.fromarray(255 - pixels[:, :width]).save(tmp_path / f"test/a/{i}.bmp")
    data = Folder(path=".").load(tmp_path)  # the same names and sizes are no overlap
    assert data.train.held is None
    shutil.copy(tmp_path / "train/a/1.bmp", tmp_path / "test/a/1.bmp")
    with pytest.raises(
        DataError, match=r"^1 of the 2 test pictures of .* \(first: a/1\.bmp\): take them out"
    ) as error:
        Folder(path=".").load(tmp_path)
    assert "\n" not in str(error.value)
