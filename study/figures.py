"""Figures of a report as inline SVG: intervals, and curves over steps; the page's style colours them."""

import html
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

COLOURS = 8  # classes c0 to c7 of the page's style
_WIDTH, _ROW, _MARGIN = 640, 26, 8
_POINTS = 200  # of a line; more cannot be seen


@dataclass(frozen=True)
class Bar:
    """One arm of an interval figure. values: of its single runs."""

    label: str
    estimate: float
    low: float | None
    high: float | None
    values: Sequence[float] = ()


def intervals(title: str, bars: Sequence[Bar], zero: bool = False) -> str:
    """A dot with its interval for every bar, single runs as rings; `zero` draws the line of no difference."""
    if not bars:
        return ""
    spots = [v for b in bars for v in (b.estimate, b.low, b.high, *b.values) if v is not None]
    low, high = _range([*spots, 0.0] if zero else spots)
    left = min(260, 12 + 7 * max(len(bar.label) for bar in bars))
    height = _ROW * len(bars) + 44
    ticks = _ticks(low, high)

    def x(value: float) -> float:
        return left + (value - low) / (high - low) * (_WIDTH - left - _MARGIN * 2)

    parts = [_head(title, height), f'<text class="title" x="0" y="14">{html.escape(title)}</text>']
    for tick in ticks:
        parts.append(f'<line class="grid" x1="{x(tick):.1f}" x2="{x(tick):.1f}" y1="22" y2="{height - 20}"/>')
        parts.append(f'<text class="tick" x="{x(tick):.1f}" y="{height - 6}">{tick:g}</text>')
    if zero:
        parts.append(f'<line class="zero" x1="{x(0):.1f}" x2="{x(0):.1f}" y1="22" y2="{height - 20}"/>')
    for i, bar in enumerate(bars):
        y = 24 + _ROW * (i + 0.5)
        told = f"{bar.label}: {bar.estimate:.4g}"
        if bar.low is not None and bar.high is not None:
            told += f" [{bar.low:.4g}, {bar.high:.4g}]"
        parts.append(f"<g><title>{html.escape(told)}</title>")
        parts.append(
            f'<text class="label" x="{left - 10}" y="{y + 4:.1f}">{html.escape(_cut(bar.label))}</text>'
        )
        if bar.low is not None and bar.high is not None:
            parts.append(
                f'<line class="bar" x1="{x(bar.low):.1f}" x2="{x(bar.high):.1f}" y1="{y:.1f}" y2="{y:.1f}"/>'
            )
        for value in bar.values:
            parts.append(f'<circle class="run" cx="{x(value):.1f}" cy="{y:.1f}" r="2.5"/>')
        parts.append(f'<circle class="dot" cx="{x(bar.estimate):.1f}" cy="{y:.1f}" r="4.5"/></g>')
    return "".join([*parts, "</svg>"])


Line = Sequence[tuple[float, float]]  # (x, y), x ascending


