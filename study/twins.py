"""The twins of a report: the same answers as Markdown, as LaTeX with booktabs, as CSV, and figures as SVG."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Sequence
from typing import Any

from study import figures
from study.analyses.answer import Answer, shown
from study.chapter import Chapter

_SPECIAL = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "–": "--",
    "±": r"$\pm$",
}
_WIDE = 84  # characters that a line of \small holds


def files(chapters: Sequence[Chapter]) -> dict[str, str]:
    """Text by file name, from the folder of the page."""
    found = {"report.md": markdown(chapters), "report.tex": latex(chapters)}
    for chapter in chapters:
        before = f"{chapter.name}-" if len(chapters) > 1 else ""
        for name, answer in chapter.answers.items():
            if answer.rows:
                found[f"tables/{before}{name}.csv"] = table_csv(answer)
                found[f"tables/{before}{name}.tex"] = table_latex(
                    answer, chapter.title(name), f"{chapter.name}-{name}"
                )
        found[f"tables/{before}trials.csv"] = trials_csv(chapter)
        for figure in chapter.figures:
            found[f"figures/{before}{figure.file}.svg"] = figures.standalone(figure.svg, figure.labels)
    return found


def markdown(chapters: Sequence[Chapter]) -> str:
    """Every answer that has rows, a section each."""
    parts = []
    for chapter in chapters:
        parts += [f"## {chapter.name}: {chapter.view.question}".rstrip(": "), chapter.facts]
        parts += [answer.markdown() for answer in chapter.answers.values() if answer.rows or answer.notes]
    return "\n\n".join(parts) + "\n"


def latex(chapters: Sequence[Chapter]) -> str:
    """A document of its own with every table; the tables alone are in `tables/*.tex`."""
    parts = [
        "\\documentclass{article}",
        "\\usepackage[T1]{fontenc}\\usepackage[utf8]{inputenc}\\usepackage{booktabs}",
        "\\usepackage[margin=2cm]{geometry}",
        "\\begin{document}",
    ]
    for chapter in chapters:
        parts.append(f"\\section*{{{_escaped(chapter.view.question or chapter.name)}}}")
        parts.append(_escaped(chapter.facts.replace("·", ";")))
        for name, answer in chapter.answers.items():
            if answer.rows:
                parts.append(table_latex(answer, chapter.title(name), f"{chapter.name}-{name}"))
        parts.append("\\clearpage")
    return "\n\n".join([*parts, "\\end{document}"]) + "\n"


def table_latex(answer: Answer, caption: str, label: str) -> str:
    """One table environment with booktabs' rules; the notes stand below it."""
    right = answer.right()
    cells = [[shown(row.get(c)) for c in answer.columns] for row in answer.rows]
    wide = sum(max(len(t) for t in (c, *column)) for c, column in zip(answer.columns, zip(*cells)))
    size = "\\small" if wide <= _WIDE else "\\scriptsize" if wide <= 1.4 * _WIDE else "\\tiny"
    lines = ["\\begin{table}[htbp]", f"\\centering{size}", f"\\caption{{{_escaped(caption)}}}"]
    lines.append(f"\\label{{tab:{re.sub('[^A-Za-z0-9-]', '-', label)}}}")
    lines.append(f"\\begin{{tabular}}{{{''.join('r' if right[c] else 'l' for c in answer.columns)}}}")
    lines += ["\\toprule", " & ".join(map(_escaped, answer.columns)) + " \\\\", "\\midrule"]
    for row, texts in zip(answer.rows, cells):
        if row.get("arm") == "all":
            lines.append("\\midrule")
        lines.append(" & ".join(map(_cell, texts)) + " \\\\")
    lines += ["\\bottomrule", "\\end{tabular}"]
    if answer.notes:
        notes = " ".join(_escaped(note[:1].upper() + note[1:]) + "." for note in answer.notes)
        lines.append(f"\\par\\smallskip\\parbox{{0.95\\linewidth}}{{\\footnotesize {notes}}}")
    return "\n".join([*lines, "\\end{table}"]) + "\n"


def all_csv(chapters: Sequence[Chapter]) -> str:
    """Every answer that has rows, each under a line that names it."""
    parts = [
        f"# {chapter.name}: {name}\n{table_csv(answer)}"
        for chapter in chapters
        for name, answer in chapter.answers.items()
        if answer.rows
    ]
    return "\n".join(parts)


def table_csv(answer: Answer) -> str:
    """What is shown, then every number behind it in full, then the ids of the row's trials."""
    keys = dict.fromkeys(k for row in answer.rows for k in row if not k.endswith("ids"))
    columns = [*answer.columns, *(k for k in keys if k not in answer.columns)]
    rows = [[_plain(row.get(c)) for c in columns] + [" ".join(row.get("ids", ()))] for row in answer.rows]
    return _csv([*columns, "ids"], rows)


def trials_csv(chapter: Chapter) -> str:
    """A row for every trial with its headline metrics."""
    numbers = chapter.numbers
    return _csv(["id", "arm", "seed", "status", "seconds", *numbers["metrics"]], numbers["trials"])


def _csv(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(head)
    writer.writerows(rows)
    return text.getvalue()


def _plain(value: Any) -> Any:
    return json.dumps(value, default=str) if isinstance(value, dict | list | tuple) else value


def _escaped(text: str) -> str:
    return "".join(_SPECIAL.get(letter, letter) for letter in text)


def _cell(text: str) -> str:
    """A minus before a digit is a minus, not a hyphen."""
    return re.sub(r"(?<![\w.])-(?=\d)", "$-$", _escaped(text))
