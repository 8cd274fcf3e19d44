"""Batched crops against torchvision's resized_crop, and against the closed form of coordinates."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.transforms import InterpolationMode
from torchvision.transforms import functional as TF

from data.resample import resample_batch, resample_each, weights

CROPS = torch.tensor([[0, 0, 40, 30], [5, 3, 38, 29], [10, 10, 14, 13], [39, 29, 40, 30], [0, 7, 40, 9]])
FLIP = torch.tensor([False, True, False, True, False])


def smooth(n: int, height: int, width: int) -> Tensor:
    """Pictures away from 0 and 255, where bicubic overshoot is clipped between the axes as Pillow does."""
    coarse = torch.rand(n, 3, height // 3, width // 3, generator=torch.Generator().manual_seed(0))
    return F.interpolate(coarse, (height, width), mode="bilinear").mul(175).add(40).byte()


@pytest.mark.parametrize("mode", ["bilinear", "bicubic"])
@pytest.mark.parametrize("size", [8, 32, 50])
def test_both_ways_are_torchvisions(mode, size):
    pictures = smooth(len(CROPS), 30, 40)
    expected = []
    for picture, (x0, y0, x1, y1), flip in zip(pictures.float(), CROPS.tolist(), FLIP):
        box = y0, x0, y1 - y0, x1 - x0
        view = TF.resized_crop(picture, *box, [size, size], InterpolationMode(mode), antialias=True)
        expected.append((TF.hflip(view) if flip else view).clamp(0, 255) / 255)
    batch = resample_batch(pictures, CROPS, FLIP, size, mode)
    torch.testing.assert_close(batch, torch.stack(expected), atol=1e-4, rtol=0)
    each = torch.empty(len(CROPS), 3, size, size)
    resample_each(list(pictures), CROPS, FLIP, mode, each)
    assert (each / 255 - torch.stack(expected)).abs().max() < 1.6 / 255  # it rounds to bytes between the axes


def test_each_takes_pictures_of_any_size_and_layout():
    pictures = [smooth(1, 30, 40)[0], smooth(1, 60, 45)[0].permute(1, 2, 0).contiguous().permute(2, 0, 1)]
    out = torch.empty(2, 3, 16, 16, dtype=torch.uint8)
    resample_each(pictures, torch.tensor([[0, 0, 40, 30], [5, 5, 45, 60]]), FLIP[:2], "bilinear", out)
    whole = TF.resize(pictures[0], [16, 16], antialias=True)
    assert (out[0].int() - whole.int()).abs().max() <= 1


@pytest.mark.parametrize("mode", ["bilinear", "bicubic"])
def test_weights_sum_to_one_and_stay_in_the_crop(mode):
    w = weights(torch.tensor([3, 0]), torch.tensor([9, 40]), torch.tensor([False, True]), 40, 16, mode)
    torch.testing.assert_close(w.sum(2), torch.ones(2, 16))
    assert not w[0, :, :3].any()
    assert not w[0, :, 9:].any()


def test_a_crop_of_coordinates_agrees_with_the_closed_form():
    """Tokens of N x N have their centres at x0 + (u + 1/2)(x1 - x0)/N, x0 > x1 where mirrored (GLSD, 3.1)."""
    height, width, size, tokens = 90, 96, 64, 4
    at = torch.arange(width) + 0.5, torch.arange(height) + 0.5
    crops = torch.tensor([[10, 20, 90, 80], [7, 5, 60, 77], [30, 33, 62, 65]])
    flip = torch.tensor([False, True, True])
    across = weights(crops[:, 0], crops[:, 2], flip, width, size, "bicubic") @ at[0]  # (3, size)
    down = (
        weights(crops[:, 1], crops[:, 3], torch.zeros(3, dtype=torch.bool), height, size, "bicubic") @ at[1]
    )
    x0 = torch.where(flip, crops[:, 2], crops[:, 0]).float()
    x1 = torch.where(flip, crops[:, 0], crops[:, 2]).float()
    u = (torch.arange(tokens) + 0.5) / tokens
    got = across.view(3, tokens, -1).mean(2), down.view(3, tokens, -1).mean(2)
    torch.testing.assert_close(got[0], x0[:, None] + u * (x1 - x0)[:, None], atol=0.03, rtol=0)
    torch.testing.assert_close(
        got[1], crops[:, 1:2] + u * (crops[:, 3] - crops[:, 1])[:, None], atol=0.03, rtol=0
    )
