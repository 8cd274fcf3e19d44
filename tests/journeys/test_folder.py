"""A study on folders of pictures, some of which are broken: what the tables say of them."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from study import table
from study.run import main

STUDY = """\
study: broken
question: What do the tables say of pictures that cannot be decoded?
base:
  data:     {name: folder, path: first}
  backbone: {name: resnet_tiny, width: 8}
  method:   {name: byol, dim: 16, hidden: 32}
  views:    {size: 16}
  optim:    {name: sgd, lr: 0.1}
  budget:   {epochs: 1, batch: 40}
evaluate: [knn, {name: knn, data: {name: folder, path: second}, label: other}]
seeds: 1
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Two sets of 105 + 10 noisy pictures of two classes, red and blue."""
    draw = np.random.default_rng(0)
    for name in ("first", "second"):
        for part, count in (("train", 105), ("test", 10)):
            for i in range(count):
                folder = tmp_path / name / part / ("red", "blue")[i % 2]
                folder.mkdir(parents=True, exist_ok=True)
                pixels = draw.integers(0, 256, (16, 16, 3), dtype=np.uint8)
                pixels[..., 2 - 2 * (i % 2)] //= 4
                Image.fromarray(pixels).save(folder / f"{i}.png")
    (tmp_path / "study.yaml").write_text(STUDY)
    return tmp_path


def run(root: Path) -> dict[str, object]:
    main([str(root / "study.yaml"), "--local", "--out", str(root / "out"), "--data", str(root)])
    (row,) = table.read(root / "out", "trials")
    return row


def test_they_are_listed_with_the_trial(root: Path) -> None:
    for file in ("first/train/red/2.png", "second/train/blue/3.png"):
        (root / file).write_bytes(b"nothing")
    row = run(root)
    assert row["status"] == "done"
    corrupt = row["corrupt"] if isinstance(row["corrupt"], dict) else json.loads(str(row["corrupt"]))
    assert sorted(corrupt) == ["first/train/red/2.png", "second/train/blue/3.png"]
    assert {r["evaluation"] for r in table.read(root / "out", "scores")} >= {"knn", "other"}


def test_too_many_are_the_trials_end(root: Path) -> None:
    for i in (2, 4):
        (root / f"first/train/red/{i}.png").write_bytes(b"nothing")
    row = run(root)
    assert row["status"] == "failed"
    assert str(row["reason"]).startswith("2 of 105 pictures, more than 1 %, of")
