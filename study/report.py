"""The report of one or more studies: one HTML page without outside assets, and its twins beside it."""

from __future__ import annotations

import html
import json
import os
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from study import dress, figures, twins
from study.analyses import Answer, StudyView
from study.analyses.answer import Row, shown
from study.chapter import FORMAT, Chapter, drawn
from study.table import Tables

_OPEN = ("question", "claims", "provenance")  # shown in full; the others unfold
_SHORT = 26


def write(out: Path, *studies: StudyView) -> Path:
    """Write the page of the studies, its Markdown, LaTeX, CSV and SVG twins beside it; return the page's path.

    One study: `out/studies/<study>/report.html`; several: `out/report/report.html`. Raises OSError when a file
    cannot be written.
    """
    out = Path(out)
    folder = out / "studies" / studies[0].name if len(studies) == 1 else out / "report"
    chapters = [Chapter(Tables(out, study.name), study) for study in studies]
    path = folder / "report.html"
    _put(path, page(chapters, os.path.relpath(out, folder)))
    for name, text in twins.files(chapters).items():
        _put(folder / name, text)
    return path


def page(chapters: Sequence[Chapter], out: str = ".") -> str:
    """The whole page. out: where the tables are, from the folder of the page."""
    now = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    numbers = {"format": FORMAT, "out": out, "drawn": drawn(), "studies": [c.numbers for c in chapters]}
    embedded = json.dumps(numbers, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")
    several = len(chapters) > 1
    title = html.escape(", ".join(chapter.name for chapter in chapters))
    body = [_index(chapters)] if several else []
    body += [_chapter(chapter) for chapter in chapters]
    rows = ", ".join(f"{len(c.runs.trials)} rows of tables/trials/{html.escape(c.name)}" for c in chapters)
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<style>{dress.STYLE}</style></head><body>{''.join(body)}"
        f"<footer><p>{now}, from {rows}. A click on a number shows the trials behind it; <code>python -m study"
        " verify</code> with this page works every number out anew.</p></footer>"
        '<dialog id="behind"><form method="dialog"><button aria-label="Close">Close</button></form><div></div>'
        f'</dialog><script type="application/json" id="numbers">{embedded}</script>'
        f"<script>{dress.SCRIPT}</script></body></html>\n"
    )


def _put(path: Path, text: str) -> None:
    """The whole file, or none of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        temporary.write_text(text, encoding="utf-8")
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def _index(chapters: Sequence[Chapter]) -> str:
    rows, kinds = [], ("", ' class="long"', ' class="long"', "")
    for chapter in chapters:
        link = f'<a href="#{html.escape(chapter.name)}">{html.escape(chapter.name)}</a>'
        verdicts = Counter(row["verdict"] for row in chapter.answers["claims"].rows)
        told = ", ".join(f"{n} {verdict}" for verdict, n in verdicts.most_common()) or "–"
        cells = (link, html.escape(chapter.view.question), html.escape(chapter.facts), html.escape(told))
        rows.append(f"<tr>{''.join(f'<td{kind}>{cell}</td>' for kind, cell in zip(kinds, cells))}</tr>")
    head = "".join(f"<th><button>{word}</button></th>" for word in ("study", "question", "trials", "claims"))
    table = f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table>"
    return f'<h1>{len(chapters)} studies</h1><div class="scroll">{table}</div>'


def _chapter(chapter: Chapter) -> str:
    name, answers = html.escape(chapter.name), chapter.answers
    parts = [
        f"<h1>{html.escape(chapter.view.question or chapter.name)}</h1>",
        f'<p class="facts" data-facts>{html.escape(chapter.facts)}</p>',
        f"<section><h2>Answer</h2>{_table('question', answers['question'])}{_figures(chapter, 'question')}</section>",
    ]
    if chapter.view.claims:
        parts.append(f"<section><h2>Claims</h2>{_table('claims', answers['claims'])}</section>")
    if training := _figures(chapter, "training"):
        parts.append(f"<section><h2>Training</h2>{training}</section>")
    parts.append("<h2>Analyses</h2>")
    for key, answer in answers.items():
        if key not in _OPEN and answer.rows:
            inner = _figures(chapter, key) + _table(key, answer)
            parts.append(f"<details><summary>{html.escape(chapter.title(key))}</summary>{inner}</details>")
    absent = [key for key, answer in answers.items() if key not in _OPEN and not answer.rows]
    if absent:
        said = (
            f"<b>{html.escape(chapter.title(k))}</b>: {html.escape('; '.join(answers[k].notes))}"
            for k in absent
        )
        parts.append(f'<ul class="notes">{"".join(f"<li>{words}</li>" for words in said)}</ul>')
    parts.append(
        f"<section><h2>Provenance</h2>{_table('provenance', answers['provenance'])}{_files(chapter)}</section>"
    )
    return f'<section class="study" id="{name}" data-study="{name}">{"".join(parts)}</section>'


def _files(chapter: Chapter) -> str:
    """The study's YAML, and the whole resolved spec of one trial of the baseline."""
    parts = []
    if chapter.view.file:
        parts.append(
            f"<details><summary>Study file</summary><pre>{html.escape(chapter.view.file)}</pre></details>"
        )
    runs = chapter.runs
    spec = next((r["spec"] for r in runs.trials if r["arm"] == runs.baseline and r["spec"]), None)
    if spec is not None:
        text = html.escape(json.dumps(spec, indent=1))
        said = html.escape(f"Resolved spec of {runs.baseline}")
        parts.append(f"<details><summary>{said}</summary><pre>{text}</pre></details>")
    return "".join(parts)


