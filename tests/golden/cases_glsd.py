"""What the authors' GLSD code returns, reproduced with this project's parts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from cases_esvit import Arrays, Made, Nothing, double, method_of, pair_losses
from torch import Tensor

from models.geometry import centres, half_diagonal2, squared_distances
from models.matching import geometric
from models.method import Moment
from models.methods.dino import Dino, view_pairs


def boxes_of(rows: np.ndarray) -> Tensor:
    """The authors' crop parameters (..., 8): W, H, top, left, height, width, size, flip -> boxes (..., 4)."""
    _, _, top, left, height, width, _, flip = torch.from_numpy(rows).double().unbind(-1)
    start, end = left, left + width
    mirrored = flip > 0
    return torch.stack(
        [torch.where(mirrored, end, start), top, torch.where(mirrored, start, end), top + height], -1
    )


def ddino_loss(arrays: Arrays, params: Mapping[str, Any]) -> Made:
    """Matched by the authors' own centres; the closed form must find the same partners."""
    hyper = params["hyper"]
    pictures, count = hyper["B"], hyper["ncrops"]
    spec = method_of(
        hyper,
        matching="geometric" if hyper["matching"] == "distance" else "similarity",
        threshold=hyper["hinge"],
        warmup_teacher_temperature_epochs=0,
        teacher_temperature=hyper["teacher_temp_at_epoch"],
    )
    method = Dino(spec, lambda **_: Nothing()).double()
    sizes = [hyper["T_global"]] * 2 + [hyper["T_local"]] * (count - 2)
    made: Made = {}
    weights = None
    if spec.matching == "geometric":
        weights = {(a, v): match(arrays, made, spec.threshold, sizes, a, v) for a, v in view_pairs(2, count)}
    call = {f"{who}_{k}": arrays[f"{who}_{k}"] for who in "st" for k in ("cls", "region", "fea")}
    found = pair_losses(method, call, sizes, pictures, spec.tau_t(hyper["epoch"]), weights)
    method.update({k: found.pop(k) for k in ("view", "region")}, Moment(hyper["epoch"], 1, 10))
    made |= found
    made["center_after"] = method.centre[None].numpy()
    made["center_grid_after"] = method.centre_dense[None].numpy()
    return made


def match(arrays: Arrays, made: Made, threshold: bool, sizes: list[int], a: int, v: int) -> Tensor:
    """The weights of a pair; its partners, distances, thresholds and mask go into `made`."""
    points, others = double(arrays[f"rough/crop{v}"]), double(arrays[f"rough/crop{a}"])
    boxes = boxes_of(arrays["crop_params"])
    sides = [round(size**0.5) for size in sizes]
    limit2 = torch.maximum(spacing2(points, sides[v]), spacing2(others, sides[a]))
    free = geometric(points, others)
    kept = geometric(points, others, limit2) if threshold else free
    pair = f"t{a}_s{v}"
    made[f"match/{pair}"] = free.argmax(-1).numpy()
    made[f"dist2/{pair}"] = squared_distances(points, others).min(-1).values.numpy()
    if threshold:
        made[f"thr2/{pair}"] = limit2.numpy()
        made[f"mask/{pair}"] = kept.sum(-1).float().numpy()
    closed = [centres(boxes[i], sides[i], sides[i]) for i in (v, a)]
    diagonals = [half_diagonal2(boxes[i], sides[i], sides[i]) for i in (v, a)]
    assert torch.equal(geometric(*closed), free)
    assert not threshold or torch.equal(geometric(*closed, torch.maximum(*diagonals)), kept)
    return kept


def spacing2(points: Tensor, side: int) -> Tensor:
    """Half a cell's diagonal, squared, from the authors' centres (B, T, 2) themselves."""
    grid = points.unflatten(1, (side, side))
    dx = grid[:, 0, 1, 0] - grid[:, 0, 0, 0]
    dy = grid[:, 1, 0, 1] - grid[:, 0, 0, 1]
    return (dx / 2) ** 2 + (dy / 2) ** 2


def positions(arrays: Arrays, params: Mapping[str, Any]) -> Made:
    """Centres in pixel indices, as near as the authors' resampling lets them be."""
    boxes = boxes_of(arrays["params"])
    made: Made = {}
    for name, rows, side in (("global", slice(0, None, 2), 7), ("local", slice(1, None, 2), 3)):
        found = (centres(boxes[rows], side, side) - 0.5).transpose(1, 2).unflatten(2, (side, side))
        made[f"rough_{name}"] = made[f"rough_{name}_antialias"] = found.numpy()
    for k in range(2):
        box = boxes_of(arrays[f"full_params{k}"])
        side = arrays[f"full_rough{k}"].shape[-1]
        made[f"full_rough{k}"] = (centres(box, side, side) - 0.5).T.unflatten(1, (side, side)).numpy()
    return made


CASES = {
    "glsd_ddino_loss_224px_distance_hinge": ddino_loss,
    "glsd_ddino_loss_224px_distance_nohinge": ddino_loss,
    "glsd_ddino_loss_224px_similarity": ddino_loss,
    "glsd_ddino_loss_32px_distance_hinge": ddino_loss,
    "glsd_ddino_loss_32px_distance_nohinge": ddino_loss,
    "glsd_ddino_loss_32px_similarity": ddino_loss,
    "glsd_positional_encoding": positions,
}

# The authors resample maps of coordinates; the closed form differs at the rim by up to 0.021 px.
TOLERANCES = {"glsd_positional_encoding": (0.0, 0.03)}
