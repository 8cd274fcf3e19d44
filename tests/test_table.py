"""The table: whole parts or none, torn and foreign files told, never used; many read in time."""

import errno
import os
import signal
import subprocess
import sys
import time
import warnings
from datetime import UTC, datetime
from pathlib import Path

import pandas
import pyarrow.parquet as pq
import pytest

from study import table
from study.table import TornPart, adopt, finished, read, record, scores_of, write


def trial(identity: str = "a1", **more: object) -> dict[str, object]:
    return {"id": identity, "study": "s", "arm": "groups=4", "seed": 0, "status": "done", **more}


SCORE = {"evaluation": "knn", "metric": "top1", "value": 81.5, "n": 100, "step": 7}
POINT = {"step": 1, "epoch": 0.5, "name": "loss", "value": 2.0}


def test_what_is_written_is_read(tmp_path: Path) -> None:
    now = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    row = trial(spec={"method": {"groups": 4}}, axes={"method.groups": 4}, started=now, subset=[3, 1, 2])
    path = record(tmp_path, row, [SCORE], [POINT])
    assert path == tmp_path / "tables/trials/s/a1-1.parquet"
    (got,) = read(tmp_path, "trials")
    assert got["spec"] == {"method": {"groups": 4}}
    assert got["started"] == now
    assert got["reason"] is None
    assert "subset" not in got
    assert read(tmp_path, "trials", columns=["subset"]) == [{"subset": [3, 1, 2]}]
    assert read(tmp_path, "scores") == [{"id": "a1", "attempt": 1, **SCORE}]
    assert read(tmp_path, "curves", "s") == [{"id": "a1", "attempt": 1, **POINT}]
    assert read(tmp_path, "scores", "another") == []
    assert scores_of(tmp_path, "s", "a1") == [{"id": "a1", "attempt": 1, **SCORE}]
    assert finished(tmp_path) == {"a1": "done"}


def test_every_column_tells_its_meaning(tmp_path: Path) -> None:
    schema = pq.read_schema(record(tmp_path, trial()))
    assert schema.metadata[b"schema_version"] == b"1"
    assert all(field.metadata[b"meaning"] for field in schema)
    assert schema.field("seconds").metadata[b"unit"] == b"s"


def test_other_readers_see_the_folder(tmp_path: Path) -> None:
    for i in range(3):
        record(tmp_path, trial(f"t{i}", subset=[i]), [SCORE])
    frame = pandas.read_parquet(tmp_path / "tables/scores")
    assert list(frame["value"]) == [81.5] * 3
    assert set(pandas.read_parquet(tmp_path / "tables/trials")["id"]) == {"t0", "t1", "t2"}


def test_an_empty_store_is_empty(tmp_path: Path) -> None:
    assert read(tmp_path, "trials") == []
    assert finished(tmp_path / "nowhere") == {}


def test_the_last_attempt_counts(tmp_path: Path) -> None:
    record(tmp_path, trial(status="failed", reason="out of memory"), [{**SCORE, "value": 1.0}])
    record(tmp_path, trial(), [{**SCORE, "value": 2.0}])
    assert [(r["attempt"], r["status"]) for r in read(tmp_path, "trials")] == [(2, "done")]
    assert [r["value"] for r in read(tmp_path, "scores")] == [2.0]
    assert len(list((tmp_path / "tables/trials/s").iterdir())) == 2  # the failure stays a fact


def test_scores_without_a_trial_are_ignored(tmp_path: Path) -> None:
    record(tmp_path, trial(), [SCORE])
    write(tmp_path, "scores", "b2-1", [{"id": "b2", **SCORE}], study="s")
    write(tmp_path, "scores", "a1-2", [{"id": "a1", "attempt": 2, **SCORE}], study="s")
    assert [(r["id"], r["attempt"]) for r in read(tmp_path, "scores")] == [("a1", 1)]


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-50])


def _flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    at = content.index(b"\x08\x00\x00\x00groups=4")  # the value, behind its length
    content[at + 4] ^= 1
    path.write_bytes(bytes(content))


def _empty(path: Path) -> None:
    path.write_bytes(b"")


def _foreign(path: Path) -> None:
    pandas.DataFrame({"x": [1]}).to_parquet(path)


@pytest.mark.parametrize("harm", [_cut, _flip, _empty, _foreign])
def test_a_torn_part_is_told_and_never_used(tmp_path: Path, harm: object) -> None:
    record(tmp_path, trial("ok"), [SCORE])
    harm(record(tmp_path, trial("torn"), [SCORE]))  # type: ignore[operator]
    with pytest.warns(TornPart, match=r"1 of 2 parts of trials .*torn-1\.parquet"):
        rows = read(tmp_path, "trials")
    assert [row["id"] for row in rows] == ["ok"]
    with pytest.warns(TornPart):
        assert finished(tmp_path) == {"ok": "done"}
    record(tmp_path, trial("torn"), [SCORE])  # run again, it stands beside the torn part
    with pytest.warns(TornPart):
        assert finished(tmp_path) == {"ok": "done", "torn": "done"}


