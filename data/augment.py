"""Colour, blur and solarisation of batches of views, each row with its own parameters.

All functions take float (N, 3, H, W) in [0, 1] and a parameter per row, and follow torchvision's operations of
the same name (hue through HSV), without rounding to bytes between them. They write into their input:
a pass over memory is what these operations cost.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from data.draws import Draws

RED, GREEN, BLUE = 0.2989, 0.587, 0.114  # of grey, as torchvision weighs them
LEAST_SIGMA = 0.25  # pixels; a narrower blur changes no value by 1/1000
REACH = 3.5  # standard deviations that a blur's kernel spans to each side
STRIP = 32  # pixels of a view that a blur computes at once


def grey(x: Tensor) -> Tensor:
    """The luminance of each pixel: (N, 1, H, W), a new tensor."""
    r, g, b = x.split(1, 1)
    return torch.mul(r, RED).add_(g, alpha=GREEN).add_(b, alpha=BLUE)


def brightness(x: Tensor, factor: Tensor) -> None:
    """x <- factor x. factor: (N,), at least 0."""
    x.mul_(_column(factor, x))
    _clamp(x, factor)


def contrast(x: Tensor, factor: Tensor) -> None:
    """x <- factor x + (1 - factor) mean grey of the picture."""
    tone = torch.tensor([RED, GREEN, BLUE], device=x.device)
    mean = (x.mean((2, 3)) * tone).sum(1)  # (N,)
    x.mul_(_column(factor, x)).add_((mean * (1 - factor.to(x.device)))[:, None, None, None])
    _clamp(x, factor)


def saturation(x: Tensor, factor: Tensor) -> None:
    """x <- factor x + (1 - factor) grey."""
    x.mul_(_column(factor, x)).add_(grey(x).mul_(_column(1 - factor, x)))
    _clamp(x, factor)


def hue(x: Tensor, turn: Tensor) -> None:
    """Turns the hue, in HSV. turn: (N,) in [-0.5, 0.5], parts of the circle.

    With M, m the largest and smallest channel, C = M - m and h in [0, 6) the turned hue, HSV back to RGB is
    R = m + C clamp(|h - 3| - 1, 0, 1), G = M - C clamp(|h - 2| - 1, 0, 1), B = M - C clamp(|h - 4| - 1, 0, 1).
    """
    r, g, b = x.unbind(1)  # (N, H, W)
    most = torch.maximum(r, g)
    least = torch.minimum(r, g)
    torch.maximum(most, b, out=most)
    torch.minimum(least, b, out=least)
    chroma = most - least
    red, green = most == r, most == g
    sector = torch.where(red, g - b, torch.where(green, b - r, r - g))
    sector.div_(chroma.clamp(min=1e-9))  # in [-1, 1]; 0 where there is no colour
    sector.add_(torch.where(red, 6.0, torch.where(green, 8.0, 10.0)))
    h = sector.div_(6).add_(turn.to(x.device)[:, None, None]).frac_().mul_(6)  # positive before frac
    least.sub_(chroma)
    most.add_(chroma)
    torch.addcmul(least, chroma, (h - 3).abs_().clamp_(1, 2), out=r)
    torch.addcmul(most, chroma, (h - 2).abs_().clamp_(1, 2), value=-1, out=g)
    torch.addcmul(most, chroma, h.sub_(4).abs_().clamp_(1, 2), value=-1, out=b)


def greyscale(x: Tensor) -> None:
    """Every channel <- grey."""
    x.copy_(grey(x).expand_as(x))


def blur(x: Tensor, sigma: Tensor) -> None:
    """A Gaussian blur, the border's pixels repeated outwards as Pillow does. sigma: (N,) pixels."""
    n, channels, height, width = x.shape
    if x.device.type == "cpu" and max(height, width) > 2 * STRIP:
        for row, s in enumerate(sigma.tolist()):
            _blur_strips(x[row], s)
        return
    across, down = _blur_matrix(sigma.to(x.device), width), _blur_matrix(sigma.to(x.device), height)
    rows = torch.bmm(x.reshape(n, channels * height, width), across.transpose(1, 2)).view(x.shape)
    x.copy_(torch.matmul(down[:, None], rows))


