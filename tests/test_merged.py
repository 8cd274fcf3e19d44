"""What was read before is taken from one file: the same rows, and never anything that the parts do not say."""

from pathlib import Path
from typing import Any

import pytest

from study import merged, table
from study.table import Tables


@pytest.fixture
def out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(merged, "LEAST", 3)
    for i in range(5):
        add(tmp_path, f"t{i}", 80.0 + i)
    return tmp_path


def add(out: Path, identity: str, value: float) -> None:
    row: dict[str, Any] = {
        "id": identity,
        "study": "s",
        "arm": "a",
        "seed": 0,
        "status": "done",
        "axes": {"k": 1},
    }
    score = {"evaluation": "knn", "metric": "top1", "value": value, "n": 10, "step": 1}
    table.record(out, row | {"subset": [1, 2]}, [score, score | {"metric": "top5"}])


def both(out: Path, study: str | None = "s") -> tuple[Any, Any]:
    """Trials and scores, quick and slow; they are the same."""
    found = []
    for quick in (True, False):
        tables = Tables(out, study, quick=quick)
        scores = sorted((r["id"], r["metric"], r["value"]) for r in tables.scores)
        found.append((tables.trials, scores))
    assert found[0] == found[1]
    return found[0]


def file(out: Path, name: str = "scores") -> Path:
    return out / "merged" / name / "s.parquet"


def test_the_second_reading_opens_no_part(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = both(out)
    assert file(out).exists()
    assert file(out, "trials").exists()
    monkeypatch.setattr(table, "_part", lambda *a, **k: pytest.fail("a part was opened"))
    tables = Tables(out, "s")
    assert tables.trials == first[0]
    assert len(tables.scores) == 10
    assert [row["value"] for row in tables.read("scores", ["value"])][:2] == [80.0, 80.0]


def test_new_changed_and_lost_parts_are_seen(out: Path) -> None:
    both(out)
    add(out, "t9", 99.0)
    assert ("t9", "top1", 99.0) in both(out)[1]
    part = out / "tables/scores/s/t2-1.parquet"
    rows = table.rows_of(out, "scores", "s", "t2-1")
    table.write(out, "scores", "t2-1", [row | {"value": 12.5} for row in rows], study="s")
    assert ("t2", "top1", 12.5) in both(out)[1]
    part.unlink()
    assert not [row for row in both(out)[1] if row[0] == "t2"]
    before = file(out).stat().st_mtime_ns
    for i in range(10, 14):  # enough new ones: written again, without what is gone
        add(out, f"t{i}", 1.0)
    assert len(both(out)[1]) == 2 * (4 + 1 + 4)
    assert file(out).stat().st_mtime_ns != before
    assert len(both(out)[1]) == 18


@pytest.mark.parametrize(
    "spoil", [lambda b: b[:-40], lambda b: b"", lambda b: b[:200] + b"\0" * 40 + b[240:]]
)
def test_a_torn_file_is_passed_over(out: Path, spoil: Any) -> None:
    want = both(out)
    for name in ("trials", "scores"):
        path = file(out, name)
        path.write_bytes(spoil(path.read_bytes()))
    assert both(out) == want


def test_of_another_version_it_is_passed_over(out: Path) -> None:
    want = both(out)
    file(out).write_bytes(file(out, "trials").read_bytes())
    assert both(out) == want


def test_where_it_cannot_be_written_nothing_is_lost(out: Path) -> None:
    (out / "merged").write_text("not a folder")
    assert len(both(out)[1]) == 10


def test_all_studies_at_once(out: Path) -> None:
    row: dict[str, Any] = {"id": "u0", "study": "other", "arm": "a", "seed": 0, "status": "done"}
    table.record(out, row, [])
    assert {r["study"] for r in both(out, None)[0]} == {"s", "other"}
    assert len(Tables(out).trials) == 6