def test_torn_scores_undo_their_trial(tmp_path: Path) -> None:
    record(tmp_path, trial("ok"), [SCORE])
    record(tmp_path, trial("torn"), [SCORE])
    _cut(tmp_path / "tables/scores/s/torn-1.parquet")
    with pytest.warns(TornPart):
        assert finished(tmp_path) == {"ok": "done"}


def test_a_later_version_with_more_columns_is_read(tmp_path: Path) -> None:
    frame = pq.read_table(record(tmp_path, trial(), [SCORE])).to_pandas()
    frame["novel"] = 1
    frame.drop(columns=["seconds"]).to_parquet(tmp_path / "tables/trials/s/a1-1.parquet")
    (row,) = read(tmp_path, "trials")
    assert (row["arm"], row["seconds"]) == ("groups=4", None)


def test_parts_of_an_earlier_version_are_read_beside_newer_ones(tmp_path: Path) -> None:
    for identity in ("a1", "b2"):
        record(tmp_path, trial(identity), [SCORE])
    (part,) = (tmp_path / "tables" / "trials").glob("*/b2-1.parquet")
    pq.write_table(pq.read_table(part).drop_columns(["corrupt", "workers"]), part)
    rows = {row["id"]: row for row in read(tmp_path, "trials")}
    assert set(rows) == {"a1", "b2"}
    assert rows["b2"]["workers"] is None
    assert rows["b2"]["status"] == rows["a1"]["status"]


def test_a_study_adopts_a_trial_of_another(tmp_path: Path) -> None:
    record(tmp_path, trial(axes={"x": 1}, subset=[5]), [SCORE], [POINT])
    adopt(tmp_path, "a1", "other", "named", {"arm": "named"})
    (row,) = read(tmp_path, "trials", "other")
    assert (row["study"], row["arm"], row["axes"]) == ("other", "named", {"arm": "named"})
    assert [r["value"] for r in read(tmp_path, "scores", "other")] == [81.5]
    assert read(tmp_path, "trials", "other", ["subset"]) == [{"subset": [5]}]
    assert len(read(tmp_path, "scores")) == 2


@pytest.mark.parametrize(
    ("row", "words"),
    [
        (trial(status="finished"), "finished"),
        (trial(colour="red"), "colour"),
        ({"id": "a", "study": "s", "arm": "x"}, "status"),
        (trial(started=datetime(2026, 1, 1)), "zone"),
        (trial(seed="three"), "schema"),
    ],
)
def test_a_row_that_does_not_fit_leaves_nothing(tmp_path: Path, row: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        write(tmp_path, "trials", "p", [row], study="s")
    assert not (tmp_path / "tables").exists()


@pytest.mark.parametrize("name", ["../x", ".hidden", "a/b", ""])
def test_a_name_that_leaves_its_folder_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match="file name"):
        write(tmp_path, "trials", name, [trial()], study="s")


def test_not_a_number_is_absent(tmp_path: Path) -> None:
    record(tmp_path, trial(), [{**SCORE, "value": float("nan")}])
    assert read(tmp_path, "scores")[0]["value"] is None


def test_a_full_disk_names_the_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(table.os, "fsync", full)
    with pytest.raises(OSError, match=r"No space left.*a1-1\.parquet") as caught:
        record(tmp_path, trial(), [SCORE])
    assert caught.value.errno == errno.ENOSPC
    assert [p for p in tmp_path.rglob("*") if p.is_file()] == []


def test_a_kill_while_writing_leaves_nothing_that_is_read(tmp_path: Path) -> None:
    record(tmp_path, trial("ok"), [SCORE])
    code = (
        "import os, signal, sys; from pathlib import Path; from study import table\n"
        "table.os.fsync = lambda d: os.kill(os.getpid(), signal.SIGKILL)\n"
        "table.record(Path(sys.argv[1]), {'id': 'dead', 'study': 's', 'arm': 'a', 'status': 'done'})\n"
    )
    root = Path(__file__).parents[1]
    ended = subprocess.run([sys.executable, "-c", code, str(tmp_path)], cwd=root, check=False)
    assert ended.returncode == -signal.SIGKILL
    assert list(tmp_path.rglob("*.partial"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert finished(tmp_path) == {"ok": "done"}


def test_five_thousand_parts_in_bounded_time(tmp_path: Path) -> None:
    path = record(tmp_path, trial("t", axes={"method.groups": 4}))
    for i in range(4_999):
        os.link(path, path.parent / f"u{i}-1.parquet")
    began = time.process_time()  # of all threads: a busy machine must not fail this
    got = table.Tables(tmp_path, "s")._rows("trials", None)
    took = time.process_time() - began
    assert len(got) == 5_000
    assert took < 20, f"{took:.1f} s"
