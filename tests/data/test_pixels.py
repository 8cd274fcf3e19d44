"""Crops of pictures with the classes of their pixels: both stay in register, and the recipe's shares hold."""

from collections.abc import Sequence

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from data.pixels import SHARE, CropPlan, crops, distort, nearest, whole
from data.sets.annotations import IGNORED, Semantic
from data.sets.dataset import HeldSplit

NONE = (0.0,) * 3, (1.0,) * 3  # mean and std that change nothing


class Told(HeldSplit, Semantic):
    """Pictures whose brightness tells the class: 30 k."""

    semantic_classes = tuple("abcdef")

    def __init__(self, classes: Tensor) -> None:
        super().__init__((classes * 30)[:, None].repeat(1, 3, 1, 1), torch.zeros(len(classes)).long())
        self.classes = classes

    def semantic(self, indices: Sequence[int] | Tensor) -> list[Tensor]:
        return [self.classes[int(i)] for i in indices]


def blocks(count: int = 4, height: int = 6, width: int = 8, side: int = 8) -> Told:
    draw = torch.Generator().manual_seed(0)
    coarse = torch.randint(0, 6, (count, 1, height, width), generator=draw).float()
    return Told(F.interpolate(coarse, scale_factor=side, mode="nearest")[:, 0].to(torch.uint8))


def cut(split: Told, plan: CropPlan, seed: int = 0, rows: int | None = None) -> tuple[Tensor, Tensor]:
    draw = torch.Generator().manual_seed(seed)
    return crops(split, torch.arange(rows or len(split)), plan, draw, "cpu", *NONE)


@pytest.mark.parametrize("size", [24, 48, 96])
def test_pictures_and_classes_stay_in_register(size: int) -> None:
    split = blocks()
    images, classes = cut(split, CropPlan(size, 48, distort=False))
    assert images.shape == (4, 3, size, size)
    assert classes.shape == (4, size, size)
    told = images[:, 0] * (255 / 30)
    counted = classes != IGNORED
    inner = F.max_pool2d(classes[:, None].float(), 5, 1, 2) == -F.max_pool2d(
        -classes[:, None].float(), 5, 1, 2
    )
    inner = inner[:, 0] & counted  # away from the borders of blocks, where bilinear mixes
    assert float(inner.float().mean()) > 0.05
    assert float((told - classes).abs()[inner].max()) < 0.05
    assert bool((images[:, 0][~counted] == 0).all())


def test_what_lies_beyond_a_small_picture_counts_nowhere() -> None:
    images, classes = cut(blocks(1), CropPlan(64, 24, (1.0, 1.0), distort=True))
    assert bool((classes[:, 24:] == IGNORED).all())
    assert bool((classes[:, :, 32:] == IGNORED).all())
    assert bool((classes[:, :24, :32] != IGNORED).all())
    assert float(images[:, :, 24:].abs().max()) == 0
    assert float(images[:, :, :, 32:].abs().max()) == 0


def test_half_are_mirrored_and_the_same_seed_gives_the_same() -> None:
    ramp = Told((torch.arange(32) // 8).to(torch.uint8).expand(1, 32, 32).contiguous())
    plan = CropPlan(32, 32, (1.0, 1.0), distort=False)
    first = [int(cut(ramp, plan, seed)[1][0, 0, 0]) for seed in range(60)]
    assert set(first) == {0, 3}
    assert 15 < sum(c == 3 for c in first) < 45
    a, b = cut(ramp, CropPlan(16, 32), 3), cut(ramp, CropPlan(16, 32), 3)
    assert torch.equal(a[0], b[0])
    assert torch.equal(a[1], b[1])
    assert not torch.equal(a[0], cut(ramp, CropPlan(16, 32), 4)[0])


def test_a_crop_of_almost_one_class_is_drawn_again() -> None:
    """One corner holds the other classes: crops at random would mostly miss it."""
    mask = torch.zeros(1, 64, 64, dtype=torch.uint8)
    mask[0, :20, :20] = (torch.arange(20) % 3 + 1).to(torch.uint8)
    plan = CropPlan(24, 64, (1.0, 1.0), distort=False)
    shares = []
    for seed in range(40):
        classes = cut(Told(mask), plan, seed)[1]
        shares.append(float(torch.bincount(classes.flatten().long()).max()) / 24**2)
    assert sum(share < SHARE for share in shares) > 8  # a single draw would find 2 or 3
    whole_class = cut(Told(torch.full((1, 40, 40), 2, dtype=torch.uint8)), plan)[1]
    assert whole_class.unique().tolist() == [2]


def test_the_scale_is_that_of_the_plan() -> None:
    """Width of an 8 px block, in pixels of the crop, at the two ends of the scale."""
    split = Told(((torch.arange(64) // 8) % 2).to(torch.uint8).expand(1, 64, 64).contiguous())
    for factor, width in ((0.5, 4), (2.0, 16)):
        classes = cut(split, CropPlan(32, 64, (factor, factor), distort=False))[1][0, 0]
        edges = (classes[1:] != classes[:-1]).nonzero().flatten()
        assert (edges[1:] - edges[:-1]).unique().tolist() == [width]


def test_colours_change_for_some_and_stay_in_range() -> None:
    x = torch.rand(64, 3, 4, 4, generator=torch.Generator().manual_seed(1))
    y = x.clone()
    distort(y, torch.Generator().manual_seed(2))
    assert float(y.min()) >= -1e-6
    assert float(y.max()) <= 1 + 1e-6
    same = (y - x).abs().amax((1, 2, 3)) < 1e-5
    assert 0 < int(same.sum()) < 16  # a sixteenth is left alone
    assert float((y - x).abs().mean()) > 0.05


def test_whole_pictures_keep_their_shape() -> None:
    split = blocks(1)
    assert whole(split, 0, 48, "cpu", *NONE).shape == (3, 48, 64)
    small = whole(split, 0, 24, "cpu", (0.5,) * 3, (0.25,) * 3)
    assert small.shape == (3, 24, 32)
    plain = split.held[0].float() / 255
    assert torch.allclose(
        whole(split, 0, 48, "cpu", (0.5,) * 3, (0.25,) * 3), (plain - 0.5) / 0.25, atol=1e-6
    )


def test_nearest_takes_the_class_at_the_centre() -> None:
    mask = torch.arange(6).to(torch.uint8)[None].repeat(2, 1)
    assert nearest(mask, (1, 3)).tolist() == [[1, 3, 5]]
    assert nearest(mask, (2, 12))[0].tolist() == [k for k in range(6) for _ in range(2)]
    assert torch.equal(nearest(mask, (2, 6)), mask)
