"""What a run says before and after: the question, and its answer."""

from __future__ import annotations

from pathlib import Path

from study.conduct import Ending, headlines
from study.space import Space


def opening(space: Space) -> str:
    """The question, and what will be run to answer it."""
    settings = space.settings
    cells, seeds = len(space.cells), len(space.seeds)
    lines = [
        settings.question,
        f"{cells} arms x {seeds} seeds: {space.count()} trials ({space.source.scale} scale)",
    ]
    if space.excluded:
        lines.append(f"{len(space.excluded)} combinations are excluded by `where`")
    return "\n".join(lines)


def answer(space: Space, out: Path, ending: Ending) -> str:
    """The table of the question, what failed, where the files are and how to open them."""
    from study import report
    from study.analyses import ANALYSES, view
    from study.table import Tables

    study = view(space, headlines(space))
    tables = Tables(out, space.settings.study)
    parts = [ANALYSES["question"](tables, study).text()]
    if space.settings.claims:
        parts.append(ANALYSES["claims"](tables, study).text())
    if ending.reasons:
        shown = [f"  {reason}" for reason in ending.reasons[:8]]
        more = [f"  and {len(ending.reasons) - 8} more"] if len(ending.reasons) > 8 else []
        parts.append("\n".join(["not done:", *shown, *more]))
    page = report.write(out, study)
    new = sum(ending.counts.values())
    told = f"{new} trials in {ending.seconds:.0f} s" + (
        f", {ending.kept} stood already" if ending.kept else ""
    )
    files = [
        told,
        f"tables: {out}/tables/trials/**/*.parquet, scores and curves alike",
        f"open:   duckdb -c \"from '{out}/tables/scores/**/*.parquet'\"; pandas and polars: read_parquet",
        f"page:   {page}",
    ]
    if ending.code in (130, 143):
        files.append("stopped; the same command continues")
    return "\n\n".join([*parts, "\n".join(files)])
