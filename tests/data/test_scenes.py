"""Scenes of digits: what is annotated is what is painted, and nothing crosses from training to test."""

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from data.sets.annotations import Detection, Semantic
from data.sets.dataset import Dataset, HeldSplit
from data.sets.digits import Digits
from data.sets.scenes import OVERLAP, DigitsScenes, SceneSplit, bounds, compose

ROOT = Path(".")


@pytest.fixture(scope="module")
def data():
    return DigitsScenes(scenes=80, size=48).load(ROOT)


def test_both_splits_are_labelled_scenes_with_annotations(data):
    assert (len(data.train), len(data.test), data.classes, data.native) == (80, 20, 10, 48)
    for split in (data.train, data.test):
        assert isinstance(split, Semantic)
        assert isinstance(split, Detection)
        assert split.with_masks
        assert split.semantic_classes == ("background", *split.object_classes)
        assert split.held.shape == (len(split), 3, 48, 48)
        assert int(split.labels.min()) >= 0
        assert int(split.labels.max()) <= 9
    assert len(data.train.labels.unique()) == 10


def test_masks_boxes_and_pixel_classes_agree(data):
    for objects, classes in zip(data.train.objects(range(80)), data.train.semantic(torch.arange(80))):
        assert classes.dtype == torch.uint8
        assert classes.shape == (48, 48)
        painted = torch.zeros(48, 48, dtype=torch.uint8)
        assert int(objects.masks.sum(0).max()) == 1  # what is visible of one digit hides the others
        for box, label, mask in zip(objects.boxes.int().tolist(), objects.labels, objects.masks):
            painted[mask] = label.to(torch.uint8) + 1
            rows, columns = mask.nonzero().unbind(1)
            assert box == [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
        assert torch.equal(painted, classes)
        assert not objects.ignored.any()
        assert objects.boxes.dtype == torch.float32


def test_digits_stand_out_and_the_largest_names_the_scene(data):
    for i in range(80):
        picture, classes = data.train.read([i])[0].float().mean(0), data.train.semantic([i])[0]
        assert picture[classes > 0].mean() > picture[classes == 0].mean() + 30
        objects = data.train.objects([i])[0]
        height = objects.boxes[:, 3] - objects.boxes[:, 1]
        assert int(objects.labels[0]) == int(data.train.labels[i])
        assert len(height) == 1 or float(height[0]) > float(height[1:].max()) * (1 - OVERLAP)
    counts = torch.tensor([len(o.labels) for o in data.train.objects(range(80))])
    assert int(counts.min()) == 1
    assert int(counts.max()) == 5


def test_a_scene_depends_on_the_set_alone(data):
    torch.manual_seed(5)
    again = DigitsScenes(scenes=80, size=48, fraction=0.5).load(ROOT)
    assert again.train.fingerprint == data.train.fingerprint != data.test.fingerprint
    assert DigitsScenes(scenes=80, size=48, digits=2).load(ROOT).train.fingerprint != data.train.fingerprint
    more = DigitsScenes(scenes=120, size=48).load(ROOT)  # more scenes are the same scenes and others
    assert torch.equal(more.train.held[:80], data.train.held)


def test_test_scenes_show_test_digits_only(monkeypatch):
    parts = Digits().load(ROOT)
    known = [
        HeldSplit(split.held[split.labels == c], split.labels[split.labels == c])
        for split, c in ((parts.train, 3), (parts.test, 7))
    ]
    monkeypatch.setattr(Digits, "load", lambda self, root: Dataset(*known, 10, 8))
    data = DigitsScenes(scenes=40, size=32).load(ROOT)
    assert {int(c) for scene in data.train.digits for c in scene} == {3}
    assert {int(c) for scene in data.test.digits for c in scene} == {7}


def test_a_digit_is_painted_as_it_is():
    parts = Digits().load(ROOT)
    one = HeldSplit(parts.train.held[:1], parts.train.labels[:1])
    scenes = compose(one, 12, 64, 1, 1)
    wanted = F.interpolate(one.held[:, :1].float(), (16, 16), mode="bilinear")[0, 0]
    for i in range(12):
        x0, y0, x1, y1 = scenes.objects([i])[0].boxes[0].int().tolist()
        found = scenes.held[i : i + 1, :1, y0:y1, x0:x1].float()
        a, b, c, d = bounds((wanted >= 128)[None])[0].int().tolist()
        found = F.interpolate(found, (d - b, c - a), mode="area")[0, 0]
        assert torch.corrcoef(torch.stack([found.flatten(), wanted[b:d, a:c].flatten()]))[0, 1] > 0.9


def test_the_fingerprint_covers_annotations(data):
    train = data.train
    moved = SceneSplit(train.held, train.labels, train.places.flip(1), train.digits)
    renamed = SceneSplit(train.held, train.labels, train.places, [9 - d for d in train.digits])
    assert len({s.fingerprint for s in (train, moved, renamed)}) == 3


def test_bounds_by_hand():
    masks = torch.zeros(2, 4, 6, dtype=torch.bool)
    masks[0, 1:3, 2:5] = True
    masks[1, 0, 0] = masks[1, 3, 5] = True
    assert bounds(masks).tolist() == [[2, 1, 5, 3], [0, 0, 6, 4]]
