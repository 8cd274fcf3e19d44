"""Attention of the last block from one place, heads ranked by entropy (EsViT, Figures 6 and 10 to 12)."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from models.attention import has_attention, last_attention
from study.evaluations.evaluation import resting
from study.pictures.exhibit import Absent, Exhibit, seen
from study.pictures.sheet import Panel, Row, Sheet, dot, heat, masked, picture, stacked

MASS = 0.6  # of the attention, that the mask holds
BLUE, RED = (30, 100, 255), (230, 40, 40)
HEADS = 24


def draw_attention(exhibit: Exhibit) -> Sheet:
    """For each picture and two queries, the centre and a corner: every head's mask and map. Raises Absent."""
    method = exhibit.trained
    name = exhibit.spec.backbone.name
    if not has_attention(method.encoder):
        raise Absent(f"{name} has no attention that can be shown; ViT and Swin have")
    indices = exhibit.chosen("test", max(1, exhibit.count // 2))
    images = exhibit.subject.pictures("test", indices)
    size = exhibit.features(images[:1]).dense.shape[2:]
    corner = max(0, min(1, min(size) // 4))
    queries = {"centre": (size[0] // 2, size[1] // 2), "top left": (corner, corner)}
    found: dict[str, Tensor] = {}
    with resting(method.encoder):
        for query, (row, column) in queries.items():
            found[query] = last_attention(method.encoder, images, row, column)
    heads = next(iter(found.values())).shape[1]
    side = 112 if heads <= 8 else 84
    sheet = Sheet(
        "Attention of the last block, heads ranked by entropy",
        f"{exhibit.name}: {name}, {heads} heads, {size[0]} x {size[1]} places; test pictures",
        ["query", *(f"rank {i + 1}" for i in range(min(heads, HEADS)))],
        legend=[
            (BLUE, "the query", "disc"),
            (RED, f"the fewest places that hold {MASS:.0%} of the attention", "square"),
        ],
        bar=("lower picture: attention 0", "the head's largest"),
        notes=[
            "Captions: the head and the entropy of its attention in nats; attention spread evenly over the map has "
            f"{math.log(size[0] * size[1]):.3f}."
        ],
    )
    for b, index in enumerate(indices.tolist()):
        shown = picture(seen(images[b]), side)
        for query, (row, column) in queries.items():
            asked = shown.copy()
            dot(asked, row, column, (size[0], size[1]), BLUE)
            panels = [Panel(asked, query)]
            maps = found[query][b]
            ranks = entropy(maps)
            for head in ranks.argsort(descending=True).tolist()[:HEADS]:
                lower = heat(maps[head] / maps[head].max(), shown.size)
                pair = stacked([masked(shown, mass(maps[head], MASS), RED), lower])
                panels.append(Panel(pair, f"head {head}: {float(ranks[head]):.3f}"))
            sheet.rows.append(Row(f"picture {index}" if query == "centre" else "", panels))
    return sheet


def entropy(maps: Tensor) -> Tensor:
    """In nats, of (..., H, W) that sum to 1."""
    return torch.special.entr(maps.flatten(-2)).sum(-1)


def mass(attention: Tensor, share: float) -> Tensor:
    """The fewest places of (H, W) that hold `share` of it, bool (H, W)."""
    values, order = attention.flatten().sort(descending=True)
    before = values.cumsum(0) - values
    kept = torch.zeros(attention.numel(), dtype=torch.bool)
    kept[order[before < share * values.sum()]] = True
    return kept.view_as(attention)
