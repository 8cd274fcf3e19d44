"""The axes of a figure, and its marks: rules, ticks, dashes and markers, as SVG."""

from __future__ import annotations

import html
import math
from collections.abc import Sequence

COLOURS = 8  # classes c0 to c7 of the style; then they begin again with other dashes and markers
WIDTH, MARGIN = 440, 10
LETTER = 6.9  # width of a letter, about, at the style's 12 px
POINTS = 200  # of a line; more cannot be seen
DASHES = ("", "6 3", "2 2.5", "9 3 2 3")
Line = Sequence[tuple[float, float]]  # (x, y), x ascending


class Frame:
    """The axes of a figure of two dimensions, and where a value lies in it."""

    def __init__(
        self,
        title: str,
        across: str,
        up: str,
        xs: Sequence[float],
        ys: Sequence[float],
        *,
        log: bool = False,
        marks: Sequence[float] = (),
        pad: float = 0.0,
    ) -> None:
        height, self.bottom, self.top = 250, 204, 26
        self.low, self.high = spread(ys)
        self.first, self.last = min(xs), max(xs)
        self.log = log and self.first > 0
        room = pad * (self.last - self.first)
        if not self.log:
            self.first, self.last = self.first - room, self.last + room
        ticks = ticks_of(self.low, self.high)
        self.left = 18 + LETTER * max(len(f"{tick:g}") for tick in ticks) + (14 if up else 0)
        self.parts = [head(title, height)]
        for tick in ticks:
            y = self.y(tick)
            self.parts.append(rule("grid", self.left, y, WIDTH - MARGIN, y))
            self.parts.append(f'<text class="label" x="{self.left - 5:.0f}" y="{y + 4:.1f}">{tick:g}</text>')
        taken = -99.0
        for tick in marks if 0 < len(marks) <= 12 else ticks_of(self.first, self.last):
            if self.x(tick) - taken >= 26:
                taken = self.x(tick)
                self.parts.append(
                    f'<text class="tick" x="{taken:.1f}" y="{self.bottom + 17}">{tick:g}</text>'
                )
        middle = (self.left + WIDTH) / 2
        self.parts.append(
            f'<text class="tick" x="{middle:.0f}" y="{height - 8}">{html.escape(across)}</text>'
        )
        if up:
            spot = f"11 {(self.top + self.bottom) / 2:.0f}"
            turn = f'transform="rotate(-90 {spot})" x="{spot.split()[0]}" y="{spot.split()[1]}"'
            self.parts.append(f'<text class="tick" {turn}>{html.escape(up)}</text>')

    def x(self, value: float) -> float:
        a, b, v = (math.log(t) if self.log else t for t in (self.first, self.last, value))
        share = (v - a) / (b - a) if b > a else 0.5
        return self.left + 8 + share * (WIDTH - self.left - 8 - 2 * MARGIN)

    def y(self, value: float) -> float:
        return self.bottom - (value - self.low) / (self.high - self.low) * (self.bottom - self.top)

    def path(self, line: Line, style: str, label: str, dash: str = "") -> str:
        step = max(1, math.ceil(len(line) / POINTS))
        kept = [*line[::step], *([line[-1]] if (len(line) - 1) % step else [])]
        if len(kept) == 1:
            a, b = kept[0]
            return f'<circle class="mark {style}" cx="{self.x(a):.1f}" cy="{self.y(b):.1f}" r="3"/>'
        spots = " ".join(f"{self.x(a):.1f},{self.y(b):.1f}" for a, b in kept)
        dashed = f' stroke-dasharray="{dash}"' if dash else ""
        return f'<polyline class="{style}"{dashed} points="{spots}"><title>{html.escape(label)}</title></polyline>'


def dash_of(i: int) -> str:
    return DASHES[(i + i // COLOURS) % len(DASHES)]


def marker(i: int, x: float, y: float, told: str) -> str:
    """The i-th of four shapes: disc, square, triangle, diamond."""
    title = f"<title>{html.escape(told)}</title>" if told else ""
    style = f'class="mark c{i % COLOURS}"'
    kind = (i + i // COLOURS) % 4
    if kind == 0:
        return f'<circle {style} cx="{x:.1f}" cy="{y:.1f}" r="3.4">{title}</circle>'
    corners = (
        ((-3, -3), (3, -3), (3, 3), (-3, 3)),
        ((0, -4.2), (4, 3), (-4, 3)),
        ((0, -4.4), (4.4, 0), (0, 4.4), (-4.4, 0)),
    )[kind - 1]
    spots = " ".join(f"{x + a:.1f},{y + b:.1f}" for a, b in corners)
    return f'<polygon {style} points="{spots}">{title}</polygon>'


def head(title: str, height: int) -> str:
    said = html.escape(title)
    return (
        f'<svg role="img" aria-label="{said}" viewBox="0 0 {WIDTH} {height}">'
        f'<text class="title" x="0" y="12">{html.escape(cut(title, 54))}</text>'
    )


def rule(style: str, x: float, y: float, to_x: float, to_y: float) -> str:
    return f'<line class="{style}" x1="{x:.1f}" y1="{y:.1f}" x2="{to_x:.1f}" y2="{to_y:.1f}"/>'


def told(label: str, estimate: float, low: float | None, high: float | None) -> str:
    interval = f" [{low:.4g}, {high:.4g}]" if low is not None and high is not None else ""
    return f"{label}: {estimate:.4g}{interval}"


def finite(line: Line) -> list[tuple[float, float]]:
    return [(a, b) for a, b in line if math.isfinite(a) and math.isfinite(b)]


def mean_of(found: Sequence[Line]) -> Line:
    """The mean over the x that every line has; the longest line where they share none."""
    tables = [dict(line) for line in found]
    shared = [a for a, _ in found[0] if all(a in t for t in tables)]
    if not shared:
        return max(found, key=len)
    return [(a, sum(t[a] for t in tables) / len(tables)) for a in shared]


def spread(values: Sequence[float]) -> tuple[float, float]:
    low, high = min(values), max(values)
    pad = 0.05 * (high - low) or abs(high) * 0.05 or 1.0
    return low - pad, high + pad


def ticks_of(low: float, high: float, about: int = 5) -> list[float]:
    """Round numbers within [low, high]."""
    if not high > low:
        return [low]
    raw = (high - low) / about
    size = 10 ** math.floor(math.log10(raw))
    step = next(size * m for m in (1, 2, 5, 10) if size * m >= raw)
    first = math.ceil(low / step)
    return [round(i * step, 12) for i in range(first, math.floor(high / step) + 1)]


def cut(label: str, most: int = 26) -> str:
    """A label that is too long loses its middle: its ends tell it from its neighbours."""
    if len(label) <= most:
        return label
    tail = most * 3 // 5
    return f"{label[: most - 1 - tail]}…{label[-tail:]}"
