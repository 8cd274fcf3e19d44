"""Pictures of trials, beside the tables: what training shows a method, and what a trained encoder sees."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

from study.pictures.alignment import draw_alignment
from study.pictures.attention import draw_attention
from study.pictures.exhibit import Absent, Exhibit
from study.pictures.matches import draw_correspondences, draw_learned, draw_matches, draw_pairs
from study.pictures.recipe import draw_montages, draw_views
from study.pictures.sheet import Sheet


class Kind(NamedTuple):
    """draw: raises Absent where a trial has nothing of the kind. words: what it shows."""

    draw: Callable[[Exhibit], Sheet]
    words: str


PICTURES: Mapping[str, Kind] = {
    "views": Kind(draw_views, "the views of the recipe, with the crops that they are"),
    "montages": Kind(draw_montages, "the montages of MCL's levels (MCL Figure 4)"),
    "alignment": Kind(draw_alignment, "LEWEL's alignment maps (LEWEL Figure 5)"),
    "matches": Kind(draw_matches, "matches of places that training enforces (GLSD Figures 3, 7 to 11)"),
    "learned": Kind(draw_learned, "the most similar place of every place (GLSD Figure 5)"),
    "pairs": Kind(draw_pairs, "the most similar places of two pictures (GLSD Figure 12)"),
    "correspondences": Kind(draw_correspondences, "the ten most similar places (EsViT Figures 5, 9)"),
    "attention": Kind(draw_attention, "attention of the last block by heads (EsViT Figures 6, 10 to 12)"),
}

__all__ = ["PICTURES", "Absent", "Exhibit", "Kind", "Sheet"]
