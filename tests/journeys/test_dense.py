"""Pictures with masks in a whole trial."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from study.crosscheck import crosscheck
from study.estimate import modelled
from study.spec import TrialSpec
from study.trial import run

SPEC = {
    "data": {"name": "mask_folder", "categories": 2},
    "backbone": {"name": "resnet_tiny"},
    "method": {"name": "byol", "dim": 16, "hidden": 32},
    "views": {"name": "byol", "size": 16},
    "optim": {"name": "sgd", "lr": 0.1, "warmup": 0},
    "budget": {"epochs": 1, "batch": 8},
}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """16 and 8 pictures of 20 x 24 pixels, their bright pixels of class 1."""
    numbers = np.random.default_rng(0)
    for part, count in (("train", 16), ("test", 8)):
        for folder in ("images", "masks"):
            (tmp_path / "mask_folder" / part / folder).mkdir(parents=True)
        for i in range(count):
            mask = np.kron(numbers.integers(0, 2, (5, 6)), np.ones((4, 4), dtype=int)).astype(np.uint8)
            noise = numbers.integers(0, 60, (20, 24, 3))
            Image.fromarray((mask[..., None] * 150 + noise).astype(np.uint8)).save(
                tmp_path / f"mask_folder/{part}/images/{i}.png"
            )
            Image.fromarray(mask).save(tmp_path / f"mask_folder/{part}/masks/{i}.png")
    return tmp_path


def test_pictures_without_labels_are_trained_on(root: Path) -> None:
    outcome = run(TrialSpec(**SPEC), root)
    assert outcome.status == "done", outcome.reason
    assert {"feature_std", "feature_rank"} <= {row["name"] for row in outcome.curves}


def test_segmentation_is_measured_and_repeats(root: Path) -> None:
    knobs = {"name": "segmentation", "steps": 3, "batch": 4}
    scenes = {**knobs, "data": {"name": "digits_scenes", "scenes": 40, "size": 32}, "tested": 4}
    spec = TrialSpec(**SPEC, evaluate=(knobs, scenes))
    first, second = run(spec, root), run(spec, root)
    assert first.status == "done", first.reason
    values = {
        (row["evaluation"], row["metric"]): row["value"]
        for row in first.scores
        if row["evaluation"].startswith("segmentation")
    }
    assert {e for e, _ in values} == {"segmentation", "segmentation_digits_scenes"}
    assert {m for _, m in values} == {"mIoU", "pixel_accuracy", "mean_accuracy"}
    again = {(row["evaluation"], row["metric"]): row["value"] for row in second.scores}
    assert all(again[key] == value for key, value in values.items())


def test_a_set_without_masks_is_refused_before_anything_starts() -> None:
    spec = TrialSpec(**{**SPEC, "data": {"name": "digits"}}, evaluate=({"name": "segmentation"},))
    (found,) = crosscheck(spec)
    assert found[0] == ("evaluate", 0)
    assert found[1].startswith("segmentation needs annotated pixels, which digits has not; set its `data` to")
    assert "digits_scenes, voc_segmentation" in found[1]
    assert not list(crosscheck(TrialSpec(**SPEC, evaluate=({"name": "segmentation"},))))


def test_what_it_costs_is_estimated() -> None:
    scenes = {**SPEC, "data": {"name": "digits_scenes"}}

    def seconds(backbone: str = "resnet_tiny", **knobs: object) -> float:
        spec = TrialSpec(
            **{**scenes, "backbone": {"name": backbone}}, evaluate=({"name": "segmentation", **knobs},)
        )
        return modelled(spec) - modelled(spec.model_copy(update={"evaluate": ()}))

    assert 8 < seconds(steps=75) < 32  # 16 s of one core were measured
    assert 4 < seconds(steps=75, frozen=True) < 16  # and 8 s
    assert 1.9 < seconds(steps=2000) / seconds(steps=1000) < 2.1
    assert 3.5 < seconds(steps=1000, crop=128) / seconds(steps=1000, crop=64) < 4.5
    assert seconds("resnet18", steps=100) > 2 * seconds("resnet18", steps=100, stride=32)
    assert 25 < seconds() / seconds(epochs=1.0) < 31
