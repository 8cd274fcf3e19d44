"""Montages: small copies of many pictures, tiled into pictures of the usual size, and cut apart again.

MCL (arXiv 2304.02010, section 3.1): level i shrinks a view to 1/r, r = 2^i, and r x r of them make a montage
of the full size, so that every level costs few pictures and every tile meets the same number of places on the
pyramid's map of its own stride. Tiles are a regular grid: no boxes, no RoIAlign.
Pure functions of tensors; the draw of `draw` comes from torch's global generator.
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

Downsampling = Literal["nearest", "area", "bilinear"]


def shrink(images: Tensor, ratio: int, how: Downsampling = "nearest") -> Tensor:
    """(N, C, s, s) to (N, C, s/ratio, s/ratio).

    nearest: pixel (ratio*y, ratio*x), the authors' subsampling without a filter. area: the mean of each
    ratio x ratio block. bilinear: the triangle filter stretched over the ratio (antialiased).
    """
    if ratio == 1:
        return images
    height, width = images.shape[-2:]
    if height % ratio or width % ratio:
        raise ValueError(f"a {height} x {width} view cannot be shrunk to 1/{ratio}: its side must divide")
    if how == "nearest":
        return images[..., ::ratio, ::ratio]
    if how == "area":
        return F.avg_pool2d(images, ratio)
    size = (height // ratio, width // ratio)
    return F.interpolate(images, size=size, mode="bilinear", align_corners=False, antialias=True)


def montages(pictures: int, ratio: int, showings: int = 1) -> int:
    """The least number of montages in which each of `pictures` is shown at least `showings` times."""
    return -(-pictures * showings // ratio**2)


def draw(pictures: int, ratio: int, count: int) -> Tensor:
    """The picture of every tile, (count * ratio^2,) int64, by montage, row and column.

    A permutation of the tiles, modulo the pictures: each is shown equally often, or once more where the
    tiles do not divide. Level 0 (ratio 1, a tile a picture) keeps its order.
    """
    if ratio == 1 and count == pictures:
        return torch.arange(pictures)
    return torch.randperm(count * ratio**2) % pictures


def assemble(tiles: Tensor, ids: Tensor, ratio: int) -> Tensor:
    """Tiles (N, C, t, t), chosen by ids (M * ratio^2,), to montages (M, C, ratio*t, ratio*t)."""
    chosen = tiles[ids]
    channels, height, width = chosen.shape[1:]
    grid = chosen.view(-1, ratio, ratio, channels, height, width)  # M, row, column, C, t, t
    return grid.permute(0, 3, 1, 4, 2, 5).reshape(-1, channels, ratio * height, ratio * width)


def cells(maps: Tensor, side: int) -> Tensor:
    """Maps (M, C, r*side, r*side) to their tiles' cells, (M * r^2, C, side, side): undoes `assemble`."""
    count, channels, height, width = maps.shape
    if height % side or width % side:
        raise ValueError(f"a map of {height} x {width} places cannot be cut into cells of {side} x {side}")
    rows, columns = height // side, width // side
    grid = maps.view(count, channels, rows, side, columns, side)
    return grid.permute(0, 2, 4, 1, 3, 5).reshape(count * rows * columns, channels, side, side)


def divisor(number: int, most: int) -> int:
    """The largest divisor of `number` that is at most `most`."""
    return next(d for d in range(min(number, most), 0, -1) if number % d == 0)
