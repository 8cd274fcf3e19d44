"""Matches of places between views: those that training enforces, and those that the features make.

GLSD (arXiv 2207.14676), Figures 3 and 7 to 11: the partners that a matching gives to every place of the right
view, by similarity and by geometry. Figure 5: the most similar places of two views whose true partners are known.
Figure 12: the most similar places of two pictures. EsViT (arXiv 2106.09785), Figures 5 and 9: the ten most similar.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from models.geometry import centres, half_diagonal2
from models.matching import MATCHINGS, geometric
from study.evaluations.correspondence import Correspondence, match
from study.pictures.exhibit import Exhibit, seen
from study.pictures.links import Link, Mark, linked, links_of, place_colour
from study.pictures.sheet import Panel, Row, Sheet, picture

SIDE = 176
YELLOW, MAGENTA = (255, 214, 10), (224, 50, 160)
BLUE, RED = (30, 100, 255), (230, 40, 40)
TOP, TOP_PAIRS = 10, 15
WORDS = {"similarity": "most similar feature", "geometric": "nearest cell", "optimal_transport": "assignment"}


def draw_matches(exhibit: Exhibit) -> Sheet:
    """Of each picture two large views, and a large and a small one where there are small ones, with every
    matching. Raises Absent."""
    indices = exhibit.chosen("test")
    found = exhibit.views("test", indices)
    enforced = getattr(exhibit.spec.method, "matching", "none")
    names = [n for n in ("similarity", "geometric", "optimal_transport") if n in MATCHINGS]
    names = [n for n in names if n != "optimal_transport" or enforced == n]
    heads = [f"{WORDS[n]}" + (", ENFORCED" if n == enforced else "") for n in names]
    small = next((v for v, one in enumerate(found.images) if one.shape[-1] < found.images[0].shape[-1]), None)
    other = 1 if len(found.images) > 1 and small != 1 else None
    sheet = Sheet(
        "Matches of places between two views",
        f"{exhibit.name}: {exhibit.spec.method.name} on {exhibit.spec.backbone.name}, views of the recipe "
        f"{exhibit.spec.views.name}; test pictures",
        [
            f"{size}: {head}"
            for size, v in (("two large views", other), ("large and small", small))
            if v is not None
            for head in heads
        ],
        notes=[
            "Every place of the right view looks for a partner in the left one; a place without one has a "
            "hollow ring. Colours only tell places apart. Similarity is that of the kept encoder's features.",
            _enforced(enforced),
        ],
    )
    dense = {v: exhibit.features(found.images[v]).dense for v in (0, other, small) if v is not None}
    largest = found.images[0].shape[-1]
    for b, index in enumerate(indices.tolist()):
        panels = []
        for v in (other, small):
            if v is None:
                continue
            one, two = dense[0][b : b + 1], dense[v][b : b + 1]
            sizes = size_of(one), size_of(two)
            left = picture(seen(found.images[0][b]), SIDE)
            side = max(64, SIDE * found.images[v].shape[-1] // largest)
            right = picture(seen(found.images[v][b]), side)
            for name in names:
                weights = partners(name, two, one, found.boxes[v, b], found.boxes[0, b])
                links = links_of(weights, sizes[0], sizes[1])
                used = {link.left for link in links if link.left is not None}
                there = sum(link.left is not None for link in links)
                told = f"{there} of {len(links)} places matched, to {len(used)} of {one[0, 0].numel()}"
                panels.append(Panel(linked(left, right, links, sizes[0], sizes[1]), told))
        sheet.rows.append(Row(f"picture {index}", panels))
    return sheet


def _enforced(matching: str) -> str:
    if matching == "none":
        return "This method enforces no match of places."
    return f"Its training enforces {matching}."


def size_of(dense: Tensor) -> tuple[int, int]:
    """Height and width of a map (B, C, H, W), in places."""
    return dense.shape[2], dense.shape[3]


def partners(name: str, one: Tensor, other: Tensor, box: Tensor, other_box: Tensor) -> Tensor:
    """Weights (S, T) of the places of map `one` (1, C, H, W) with those of `other`; boxes (4,)."""
    if name == "geometric":
        size, other_size = one.shape[2:], other.shape[2:]
        limit2 = torch.maximum(half_diagonal2(box, *size), half_diagonal2(other_box, *other_size))
        return geometric(centres(box[None], *size), centres(other_box[None], *other_size), limit2[None])[0]
    tokens = [m.flatten(2).transpose(1, 2) for m in (one, other)]
    return MATCHINGS[name](*tokens)[0]


def draw_learned(exhibit: Exhibit) -> Sheet:
    """Every place's most similar one where the true partner is known (GLSD Figure 5). Raises Absent."""
    return _found(exhibit, Correspondence(form="glsd"), None)


def draw_correspondences(exhibit: Exhibit) -> Sheet:
    """The ten most similar places, ranked (EsViT Figures 5 and 9). Raises Absent."""
    return _found(exhibit, Correspondence(form="esvit"), TOP)


