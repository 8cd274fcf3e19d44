"""A study's report: one HTML page with its answers, figures, cost and provenance; no network, no script."""

import html
import os
from collections import Counter, defaultdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from study import figures
from study.analyses import ANALYSES, Answer, StudyView
from study.analyses.answer import shown
from study.analyses.runs import Runs, configuration
from study.table import Tables

_OPEN = ("question", "claims")  # shown in full; the others unfold
_SHORT = 26
_CURVES = 6  # figures of training curves
_STYLE = """
:root { color-scheme: light dark; --ink: #1b1f24; --soft: #59636e; --line: #d8dee4; --page: #ffffff;
  --card: #f6f8fa;
  --good: #1a7f37; --bad: #cf222e; --dot: #0550ae;
  --c0: #0550ae; --c1: #bc4c00; --c2: #1a7f37; --c3: #8250df; --c4: #bf3989; --c5: #7d4e00; --c6: #0e7c86;
  --c7: #6e7781; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6edf3; --soft: #9198a1; --line: #30363d; --page:
  #0d1117;
  --card: #151b23; --good: #3fb950; --bad: #ff7b72; --dot: #79c0ff;
  --c0: #79c0ff; --c1: #ffa657; --c2: #56d364; --c3: #d2a8ff; --c4: #ff9bce; --c5: #e3b341; --c6: #39c5cf;
  --c7: #b1bac4; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 2rem 1rem 4rem; max-width: 70rem; background: var(--page); color:
  var(--ink);
  font: 15px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.5rem; line-height: 1.25; margin: 0 0 .25rem; }
h2 { font-size: 1.1rem; margin: 2.25rem 0 .5rem; }
p.facts, ul.notes, footer { color: var(--soft); font-size: .87rem; }
ul.notes { padding-left: 1.1rem; margin: .5rem 0; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: .87rem; }
th, td { text-align: left; padding: .3rem .8rem .3rem 0; border-bottom: 1px solid var(--line);
  vertical-align: top; }
th { font-weight: 600; } td.number, th.number { text-align: right; }
td.supported { color: var(--good); font-weight: 600; } td.contradicted { color: var(--bad); font-weight:
  600; }
details { border-top: 1px solid var(--line); padding: .5rem 0; } summary { cursor: pointer; font-weight:
  600; }
.figures { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 28rem), 1fr)); gap: 1rem; }
figure { margin: 0; background: var(--card); border: 1px solid var(--line); border-radius: 6px; padding:
  .75rem; }
svg { display: block; width: 100%; height: auto; font: 12px system-ui, sans-serif; }
svg text { fill: var(--soft); } svg .title { fill: var(--ink); font-weight: 600; }
svg .label { text-anchor: end; fill: var(--ink); } svg .tick { text-anchor: middle; }
svg .grid { stroke: var(--line); } svg .zero { stroke: var(--soft); stroke-dasharray: 4 3; }
svg .bar { stroke: var(--dot); stroke-width: 2; } svg .dot { fill: var(--dot); }
svg .run { fill: none; stroke: var(--soft); }
svg polyline { fill: none; stroke: currentColor; } svg .thin { stroke-width: .8; opacity: .4; } svg .thick
  { stroke-width: 1.8; }
svg .dashed { stroke-dasharray: 5 3; }
svg circle.thick { fill: currentColor; }
.legend { list-style: none; display: flex; flex-wrap: wrap; gap: .3rem 1.2rem; padding: 0; font-size:
  .87rem; }
.legend li::before { content: ""; display: inline-block; width: 1.2em; height: 3px; margin-right: .4em;
  vertical-align: middle; background: currentColor; }
.legend .dashed::before {
  background: repeating-linear-gradient(90deg, currentColor 0 4px, transparent 4px 7px); }
.legend span { color: var(--ink); }
@media print { details > * { display: block; } }
"""


