"""What differs: between two nested records, two study files, or two trials of a store."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from study.mistake import Mistakes

ABSENT = "(absent)"
SHOWN = 60


def differences(a: Any, b: Any, path: str = "") -> list[tuple[str, Any, Any]]:
    """Every key whose values differ, as (key.path, a's, b's); a key that one lacks is `(absent)` there."""
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        found = []
        for key in dict.fromkeys([*a, *b]):
            inner = f"{path}.{key}" if path else str(key)
            found += differences(a.get(key, ABSENT), b.get(key, ABSENT), inner)
        return found
    return [] if a == b and (a is True) == (b is True) and (a is False) == (b is False) else [(path, a, b)]


def facts(a: str, b: str, scale: str, out: Path) -> dict[str, Any]:
    """What differs between A and B, each a study file, or both ids (or beginnings of them) of trials.

    Raises Mistakes.
    """
    files = [Path(name).suffix in (".yaml", ".yml") or Path(name).is_file() for name in (a, b)]
    if all(files):
        return _files(Path(a), Path(b), scale)
    if any(files):
        raise Mistakes(f"diff: {a} and {b}: one is a file and one is not; give two files, or two trials' ids")
    return _trials(a, b, out)


def _files(a: Path, b: Path, scale: str) -> dict[str, Any]:
    from study.space import Space
    from study.studyfile import load

    sources = [load(path, scale) for path in (a, b)]
    spaces = [Space(source) for source in sources]
    settings = [space.settings.model_dump(mode="json") for space in spaces]
    arms: list[dict[str, Any]] = []
    for space in spaces:
        arms.append({})
        for cell in space.cells:
            spec = space.example(cell).spec.model_dump(mode="json", exclude={"seed"})
            arms[-1][cell.label] = spec
    both = [label for label in arms[0] if label in arms[1]]
    changed = {label: differences(arms[0][label], arms[1][label]) for label in both}
    ids = [{trial.id for trial in space.fixed()} for space in spaces]
    return {
        "a": str(a),
        "b": str(b),
        "settings": _listed(differences(settings[0], settings[1])),
        "arms": {label: _listed(found) for label, found in changed.items() if found},
        "only_a": [label for label in arms[0] if label not in arms[1]],
        "only_b": [label for label in arms[1] if label not in arms[0]],
        "trials": {"a": len(ids[0]), "b": len(ids[1]), "shared": len(ids[0] & ids[1])},
    }


def _trials(a: str, b: str, out: Path) -> dict[str, Any]:
    from study.table import Tables

    tables = Tables(out.expanduser())
    rows = [found(tables.trials, name, out) for name in (a, b)]
    scores: list[dict[str, Any]] = []
    for row in rows:
        mine = [s for s in tables.scores if s["id"] == row["id"]]
        scores.append({f"{s['evaluation']}.{s['metric']}": s["value"] for s in mine})
    wanted = (
        "study",
        "arm",
        "status",
        "reason",
        "code",
        "data_fingerprint",
        "environment",
        "workers",
        "device",
    )
    told = [{key: row[key] for key in wanted} for row in rows]
    return {
        "a": rows[0]["id"],
        "b": rows[1]["id"],
        "spec": _listed(differences(rows[0]["spec"], rows[1]["spec"])),
        "circumstances": _listed(differences(told[0], told[1])),
        "scores": _listed(differences(scores[0], scores[1])),
    }


def found(rows: list[dict[str, Any]], name: str, out: Path) -> dict[str, Any]:
    """The row whose id is, or begins with, `name`. Raises Mistakes."""
    matching = {row["id"]: row for row in rows if row["id"].startswith(name)}
    if len(matching) == 1 and name:
        return next(iter(matching.values()))
    if not matching:
        raise Mistakes(f"--out {out}: has no trial '{name}'; it has {len(rows)} trials")
    raise Mistakes(
        f"--out {out}: {len(matching)} trials begin with '{name}': {', '.join(list(matching)[:5])}"
    )


def text(facts: dict[str, Any]) -> str:
    """The record as a person reads it."""
    lines: list[str] = []
    for part in ("settings", "spec", "circumstances", "scores"):
        if facts.get(part):
            lines += [f"{part}:", *_lines(facts[part])]
    for label, changes in facts.get("arms", {}).items():
        lines += [f"arm {label}:", *_lines(changes)]
    for side, name in (("only_a", facts["a"]), ("only_b", facts["b"])):
        if facts.get(side):
            lines.append(f"only in {name}: {', '.join(facts[side][:SHOWN])}")
    if "trials" in facts:
        t = facts["trials"]
        lines.append(f"trials that are not sampled: {t['a']} and {t['b']}, of which {t['shared']} are shared")
    return "\n".join(lines or ["nothing differs"])


def _listed(found: list[tuple[str, Any, Any]]) -> list[dict[str, Any]]:
    return [{"key": key, "a": a, "b": b} for key, a, b in found]


def _lines(changes: list[dict[str, Any]]) -> list[str]:
    shown = [f"  {c['key']}: {c['a']} -> {c['b']}" for c in changes[:SHOWN]]
    return [*shown, f"  ... and {len(changes) - SHOWN} more"] if len(changes) > SHOWN else shown
