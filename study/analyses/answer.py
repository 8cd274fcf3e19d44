"""What an analysis gives: a titled table with notes, as rows, as aligned text, as Markdown."""

import math
import re
import shutil
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

Row = dict[str, Any]
NOTHING = "–"
UNBROKEN = "\u00a0"
_NARROWEST = 12  # a column is folded to no less


@dataclass(frozen=True)
class Answer:
    """A table. rows: dicts with at least `columns`; further keys hold the numbers behind a shown cell.

    `ids` of a row names the trials behind it, `COLUMN.ids` those of one cell.
    """

    title: str
    columns: list[str]
    rows: list[Row]
    notes: list[str] = field(default_factory=list)

    def ids(self, row: Row, column: str) -> list[str]:
        """The trials behind one cell."""
        own = row.get(f"{column}.ids")
        return list(own if own is not None else row.get("ids") or ())

    def text(self, width: int | None = None) -> str:
        """Aligned columns within `width` characters (the terminal's by default).

        Long cells are folded; columns that still find no room follow below, under the first column again.
        """
        width = width or shutil.get_terminal_size((120, 24)).columns
        lines = [self.title]
        if not self.rows:
            lines.append("  (nothing to show)")
        for block in self._blocks(width) if self.rows else []:
            lines += ["", *block]
        if self.notes:
            lines.append("")
        for note in self.notes:
            lines += textwrap.wrap(note, width, initial_indent="- ", subsequent_indent="  ")
        return "\n".join(lines)

    def markdown(self) -> str:
        """A Markdown section with the table and the notes."""
        lines = [f"### {self.title}", ""]
        if self.rows:
            right = self.right()
            lines.append("| " + " | ".join(map(_escaped, self.columns)) + " |")
            lines.append("|" + "|".join("---:" if right[c] else "---" for c in self.columns) + "|")
            for row in self.rows:
                lines.append("| " + " | ".join(_escaped(shown(row.get(c))) for c in self.columns) + " |")
        else:
            lines.append("(nothing to show)")
        if self.notes:
            lines += ["", *(f"- {note}" for note in self.notes)]
        return "\n".join(lines)

    def right(self) -> dict[str, bool]:
        """Columns of numbers are set to the right."""
        kinds = {c: [row.get(c) for row in self.rows if row.get(c) is not None] for c in self.columns}
        return {c: bool(v) and all(isinstance(x, int | float) for x in v) for c, v in kinds.items()}

    def _blocks(self, width: int) -> list[list[str]]:
        cells = {c: [_bound(shown(row.get(c))) for row in self.rows] for c in self.columns}
        least = {
            c: max(len(w) for w in [*c.split(), *(w for t in cells[c] for w in t.split(" "))]) for c in cells
        }
        longest = {c: max(len(t) for t in cells[c]) for c in cells}
        wide = {c: max(len(c), longest[c]) for c in cells}
        while sum(wide.values()) + 2 * (len(wide) - 1) > width:
            able = [c for c in wide if wide[c] > max(least[c], _NARROWEST)]
            if not able:
                break
            wide[max(able, key=lambda c: (wide[c] > longest[c], wide[c]))] -= 1  # headings fold before cells
        first, blocks = self.columns[0], [[self.columns[0]]]
        for column in self.columns[1:]:
            taken = sum(wide[c] + 2 for c in blocks[-1])
            if taken + wide[column] > width and len(blocks[-1]) > 1:
                blocks.append([first])
            blocks[-1].append(column)
        right = self.right()
        return [self._lines(block, cells, wide, right) for block in blocks]

    def _lines(
        self, block: list[str], cells: dict[str, list[str]], wide: dict[str, int], right: dict[str, bool]
    ) -> list[str]:
        def line(texts: Sequence[str]) -> list[str]:
            folded = [textwrap.wrap(t, wide[c], break_long_words=False) or [""] for c, t in zip(block, texts)]
            height = max(len(f) for f in folded)
            made = []
            for i in range(height):
                parts = [f[i] if i < len(f) else "" for f in folded]
                made.append(
                    "  ".join(
                        p.rjust(wide[c]) if right[c] else p.ljust(wide[c]) for c, p in zip(block, parts)
                    ).rstrip()
                )
            return [text.replace(UNBROKEN, " ") for text in made]

        lines = [*line(block), "  ".join("-" * wide[c] for c in block)]
        for i in range(len(self.rows)):
            lines += line([cells[c][i] for c in block])
        return lines


def shown(value: Any, digits: int = 4) -> str:
    """A cell as text: four digits of a number, a dash for what is not known."""
    if value is None:
        return NOTHING
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        if not math.isfinite(value):
            return str(value)
        return f"{value:.{digits}g}" if abs(value) < 10**digits or abs(value) >= 1e9 else f"{value:.0f}"
    return str(value)


def _bound(text: str) -> str:
    """An interval is never folded within its brackets."""
    return re.sub(r"\[[^\]]*\]", lambda m: m.group().replace(" ", UNBROKEN), text)


def _escaped(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