def _table(name: str, answer: Answer) -> str:
    notes = "".join(f"<li>{html.escape(note)}</li>" for note in answer.notes)
    notes = f'<ul class="notes" data-notes="{name}">{notes}</ul>' if notes else ""
    if not answer.rows:
        return notes
    right = answer.right()
    head = "".join(f"<th{_number(right[c])}><button>{html.escape(c)}</button></th>" for c in answer.columns)
    made = [(row, _row(answer, i, row, right)) for i, row in enumerate(answer.rows)]
    body = "".join(text for row, text in made if row.get("arm") != "all")
    foot = "".join(text for row, text in made if row.get("arm") == "all")
    table = f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody>" + (
        f"<tfoot>{foot}</tfoot>" if foot else ""
    )
    return f'<div class="scroll"><table data-answer="{name}">{table}</table></div>{notes}'


def _row(answer: Answer, place: int, row: Row, right: dict[str, bool]) -> str:
    cells = []
    for column in answer.columns:
        text = shown(row.get(column))
        inner = html.escape(text)
        if len(text) <= _SHORT:  # a short cell (a number with its interval) stays on one line
            inner = inner.replace(" ", "&nbsp;")
        inner = inner.replace("-&gt;", "<span>-&gt;</span>")  # an arrow is not broken
        if any(c.isdigit() for c in text) and column != answer.columns[0] and answer.ids(row, column):
            inner = f"<button>{inner}</button>"
        long = ' class="long"' if len(text) > _SHORT else _number(right[column])
        kind = f' class="{html.escape(text)}"' if column == "verdict" else long
        cells.append(f"<td{kind}>{inner}</td>")
    return f'<tr data-row="{place}">{"".join(cells)}</tr>'


def _number(right: bool) -> str:
    return ' class="number"' if right else ""


def _figures(chapter: Chapter, section: str) -> str:
    found = [f for f in chapter.figures if f.section == section]
    if not found:
        return ""
    shared = found[0].labels if all(f.labels == found[0].labels for f in found) else []
    drawn_ = "".join(
        f'<figure data-figure="{html.escape(f.name)}">{f.svg}{"" if shared else figures.legend(f.labels)}</figure>'
        for f in found
    )
    return f'{figures.legend(shared)}<div class="figures">{drawn_}</div>'
