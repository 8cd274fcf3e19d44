"""The plain views of evaluations: a centre crop, and a random crop with a flip."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from data.draws import draw_crops
from data.recipes import RATIO
from data.sets.dataset import Split
from data.views import fetch, normalise, take

MARGIN = 256 / 224  # of the shorter side over the centre crop's, for pictures larger than the crop


def centre(
    split: Split,
    indices: Sequence[int] | Tensor,
    size: int,
    device: torch.device | str,
    mean: Sequence[float],
    std: Sequence[float],
    resize: int | None = None,
    interpolation: str = "bilinear",
) -> Tensor:
    """The test view: shorter side to `resize`, then the centre. Returns (B, 3, size, size), normalised.

    resize: by default 256/224 of `size`; `size` itself where the split's pictures are no larger than that.
    """
    short = resize or (size if split.native <= size else round(size * MARGIN))
    if short < size:
        raise ValueError(f"resize {short} is below size {size}: a centre crop would not fit")
    device = torch.device(device)
    source = fetch(split, indices, device)
    if isinstance(source, Tensor):
        views = _centre(source, size, short, interpolation)
    else:
        views = torch.cat([_centre(picture[None], size, short, interpolation) for picture in source]).to(
            device
        )
    out = torch.mul(views, 1 / 255).contiguous()
    normalise(out, mean, std)
    return out


def crop_flip(
    split: Split,
    indices: Sequence[int] | Tensor,
    size: int,
    generator: torch.Generator,
    device: torch.device | str,
    mean: Sequence[float],
    std: Sequence[float],
    scale: tuple[float, float] = (0.08, 1.0),
    interpolation: str = "bilinear",
) -> Tensor:
    """The training view of probes and fine-tuning: a random resized crop and a flip at 1/2, normalised.

    generator: on the CPU. Returns (B, 3, size, size).
    """
    device = torch.device(device)
    crops = draw_crops(split.sizes(indices), scale, RATIO, generator)
    flip = torch.rand(len(crops), generator=generator) < 0.5
    out = torch.empty(len(crops), 3, size, size, device=device)
    take(fetch(split, indices, device), crops, flip, interpolation, out)
    normalise(out, mean, std)
    return out


def _centre(pictures: Tensor, size: int, short: int, mode: str) -> Tensor:
    """(B, 3, H, W) uint8 -> (B, 3, size, size) uint8."""
    height, width = pictures.shape[2:]
    least = min(height, width)
    shape = [int(short * side / least) for side in (height, width)]
    if pictures.is_cuda:
        pictures = pictures.float()  # the uint8 kernel is the CPU's only
    grown = F.interpolate(pictures, shape, mode=mode, antialias=True, align_corners=False)
    if grown.is_floating_point():
        grown = grown.round().clamp(0, 255)
    top, left = (round((side - size) / 2) for side in shape)
    return grown[:, :, top : top + size, left : left + size]
