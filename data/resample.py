"""Crops resampled to one size with antialiasing, as Pillow and torchvision do it, many pictures at once.

Resampling is separable and linear: each axis is a matrix of weights made from the crop's two numbers on
that axis. Small pictures that lie in one tensor are resampled by two batched matrix products. For large
pictures such matrices are mostly zeros, so each is cropped and resampled by itself, in uint8 as Pillow
does; the choice depends on the pictures only, never on the device.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

SMALL = 96 * 96  # pixels of a picture up to which the matrix products win


def weights(start: Tensor, end: Tensor, mirrored: Tensor, length: int, size: int, mode: str) -> Tensor:
    """How the pixels of an axis make those of a view: float (B, size, length), rows summing to 1.

    start, end: (B,) the crop's edges on this axis in pixels; mirrored: bool (B,), whether the view runs from
    end to start. The kernel is a triangle (bilinear) or Keys' cubic with a = -1/2 (bicubic), widened by the
    scale when shrinking; pixels outside the crop weigh nothing.
    """
    start, end = start.float(), end.float()
    scale = (end - start) / size  # (B,) source pixels a view pixel
    at = torch.arange(size, device=start.device) + 0.5  # (size,)
    at = torch.where(mirrored[:, None], size - at, at)  # (B, size)
    centre = start[:, None] + at * scale[:, None]  # (B, size)
    pixel = torch.arange(length, device=start.device) + 0.5  # (length,)
    distance = (pixel - centre[..., None]).abs_().div_(scale.clamp(min=1)[:, None, None])  # (B, size, length)
    if mode == "bilinear":
        value = (1 - distance).clamp_(min=0)
    else:
        near = (1.5 * distance - 2.5) * distance * distance + 1
        far = ((-0.5 * distance + 2.5) * distance - 4) * distance + 2
        value = torch.where(distance < 1, near, far * (distance < 2))
    inside = (pixel > start[:, None]) & (pixel < end[:, None])  # (B, length)
    value = value * inside[:, None]
    return value / value.sum(2, keepdim=True)


def resample_batch(pictures: Tensor, crops: Tensor, flip: Tensor, size: int, mode: str) -> Tensor:
    """Views of equally large pictures. pictures: uint8 (B, 3, H, W); crops: (B, 4), left top right bottom in
    pixels; flip: bool (B,). Returns float (B, 3, size, size) in [0, 1], on the pictures' device.
    """
    n, channels, height, width = pictures.shape
    crops, flip = crops.to(pictures.device), flip.to(pictures.device)
    across = weights(crops[:, 0], crops[:, 2], flip, width, size, mode)  # (B, size, W)
    down = weights(crops[:, 1], crops[:, 3], torch.zeros_like(flip), height, size, mode) / 255  # (B, size, H)
    rows = torch.bmm(pictures.float().reshape(n, channels * height, width), across.transpose(1, 2))
    if mode == "bicubic":
        rows.clamp_(0, 255)  # it overshoots; Pillow keeps bytes between the axes
    rows = rows.view(n, channels, height, size).transpose(1, 2).reshape(n, height, channels * size)
    views = torch.bmm(down, rows).view(n, size, channels, size).transpose(1, 2)  # (B, 3, size, size)
    return views.clamp(0, 1)


def resample_each(pictures: list[Tensor], crops: Tensor, flip: Tensor, mode: str, out: Tensor) -> None:
    """Views of pictures of any sizes, uint8 (3, H, W) each, on the CPU.

    out: (B, 3, size, size), uint8 or float, is filled with values 0..255.
    """
    size = out.shape[-1]
    for row, (picture, box, mirrored) in enumerate(zip(pictures, crops.tolist(), flip.tolist())):
        left, top, right, bottom = box
        crop = picture[None, :, top:bottom, left:right].contiguous(memory_format=torch.channels_last)
        view = F.interpolate(crop, (size, size), mode=mode, antialias=True, align_corners=False)[0]
        out[row] = view.flip(2) if mirrored else view
