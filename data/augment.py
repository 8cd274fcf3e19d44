"""Colour, blur and solarisation of batches of views, each row with its own parameters.

All functions take float (N, 3, H, W) in [0, 1] and a parameter per row, and follow torchvision's operations
of the same name (hue through HSV), without rounding to bytes between them. They write into their input:
passes over memory are what they cost.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from data.draws import Draws

RED, GREEN, BLUE = 0.2989, 0.587, 0.114  # of grey, as torchvision weighs them
LEAST_SIGMA = 0.25  # pixels; a narrower blur changes no value by 1/1000
REACH = 3.0  # standard deviations that a blur's kernel spans to each side
STRIP = 16  # pixels of a row or column that one small product of a blur gives


def grey(x: Tensor) -> Tensor:
    """The luminance of each pixel: (N, 1, H, W), a new tensor."""
    r, g, b = x.split(1, 1)
    return torch.mul(r, RED).add_(g, alpha=GREEN).add_(b, alpha=BLUE)


def brightness(x: Tensor, factor: Tensor) -> None:
    """x <- factor x. factor: (N,), at least 0."""
    x.mul_(_column(factor, x))
    _clamp(x, factor)


def contrast(x: Tensor, factor: Tensor) -> None:
    """x <- factor x + (1 - factor) mean grey of the picture. factor: (N,), at least 0."""
    own = _column(factor, x)
    mean = grey(x.mean((2, 3), keepdim=True)).mul_(1 - own)  # (N, 1, 1, 1)
    x.mul_(own).add_(mean.item() if isinstance(own, float) else mean)
    _clamp(x, factor)


def saturation(x: Tensor, factor: Tensor) -> None:
    """x <- factor x + (1 - factor) grey. factor: (N,), at least 0."""
    weight = 1 - _column(factor, x)
    x.lerp_(grey(x).expand_as(x), weight if isinstance(weight, float) else weight.expand_as(x))
    _clamp(x, factor)


def hue(x: Tensor, turn: Tensor) -> None:
    """Turns the hue, in HSV. turn: (N,) in [-0.5, 0.5], parts of the circle.

    With M and m the largest and smallest channel, C = M - m and h in [0, 6) the hue, C |h - 3| is
    R - G - B + 2M - m and h is above 3 where B > G: no case has to be told from another, and torch.where
    costs ten sums on a processor. With the turned h, R = m + C clamp(|h - 3| - 1, 0, 1),
    G = M - C clamp(|h - 2| - 1, 0, 1) and B = M - C clamp(|h - 4| - 1, 0, 1).
    """
    r, g, b = x.unbind(1)  # (N, H, W)
    most, least = torch.maximum(g, b), torch.minimum(g, b)
    torch.maximum(most, r, out=most)
    torch.minimum(least, r, out=least)
    chroma = most - least
    h = (r - g).sub_(b).add_(most, alpha=2).sub_(least).copysign_(b - g)
    six = chroma.mul(6).clamp_(min=1e-9)  # 0 / 1e-9 = 0 where there is no colour
    h.div_(six).add_(_column(turn + 1.5, h)).frac_()  # parts of the circle; positive before
    least.sub_(chroma)
    most.add_(chroma)
    ramp = chroma  # its memory is used again
    torch.addcmul(least, six, torch.sub(h, 3 / 6, out=ramp).abs_().clamp_(1 / 6, 2 / 6), out=r)
    torch.addcmul(most, six, torch.sub(h, 2 / 6, out=ramp).abs_().clamp_(1 / 6, 2 / 6), value=-1, out=g)
    torch.addcmul(most, six, h.sub_(4 / 6).abs_().clamp_(1 / 6, 2 / 6), value=-1, out=b)


def greyscale(x: Tensor) -> None:
    """Every channel <- grey."""
    x.copy_(grey(x).expand_as(x))


def blur(x: Tensor, sigma: Tensor) -> None:
    """A Gaussian blur, the border's pixels repeated outwards as Pillow does. sigma: (N,) pixels."""
    n, channels, height, width = x.shape
    if x.device.type == "cpu" and max(height, width) > 4 * STRIP:
        for row, s in enumerate(sigma.tolist()):
            _blur_strips(x[row], s)
        return
    across, down = _blur_matrix(sigma.to(x.device), width), _blur_matrix(sigma.to(x.device), height)
    rows = torch.bmm(x.reshape(n, channels * height, width), across.transpose(1, 2)).view(x.shape)
    x.copy_(torch.matmul(down[:, None], rows))


def solarise(x: Tensor, threshold: float) -> None:
    """Values from `threshold` (above 0) on are inverted."""
    least = threshold * (1 - 1e-6)  # 128 / 255 may come an ulp low
    high = F.threshold(x, least, 0)  # x where it is inverted, else 0
    x.sub_(high, alpha=2).add_(high.sign_())