def _found(exhibit: Exhibit, asked: Correspondence, top: int | None) -> Sheet:
    subject, indices = exhibit.subject, exhibit.chosen("test")
    generator = subject.generator("pictures", asked.form)
    first, second, mirrored = asked.views(subject, indices, asked.plan(subject.size), generator)
    one, two = exhibit.features(first), exhibit.features(second)
    size = size_of(one.dense)
    places = size[0] * size[1]
    top = min(top, places) if top is not None else None
    # Every place of the right view looks for one in the left (GLSD), or of the left in the right (EsViT).
    similar, partner = match(one.dense, two.dense) if top else match(two.dense, one.dense)
    panels, right_ones, shown = [], 0, 0
    for b, index in enumerate(indices.tolist()):
        kept = similar[b].topk(top).indices.tolist() if top else list(range(places))
        links, good = [], 0
        for rank, place in enumerate(kept):
            start, end = divmod(place, size[1]), divmod(int(partner[b, place]), size[1])
            true = (start[0], size[1] - 1 - start[1]) if bool(mirrored[b]) else start
            good += end == true
            if top:
                links.append(Link(start, end, YELLOW if end == true else MAGENTA, str(rank + 1)))
            else:
                links.append(Link(end, start, place_colour(start, size)))
        marks = _of_whole(one.pooled[b], two.pooled[b], one.dense[b], two.dense[b], size) if top else []
        left, right = picture(seen(first[b]), SIDE), picture(seen(second[b]), SIDE)
        pair = linked(left, right, links, size, size, marks)
        told = f"picture {index}{', mirrored' if mirrored[b] else ''}: {good} of {len(kept)} right"
        panels.append(Panel(pair, told))
        right_ones, shown = right_ones + good, shown + len(kept)
    name = f"The {top} most similar places of two views" if top else "The most similar place of every place"
    sheet = Sheet(
        name,
        f"{exhibit.name}: {exhibit.spec.method.name} on {exhibit.spec.backbone.name}, {size[0]} x {size[1]} places; "
        f"test pictures; {right_ones} of {shown} right here",
        rows=[Row("", panels[i : i + 3]) for i in range(0, len(panels), 3)],
    )
    if top:
        sheet.legend = [(YELLOW, "found at its true place", "disc"), (MAGENTA, "found elsewhere", "disc")]
        sheet.notes = [
            "Left the untouched picture, right its mirrored, grey, jittered view; numbers are ranks by cosine.",
        ]
        if marks_fit(one.pooled, one.dense):
            sheet.legend += [(BLUE, "the place most like the view's own pooled feature", "disc")]
            sheet.legend += [(RED, "the place most like the other view's pooled feature", "triangle")]
    else:
        sheet.notes = [
            "Every place of the right view is linked to the most similar place of the left one; both show the "
            "same crop, so that without a mistake lines are level, and cross where the right view is mirrored. "
            "Colours only tell places apart."
        ]
    return sheet


def marks_fit(pooled: Tensor, dense: Tensor) -> bool:
    """Whether pooled and dense features are of one width, so that they can be compared."""
    return pooled.shape[1] == dense.shape[1]


def _of_whole(own: Tensor, other: Tensor, one: Tensor, two: Tensor, size: tuple[int, int]) -> list[Mark]:
    """The places of each view that are most like its own pooled feature, and most like the other view's."""
    if own.shape[0] != one.shape[0]:
        return []
    marks = []
    for side, (dense, mine, theirs) in enumerate(((one, own, other), (two, other, own))):
        places = F.normalize(dense.flatten(1), dim=0)  # (C, T)
        for feature, shape, colour in ((mine, "disc", BLUE), (theirs, "triangle", RED)):
            best = int((F.normalize(feature, dim=0) @ places).argmax())
            marks.append(Mark(side, divmod(best, size[1]), shape, colour))
    return marks


def draw_pairs(exhibit: Exhibit) -> Sheet:
    """The most similar places of two pictures of one class (GLSD Figure 12). Raises Absent."""
    subject = exhibit.subject
    labels = exhibit.data.test.labels
    pairs: list[tuple[int, int]] = []
    for index in exhibit.chosen("test", len(labels)).tolist():
        like = [i for i in (labels == labels[index]).nonzero()[:, 0].tolist() if i > index]
        if like and int(labels[index]) >= 0 and int(labels[index]) not in {int(labels[a]) for a, _ in pairs}:
            pairs.append((index, like[len(like) // 2]))
        if len(pairs) == exhibit.count:
            break
    panels = []
    size = (0, 0)
    for pair in pairs:
        images = subject.pictures("test", torch.tensor(pair))
        dense = exhibit.features(images).dense
        size = size_of(dense)
        similar, partner = match(dense[:1], dense[1:])
        top = similar[0].topk(min(TOP_PAIRS, similar.shape[1]))
        links = []
        for place in top.indices.tolist():
            start, end = divmod(place, size[1]), divmod(int(partner[0, place]), size[1])
            links.append(Link(start, end, place_colour(start, size)))
        left, right = picture(seen(images[0]), SIDE), picture(seen(images[1]), SIDE)
        told = f"pictures {pair[0]} and {pair[1]}, class {int(labels[pair[0]])}: cosine {float(top.values.mean()):.2f}"
        panels.append(Panel(linked(left, right, links, size, size), told))
    return Sheet(
        "Places of two pictures of one class",
        f"{exhibit.name}: {exhibit.spec.method.name} on {exhibit.spec.backbone.name}, {size[0]} x {size[1]} places; "
        "test pictures",
        rows=[Row("", panels[i : i + 3]) for i in range(0, len(panels), 3)],
        notes=[
            f"The {TOP_PAIRS} places of the left picture (all, where there are fewer) with the most similar partner "
            "in the right one, and their mean cosine. Colours only tell places apart."
        ],
    )
