"""The views of evaluations against torchvision's."""

import pytest
import torch
import torch.nn.functional as F
from torchvision import transforms as T

from data.plain import centre, crop_flip
from data.sets.dataset import HeldSplit

MEAN, STD = (0.4, 0.5, 0.6), (0.2, 0.25, 0.3)


def split(height, width):
    coarse = torch.rand(3, 3, height // 4, width // 4, generator=torch.Generator().manual_seed(0))
    return HeldSplit(F.interpolate(coarse, (height, width)).mul(255).byte(), torch.zeros(3).long())


@pytest.mark.parametrize(
    ("sides", "size", "short"),
    [((60, 81), 28, 32), ((160, 120), 56, 64), ((8, 8), 32, 32), ((32, 32), 32, 32)],
)
def test_centre_is_torchvisions(sides, size, short):
    pictures = split(*sides)
    rival = T.Compose(
        [T.Resize(short), T.CenterCrop(size), T.ConvertImageDtype(torch.float32), T.Normalize(MEAN, STD)]
    )
    expected = torch.stack([rival(picture) for picture in pictures.held])
    got = centre(pictures, range(3), size, "cpu", MEAN, STD)
    assert (got - expected).abs().max() <= 1.01 / 255 / min(STD)


def test_centre_refuses_a_short_side_below_the_crop():
    with pytest.raises(ValueError, match="resize 20 is below size 32"):
        centre(split(40, 40), [0], 32, "cpu", MEAN, STD, resize=20)


def test_crop_flip_repeats_with_its_generator():
    pictures = split(40, 52)
    a, b, c = (
        crop_flip(pictures, range(3), 16, torch.Generator().manual_seed(seed), "cpu", MEAN, STD)
        for seed in (1, 1, 2)
    )
    assert a.shape == (3, 3, 16, 16)
    assert torch.equal(a, b)
    assert not torch.equal(a, c)
