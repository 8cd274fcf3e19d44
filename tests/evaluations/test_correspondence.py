"""Correspondence and cost: cases that a hand can check."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from data.sets.dataset import Dataset, HeldSplit
from models.backbones.backbone import Backbone, Features
from study.evaluations import EVALUATIONS, Subject
from study.evaluations.correspondence import Correspondence, compare

SIDE, CELL = 48, 8


class Texture(Backbone):
    """A cell's feature is its grey relief plus the mirrored relief: it follows the content through a flip and
    forgets brightness and contrast."""

    channels, stride, stage_channels = CELL**2, CELL, (CELL**2,)

    def forward(self, images: Tensor) -> Features:
        grey = images.mean(1, keepdim=True)
        cells = F.unfold(grey, CELL, stride=CELL) + F.unfold(grey.flip(3), CELL, stride=CELL).unflatten(
            2, (SIDE // CELL, SIDE // CELL)
        ).flip(3).flatten(2)
        cells = cells - cells.mean(1, keepdim=True)
        return Features(cells.mean(2), cells.unflatten(2, (SIDE // CELL, SIDE // CELL)))


class Place(Backbone):
    """A cell's feature is its place, whatever the picture shows."""

    channels, stride, stage_channels = (SIDE // CELL) ** 2, CELL, ((SIDE // CELL) ** 2,)

    def forward(self, images: Tensor) -> Features:
        grid = SIDE // CELL
        dense = torch.eye(grid**2).view(1, grid**2, grid, grid).expand(len(images), -1, -1, -1)
        return Features(dense.mean((2, 3)), dense)


def scenery(encoder: Backbone, n: int = 24) -> Subject:
    grey = torch.randint(70, 130, (n, 1, SIDE, SIDE), generator=torch.Generator().manual_seed(0))
    split = HeldSplit(grey.to(torch.uint8).repeat(1, 3, 1, 1), torch.zeros(n, dtype=torch.int64))
    return Subject(
        encoder, Dataset(split, split, 1, SIDE), size=SIDE, mean=(0.4,) * 3, std=(0.2,) * 3, batch=10
    )


def scores(evaluation: Correspondence, subject: Subject) -> dict[str, float]:
    return {s.metric: s.value for s in evaluation.run(subject)}


@pytest.mark.parametrize("top", [None, 10, 36])
def test_features_that_follow_the_content_are_perfect(top: int | None) -> None:
    found = scores(Correspondence(form="esvit", top=top), scenery(Texture()))
    assert found == {"accuracy": 100, "distance_px": 0, "distance_cells": 0}


def test_features_of_the_place_miss_by_the_mirrored_distance() -> None:
    found = scores(Correspondence(form="esvit", top=36), scenery(Place()))
    columns = [abs(5 - 2 * c) for c in range(6)]  # 5 3 1 1 3 5
    assert found["accuracy"] == 0
    assert found["distance_cells"] == pytest.approx(sum(columns) / 6)
    assert found["distance_px"] == pytest.approx(CELL * sum(columns) / 6)


def test_glsd_mirrors_by_half_and_counts_every_place() -> None:
    found = scores(Correspondence(form="glsd"), scenery(Place(), n=60))
    assert 25 < found["accuracy"] < 75  # the share that was not mirrored
    assert found["distance_cells"] == pytest.approx(3 * (1 - found["accuracy"] / 100))


def test_a_sample_of_pictures(make_subject: Callable[..., Subject]) -> None:
    assert {s.n for s in Correspondence(pictures=20).run(make_subject())} == {20}


def test_more_places_than_the_map_has_is_said(subject: Subject) -> None:
    with pytest.raises(ValueError, match=r"17.*16"):
        Correspondence(top=17).run(subject)


def test_only_the_most_similar_places_count() -> None:
    one = torch.eye(4).view(1, 4, 2, 2)
    two = one.flip(3).clone()
    two[0, :, 1, 0] = torch.tensor([0.6, 0.0, 0.0, 0.5])  # the partner of place 3 now looks like place 0
    hit, distance = compare(one, two, torch.tensor([True]), top=3)
    assert (hit.item(), distance.item()) == (1.0, 0.0)
    hit, distance = compare(one, two, torch.tensor([True]))
    assert hit.item() == 1.0  # still its best match, only a weak one
    two[0, :, 1, 0] = torch.tensor([0.6, 0.0, 0.0, 0.0])
    two[0, :, 0, 0] += torch.tensor([0.0, 0.0, 0.0, 0.1])
    hit, distance = compare(one, two, torch.tensor([True]))
    assert (hit.item(), distance.item()) == (0.75, 0.25)


def test_cost_counts_what_a_hand_counts() -> None:
    class Convolution(Backbone):
        channels, stride, stage_channels = 4, 1, (4,)

        def __init__(self) -> None:
            super().__init__()
            self.conv = torch.nn.Conv2d(3, 4, 3, padding=1)

        def forward(self, images: Tensor) -> Features:
            dense = self.conv(images)
            return Features(dense.mean((2, 3)), dense)

    found = {s.metric: s.value for s in EVALUATIONS["cost"](batch=2, repeats=2).run(scenery(Convolution()))}
    assert found["parameters"] == 3 * 4 * 9 + 4
    assert found["gflops"] * 1e9 == pytest.approx(2 * 3 * 4 * 9 * SIDE**2)
    assert found["images_per_second"] > 0
