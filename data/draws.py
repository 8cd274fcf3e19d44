"""All that is random in a batch's views, drawn at once on the CPU for the whole global batch.

R processes draw the same numbers from the same seed and each renders its own rows, so R processes see
what one process would.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from data.recipes import ViewSpec

TRIES = 10  # of a crop that fits, as torchvision's RandomResizedCrop; then the largest central one


@dataclass(frozen=True)
class Draws:
    """Parameters of V views of B pictures, on the CPU.

    crops: int64 (V, B, 4), left top right bottom in source pixels. flip, grey, solarise: bool (V, B).
    factors: float (V, B, 4), brightness contrast saturation hue; 1 1 1 0 change nothing.
    order: int64 (V, B, 4), which of the four is applied first, second, ...; -1 where there is no jitter.
    sigma: float (V, B), the blur's width in pixels of the view, 0 for none.
    """

    crops: Tensor
    flip: Tensor
    factors: Tensor
    order: Tensor
    grey: Tensor
    sigma: Tensor
    solarise: Tensor

    def rows(self, part: slice) -> Draws:
        """The same draws for a slice of the pictures."""
        return Draws(*(getattr(self, field.name)[:, part] for field in fields(self)))

    def view(self, v: int) -> Draws:
        """The draws of one view: V = 1."""
        return Draws(*(getattr(self, field.name)[v : v + 1] for field in fields(self)))

    @property
    def boxes(self) -> Tensor:
        """x0 y0 x1 y1 of each view in source pixels, float (V, B, 4); mirrored views have x0 > x1."""
        mirrored = self.crops[..., [2, 1, 0, 3]]
        return torch.where(self.flip[..., None], mirrored, self.crops).float()


def draw(plan: tuple[ViewSpec, ...], sizes: Tensor, generator: torch.Generator) -> Draws:
    """Parameters of every view of a batch. sizes: int64 (B, 2), heights and widths of the source pictures."""
    views = [_draw_one(view, sizes, generator) for view in plan]
    return Draws(*(torch.stack([getattr(one, field.name) for one in views]) for field in fields(Draws)))


def _draw_one(view: ViewSpec, sizes: Tensor, generator: torch.Generator) -> Draws:
    n = len(sizes)
    crops = draw_crops(sizes, view.scale, view.ratio, generator)

    def chance(p: float) -> Tensor:
        return torch.rand(n, generator=generator) < p

    flip, jitter, grey, blur, solarise = map(
        chance, (view.flip_p, view.jitter_p, view.grey_p, view.blur_p, view.solarise_p)
    )
    uniform = torch.rand(n, 4, generator=generator)
    strength = torch.tensor(view.jitter)
    low = torch.cat([(1 - strength[:3]).clamp(min=0), -strength[3:]])
    high = torch.cat([1 + strength[:3], strength[3:]])
    factors = low + (high - low) * uniform
    order = torch.rand(n, 4, generator=generator).argsort(1)
    width = view.sigma[0] + (view.sigma[1] - view.sigma[0]) * torch.rand(n, generator=generator)
    still = torch.tensor([1.0, 1.0, 1.0, 0.0])
    return Draws(
        crops,
        flip,
        torch.where(jitter[:, None], factors, still),
        torch.where(jitter[:, None], order, -1),
        grey,
        torch.where(blur, width, 0.0),
        solarise,
    )


def draw_crops(
    sizes: Tensor, scale: tuple[float, float], ratio: tuple[float, float], generator: torch.Generator
) -> Tensor:
    """Random resized crops: int64 (B, 4), left top right bottom in source pixels.

    The area is uniform in `scale`, the logarithm of width / height uniform in that of `ratio`, the place
    uniform; of ten tries the first that fits counts, else the largest central crop within `ratio`.
    """
    n = len(sizes)
    height, width = sizes[:, 0:1].double(), sizes[:, 1:2].double()  # (B, 1)
    numbers = torch.rand(n, TRIES, 2, generator=generator, dtype=torch.float64)
    place = torch.rand(n, 2, generator=generator, dtype=torch.float64)
    area = height * width * (scale[0] + (scale[1] - scale[0]) * numbers[..., 0])  # (B, tries)
    low, high = math.log(ratio[0]), math.log(ratio[1])
    aspect = torch.exp(low + (high - low) * numbers[..., 1])
    w, h = (area * aspect).sqrt().round(), (area / aspect).sqrt().round()
    fits = (w > 0) & (w <= width) & (h > 0) & (h <= height)
    first = fits.int().argmax(1, keepdim=True)
    none = ~fits.any(1)
    w, h = w.gather(1, first)[:, 0], h.gather(1, first)[:, 0]
    height, width = height[:, 0], width[:, 0]
    own = (width / height).clamp(*ratio)
    w = torch.where(none, torch.minimum(width, (height * own).round().clamp(min=1)), w)
    h = torch.where(none, torch.minimum(height, (width / own).round().clamp(min=1)), h)
    left = torch.where(none, ((width - w) / 2).floor(), (place[:, 0] * (width - w + 1)).floor())
    top = torch.where(none, ((height - h) / 2).floor(), (place[:, 1] * (height - h + 1)).floor())
    return torch.stack([left, top, left + w, top + h], 1).long()