def solarise(x: Tensor, threshold: float) -> None:
    """Values from `threshold` on are inverted."""
    x.copy_(torch.where(x >= threshold, 1 - x, x))


def augment(x: Tensor, draws: Draws, threshold: float) -> None:
    """Jitter in each row's own order, greyscale, blur, solarisation: what `draws` (one view, N rows) says."""
    operations: tuple[Callable[[Tensor, Tensor], None], ...] = (brightness, contrast, saturation, hue)
    factors, order = draws.factors[0], draws.order[0]
    for place in range(4):
        for which, operation in enumerate(operations):
            rows = (order[:, place] == which).nonzero()[:, 0]
            _apply(x, rows, lambda part, rows, o=operation, w=which: o(part, factors[rows, w]))  # type: ignore[misc]
    _apply(x, draws.grey[0].nonzero()[:, 0], lambda part, _: greyscale(part))
    sigma = draws.sigma[0]
    _apply(x, (sigma >= LEAST_SIGMA).nonzero()[:, 0], lambda part, rows: blur(part, sigma[rows]))
    _apply(x, draws.solarise[0].nonzero()[:, 0], lambda part, _: solarise(part, threshold))


def _apply(x: Tensor, rows: Tensor, operation: Callable[[Tensor, Tensor], None]) -> None:
    """`operation` on some rows of x, without a copy where they are all of them."""
    if len(rows) == len(x):
        operation(x, rows)
    elif len(rows):
        there = rows.to(x.device)
        part = x[there]
        operation(part, rows)
        x[there] = part


def _column(values: Tensor, x: Tensor) -> Tensor:
    return values.to(x.device, x.dtype)[:, None, None, None]


def _clamp(x: Tensor, factor: Tensor) -> None:
    if float(factor.max()) > 1:  # up to 1 the result is a mean of values in [0, 1]
        x.clamp_(0, 1)


def _blur_matrix(sigma: Tensor, length: int) -> Tensor:
    """(N, length, length): each row a Gaussian around its pixel, what falls outside added to the border."""
    place = torch.arange(length, device=sigma.device)
    reach = math.ceil(REACH * float(sigma.max()))
    offset = torch.arange(-reach, reach + 1, device=sigma.device)
    kernel = _kernel(sigma, offset)  # (N, taps)
    target = (place[:, None] + offset).clamp(0, length - 1)  # (length, taps)
    matrix = torch.zeros(len(sigma), length, length, device=sigma.device)
    return matrix.scatter_add_(
        2, target.expand(len(sigma), -1, -1), kernel[:, None].expand(-1, length, -1).contiguous()
    )


def _kernel(sigma: Tensor, offset: Tensor) -> Tensor:
    value = torch.exp(-0.5 * (offset / sigma[:, None]) ** 2)
    return value * (offset.abs() <= (REACH * sigma[:, None]).ceil()) / value.sum(1, keepdim=True)


def _blur_strips(x: Tensor, sigma: float) -> None:
    """One view (3, H, W), strip by strip: each strip is a product with one small banded matrix."""
    reach = math.ceil(REACH * sigma)
    channels, height, width = x.shape
    offset = torch.arange(-reach, reach + 1)
    kernel = _kernel(torch.tensor([sigma]), offset)[0]
    band = torch.zeros(STRIP, STRIP + 2 * reach)
    for row in range(STRIP):
        band[row, row : row + 2 * reach + 1] = kernel
    padded = torch.nn.functional.pad(x, (reach, reach, reach, reach), mode="replicate")
    rows = torch.empty(channels, height + 2 * reach, width)
    for start in range(0, width, STRIP):
        stop = min(start + STRIP, width)
        part = padded[:, :, start : stop + 2 * reach]
        torch.matmul(part, band[: stop - start, : stop - start + 2 * reach].T, out=rows[:, :, start:stop])
    for start in range(0, height, STRIP):
        stop = min(start + STRIP, height)
        x[:, start:stop] = band[: stop - start, : stop - start + 2 * reach] @ rows[:, start : stop + 2 * reach]
