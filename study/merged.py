"""What was read of a study's parts before, in one Parquet file a table: ten thousand parts are slow to open.

A convenience beside the tables (`out/merged/<table>/<study>.parquet`), which may be deleted at any time: a part
counts by its name, size and time of change, one that is new or changed is read itself, one that is gone is left out.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

LEAST = 500  # parts that have to be new before the file is written (again)
_PART = "_part"  # the column that says which part a row is of
Stamp = tuple[int, int]  # size in bytes, time of change in ns


def stamps(folder: Path) -> dict[str, Stamp]:
    """Name of every part in a folder, and its stamp, in the order of the names."""
    found = {}
    with contextlib.suppress(FileNotFoundError), os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.endswith(".parquet") and not entry.name.startswith("."):
                with contextlib.suppress(FileNotFoundError):
                    stat = entry.stat()
                    found[entry.name] = (stat.st_size, stat.st_mtime_ns)
    return dict(sorted(found.items()))


@dataclass(frozen=True)
class Before:
    """Rows of the parts that are as they were; the last column is the place of a row's part in `names`."""

    marked: pa.Table
    names: tuple[str, ...] = ()
    kept: frozenset[str] = frozenset()

    @property
    def rows(self) -> pa.Table:
        return self.marked.drop_columns([_PART])


def load(out: Path, folder: Path, schema: pa.Schema, there: dict[str, Stamp]) -> Before:
    """What stands of a folder's parts, with the columns of `schema`; nothing where the file is torn, or of another
    version: the parts are the truth."""
    nothing = Before(schema.append(pa.field(_PART, pa.int32())).empty_table())
    try:
        whole = pq.read_table(_path(out, folder), page_checksum_verification=True)
        known = [(name, (size, time)) for name, size, time in json.loads(whole.schema.metadata[b"parts"])]
        marked = whole.select([*schema.names, _PART]).replace_schema_metadata()
    except (OSError, pa.ArrowException, KeyError, TypeError, ValueError):
        return nothing
    if not marked.drop_columns([_PART]).schema.equals(schema):
        return nothing
    same = [there.get(name) == stamp for name, stamp in known]
    if not all(same):
        marked = marked.filter(pc.take(pa.array(same, pa.bool_()), marked.column(_PART)))
    kept = frozenset(name for (name, _), stands in zip(known, same) if stands)
    return Before(marked, tuple(name for name, _ in known), kept)


def save(
    out: Path, folder: Path, before: Before, parts: dict[str, pa.Table], there: dict[str, Stamp]
) -> None:
    """Write what stands with new parts, by name. Where the disk refuses, only time is lost."""
    first = len(before.names)
    marked = [
        part.append_column(_PART, pa.array([first + i] * len(part), pa.int32()))
        for i, part in enumerate(parts.values())
    ]
    whole = pa.concat_tables([before.marked, *(part.cast(before.marked.schema) for part in marked)])
    absent = (-1, -1)
    stamps_ = [there[name] if name in before.kept else absent for name in before.names]
    stamps_ += [there[name] for name in parts]
    listed = [[name, *stamp] for name, stamp in zip([*before.names, *parts], stamps_)]
    whole = whole.combine_chunks().replace_schema_metadata({"parts": json.dumps(listed)})
    path = _path(out, folder)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}.partial")
    with contextlib.suppress(OSError):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            pq.write_table(whole, temporary, compression="zstd", write_page_checksum=True)
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)


def _path(out: Path, folder: Path) -> Path:
    return out / "merged" / folder.parent.name / f"{folder.name}.parquet"
