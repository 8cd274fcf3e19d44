"""Two pictures side by side, and lines between places of them."""

from __future__ import annotations

import colorsys
from collections.abc import Iterable
from dataclasses import dataclass

from PIL import Image, ImageDraw
from torch import Tensor

from study.pictures.sheet import PAGE, Colour, font

FINE = 3  # drawn so many times larger, then reduced: Pillow's lines have no soft edges
APART = 36  # pixels between the two


@dataclass(frozen=True)
class Link:
    """From a place (row, column) of the left map to one of the right; None: the place has no partner."""

    left: tuple[int, int] | None
    right: tuple[int, int]
    colour: Colour
    label: str = ""


@dataclass(frozen=True)
class Mark:
    """A sign at a place of the left (side 0) or right (1) map: a disc or a triangle."""

    side: int
    place: tuple[int, int]
    shape: str
    colour: Colour


def linked(
    left: Image.Image,
    right: Image.Image,
    links: Iterable[Link],
    left_map: tuple[int, int],
    right_map: tuple[int, int],
    marks: Iterable[Mark] = (),
) -> Image.Image:
    """The pair with its links. left_map, right_map: height and width of the maps, in places."""
    height = max(left.height, right.height)
    width = left.width + APART + right.width
    canvas = Image.new("RGB", (width * FINE, height * FINE), PAGE)
    starts = ((0, (height - left.height) // 2), (left.width + APART, (height - right.height) // 2))
    for image, (x, y) in zip((left, right), starts):
        grown = image.resize((image.width * FINE, image.height * FINE), Image.Resampling.NEAREST)
        canvas.paste(grown, (x * FINE, y * FINE))
    pen = ImageDraw.Draw(canvas)

    def at(side: int, place: tuple[int, int]) -> tuple[float, float]:
        image, (rows, columns) = ((left, left_map), (right, right_map))[side]
        x, y = starts[side]
        across, down = (place[1] + 0.5) / columns * image.width, (place[0] + 0.5) / rows * image.height
        return (x + across) * FINE, (y + down) * FINE

    links = list(links)
    for link in links:
        if link.left is not None:
            pen.line((*at(0, link.left), *at(1, link.right)), (255, 255, 255), 4 * FINE)
            pen.line((*at(0, link.left), *at(1, link.right)), link.colour, 2 * FINE)
    for link in links:
        lonely = link.left is None
        for end in [at(1, link.right)] + ([at(0, link.left)] if link.left is not None else []):
            _disc(pen, end, 4, None if lonely else link.colour)
    for mark in marks:
        across, down = at(mark.side, mark.place)
        if mark.shape == "triangle":
            size = 7 * FINE
            corners = [(across, down - size), *((across + s * size, down + size * 0.8) for s in (-1, 1))]
            pen.polygon(corners, mark.colour, (255, 255, 255))
        else:
            _disc(pen, (across, down), 7, mark.colour)
    for link in links:
        if link.label and link.left is not None:
            _word(pen, at(0, link.left), link.label, left.width * FINE)
            _word(pen, at(1, link.right), link.label, width * FINE)
    return canvas.resize((width, height), Image.Resampling.LANCZOS)


def _disc(pen: ImageDraw.ImageDraw, at: tuple[float, float], radius: int, colour: Colour | None) -> None:
    (x, y), size = at, radius * FINE
    pen.ellipse((x - size, y - size, x + size, y + size), colour, (255, 255, 255), FINE)


def _word(pen: ImageDraw.ImageDraw, at: tuple[float, float], text: str, edge: int) -> None:
    """Beside a place: to its right, or left where it would cross the picture's edge."""
    room = font(13 * FINE).getlength(text) + 6 * FINE
    across = at[0] + 5 * FINE if at[0] + room < edge else at[0] - room
    pen.text(
        (across, max(0, at[1] - 8 * FINE)),
        text,
        (255, 255, 255),
        font(13 * FINE),
        stroke_width=FINE,
        stroke_fill=(0, 0, 0),
    )


def place_colour(place: tuple[int, int], size: tuple[int, int]) -> Colour:
    """Colours that tell neighbouring places apart: hue across, brightness down."""
    row, column = place
    hue, value = column / max(1, size[1]) * 0.88, 1.0 - 0.45 * row / max(1, size[0] - 1)
    r, g, b = colorsys.hsv_to_rgb(hue, 0.8, value)
    return round(255 * r), round(255 * g), round(255 * b)


def links_of(weights: Tensor, left_map: tuple[int, int], right_map: tuple[int, int]) -> list[Link]:
    """Of every place of the right view the heaviest partner in the left: weights (right places, left places),
    rows of zeros having none."""
    links = []
    for place, row in enumerate(weights):
        where = divmod(place, right_map[1])
        partner = divmod(int(row.argmax()), left_map[1]) if float(row.max()) > 0 else None
        links.append(Link(partner, where, place_colour(where, right_map)))
    return links