def lines(title: str, across: str, groups: Mapping[str, Sequence[Line]], log: bool = False) -> str:
    """Curves, one colour an arm: single runs thin, their mean (where runs share their steps) thick.

    across: the name of the horizontal axis; log: put it on a logarithmic scale.
    """
    drawn = {label: [_finite(line) for line in found] for label, found in groups.items()}
    drawn = {label: [line for line in found if line] for label, found in drawn.items()}
    drawn = {label: found for label, found in drawn.items() if found}
    if not drawn:
        return ""
    spots = [spot for found in drawn.values() for line in found for spot in line]
    low, high = _range([y for _, y in spots])
    first, last = min(x for x, _ in spots), max(x for x, _ in spots)
    log = log and first > 0
    height, left, bottom = 240, 58, 206

    def scale(value: float) -> float:
        return math.log(value) if log else value

    def x(value: float) -> float:
        span = scale(last) - scale(first)
        share = (scale(value) - scale(first)) / span if span > 0 else 0.5
        return left + share * (_WIDTH - left - _MARGIN * 2)

    def y(value: float) -> float:
        return bottom - (value - low) / (high - low) * (bottom - 26)

    parts = [_head(title, height), f'<text class="title" x="0" y="14">{html.escape(title)}</text>']
    for tick in _ticks(low, high):
        parts.append(
            f'<line class="grid" x1="{left}" x2="{_WIDTH - _MARGIN}" y1="{y(tick):.1f}" y2="{y(tick):.1f}"/>'
        )
        parts.append(f'<text class="label" x="{left - 6}" y="{y(tick) + 4:.1f}">{tick:g}</text>')
    marks = sorted({spot for spot, _ in spots}) if log else _ticks(first, last)
    for tick in marks if len(marks) <= 12 else _ticks(first, last):
        parts.append(f'<text class="tick" x="{x(tick):.1f}" y="{bottom + 16}">{tick:g}</text>')
    middle = (left + _WIDTH) / 2
    parts.append(f'<text class="tick" x="{middle:.0f}" y="{height - 2}">{html.escape(across)}</text>')
    for i, (label, found) in enumerate(drawn.items()):
        for line in found if len(found) > 1 else ():
            parts.append(_path(line, x, y, f"thin {_colour(i)}", label))
        parts.append(_path(_mean(found), x, y, f"thick {_colour(i)}", label))
    return "".join([*parts, "</svg>"])


def legend(labels: Sequence[str]) -> str:
    """The colours of `lines`, in words."""
    items = [
        f'<li class="{_colour(i)}"><span>{html.escape(label)}</span></li>' for i, label in enumerate(labels)
    ]
    return f'<ul class="legend">{"".join(items)}</ul>'


def _colour(i: int) -> str:
    """The class of the i-th arm; past the last colour they begin again, dashed."""
    return f"c{i % COLOURS}" + (" dashed" if i // COLOURS % 2 else "")


def _head(title: str, height: int) -> str:
    return f'<svg role="img" aria-label="{html.escape(title)}" viewBox="0 0 {_WIDTH} {height}">'


def _path(
    line: Line, x: Callable[[float], float], y: Callable[[float], float], style: str, label: str
) -> str:
    step = max(1, math.ceil(len(line) / _POINTS))
    kept = [*line[::step], *([line[-1]] if (len(line) - 1) % step else [])]
    spots = " ".join(f"{x(a):.1f},{y(b):.1f}" for a, b in kept)
    if len(kept) == 1:
        a, b = kept[0]
        return f'<circle class="{style}" cx="{x(a):.1f}" cy="{y(b):.1f}" r="3"/>'
    return f'<polyline class="{style}" points="{spots}"><title>{html.escape(label)}</title></polyline>'


def _finite(line: Line) -> list[tuple[float, float]]:
    return [(a, b) for a, b in line if math.isfinite(a) and math.isfinite(b)]


def _mean(found: Sequence[Line]) -> Line:
    """The mean over the x that every line has; the longest line where they share none."""
    tables = [dict(line) for line in found]
    shared = [a for a, _ in found[0] if all(a in t for t in tables)]
    if not shared:
        return max(found, key=len)
    return [(a, sum(t[a] for t in tables) / len(tables)) for a in shared]


def _range(values: Sequence[float]) -> tuple[float, float]:
    low, high = min(values), max(values)
    pad = 0.05 * (high - low) or abs(high) * 0.05 or 1.0
    return low - pad, high + pad


def _ticks(low: float, high: float, about: int = 5) -> list[float]:
    """Round numbers within [low, high]."""
    if not high > low:
        return [low]
    raw = (high - low) / about
    size = 10 ** math.floor(math.log10(raw))
    step = next(size * m for m in (1, 2, 5, 10) if size * m >= raw)
    first = math.ceil(low / step)
    return [round(i * step, 12) for i in range(first, math.floor(high / step) + 1)]


def _cut(label: str, most: int = 34) -> str:
    return label if len(label) <= most else label[: most - 1] + "…"
