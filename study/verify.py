"""Every number of a report's page worked out anew from the tables, and compared with what the page shows."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from study.analyses import Answer, StudyView
from study.analyses.answer import NOTHING, shown
from study.chapter import FORMAT, Chapter, drawn, row_name
from study.mistake import Mistakes
from study.table import Tables

_VOID = {"meta", "br", "hr", "img", "input", "link"}


@dataclass(frozen=True)
class Mismatch:
    """A number of the page, where it stands, and what the tables give."""

    where: str
    page: str
    tables: str

    def __str__(self) -> str:
        return f"{self.where}: the page has {self.page}, the tables give {self.tables}"


@dataclass
class Found:
    """What was compared. numbers: how many; studies: names; skipped: what could not be compared, and why."""

    numbers: int = 0
    studies: list[str] = field(default_factory=list)
    mismatches: list[Mismatch] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)


def verify(path: Path, out: Path | None = None) -> Found:
    """Compare a page with the tables under `out` (by default those it was made from, seen from its folder).

    Three things are held against the tables: the numbers that the page carries, the text of every cell, note
    and line of facts that a reader sees, and the figures. Raises Mistakes when the file is no such page.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise Mistakes(f"{path}: cannot be read ({error})") from None
    seen = _Page()
    seen.feed(text)
    numbers = _embedded(path, seen.numbers)
    root = out if out is not None else path.parent / numbers["out"]
    found = Found()
    for study in numbers["studies"]:
        view = _view(path, study["view"])
        chapter = Chapter(Tables(root, view.name, quick=False), view)
        if not chapter.runs.trials and study["trials"]:
            raise Mistakes(
                f"{root}: holds no trial of the study {view.name}; --out names the folder of its tables"
            )
        found.studies.append(view.name)
        _compare(found, chapter, study, seen)
        if numbers["drawn"] == drawn():
            _figures(found, chapter, study, seen)
        else:
            found.skipped.append(f"{view.name}: figures were drawn by another version of the code")
    return found


def _embedded(path: Path, text: str) -> dict[str, Any]:
    try:
        numbers = json.loads(text)
    except json.JSONDecodeError:
        raise Mistakes(f"{path}: is no report of this project: it carries no numbers") from None
    if not isinstance(numbers, dict) or numbers.get("format") != FORMAT:
        had = numbers.get("format") if isinstance(numbers, dict) else None
        raise Mistakes(f"{path}: has numbers of format {had}; this version reads format {FORMAT}")
    return numbers


def _view(path: Path, record: dict[str, Any]) -> StudyView:
    known = {f.name for f in fields(StudyView)}
    if unknown := set(record) - known:
        raise Mistakes(f"{path}: its studies have {sorted(unknown)}, which this version does not know")
    return StudyView(**record)


def _compare(found: Found, chapter: Chapter, had: dict[str, Any], seen: _Page) -> None:
    name = chapter.name
    now = json.loads(json.dumps(chapter.numbers))
    _same(found, f"{name}: facts", had["facts"], now["facts"])
    _same(found, f"{name}: facts shown", seen.facts.get(name), _spaced(now["facts"]))
    _trials(found, name, had["trials"], now["trials"])
    for key in dict.fromkeys([*had["answers"], *now["answers"]]):
        was, new = had["answers"].get(key), now["answers"].get(key)
        if was is None or new is None:
            what = "no such analysis" if was is None else f"{len(was['rows'])} rows"
            found.mismatches.append(
                Mismatch(f"{name}: {key}", what, "no such analysis" if new is None else "one")
            )
            continue
        answer = chapter.answers[key]
        _same(found, f"{name}: {key}: columns", was["columns"], new["columns"])
        _same(found, f"{name}: {key}: rows", len(was["rows"]), len(new["rows"]))
        _same(found, f"{name}: {key}: notes", was["notes"], new["notes"])
        for i, (old, row) in enumerate(zip(was["rows"], new["rows"])):
            where = f"{name}: {key}: {row_name(answer.rows[i])}"
            for column in dict.fromkeys([*old, *row]):
                _same(found, f"{where}: {column}", old.get(column), row.get(column))
        for i, (sources, now_from) in enumerate(zip(was["trials"], new["trials"])):
            if sources != now_from:
                where = f"{name}: {key}: {row_name(answer.rows[i])}: trials"
                found.mismatches.append(Mismatch(where, str(sources)[:80], str(now_from)[:80]))
        _shown(found, name, key, answer, seen)


def _shown(found: Found, study: str, key: str, answer: Answer, seen: _Page) -> None:
    """The text that a reader sees: cells, and notes where a table has them."""
    for i, row in enumerate(answer.rows):
        for j, column in enumerate(answer.columns):
            where = f"{study}: {key}: {row_name(row)}: {column} as shown"
            cell = seen.cells.get((study, key, i, j))
            _same(found, where, cell, _spaced(shown(row.get(column))))
    extra = [at for at in seen.cells if at[:2] == (study, key) and at[2] >= len(answer.rows)]
    if extra:
        found.mismatches.append(Mismatch(f"{study}: {key}", f"{len(extra)} cells more", "none of them"))
    if seen.has(study, key):
        _same(
            found,
            f"{study}: {key}: notes as shown",
            seen.notes.get((study, key), []),
            list(map(_spaced, answer.notes)),
        )


