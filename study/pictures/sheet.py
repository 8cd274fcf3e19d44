"""A sheet of labelled pictures: title, columns, rows, captions, a legend, drawn with Pillow into one PNG."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

INK, SOFT, PAGE = (27, 31, 36), (89, 99, 110), (255, 255, 255)
MARGIN, GAP, LINE = 24, 14, 20  # pixels
Colour = tuple[int, int, int]
# Dark to light through purple, red and yellow: as bright as it is large, also in grey.
HEAT = ((4, 5, 22), (66, 10, 104), (147, 38, 103), (221, 81, 58), (252, 165, 10), (252, 255, 164))


@cache
def font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """Pillow's own scalable font."""
    return ImageFont.load_default(size)


@dataclass
class Panel:
    """One picture of a sheet, and the lines under it."""

    image: Image.Image
    caption: str = ""


@dataclass
class Row:
    """Panels beside one another; the label stands above them, at the left."""

    label: str
    panels: list[Panel]


@dataclass
class Sheet:
    """Everything on one PNG. columns: heads of the panels. legend: colour, meaning and shape (square, disc,
    triangle) of what is drawn; a bar of the heat colours where `bar` names its two ends. notes: sentences below."""

    title: str
    subtitle: str
    columns: Sequence[str] = ()
    rows: list[Row] = field(default_factory=list)
    legend: list[tuple[Colour, str, str]] = field(default_factory=list)
    bar: tuple[str, str] | None = None
    notes: list[str] = field(default_factory=list)

    def draw(self) -> Image.Image:
        """The sheet as a picture."""
        count = max((len(row.panels) for row in self.rows), default=0)
        widths = [0] * count
        for row in self.rows:
            for i, panel in enumerate(row.panels):
                needed = max((_width(line, 13) for line in panel.caption.split("\n")), default=0)
                widths[i] = max(widths[i], panel.image.width, needed)
        for i, head in enumerate(self.columns[:count]):
            widths[i] = max(widths[i], _width(head, 14))
        inner = max(sum(widths) + GAP * max(0, count - 1), _width(self.title, 22), 560)
        notes = [line for note in self.notes for line in wrapped(note, inner, 13)]
        under = wrapped(self.subtitle, inner, 14)
        canvas = Image.new("RGB", (inner + 2 * MARGIN, self._height(len(notes), len(under))), PAGE)
        pen = ImageDraw.Draw(canvas)
        y = MARGIN
        pen.text((MARGIN, y), self.title, INK, font(22))
        y += 32
        for line in under:
            pen.text((MARGIN, y), line, SOFT, font(14))
            y += LINE
        y += GAP
        lefts = [MARGIN + sum(widths[:i]) + GAP * i for i in range(count)]
        if self.columns:
            for left, head in zip(lefts, self.columns):
                pen.text((left, y), head, INK, font(14))
            y += LINE + 4
        for row in self.rows:
            if row.label:
                pen.text((MARGIN, y), row.label, SOFT, font(13))
                y += LINE
            for left, panel in zip(lefts, row.panels):
                canvas.paste(panel.image, (left, y))
            y += max(panel.image.height for panel in row.panels) + 4
            for left, panel in zip(lefts, row.panels):
                for i, line in enumerate(panel.caption.split("\n") if panel.caption else ()):
                    pen.text((left, y + i * 17), line, INK, font(13))
            y += 17 * _lines(row) + GAP
        y = self._legend(canvas, pen, y)
        for line in notes:
            pen.text((MARGIN, y), line, SOFT, font(13))
            y += 18
        return canvas

    def _height(self, notes: int, under: int) -> int:
        height = 2 * MARGIN + 32 + LINE * under + GAP
        height += LINE + 4 if self.columns else 0
        for row in self.rows:
            height += max(panel.image.height for panel in row.panels) + 4 + 17 * _lines(row) + GAP
            height += LINE if row.label else 0
        height += LINE * len(self.legend) + (LINE + 8 if self.bar else 0)
        return height + 18 * notes + (8 if self.legend or self.bar else 0)

    def _legend(self, canvas: Image.Image, pen: ImageDraw.ImageDraw, y: int) -> int:
        for colour, words, shape in self.legend:
            box = (MARGIN, y + 3, MARGIN + 13, y + 15)
            if shape == "triangle":
                pen.polygon([(MARGIN + 6, y + 3), (MARGIN, y + 15), (MARGIN + 13, y + 15)], colour)
            elif shape == "disc":
                pen.ellipse(box, colour)
            else:
                pen.rectangle(box, colour)
            pen.text((MARGIN + 22, y), words, INK, font(13))
            y += LINE
        if self.bar:
            left, right = self.bar
            pen.text((MARGIN, y), left, INK, font(13))
            start = MARGIN + _width(left, 13) + 8
            canvas.paste(heat(torch.linspace(0, 1, 160)[None], (160, 12)), (start, y + 3))
            pen.text((start + 168, y), right, INK, font(13))
            y += LINE + 8
        return y + (8 if self.legend or self.bar else 0)

    def save(self, path: Path) -> None:
        """Write the PNG, whole or not at all. Raises OSError."""
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.{os.getpid()}.partial")
        try:
            self.draw().save(temporary, "PNG", optimize=True)
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)


