"""The views that training is made of: what a recipe does to pictures, and MCL's montages (its Figure 4)."""

from __future__ import annotations

import torch
from PIL import Image, ImageDraw
from torch import Tensor

from models.levels import draw_tables, lay
from study.pictures.exhibit import Absent, Exhibit, Views, seen
from study.pictures.sheet import Colour, Panel, Row, Sheet, picture

SIDE = 128
COLOURS: tuple[Colour, ...] = (
    (0, 114, 178),
    (213, 94, 0),
    (0, 158, 115),
    (204, 121, 167),
    (230, 159, 0),
    (86, 180, 233),
)
SHOWN = 8  # views of a picture; more would be alike


def draw_views(exhibit: Exhibit) -> Sheet:
    """A row a picture: the source with the crops, then its views."""
    indices = exhibit.chosen("train")
    found = exhibit.views("train", indices)
    count = min(SHOWN, len(found.images))
    largest = found.images[0].shape[-1]
    sheet = Sheet(
        "The views of the recipe",
        f"{exhibit.name}: {exhibit.spec.views.name} on {exhibit.spec.data.name}, training pictures",
        ["picture", *(f"view {v + 1}: {found.images[v].shape[-1]} px" for v in range(count))],
    )
    for b, index in enumerate(indices.tolist()):
        source = exhibit.data.train.read([index])[0].float() / 255
        panels = [Panel(_boxed(picture(source, SIDE), found.boxes[:count, b], source.shape[1:]))]
        for v in range(count):
            # Small views are drawn small, as the network sees them.
            side = max(32, SIDE * found.images[v].shape[-1] // largest)
            image = _framed(picture(seen(found.images[v][b]), side), COLOURS[v % len(COLOURS)])
            panels.append(Panel(image, _told(found, v, b)))
        label = int(exhibit.data.train.labels[index])
        sheet.rows.append(Row(f"picture {index}" + (f", class {label}" if label >= 0 else ""), panels))
    sheet.notes.append("Frames in the picture are the crops of the views of the same colour.")
    if len(found.images) > count:
        sheet.notes.append(f"The first {count} of {len(found.images)} views.")
    return sheet


def draw_montages(exhibit: Exhibit) -> Sheet:
    """A column a level: montages of one batch, as the method lays them. Raises Absent."""
    spec = exhibit.spec.method
    if spec.name not in ("mcl", "mcl_supervised"):
        raise Absent(f"{spec.name} makes no montages")
    batch = min(exhibit.spec.budget.batch, len(exhibit.data.train))
    indices = exhibit.chosen("train", batch)
    found = exhibit.views("train", indices)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        tables = draw_tables(batch, spec, 1, torch.device("cpu"))[0]
    laid = lay(found.images[: spec.levels], tables, spec)
    side = max(256, found.images[0].shape[-1])
    weights = spec.level_weights()
    sheet = Sheet(
        "Montages",
        f"{exhibit.name}: {spec.levels} levels of a batch of {batch} training pictures, shrunk by {spec.downsampling}",
        [f"level {i}: {2**i} x {2**i} tiles" for i in range(spec.levels)],
    )
    for montage in range(2):
        panels = []
        for level, rows in enumerate(laid.rows):
            sheets = laid.images[rows]
            if montage >= len(sheets):
                continue
            ids = laid.ids[level][montage * 4**level : (montage + 1) * 4**level]
            told = _tiles(exhibit, indices[ids])
            image = _gridded(picture(seen(sheets[montage]), side), 2**level)
            panels.append(Panel(image, f"{told}\nweight {weights[level]:.3g}, {len(sheets)} a batch"))
        sheet.rows.append(Row(f"montage {montage + 1} of each level", panels))
    sheet.notes.append("Every tile is a whole view of another picture; one feature is read off each.")
    return sheet


def _tiles(exhibit: Exhibit, pictures: Tensor) -> str:
    labels = exhibit.data.train.labels[pictures].tolist()
    words = "classes " if len(labels) > 1 else "class "
    shown = labels[:8]
    return words + " ".join(map(str, shown)) + (" ..." if len(labels) > len(shown) else "")


def _told(found: Views, v: int, b: int) -> str:
    """What was done to the view, in words."""
    draws = found.draws
    words = [
        word
        for word, there in (
            ("mirrored", draws.flip[v, b]),
            ("colours", draws.order[v, b, 0] >= 0),
            ("grey", draws.grey[v, b]),
            ("blurred", draws.sigma[v, b] > 0),
            ("solarised", draws.solarise[v, b]),
        )
        if bool(there)
    ]
    return "\n".join([", ".join(words[:2]), ", ".join(words[2:])] if len(words) > 2 else [", ".join(words)])


def _boxed(image: Image.Image, boxes: Tensor, size: torch.Size) -> Image.Image:
    """The source with the frames of its crops."""
    pen = ImageDraw.Draw(image)
    across, down = image.width / size[1], image.height / size[0]
    for v, box in enumerate(boxes.tolist()):
        x0, x1 = sorted((box[0], box[2]))
        corners = (x0 * across, box[1] * down, x1 * across - 1, box[3] * down - 1)
        pen.rectangle(corners, None, COLOURS[v % len(COLOURS)], 2)
    return image


def _framed(image: Image.Image, colour: Colour) -> Image.Image:
    out = Image.new("RGB", (image.width + 6, image.height + 6), colour)
    out.paste(image, (3, 3))
    return out


def _gridded(image: Image.Image, tiles: int) -> Image.Image:
    pen = ImageDraw.Draw(image)
    for i in range(1, tiles):
        x, y = i * image.width // tiles, i * image.height // tiles
        pen.line((x, 0, x, image.height), (255, 255, 255))
        pen.line((0, y, image.width, y), (255, 255, 255))
    return image