def _figures(found: Found, chapter: Chapter, had: dict[str, Any], seen: _Page) -> None:
    drawn_now = {f.name: f for f in chapter.figures}
    for name in dict.fromkeys([*had["figures"], *drawn_now]):
        where = f"{chapter.name}: figure {name}"
        now = chapter.numbers["figures"].get(name)
        if had["figures"].get(name) != now:
            found.mismatches.append(Mismatch(where, "another drawing", "this one" if now else "none"))
            continue
        told = _Page()
        told.feed(f'<section data-study="s"><figure data-figure="f">{drawn_now[name].svg}</figure></section>')
        if seen.figures.get((chapter.name, name)) != told.figures["s", "f"]:
            found.mismatches.append(Mismatch(where, "a drawing that was changed", "another"))
        found.numbers += 1


def _trials(found: Found, study: str, had: list[list[Any]], now: list[list[Any]]) -> None:
    old, new = ({row[0]: row for row in rows} for rows in (had, now))
    for identity in dict.fromkeys([*old, *new]):
        _same(found, f"{study}: trial {identity}", old.get(identity), new.get(identity))


def _same(found: Found, where: str, page: Any, tables: Any) -> None:
    found.numbers += 1
    if not _equal(page, tables):
        found.mismatches.append(Mismatch(where, _short(page), _short(tables)))


def _equal(a: Any, b: Any) -> bool:
    if isinstance(a, bool) or isinstance(b, bool):
        return a is b
    if isinstance(a, int | float) and isinstance(b, int | float):
        return math.isclose(a, b, rel_tol=1e-9, abs_tol=1e-12)
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(_equal(a[k], b[k]) for k in a)
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(_equal(x, y) for x, y in zip(a, b))
    return bool(a == b)


def _short(value: Any) -> str:
    text = NOTHING if value is None else value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= 90 else text[:89] + "…"


def _spaced(text: str) -> str:
    return " ".join(text.split())


class _Page(HTMLParser):
    """What a reader sees: cells by (study, answer, row, column), notes, facts and figures; and the numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.numbers = ""
        self.cells: dict[tuple[str, str, int, int], str] = {}
        self.notes: dict[tuple[str, str], list[str]] = {}
        self.facts: dict[str, str] = {}
        self.figures: dict[tuple[str, str], list[Any]] = {}
        self._open: list[tuple[str, dict[str, str | None]]] = []
        self._text: list[str] = []
        self._column = -1

    def has(self, study: str, answer: str) -> bool:
        """Whether the page shows a table of this answer."""
        return (study, answer, 0, 0) in self.cells

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        at = self._at("data-figure")
        if at is not None:
            self.figures.setdefault((self._at("data-study") or "", at), []).append((tag, attrs))
        if tag == "tr":
            self._column = -1
        if tag == "td":
            self._column += 1
        if tag in ("td", "li", "p", "script"):
            self._text = []
        if tag not in _VOID:
            self._open.append((tag, dict(attrs)))

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if (at := self._at("data-figure")) is not None:
            self.figures.setdefault((self._at("data-study") or "", at), []).append((tag, attrs))

    def handle_data(self, data: str) -> None:
        self._text.append(data)
        if (at := self._at("data-figure")) is not None:
            self.figures.setdefault((self._at("data-study") or "", at), []).append(data)

    def handle_endtag(self, tag: str) -> None:
        study, text = self._at("data-study") or "", _spaced("".join(self._text))
        inside = dict(self._open[-1][1]) if self._open else {}
        if tag == "td" and (answer := self._at("data-answer")) and (row := self._at("data-row")) is not None:
            self.cells[study, answer, int(row), self._column] = text
        elif tag == "li" and (answer := self._at("data-notes")):
            self.notes.setdefault((study, answer), []).append(text)
        elif tag == "p" and "data-facts" in inside:
            self.facts[study] = text
        elif tag == "script" and inside.get("id") == "numbers":
            self.numbers = "".join(self._text)
        while self._open and self._open.pop()[0] != tag:
            pass

    def _at(self, name: str) -> str | None:
        """The value of an attribute of the nearest element around that has it."""
        return next((a[name] for _, a in reversed(self._open) if name in a), None)


def told(found: Found, most: int = 40) -> Iterator[str]:
    """What to print."""
    for mismatch in found.mismatches[:most]:
        yield str(mismatch)
    if len(found.mismatches) > most:
        yield f"and {len(found.mismatches) - most} more"
    yield from found.skipped
    said = f"{found.numbers} numbers, texts and figures of {', '.join(found.studies)}"
    if found.mismatches:
        yield f"{said}: {len(found.mismatches)} do not agree with the tables"
    else:
        yield f"{said} agree with the tables"