def augment(x: Tensor, draws: Draws, threshold: float) -> None:
    """Jitter in each row's own order, greyscale, blur, solarisation: what `draws` (one view, N rows) says."""
    operations: tuple[Callable[[Tensor, Tensor], None], ...] = (brightness, contrast, saturation, hue)
    factors, sigma = draws.factors[0], draws.sigma[0]
    places: list[list[list[int]]] = [[[] for _ in operations] for _ in operations]
    for row, order in enumerate(draws.order[0].tolist()):
        for place, which in enumerate(order):
            if which >= 0:
                places[place][which].append(row)
    for parts in places:
        for which, rows in enumerate(parts):
            if rows:
                _apply(x, rows, operations[which], factors[:, which])
    _apply(x, _rows(draws.grey[0]), lambda part, _: greyscale(part), sigma)
    _apply(x, _rows(sigma >= LEAST_SIGMA), blur, sigma)
    _apply(x, _rows(draws.solarise[0]), lambda part, _: solarise(part, threshold), sigma)


def _rows(mask: Tensor) -> list[int]:
    return [row for row, true in enumerate(mask.tolist()) if true]


def _apply(x: Tensor, rows: list[int], operation: Callable[[Tensor, Tensor], None], values: Tensor) -> None:
    """`operation` with its rows of `values` on some rows of x, without a copy where they are all of them."""
    if len(rows) == len(x):
        operation(x, values)
    elif rows:
        index = torch.tensor(rows)
        there = index.to(x.device)
        part = x[there]
        operation(part, values[index])
        x[there] = part


def _column(values: Tensor, x: Tensor) -> Any:
    """(N,) shaped to multiply x (N, ...); of a single row the number itself, which is faster to apply."""
    if len(values) == 1 and x.device.type == "cpu":
        return values.item()
    return values.to(x.device, x.dtype).view(-1, *(1,) * (x.dim() - 1))


def _clamp(x: Tensor, factor: Tensor) -> None:
    if float(factor.max()) > 1:  # up to 1 the result is a mean of values in [0, 1]
        x.clamp_(0, 1)


def _kernel(sigma: Tensor, offset: Tensor) -> Tensor:
    """(N, taps), each row summing to 1, 0 beyond REACH of its own width."""
    value = torch.exp(-0.5 * (offset / sigma[:, None]) ** 2) * (
        offset.abs() <= (REACH * sigma[:, None]).ceil()
    )
    return value / value.sum(1, keepdim=True)


def _blur_matrix(sigma: Tensor, length: int) -> Tensor:
    """(N, length, length): each row a Gaussian around its pixel, what falls outside added to the border."""
    place = torch.arange(length, device=sigma.device)
    reach = math.ceil(REACH * float(sigma.max()))
    offset = torch.arange(-reach, reach + 1, device=sigma.device)
    target = (place[:, None] + offset).clamp(0, length - 1).expand(len(sigma), -1, -1)  # (N, length, taps)
    matrix = torch.zeros(len(sigma), length, length, device=sigma.device)
    return matrix.scatter_add_(2, target, _kernel(sigma, offset)[:, None].expand(-1, length, -1))


def _blur_strips(x: Tensor, sigma: float) -> None:
    """One view (3, H, W), in strips: the part of the matrix that is not 0 is the same small band for each.

    The strips overlap in what they read, so they are strided views of one padded picture, and an axis is
    one batched product.
    """
    channels, height, width = x.shape
    reach = math.ceil(REACH * sigma)
    wide = STRIP + 2 * reach
    columns, lines = math.ceil(width / STRIP), math.ceil(height / STRIP)
    right, below = columns * STRIP - width + reach, lines * STRIP - height + reach
    padded = F.pad(x, (reach, right, reach, below), mode="replicate")  # (3, tall, row + 2 reach)
    tall, row = lines * STRIP + 2 * reach, columns * STRIP
    across = torch.empty(channels, tall, row)
    band = torch.zeros(STRIP, wide)
    kernel = [math.exp(-0.5 * (offset / sigma) ** 2) for offset in range(-reach, reach + 1)]
    total = sum(kernel)
    kernel = [value / total for value in kernel]
    band.as_strided((STRIP, 2 * reach + 1), (wide + 1, 1)).copy_(
        torch.tensor(kernel)
    )  # each row one pixel further right
    torch.bmm(
        padded.as_strided((columns, channels * tall, wide), (STRIP, padded.stride(1), 1)),
        band.T.contiguous().expand(columns, -1, -1),
        out=across.as_strided((columns, channels * tall, STRIP), (STRIP, row, 1)),
    )
    fits = row == width and lines * STRIP == height and x.is_contiguous()
    out = x if fits else torch.empty(channels, lines * STRIP, row)
    bands = band.expand(lines, -1, -1)
    for made, source in zip(out, across):
        strips = source.as_strided((lines, wide, row), (STRIP * row, row, 1))  # starts at the source's offset
        torch.bmm(bands, strips, out=made.view(lines, STRIP, row))
    if not fits:
        x.copy_(out[:, :height, :width])
