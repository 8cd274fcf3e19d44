"""Pictures with masks in a whole trial."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

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
