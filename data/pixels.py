"""Pictures together with the classes of their pixels: training crops, and whole test pictures.

Training, after mmsegmentation's recipe for Pascal VOC: resize by a random factor, crop (where possible no class
fills more than three quarters of it), mirror half, change the colours; what lies beyond a small picture is
neither picture (0 once normalised) nor of any class (IGNORED).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from data.augment import hue, saturation
from data.sets.annotations import IGNORED, Semantic
from data.views import normalise

SHARE = 0.75  # of a crop's counted pixels that one class may have
TRIES = 10  # crops that are drawn to find such a one


@dataclass(frozen=True)
class CropPlan:
    """size: side of a crop in pixels. short: the picture's shorter side before the random factor, which lies in
    `scale`. distort: whether colours change."""

    size: int
    short: int
    scale: tuple[float, float] = (0.5, 2.0)
    distort: bool = True


def crops(
    split: Semantic,
    indices: Sequence[int] | Tensor,
    plan: CropPlan,
    draw: torch.Generator,
    device: torch.device | str,
    mean: Sequence[float],
    std: Sequence[float],
) -> tuple[Tensor, Tensor]:
    """One training crop a picture: float (B, 3, size, size), normalised, and uint8 (B, size, size) classes.

    draw: a generator on the CPU. Both results are on `device`.
    """
    count, size = len(indices), plan.size
    images = torch.zeros(count, 3, size, size, dtype=torch.uint8)
    classes = torch.full((count, size, size), IGNORED, dtype=torch.uint8)
    inside = torch.zeros(count, 1, size, size, dtype=torch.bool)
    for row, (picture, mask) in enumerate(zip(split.read(indices), split.semantic(indices))):
        box, (tall, wide) = _crop(mask, plan, draw)
        top, left, bottom, right = box
        part, marks = picture[:, top:bottom, left:right], mask[top:bottom, left:right]
        if float(torch.rand((), generator=draw)) < 0.5:
            part, marks = part.flip(2), marks.flip(1)
        images[row, :, :tall, :wide] = resized(part, (tall, wide))
        classes[row, :tall, :wide] = nearest(marks, (tall, wide))
        inside[row, :, :tall, :wide] = True
    x = images.to(device).float().mul_(1 / 255)
    if plan.distort:
        distort(x, draw)
    normalise(x, mean, std)
    return x.mul_(inside.to(device)), classes.to(device)


def _crop(
    mask: Tensor, plan: CropPlan, draw: torch.Generator
) -> tuple[tuple[int, int, int, int], tuple[int, int]]:
    """Top, left, bottom and right of a crop in the picture's pixels, and its height and width when resized."""
    height, width = mask.shape
    low, high = plan.scale
    factor = plan.short / min(height, width) * (low + (high - low) * float(torch.rand((), generator=draw)))
    side = plan.size / factor
    tall, wide = (max(1, min(length, round(side))) for length in (height, width))
    top = left = 0
    for _ in range(TRIES):
        top = int(torch.randint(height - tall + 1, (), generator=draw))
        left = int(torch.randint(width - wide + 1, (), generator=draw))
        counts = torch.bincount(mask[top : top + tall, left : left + wide].flatten(), minlength=IGNORED + 1)
        counts = counts[:IGNORED]
        if int(counts.max()) < SHARE * int(counts.sum()):
            break
    new = tuple(
        plan.size if cut < length else max(1, min(plan.size, round(length * factor)))
        for cut, length in ((tall, height), (wide, width))
    )
    return (top, left, top + tall, left + wide), (new[0], new[1])


def distort(x: Tensor, draw: torch.Generator) -> None:
    """Brightness, contrast, saturation and hue, each for half of the pictures. x: (B, 3, H, W) in [0, 1]."""
    u, chosen = torch.rand(4, len(x), generator=draw), torch.rand(4, len(x), generator=draw) < 0.5
    added = ((2 * u[0] - 1) * (32 / 255) * chosen[0]).to(x.device)[:, None, None, None]
    times, colour = (torch.where(chosen[i], 0.5 + u[i], 1.0) for i in (1, 2))
    x.add_(added).clamp_(0, 1).mul_(times.to(x.device)[:, None, None, None]).clamp_(0, 1)
    saturation(x, colour)
    hue(x, (2 * u[3] - 1) * (18 / 360) * chosen[3])


def whole(
    split: Semantic,
    index: int,
    short: int,
    device: torch.device | str,
    mean: Sequence[float],
    std: Sequence[float],
) -> Tensor:
    """A test picture, float (3, H, W), normalised, its shorter side resized to `short`."""
    picture = split.read([index])[0]
    height, width = picture.shape[1:]
    factor = short / min(height, width)
    x = (
        resized(picture, (round(height * factor), round(width * factor)))[None]
        .to(device)
        .float()
        .mul_(1 / 255)
    )
    normalise(x, mean, std)
    return x[0]


def resized(picture: Tensor, size: tuple[int, int]) -> Tensor:
    """uint8 (3, h, w) to uint8 (3, *size), bilinear with antialiasing."""
    if tuple(picture.shape[1:]) == size:
        return picture
    source = picture[None].contiguous(memory_format=torch.channels_last)
    return F.interpolate(source, size, mode="bilinear", antialias=True, align_corners=False)[0]


def nearest(mask: Tensor, size: tuple[int, int]) -> Tensor:
    """(h, w) to `size`: each pixel's class is that at its centre."""
    rows, columns = (
        ((torch.arange(new) + 0.5) * (old / new)).long().clamp(max=old - 1)
        for old, new in zip(mask.shape, size)
    )
    return mask[rows][:, columns]
