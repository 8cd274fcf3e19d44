"""Where the places of a view lie in the picture."""

from __future__ import annotations

import torch
from torch.nn.functional import interpolate

from models.geometry import cell_diagonal, centres, half_diagonal2, squared_distances


def test_centres_of_a_whole_picture() -> None:
    found = centres(torch.tensor([0.0, 0.0, 6.0, 4.0]), 2, 3)
    assert found.tolist() == [[1, 1], [3, 1], [5, 1], [1, 3], [3, 3], [5, 3]]


def test_a_mirrored_box_mirrors_columns() -> None:
    box = torch.tensor([[2.0, 1.0, 9.0, 5.0]])
    mirrored = box[:, [2, 1, 0, 3]]
    one, other = centres(box, 4, 5).view(4, 5, 2), centres(mirrored, 4, 5).view(4, 5, 2)
    assert torch.allclose(one, other.flip(1))
    assert torch.equal(half_diagonal2(box, 4, 5), half_diagonal2(mirrored, 4, 5))


def test_diagonals() -> None:
    box = torch.tensor([[0.0, 0.0, 30.0, 40.0], [30.0, 40.0, 0.0, 0.0]])
    assert torch.allclose(half_diagonal2(box, 10, 10), torch.tensor(2.5**2))
    assert torch.allclose(cell_diagonal(box, 10, 10), torch.tensor(5.0))


def test_distances_keep_the_digits_that_decide_ties() -> None:
    points = torch.rand(1, 49, 2, generator=torch.Generator().manual_seed(0)) * 1e-2 + 4000
    exact = squared_distances(points.double(), points.double())
    assert torch.allclose(squared_distances(points, points).double(), exact, rtol=1e-6, atol=0)


def test_centres_are_what_a_resampled_map_of_coordinates_averages_to() -> None:
    """The authors resample positions like a picture; the closed form is the same away from the rim."""
    rows = torch.arange(40.0)[:, None].expand(40, 60) + 0.5
    columns = torch.arange(60.0)[None].expand(40, 60) + 0.5
    top, left, height, width = 6, 10, 24, 32
    crop = torch.stack([columns, rows])[None, :, top : top + height, left : left + width]
    resampled = interpolate(crop, (64, 64), mode="bilinear", align_corners=False)
    pooled = torch.nn.functional.avg_pool2d(resampled, 16)[0].flatten(1).T
    box = torch.tensor([left, top, left + width, top + height], dtype=torch.float32)
    assert torch.allclose(centres(box, 4, 4), pooled, atol=0.05)
