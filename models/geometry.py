"""Where the places of a view's dense map lie in the source picture, in closed form from four numbers a view.

A box is (x0, y0, x1, y1) in source pixels (edges, not pixel indices), mirrored when x0 > x1: a flipped
view's first column is then simply the rightmost one, and no case distinction is needed anywhere.
"""

from __future__ import annotations

import torch
from torch import Tensor


def centres(boxes: Tensor, height: int, width: int) -> Tensor:
    """Centres (x, y) of the places of a `height` x `width` map, row-major.

    boxes (..., 4) in source pixels -> (..., height * width, 2). GLSD's token coordinates (section 3.2)
    without the resampling of position maps, from which they differ by less than 0.02 px (at the rim).
    """
    x0, y0, x1, y1 = boxes.unbind(-1)
    u = (torch.arange(width, device=boxes.device, dtype=boxes.dtype) + 0.5) / width
    v = (torch.arange(height, device=boxes.device, dtype=boxes.dtype) + 0.5) / height
    x = x0[..., None] + u * (x1 - x0)[..., None]  # (..., W)
    y = y0[..., None] + v * (y1 - y0)[..., None]  # (..., H)
    shape = (*boxes.shape[:-1], height, width)
    grid = torch.stack([x[..., None, :].expand(shape), y[..., :, None].expand(shape)], dim=-1)
    return grid.flatten(-3, -2)


def half_diagonal2(boxes: Tensor, height: int, width: int) -> Tensor:
    """Square of half a cell's diagonal, boxes (..., 4) -> (...), in source pixels squared."""
    x0, y0, x1, y1 = boxes.unbind(-1)
    return ((x1 - x0) / (2 * width)) ** 2 + ((y1 - y0) / (2 * height)) ** 2


def cell_diagonal(boxes: Tensor, height: int, width: int) -> Tensor:
    """A cell's diagonal, boxes (..., 4) -> (...), in source pixels (PixPro's unit of distance)."""
    return 2 * half_diagonal2(boxes, height, width).sqrt()


def squared_distances(one: Tensor, other: Tensor) -> Tensor:
    """(..., S, 2) and (..., T, 2) -> (..., S, T).

    By differences: `torch.cdist` goes through a matrix product above 25 points and loses the digits
    that decide ties.
    """
    return (one.unsqueeze(-2) - other.unsqueeze(-3)).square().sum(-1)
