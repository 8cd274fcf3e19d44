"""A user's mistake: one clear line each, all of a file at once."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass

EXIT_MISTAKE = 2
SHOWN = 40  # of the mistakes that are printed; a script gets all of them


@dataclass(frozen=True, order=True)
class Place:
    """Where in a file: 1-based line and column."""

    file: str
    line: int
    column: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"


@dataclass(frozen=True, order=True)
class Mistake:
    """One mistake: where, which key, what is wrong and what is allowed."""

    place: Place | None
    key: str
    what: str

    def __str__(self) -> str:
        return ": ".join(str(part) for part in (self.place, self.key, self.what) if part)


class Mistakes(Exception):
    """Every mistake that was found; printed a line each, exit code 2, never a traceback."""

    def __init__(self, mistakes: Iterable[Mistake] | str) -> None:
        found = [Mistake(None, "", mistakes)] if isinstance(mistakes, str) else list(mistakes)
        unique = dict.fromkeys(found)
        self.mistakes = sorted(unique, key=lambda m: (m.place or Place("", 0, 0), m.key, m.what))
        lines = [str(m) for m in self.mistakes[:SHOWN]]
        if len(self.mistakes) > SHOWN:
            lines.append(f"... and {len(self.mistakes) - SHOWN} more mistakes")
        super().__init__("\n".join(lines))

    def records(self) -> list[dict[str, object]]:
        """The same for a script: file, line, column (null where there is none), key, what, message."""
        return [
            {
                "file": m.place.file if m.place else None,
                "line": m.place.line if m.place else None,
                "column": m.place.column if m.place else None,
                "key": m.key,
                "what": m.what,
                "message": str(m),
            }
            for m in self.mistakes
        ]


def nearest(word: object, known: Iterable[object]) -> str:
    """` Did you mean 'x'?`, or nothing where no known word is near."""
    near = difflib.get_close_matches(str(word).lower(), [str(k) for k in known], n=1, cutoff=0.6)
    return f" Did you mean '{near[0]}'?" if near else ""


def choices(known: Iterable[object]) -> str:
    """A readable list of what is allowed."""
    return ", ".join(str(k) for k in known)
