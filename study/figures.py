"""Figures as SVG: intervals, responses to an axis, curves over steps, scatters; the page's style colours them.

Every arm has a colour, a dash and a marker of its own, so that neither colour nor print has to tell it.
"""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from study.frame import (
    COLOURS,
    LETTER,
    MARGIN,
    WIDTH,
    Frame,
    Line,
    cut,
    dash_of,
    finite,
    head,
    marker,
    mean_of,
    rule,
    spread,
    ticks_of,
    told,
)

_ROW = 22  # height of an arm
LIGHT = "--ink:#1b1f24;--soft:#59636e;--line:#dfe3e8;" + "".join(
    f"--c{i}:{c};"
    for i, c in enumerate(
        ("#0072b2", "#c84c00", "#00835f", "#a32c7c", "#96690a", "#2a8fc7", "#5d6670", "#111111")
    )
)
DARK = "--ink:#e6edf3;--soft:#9aa4af;--line:#2f363e;" + "".join(
    f"--c{i}:{c};"
    for i, c in enumerate(
        ("#5cb8f2", "#ff9457", "#35cf9f", "#e98cc8", "#e3b341", "#a9dcfb", "#a3adb8", "#ffffff")
    )
)
STYLE = (
    "svg{font:12px system-ui,'Helvetica Neue',Arial,sans-serif}svg text{fill:var(--soft)}"
    "svg .title{fill:var(--ink);font-weight:600}svg .label{text-anchor:end;fill:var(--ink)}"
    "svg .tick{text-anchor:middle}svg .grid{stroke:var(--line)}"
    "svg .zero{stroke:var(--soft);stroke-dasharray:4 3}svg .bar{stroke:var(--c0);stroke-width:2}"
    "svg .dot{fill:var(--c0)}svg .run{fill:none;stroke:var(--soft)}"
    "svg polyline{fill:none;stroke:currentColor;stroke-linejoin:round}svg .thin{stroke-width:.8;opacity:.35}"
    "svg .thick{stroke-width:1.8}svg .band{fill:currentColor;stroke:none;opacity:.13}"
    "svg .whisker{stroke:currentColor;stroke-width:1.2}svg .mark{fill:currentColor;stroke:none}"
    "svg .front{stroke:var(--soft);stroke-width:1.2;stroke-dasharray:4 3}"
) + "".join(f".c{i}{{color:var(--c{i})}}" for i in range(COLOURS))


@dataclass(frozen=True)
class Bar:
    """One arm of an interval figure. values: of its single runs."""

    label: str
    estimate: float
    low: float | None
    high: float | None
    values: Sequence[float] = ()


@dataclass(frozen=True)
class Spot:
    """A point with the interval of its y, where it has one."""

    x: float
    y: float
    low: float | None
    high: float | None


def intervals(title: str, across: str, bars: Sequence[Bar], zero: bool = False) -> str:
    """A dot with its interval for every bar, single runs as rings; `zero` draws the line of no difference."""
    if not bars:
        return ""
    spots = [v for b in bars for v in (b.estimate, b.low, b.high, *b.values) if v is not None]
    low, high = spread([*spots, 0.0] if zero else spots)
    left = 18 + LETTER * max(len(cut(bar.label)) for bar in bars)
    height = _ROW * len(bars) + 62

    def x(value: float) -> float:
        return left + (value - low) / (high - low) * (WIDTH - left - 2 * MARGIN)

    parts = [head(title, height)]
    for tick in ticks_of(low, high, 4):
        parts.append(rule("grid", x(tick), 22, x(tick), height - 36))
        parts.append(f'<text class="tick" x="{x(tick):.1f}" y="{height - 22}">{tick:g}</text>')
    parts.append(
        f'<text class="tick" x="{(left + WIDTH) / 2:.0f}" y="{height - 5}">{html.escape(across)}</text>'
    )
    if zero:
        parts.append(rule("zero", x(0), 22, x(0), height - 36))
    for i, bar in enumerate(bars):
        y = 24 + _ROW * (i + 0.5)
        parts.append(f"<g><title>{html.escape(told(bar.label, bar.estimate, bar.low, bar.high))}</title>")
        parts.append(
            f'<text class="label" x="{left - 8:.0f}" y="{y + 4:.1f}">{html.escape(cut(bar.label))}</text>'
        )
        if bar.low is not None and bar.high is not None:
            parts.append(rule("bar", x(bar.low), y, x(bar.high), y))
        for value in bar.values:
            parts.append(f'<circle class="run" cx="{x(value):.1f}" cy="{y:.1f}" r="2.5"/>')
        parts.append(f'<circle class="dot" cx="{x(bar.estimate):.1f}" cy="{y:.1f}" r="4"/></g>')
    return "".join([*parts, "</svg>"])


def lines(title: str, across: str, groups: Mapping[str, Sequence[Line]]) -> str:
    """Curves, one colour an arm: single runs thin, their mean (where runs share their steps) thick."""
    drawn = {label: [kept for line in found if (kept := finite(line))] for label, found in groups.items()}
    spots = [spot for found in drawn.values() for line in found for spot in line]
    if not spots:
        return ""
    frame = Frame(title, across, "", [a for a, _ in spots], [b for _, b in spots])
    parts = frame.parts
    for i, (label, found) in enumerate(drawn.items()):
        for line in found if len(found) > 1 else ():
            parts.append(frame.path(line, f"thin c{i % COLOURS}", label))
        if found:
            parts.append(frame.path(mean_of(found), f"thick c{i % COLOURS}", label, dash_of(i)))
    return "".join([*parts, "</svg>"])


