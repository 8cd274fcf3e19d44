"""The views of a batch of pictures: crops of source pixels, resampled and augmented many at a time."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from data.augment import augment
from data.draws import Draws, draw
from data.recipes import RECIPES, ViewSpec, ViewsSpec, plan
from data.resample import SMALL, resample_batch, resample_each
from data.sets.dataset import Split

__all__ = ["RECIPES", "Draws", "ViewSpec", "ViewsSpec", "draw", "plan", "render"]

CHUNK = {"cpu": 2**18, "cuda": 2**28}  # values that are augmented at once: a core's cache, a share of a card


def render(
    split: Split,
    indices: Sequence[int] | Tensor,
    draws: Draws,
    plan: tuple[ViewSpec, ...],
    device: torch.device | str,
    mean: Sequence[float],
    std: Sequence[float],
) -> tuple[list[Tensor], Tensor]:
    """The views that `draws` describes, normalised: V tensors (B, 3, size, size), and their boxes (V, B, 4).

    indices: B pictures of the split, the rows of `draws`. mean, std: per channel, of values in [0, 1].
    boxes: float, x0 y0 x1 y1 in source pixels, mirrored views with x0 > x1. Both on `device`.
    """
    device = torch.device(device)
    source = fetch(split, indices, device)
    shift, scale = (torch.tensor(list(values), device=device)[:, None, None] for values in (mean, std))
    out = [torch.empty(len(source), 3, view.size, view.size, device=device) for view in plan]
    step = max(1, CHUNK.get(device.type, CHUNK["cpu"]) // (3 * plan[0].size ** 2))
    for start in range(0, len(source), step):  # all views of a picture while it is in the cache
        rows = slice(start, start + step)
        some = draws.rows(rows)
        for v, view in enumerate(plan):
            one, views = some.view(v), out[v][rows]
            take(source[rows], one.crops[0], one.flip[0], view.interpolation, views)
            augment(views, one, view.threshold)
            views.sub_(shift).div_(scale)
    return out, draws.boxes.to(device)


def fetch(split: Split, indices: Sequence[int] | Tensor, device: torch.device) -> Tensor | list[Tensor]:
    """Small held pictures as one uint8 tensor on `device`, others as a list on the CPU."""
    if split.held is not None and split.held[0, 0].numel() <= SMALL:
        return split.held[torch.as_tensor(indices)].to(device, non_blocking=True)
    return split.read(indices)


def take(source: Tensor | list[Tensor], crops: Tensor, flip: Tensor, mode: str, out: Tensor) -> None:
    """Crops of what `fetch` gave into `out`: float (B, 3, size, size) in [0, 1]."""
    if isinstance(source, Tensor):
        out.copy_(resample_batch(source, crops, flip, out.shape[-1], mode))
        return
    bytes_ = out if out.device.type == "cpu" else torch.empty(out.shape, dtype=torch.uint8)
    resample_each(source, crops, flip, mode, bytes_)
    if bytes_ is not out:
        out.copy_(bytes_)
    out.mul_(1 / 255)


def normalise(x: Tensor, mean: Sequence[float], std: Sequence[float]) -> None:
    """x <- (x - mean) / std per channel, in place. x: (N, 3, H, W)."""
    shift, scale = (torch.tensor(list(values), device=x.device)[:, None, None] for values in (mean, std))
    x.sub_(shift).div_(scale)