def write(out: Path, study: StudyView) -> Path:
    """Write `out/studies/<study>/report.html` from the tables and return its path.

    Raises OSError when it cannot be written.
    """
    path = Path(out) / "studies" / study.name / "report.html"
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".report.{os.getpid()}.partial")
    try:
        temporary.write_text(page(Tables(Path(out), study.name), study), encoding="utf-8")
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    return path


def page(tables: Tables, study: StudyView) -> str:
    """The whole page."""
    runs = Runs(tables, study)
    answers = {name: run(tables, study) for name, run in ANALYSES.items()}
    colours = "".join(f".c{i} {{ color: var(--c{i}); }}" for i in range(figures.COLOURS))
    now = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    body = [
        f"<h1>{html.escape(study.question or study.name)}</h1>",
        f'<p class="facts">{html.escape(_facts(runs))}</p>',
        _answer(answers["question"], "Answer"),
        _figures(_interval_figures(runs, answers["question"])),
    ]
    if study.claims:
        body.append(_answer(answers["claims"], "Claims"))
    body.append(_curves(tables, runs))
    body.append("<h2>Analyses</h2>")
    for name, answer in answers.items():
        if name not in _OPEN and answer.rows:
            extra = _low_data_figures(answer) if name == "low_data" else []
            summary = f"<summary>{html.escape(answer.title)}</summary>"
            body.append(f"<details>{summary}{_figures(extra)}{_table(answer)}</details>")
    absent = [answer for name, answer in answers.items() if name not in _OPEN and not answer.rows]
    if absent:
        said = "".join(f"<li>{html.escape(a.title)}: {html.escape('; '.join(a.notes))}</li>" for a in absent)
        body.append(f'<ul class="notes">{said}</ul>')
    body.append(_provenance(runs))
    title = html.escape(study.name)
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<style>{_STYLE}{colours}</style></head><body>{''.join(body)}"
        f"<footer><p>{title}, {now}, from {len(runs.trials)} rows of tables/trials/{title}</p></footer>"
        "</body></html>\n"
    )


def _facts(runs: Runs) -> str:
    counts = runs.statuses()
    seeds = sorted({row["seed"] for row in runs.trials if row["seed"] is not None})
    parts = [f"{len(runs.trials)} trials", *(f"{n} {status}" for status, n in counts.most_common())]
    if seeds:
        parts.append(f"seeds {', '.join(map(str, seeds[:12]))}{' ...' if len(seeds) > 12 else ''}")
    hours = sum(row["seconds"] or 0.0 for row in runs.trials) / 3600
    return " · ".join([*parts, f"{hours:.2g} hours of trials"])


def _answer(answer: Answer, heading: str) -> str:
    return f"<section><h2>{heading}</h2>{_table(answer)}</section>"


def _table(answer: Answer) -> str:
    notes = "".join(f"<li>{html.escape(note)}</li>" for note in answer.notes)
    notes = f'<ul class="notes">{notes}</ul>' if notes else ""
    if not answer.rows:
        return notes
    right = {
        c: all(isinstance(r.get(c), int | float) for r in answer.rows if r.get(c) is not None)
        for c in answer.columns
    }
    head = "".join(f"<th{_number(right[c])}>{html.escape(c)}</th>" for c in answer.columns)
    rows = []
    for row in answer.rows:
        cells = []
        for column in answer.columns:
            text = html.escape(shown(row.get(column)))
            kind = f' class="{text}"' if column == "verdict" else _number(right[column])
            # A short cell (a number with its interval) stays on one line.
            cells.append(f"<td{kind}>{text if len(text) > _SHORT else text.replace(' ', '&nbsp;')}</td>")
        rows.append(f"<tr>{''.join(cells)}</tr>")
    body = f"<thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody>"
    return f'<div class="scroll"><table>{body}</table></div>{notes}'


def _number(right: bool) -> str:
    return ' class="number"' if right else ""


def _figures(drawn: list[str]) -> str:
    kept = "".join(f"<figure>{figure}</figure>" for figure in drawn if figure)
    return f'<div class="figures">{kept}</div>' if kept else ""


