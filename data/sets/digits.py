"""Digits: 1,797 handwritten digits of 8 x 8 pixels that come with scikit-learn; nothing is downloaded.

UCI Optical Recognition of Handwritten Digits (test part). Values 0..16 are scaled to 0..255 and the grey
plane is repeated to three channels. On two cores a method trains on it in minutes.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import torch
from pydantic import Field

from data.sets.dataset import Dataset, HeldSplit, SetSpec

TEST_EVERY = 5  # a fifth of each class is the test split
SPLIT_SEED = 0  # of the split only; a trial's seed never moves a picture between the splits


class Digits(SetSpec):
    """sklearn's handwritten digits, split 80/20 by class."""

    pictures, classes = 1442, 10
    side = 16

    name: Literal["digits"] = Field("digits", description="1,797 handwritten digits, 8 px, 10 classes")

    def load(self, root: Path) -> Dataset:
        from sklearn.datasets import load_digits  # here: a file check must be fast

        bunch = load_digits()
        grey = torch.from_numpy(bunch.images.copy()) * (255 / 16)
        held = grey.round().to(torch.uint8)[:, None].repeat(1, 3, 1, 1)  # (N, 3, 8, 8)
        labels = torch.from_numpy(bunch.target).long()
        generator = torch.Generator().manual_seed(SPLIT_SEED)
        test = torch.zeros(len(labels), dtype=torch.bool)
        for c in range(10):
            rows = (labels == c).nonzero()[:, 0]
            test[rows[torch.randperm(len(rows), generator=generator)[: len(rows) // TEST_EVERY]]] = True
        return Dataset(HeldSplit(held[~test], labels[~test]), HeldSplit(held[test], labels[test]), 10, 8)
