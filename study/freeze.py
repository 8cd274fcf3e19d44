"""Claims are frozen when a study first runs; one that is made after trials have ended is marked post hoc."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from study import table


def digest(claim: Mapping[str, Any]) -> str:
    """16 hex digits of a claim: any change of its words, sides, metric or margin makes it another claim."""
    text = json.dumps(claim, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def freeze(out: Path, study: str, claims: Sequence[Mapping[str, Any]]) -> None:
    """Record the claims that no run of the study had before. Raises OSError when they cannot be written."""
    known = {row["digest"] for row in table.rows_of(out, "claims", study, "*")}
    fresh = [claim for claim in claims if digest(claim) not in known]
    ended = len(table.finished(out, study)) if fresh else 0
    for claim in fresh:
        name = digest(claim)
        row = {
            "study": study,
            "digest": name,
            "claim": dict(claim),
            "frozen": datetime.now(UTC),
            "trials": ended,
        }
        table.write(out, "claims", name, [row], study=study)


def post_hoc(out: Path, study: str, claims: Sequence[Mapping[str, Any]]) -> list[bool]:
    """Of each claim: whether it was made after trials of the study had ended, or never frozen though some had."""
    frozen = {row["digest"]: row["trials"] for row in table.rows_of(out, "claims", study, "*")}
    some = any((out / "tables" / "trials" / study).glob("*.parquet"))
    return [frozen.get(digest(claim), 1 if some else 0) > 0 for claim in claims]
