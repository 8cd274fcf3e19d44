"""LEWEL's alignment maps on pictures (arXiv 2203.14898, Figure 5): from which places an embedding is gathered."""

from __future__ import annotations

import torch
from torch import Tensor

from study.evaluations.evaluation import resting
from study.pictures.exhibit import Absent, Exhibit, seen
from study.pictures.sheet import Panel, Row, Sheet, over, picture

SIDE, MAPS = 112, 8


def draw_alignment(exhibit: Exhibit) -> Sheet:
    """A row a picture: the test picture, an augmented view, and maps of it. Raises Absent."""
    spec = exhibit.spec.method
    head = exhibit.trained.shown()
    if not spec.name.startswith("lewel"):
        raise Absent(f"{spec.name} has no alignment maps")
    if spec.loss == "global" or spec.maps == "random" or head is None:
        raise Absent("its alignment maps are not learned")
    indices = exhibit.chosen("test")
    view = exhibit.views("test", indices).images[0]
    dense = exhibit.features(view).dense
    with resting(head), torch.no_grad():
        maps = head(dense).maps.unflatten(-1, dense.shape[-2:])  # (B, d, H, W)
    places = dense[0, 0].numel()
    shares = maps * places  # 1: the mean over places
    chosen = telling(shares)
    low, high = float(shares[:, chosen].min()), float(shares[:, chosen].max())
    sheet = Sheet(
        "Alignment maps",
        f"{exhibit.name}: {spec.name} with d = {spec.dim}, h = {spec.groups}; test pictures",
        ["picture", "view", *(f"map {k}" for k in chosen.tolist())],
        bar=(f"share of a place: {low:.2f}", f"{high:.2f} times the mean over places"),
        notes=[
            f"{len(chosen)} of {spec.dim} maps over {dense.shape[2]} x {dense.shape[3]} places of the view: of each "
            "eighth of the head the one that differs most between places. Colours mean the same in all maps."
        ],
    )
    for b, index in enumerate(indices.tolist()):
        source = exhibit.data.test.read([index])[0].float() / 255
        shown = picture(seen(view[b]), SIDE)
        panels = [Panel(picture(source, SIDE)), Panel(shown)]
        for k in chosen.tolist():
            values = (shares[b, k] - low) / max(high - low, 1e-9)
            panels.append(Panel(over(shown, values)))
        sheet.rows.append(Row("", panels))
    return sheet


def telling(shares: Tensor) -> Tensor:
    """The maps with the largest mean spread over places, spread over the head so that they are not all alike:
    the best of each of MAPS equal parts. shares: (B, d, H, W) -> (at most MAPS,) int64, ascending."""
    spread = shares.flatten(2).std(-1).mean(0)  # (d,)
    parts = torch.arange(len(spread)).tensor_split(min(MAPS, len(spread)))
    return torch.stack([part[spread[part].argmax()] for part in parts])