def _interval_figures(runs: Runs, answer: Answer) -> list[str]:
    drawn = []
    for metric in runs.metrics:
        bars, gaps = [], []
        for row in answer.rows:
            if row.get(f"{metric}.mean") is not None:
                values = list(row[f"{metric}.values"].values())
                low, high = row[f"{metric}.low"], row[f"{metric}.high"]
                bars.append(figures.Bar(row["arm"], row[f"{metric}.mean"], low, high, values))
            if row.get(f"{metric}.difference") is not None:
                low, high = row[f"{metric}.difference.low"], row[f"{metric}.difference.high"]
                gaps.append(figures.Bar(row["arm"], row[f"{metric}.difference"], low, high))
        drawn.append(figures.intervals(f"{metric}: mean, 95 % interval, single seeds", bars))
        drawn.append(figures.intervals(f"{metric}: paired difference to {runs.baseline}", gaps, zero=True))
    return drawn


def _curves(tables: Tables, runs: Runs) -> str:
    """Training curves of every arm's chosen configuration; only these are read from the table."""
    chosen = {arm: runs.chosen(arm) for arm in runs.arms}
    of = {
        r["id"]: r["arm"]
        for r in runs.trials
        if (c := chosen.get(r["arm"])) and c.key == configuration(r).key
    }
    names: Counter[str] = Counter()
    found: dict[str, dict[str, dict[str, list[tuple[float, float]]]]] = defaultdict(lambda: defaultdict(dict))
    for point in tables.curves:
        if point["id"] in of and point["value"] is not None:
            names[point["name"]] += 1
            line = found[point["name"]][of[point["id"]]].setdefault(point["id"], [])
            line.append((float(point["step"]), point["value"]))
    drawn = []
    longest = [
        name
        for name, _ in names.most_common()
        if any(len(v) > 1 for g in found[name].values() for v in g.values())
    ]
    for name in sorted(longest, key=lambda n: n != "loss")[:_CURVES]:
        groups = {arm: [sorted(line) for line in found[name].get(arm, {}).values()] for arm in runs.arms}
        drawn.append(figures.lines(name, "step", groups))
    if not drawn:
        return ""
    return f"<section><h2>Training</h2>{figures.legend(runs.arms)}{_figures(drawn)}</section>"


def _low_data_figures(answer: Answer) -> list[str]:
    drawn = []
    for metric in dict.fromkeys(row["metric"] for row in answer.rows):
        groups: dict[str, list[list[tuple[float, float]]]] = {}
        for row in answer.rows:
            if row["metric"] == metric and row["estimate"] is not None:
                groups.setdefault(row["arm"], [[]])[0].append((row["fraction"], row["estimate"]))
        drawn.append(
            figures.lines(str(metric), "fraction of data", groups, log=True) + figures.legend(list(groups))
        )
    return drawn


def _provenance(runs: Runs) -> str:
    rows: list[dict[str, Any]] = []
    for column, words in (
        ("code", "code"),
        ("data_fingerprint", "data"),
        ("device", "device"),
        ("workers", "workers"),
    ):
        counts = Counter(row[column] for row in runs.trials if row[column] is not None)
        rows += [{"what": words, "value": str(value), "trials": n} for value, n in counts.most_common(8)]
    environments = Counter(
        ", ".join(f"{key} {value}" for key, value in sorted((row["environment"] or {}).items()))
        for row in runs.trials
    )
    rows += [
        {"what": "environment", "value": words, "trials": n}
        for words, n in environments.most_common(4)
        if words
    ]
    notes = []
    if len({row["code"] for row in runs.trials if row["code"]}) > 1:
        notes.append("trials ran with different code: differences between them may be the code's")
    answer = Answer("Provenance", ["what", "value", "trials"], rows, notes)
    return f"<section><h2>Provenance</h2>{_table(answer)}</section>"