def picture(values: Tensor, side: int) -> Image.Image:
    """(3, h, w) in [0, 1] as a picture whose longer side is about `side`: small ones in whole steps, pixel by
    pixel, larger ones resampled."""
    image = _image(values)
    longer = max(image.size)
    if longer <= side:
        steps = max(1, round(side / longer))
        return image.resize((image.width * steps, image.height * steps), Image.Resampling.NEAREST)
    size = (max(1, round(image.width * side / longer)), max(1, round(image.height * side / longer)))
    return image.resize(size, Image.Resampling.LANCZOS)


def _image(values: Tensor) -> Image.Image:
    """(3, h, w) in [0, 1], a pixel a value."""
    bytes_ = (values.detach().cpu().float().clamp(0, 1) * 255).round().to(torch.uint8)
    return Image.fromarray(bytes_.permute(1, 2, 0).contiguous().numpy())


def heat(values: Tensor, size: tuple[int, int]) -> Image.Image:
    """(h, w) in [0, 1] in the heat colours, every value a rectangle of a picture of `size` (width, height)."""
    stops = torch.tensor(HEAT, dtype=torch.float)
    at = values.detach().cpu().float().clamp(0, 1) * (len(HEAT) - 1)
    low = at.floor().clamp(max=len(HEAT) - 2).long()
    share = (at - low)[..., None]
    colours = stops[low] * (1 - share) + stops[low + 1] * share  # (h, w, 3)
    return _image(colours.permute(2, 0, 1) / 255).resize(size, Image.Resampling.NEAREST)


def over(image: Image.Image, values: Tensor, opacity: float = 0.6) -> Image.Image:
    """The picture in grey with the heat of (h, w) values in [0, 1] over it, place by place."""
    grey = image.convert("L").convert("RGB")
    return Image.blend(grey, heat(values, image.size), opacity)


def masked(image: Image.Image, mask: Tensor, colour: Colour) -> Image.Image:
    """The picture with the places of a mask (h, w) tinted."""
    places = Image.fromarray((mask.cpu().float() * 150).to(torch.uint8).numpy())
    tint = places.resize(image.size, Image.Resampling.NEAREST)
    return Image.composite(Image.new("RGB", image.size, colour), image.convert("L").convert("RGB"), tint)


def dot(image: Image.Image, row: float, column: float, places: tuple[int, int], colour: Colour) -> None:
    """A ringed dot at the centre of a place of a map of `places` (height, width)."""
    pen = ImageDraw.Draw(image)
    x, y = (column + 0.5) * image.width / places[1], (row + 0.5) * image.height / places[0]
    radius = max(4, image.width // 32)
    pen.ellipse((x - radius, y - radius, x + radius, y + radius), colour, (255, 255, 255), 1)


def stacked(images: Sequence[Image.Image], gap: int = 4) -> Image.Image:
    """Pictures of one width, one under the other."""
    height = sum(image.height for image in images) + gap * (len(images) - 1)
    out = Image.new("RGB", (max(image.width for image in images), height), PAGE)
    y = 0
    for image in images:
        out.paste(image, (0, y))
        y += image.height + gap
    return out


def wrapped(text: str, width: int, size: int) -> list[str]:
    """Lines of at most `width` pixels."""
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if _width(longer, size) <= width or not lines[-1]:
            lines[-1] = longer
        else:
            lines.append(word)
    return [line for line in lines if line]


def _width(text: str, size: int) -> int:
    return int(font(size).getlength(text)) + 1


def _lines(row: Row) -> int:
    return max((len(p.caption.split("\n")) if p.caption else 0 for p in row.panels), default=0)