def responses(
    title: str, across: str, up: str, groups: Mapping[str, Sequence[Spot]], log: bool | None = None
) -> str:
    """Means with their intervals over an axis, one line a group; log: by default where the levels ask for it.

    Intervals are whiskers, and a band where there is one group only.
    """
    spots = [spot for found in groups.values() for spot in found]
    if not spots:
        return ""
    xs = [spot.x for spot in spots]
    if log is None:
        log = min(xs) > 0 and max(xs) >= 8 * min(xs)
    ys = [v for spot in spots for v in (spot.y, spot.low, spot.high) if v is not None]
    frame = Frame(title, across, up, xs, ys, log=log, marks=sorted(set(xs)))
    few = len(groups) <= 3
    for i, (label, found) in enumerate(groups.items()):
        colour, shift = f"c{i % COLOURS}", (i - (len(groups) - 1) / 2) * min(3.0, 14 / len(groups))
        at = [(frame.x(s.x) + shift, s) for s in found]
        bounds = [(x, s.low, s.high) for x, s in at if s.low is not None and s.high is not None]
        if few and len(bounds) > 1:
            way = [(x, frame.y(low)) for x, low, _ in bounds]
            back = [(x, frame.y(high)) for x, _, high in reversed(bounds)]
            corners = " ".join(f"{x:.1f},{y:.1f}" for x, y in way + back)
            frame.parts.append(f'<polygon class="band {colour}" points="{corners}"/>')
        elif not few:
            for x, low, high in bounds:
                frame.parts.append(rule(f"whisker {colour}", x, frame.y(low), x, frame.y(high)))
        joined = " ".join(f"{x:.1f},{frame.y(s.y):.1f}" for x, s in at)
        dash = f' stroke-dasharray="{dash_of(i)}"' if dash_of(i) else ""
        frame.parts.append(f'<polyline class="thick {colour}"{dash} points="{joined}"/>')
        for x, spot in at:
            words = told(f"{label}, {across} {spot.x:g}", spot.y, spot.low, spot.high)
            frame.parts.append(marker(i, x, frame.y(spot.y), words))
    return "".join([*frame.parts, "</svg>"])


def scatter(title: str, across: str, up: str, spots: Mapping[str, Spot], front: Sequence[str]) -> str:
    """A named point an arm, and the line through those of the Pareto front."""
    if len(spots) < 2:
        return ""
    frame = Frame(title, across, up, [s.x for s in spots.values()], [s.y for s in spots.values()], pad=0.12)
    way = sorted((spots[label].x, spots[label].y) for label in front)
    if len(way) > 1:
        frame.parts.append(frame.path(way, "front", "Pareto front"))
    taken: list[tuple[float, float]] = []
    for i, (label, spot) in enumerate(spots.items()):
        x, y = frame.x(spot.x), frame.y(spot.y)
        frame.parts.append(marker(i, x, y, f"{label}: {spot.y:.4g} at {spot.x:.4g}"))
        free = not any(abs(x - a) < 90 and abs(y - b) < 11 for a, b in taken)
        if len(spots) <= 16 and free:  # a label that would lie on another is left to the tooltip
            side = "end" if x > WIDTH * 0.7 else "start"
            place = f'style="text-anchor:{side}" x="{x + (-8 if side == "end" else 8):.1f}" y="{y + 4:.1f}"'
            frame.parts.append(f"<text {place}>{html.escape(cut(label))}</text>")
            taken.append((x, y))
    return "".join([*frame.parts, "</svg>"])


def legend(labels: Sequence[str]) -> str:
    """The colours, dashes and markers of the figures above, in words."""
    items = []
    for i, label in enumerate(labels):
        dash = f' stroke-dasharray="{dash_of(i)}"' if dash_of(i) else ""
        key = f'<polyline class="thick c{i % COLOURS}"{dash} points="0,6 26,6"/>{marker(i, 13, 6, "")}'
        items.append(
            f'<li><svg viewBox="0 0 26 12" aria-hidden="true">{key}</svg><span>{html.escape(label)}</span></li>'
        )
    return f'<ul class="legend">{"".join(items)}</ul>' if items else ""


def standalone(svg: str, labels: Sequence[str] = ()) -> str:
    """A figure as a file of its own, for a paper: light, with its style and its legend below."""
    width, height = (float(v) for v in svg.split('viewBox="0 0 ', 1)[1].split('"', 1)[0].split())
    rows, x, y = [], 10.0, height + 16
    for i, label in enumerate(labels):
        needed = 44 + 6.6 * len(label)
        if x > 10 and x + needed > width:
            x, y = 10.0, y + 18
        dash = f' stroke-dasharray="{dash_of(i)}"' if dash_of(i) else ""
        rows.append(f'<polyline class="thick c{i % COLOURS}"{dash} points="{x},{y - 4} {x + 26},{y - 4}"/>')
        rows.append(marker(i, x + 13, y - 4, ""))
        rows.append(f'<text x="{x + 32}" y="{y}">{html.escape(label)}</text>')
        x += needed
    tall = y + 8 if labels else height
    opening, rest = svg.split(">", 1)
    opening = opening.replace(f'viewBox="0 0 {width:g} {height:g}"', f'viewBox="0 0 {width:g} {tall:g}"')
    opening = opening.replace("<svg ", f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:g}" ', 1)
    body = rest.removesuffix("</svg>")
    return f"{opening}><style>svg{{{LIGHT}}}{STYLE}</style>{body}{''.join(rows)}</svg>\n"
