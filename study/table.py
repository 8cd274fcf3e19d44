"""The table of trials: three Parquet tables, one immutable part a trial and attempt, renamed into place.

    out/tables/trials/<study>/<id>-<attempt>.parquet     one row: what was run and how it ended (the truth)
    out/tables/scores/<study>/<id>-<attempt>.parquet     a row for every number an evaluation gave
    out/tables/curves/<study>/<id>-<attempt>.parquet     a row for every point of a training curve

and two of the search, one part a row:

    out/tables/points/<study>/<digest>-<index>.parquet   a sampled point, rewritten when it has ended
    out/tables/rungs/<study>/<id>-<rung>.parquet         what a trial measured at a rung, and if it went on

Every part is an ordinary Parquet file: DuckDB, Polars and pandas read `out/tables/trials/**/*.parquet`. A
trial that was tried again has several attempts; `read` gives the last, another reader joins on (id, attempt).
"""

import json
import math
import os
import re
import secrets
import warnings
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from study import merged
from study.columns import STATUSES, TABLES, VERSION

Row = dict[str, Any]


class TornPart(UserWarning):
    """A part that cannot be read, or is no part of its table; its trial counts as not done."""


_KINDS = {
    "string": pa.string(),
    "json": pa.string(),
    "int32": pa.int32(),
    "int64": pa.int64(),
    "double": pa.float64(),
    "utc": pa.timestamp("us", tz="UTC"),
    "list of int32": pa.list_(pa.int32()),
    "list of int64": pa.list_(pa.int64()),
    "list of double": pa.list_(pa.float64()),
}


def _schema(table: str) -> pa.Schema:
    fields = [
        pa.field(c.name, _KINDS[c.kind], not c.needed, metadata={"unit": c.unit, "meaning": c.meaning})
        for c in TABLES[table]
    ]
    return pa.schema(fields, metadata={"table": table, "schema_version": VERSION})


SCHEMAS: dict[str, pa.Schema] = {table: _schema(table) for table in TABLES}
_JSON = {column.name for columns in TABLES.values() for column in columns if column.kind == "json"}
_CODECS = {name: "none" for name in SCHEMAS["trials"].names if name != "subset"}
_CODECS |= {"spec": "zstd", "environment": "zstd", "subset.list.element": "zstd"}
_MERGED = ("trials", "scores")  # curves are long, and few of them are read at once
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._=,+@-]*")


def write(out: Path, table: str, part: str, rows: Sequence[Mapping[str, Any]], *, study: str) -> Path:
    """Write one part and return its path; it is there whole, or not at all.

    rows: plain dicts with the columns of `SCHEMAS[table]`; an absent `attempt` is 1, other absent columns are
    null. Columns of JSON take a dict or a JSON string; times take a datetime with a zone; NaN becomes null.
    Raises ValueError for a row that does not fit, OSError (naming the path) when the disk is full or refuses.
    """
    for what, name in (("study", study), ("part", part)):
        if not _NAME.fullmatch(name):
            raise ValueError(f"{what} {name!r} cannot be a file name; use letters, digits and . _ = , + @ -")
    encoded = _encode(table, rows)
    path = Path(out) / "tables" / table / study / f"{part}.parquet"
    temporary = path.with_name(f".{part}.{os.getpid()}.{secrets.token_hex(4)}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("xb") as file:
            file.write(encoded)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        _sync_folder(path.parent)
    except OSError as error:
        raise OSError(
            error.errno, f"{error.strerror} (writing a part of the table {table})", str(path)
        ) from error
    finally:
        temporary.unlink(missing_ok=True)
    return path


def record(
    out: Path,
    trial: Mapping[str, Any],
    scores: Sequence[Mapping[str, Any]] = (),
    curves: Sequence[Mapping[str, Any]] = (),
) -> Path:
    """Record one ended attempt in the three tables and return the path of its trials part.

    `trial` is a row of trials; `scores` and `curves` need no id. The attempt is the next free number. The
    trials part is written last: scores and curves without it are ignored, so a kill between leaves no trace.
    """
    study, identity = str(trial["study"]), str(trial["id"])
    folder, attempt = Path(out) / "tables" / "trials" / study, 1
    while (folder / f"{identity}-{attempt}.parquet").exists():
        attempt += 1
    key = {"id": identity, "attempt": attempt}
    part = f"{identity}-{attempt}"
    for table, rows in (("scores", scores), ("curves", curves)):
        write(out, table, part, [{**row, **key} for row in rows], study=study)
    return write(out, "trials", part, [{**trial, **key}], study=study)


def read(out: Path, table: str, study: str | None = None, columns: Sequence[str] | None = None) -> list[Row]:
    """Rows of one table as dicts, of the last attempt of every trial; JSON columns come as dicts.

    columns: those wanted; by default all, but for the long `subset` of trials, which has to be asked for.
    Parts that cannot be read are left out and named in one `TornPart` warning. Rows of scores and curves
    whose (id, attempt) has no row in trials are left out.
    """
    return Tables(Path(out), study).read(table, columns)


def finished(out: Path, study: str | None = None) -> dict[str, str]:
    """Status by id of every trial whose row and scores can be read: what need not be run again, by status."""
    tables = Tables(Path(out), study)
    rows = tables.trials
    tables.read("scores", ["id"])
    lost = {(Path(path).parent.name, Path(path).stem) for path in tables.torn}
    return {
        row["id"]: row["status"]
        for row in rows
        if (row["study"], f"{row['id']}-{row['attempt']}") not in lost
    }


def scores_of(out: Path, study: str, identity: str) -> list[Row]:
    """The scores of one trial's last attempt, without reading the rest of the study."""
    parts = _attempts(out, study, identity)
    return _rows_of(parts[-1], "scores") if parts else []


def rows_of(out: Path, table: str, study: str, pattern: str) -> list[Row]:
    """Rows of the parts of one study whose names match a glob pattern, such as `*-0`, torn ones left out."""
    found: list[Row] = []
    for path in sorted((Path(out) / "tables" / table / study).glob(f"{pattern}.parquet")):
        part = _part(path, SCHEMAS[table])
        found += [] if isinstance(part, str) else _decode(part, SCHEMAS[table].names)
    return found


def adopt(out: Path, identity: str, study: str, arm: str, axes: Mapping[str, Any]) -> None:
    """Give `study` the rows of a trial that another study of this store ran: the numbers are the trial's, the
    arm and the axes are the study's."""
    for folder in sorted((Path(out) / "tables" / "trials").glob("*/")):
        for path in reversed(_attempts(out, folder.name, identity) if folder.name != study else []):
            if trial := _rows_of(path, "trials"):
                found = {**trial[0], "study": study, "arm": arm, "axes": dict(axes)}
                record(out, found, _rows_of(path, "scores"), _rows_of(path, "curves"))
                return


def _attempts(out: Path, study: str, identity: str) -> list[Path]:
    """The trials parts of one trial, first attempt first."""
    return sorted((Path(out) / "tables" / "trials" / study).glob(f"{identity}-*.parquet"), key=_attempt)


def _rows_of(path: Path, table: str) -> list[Row]:
    """The rows of one attempt in `table`, whose trials part is `path`; none where they are absent or torn."""
    part = _part(path.parents[2] / table / path.parent.name / path.name, SCHEMAS[table])
    return [] if isinstance(part, str) else _decode(part, SCHEMAS[table].names)


@dataclass
class Tables:
    """The three tables of one study (or of all under `out`), each read once, when it is first asked for."""

    out: Path
    study: str | None = None
    torn: dict[str, str] = field(default_factory=dict)  # path of a part that was left out: why
    quick: bool = True  # take what was read before from `merged`; verify does not
    memo: dict[str, Any] = field(
        default_factory=dict, repr=False, compare=False
    )  # what readers made of the rows

    @cached_property
    def trials(self) -> list[Row]:
        """Rows of trials, one a study and id, in the order they finished, without the long `subset`."""
        rows: dict[tuple[str, str], Row] = {}
        for study, row in self._rows(
            "trials", [name for name in SCHEMAS["trials"].names if name != "subset"]
        ):
            if (study, row["id"]) not in rows or row["attempt"] > rows[study, row["id"]]["attempt"]:
                rows[study, row["id"]] = {**row, "study": study}
        early = datetime.min.replace(tzinfo=UTC)
        return sorted(rows.values(), key=lambda r: (r["finished"] or r["started"] or early, r["id"]))

    @cached_property
    def scores(self) -> list[Row]:
        """Rows of scores of the attempts in `trials`."""
        return self.read("scores")

    @cached_property
    def curves(self) -> list[Row]:
        """Rows of curves of the attempts in `trials`."""
        return self.read("curves")

    def series(self, study: str, ids: Iterable[str]) -> dict[str, dict[str, list[tuple[float, float]]]]:
        """id -> name -> (step, value) ascending, of these trials' curves: only their own parts are read."""
        wanted = set(ids)
        found: dict[str, dict[str, list[tuple[float, float]]]] = {}
        for row in self.trials:
            if row["study"] != study or row["id"] not in wanted:
                continue
            path = self.out / "tables" / "curves" / study / f"{row['id']}-{row['attempt']}.parquet"
            part = _part(path, pa.schema([SCHEMAS["curves"].field(n) for n in ("step", "name", "value")]))
            if isinstance(part, str):
                self.torn[str(path)] = part
                continue
            lines = found.setdefault(row["id"], {})
            for step, name, value in zip(*(part.column(n).to_pylist() for n in ("step", "name", "value"))):
                if value is not None:
                    lines.setdefault(name, []).append((float(step), value))
            for line in lines.values():
                line.sort()
        return found

    def read(self, table: str, columns: Sequence[str] | None = None) -> list[Row]:
        """As the function `read`; `columns` names those wanted, all of them by default."""
        if unknown := set(columns or ()) - set(SCHEMAS[table].names):
            raise ValueError(f"{table} has no column {sorted(unknown)}; it has {SCHEMAS[table].names}")
        if "attempt" not in SCHEMAS[table].names:  # of the search, which belongs to no attempt
            rows = [row for _, row in self._rows(table, columns)]
            return rows if columns is None else [{name: row[name] for name in columns} for row in rows]
        rows = self.trials
        if table != "trials" or "subset" in (columns or ()):
            live = {(row["study"], row["id"], row["attempt"]) for row in rows}
            found = self._rows(table, columns)
            rows = [row for study, row in found if (study, row["id"], row["attempt"]) in live]
        return rows if columns is None else [{name: row[name] for name in columns} for row in rows]

    def _rows(self, table: str, columns: Sequence[str] | None) -> list[tuple[str, Row]]:
        """The study and the row of all that can be read, of every attempt."""
        schema = SCHEMAS[table]
        names = [n for n in schema.names if columns is None or n in {"id", "attempt", *columns}]
        wanted = pa.schema([schema.field(name) for name in names])
        whole = [name for name in schema.names if name != "subset"]
        quick = self.quick and table in _MERGED and set(names) <= set(whole)
        good: list[tuple[str, pa.Table]] = []
        bad: dict[str, str] = {}
        count = 0
        for folder in sorted((self.out / "tables" / table).glob(self.study or "*")):
            there = merged.stamps(folder)
            before = merged.load(self.out, folder, wanted, there) if quick else None
            fresh = [name for name in there if before is None or name not in before.kept]
            with ThreadPoolExecutor(4) as pool:
                parts = dict(zip(fresh, pool.map(partial(_part, wanted=wanted), [folder / n for n in fresh])))
            count += len(there)
            bad |= {str(folder / name): part for name, part in parts.items() if isinstance(part, str)}
            found = {name: part for name, part in parts.items() if isinstance(part, pa.Table)}
            if before is not None and names == whole and len(found) >= merged.LEAST:
                merged.save(self.out, folder, before, found, there)
            good += [(folder.name, part) for part in ([before.rows] if before else []) + list(found.values())]
        if bad:
            self.torn |= bad
            first = "; ".join(f"{path}: {why}" for path, why in list(bad.items())[:3])
            warnings.warn(
                f"{len(bad)} of {count} parts of {table} are left out, those trials count as not done: {first}",
                TornPart,
                stacklevel=3,
            )
        if not good:
            return []
        studies = [study for study, part in good for _ in range(len(part))]
        return list(zip(studies, _decode(pa.concat_tables([part for _, part in good]), names)))


def _part(path: Path, wanted: pa.Schema) -> pa.Table | str:
    """One part with the columns wanted, or why it cannot be one; columns of a later version are ignored."""
    try:
        with pq.ParquetFile(path, page_checksum_verification=True, pre_buffer=False) as file:
            has = file.schema_arrow.names
            if missing := [f.name for f in wanted if not f.nullable and f.name not in has]:
                return f"no part of this table: it has no column {', '.join(missing)}"
            part = file.read(columns=[name for name in wanted.names if name in has], use_threads=False)
        if part.schema.equals(wanted):
            return part
        arrays = [
            part.column(f.name).cast(f.type) if f.name in has else pa.nulls(len(part), f.type) for f in wanted
        ]
        return pa.Table.from_arrays(arrays, schema=wanted)
    except (OSError, pa.ArrowException) as error:
        return f"cannot be read: {str(error).splitlines()[0][:120]}"


def _decode(table: pa.Table, names: list[str]) -> list[Row]:
    columns = []
    for name in names:
        values = table.column(name).to_pylist()
        columns.append([_parsed(v) for v in values] if name in _JSON else values)
    return [dict(zip(names, values)) for values in zip(*columns)]


def _parsed(text: str | None) -> Any:
    try:
        return {} if text is None else json.loads(text)
    except json.JSONDecodeError:  # a foreign writer's string is still a fact
        return {"": text}


def _encode(table: str, rows: Iterable[Mapping[str, Any]]) -> bytes:
    """The bytes of a Parquet file, made before the disk is touched: a row that does not fit leaves none."""
    if table not in SCHEMAS:
        raise ValueError(f"no table {table!r}; the tables are {', '.join(SCHEMAS)}")
    schema = SCHEMAS[table]
    plain = []
    for row in rows:
        if unknown := set(row) - set(schema.names):
            raise ValueError(f"{table} has no column {sorted(unknown)}; it has {', '.join(schema.names)}")
        row = {"attempt": 1, **row} if "attempt" in schema.names else row
        for f in schema:
            if not f.nullable and row.get(f.name) is None:
                raise ValueError(f"a row of {table} needs {f.name!r}: {f.metadata[b'meaning'].decode()}")
        if table == "trials" and row["status"] not in STATUSES:
            raise ValueError(f"status {row['status']!r} is none of {', '.join(STATUSES)}")
        plain.append({name: _plain(name, value) for name, value in row.items()})
    try:
        built = pa.Table.from_pylist(plain, schema=schema)
    except (pa.ArrowException, TypeError) as error:
        raise ValueError(f"a row of {table} does not fit its schema: {error}") from error
    sink = pa.BufferOutputStream()
    # A part of trials is one row: compressing its short columns, or keeping a dictionary of them, would only
    # make ten thousand parts slower to read.
    short = table == "trials"
    codecs = _CODECS if short else "zstd"
    pq.write_table(built, sink, compression=codecs, use_dictionary=not short, write_page_checksum=True)
    return sink.getvalue().to_pybytes()


def _plain(name: str, value: Any) -> Any:
    if name in _JSON and value is not None and not isinstance(value, str):
        return json.dumps(value, sort_keys=True, default=str)
    if isinstance(value, datetime) and value.tzinfo is None:
        raise ValueError(f"{name} is a time without a zone: {value}; give it UTC")
    if isinstance(value, float) and math.isnan(value):
        return None
    return value


def _attempt(path: Path) -> int:
    number = path.stem.rpartition("-")[2]
    return int(number) if number.isdigit() else 0


def _sync_folder(folder: Path) -> None:
    """Make the rename itself durable; some file systems refuse to sync a folder, and need not."""
    try:
        handle = os.open(folder, os.O_RDONLY)
    except OSError:
        return
    try:
        os.fsync(handle)
    except OSError:
        pass
    finally:
        os.close(handle)
