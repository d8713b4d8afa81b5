"""Reading the ledger back: Parquet where the run ended well, else the streams, up to a torn tail."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq

from quotalab.errors import RunFolderError
from quotalab.ledger.schema import SCHEMAS

__all__ = ["LedgerTables", "compact", "read_cells", "read_ledger"]

T = TypeVar("T")


_ADDED_COLUMNS = ("token_at",)
_ADDED_OAUTH = ("code_challenge", "state_length", "client_auth")
"""What the first ledgers had not: they are read as before."""


@dataclass(frozen=True)
class LedgerTables:
    """The three tables in order of `seq`, and whether a stream among them was cut off."""

    calls: pa.Table
    operations: pa.Table
    events: pa.Table
    torn: bool
    notes: tuple[str, ...] = ()
    """What was left out."""


def read_ledger(folder: Path) -> LedgerTables:
    """The ledger of a run folder; a stream that was cut off is read up to its last whole batch.

    Raises `RunFolderError` when a table is missing or is not a ledger's.
    """
    return LedgerTables(**each_table(folder, read_parquet, lambda table: table))


def each_table(
    folder: Path, of_parquet: Callable[[Path, pa.Schema], T], of_streams: Callable[[pa.Table], T]
) -> dict[str, Any]:
    """What `of_parquet` or `of_streams` makes of each table; beside them `torn` and `notes`."""
    tables: dict[str, Any] = {}
    torn = False
    notes = []
    for table, schema in SCHEMAS.items():
        parquet = folder / f"{table}.parquet"
        if parquet.exists():
            tables[table] = of_parquet(parquet, schema)
            unknown = [name for name in pq.read_schema(parquet).names if name not in schema.names]
            if unknown:
                notes.append(f"{parquet.name} has {', '.join(unknown)}, which this version does not know")
            continue
        parts = sorted(folder.glob(f"{table}.*.arrows"))
        if not parts:
            raise RunFolderError(
                f"{folder}: has no {table} table: neither {parquet.name} nor {table}.*.arrows"
            )
        batches: list[pa.RecordBatch] = []
        for part in parts:
            whole, part_torn = _read_stream(part, schema)
            batches += whole
            torn = torn or part_torn
        found = pa.Table.from_batches(batches, schema=schema)
        tables[table] = of_streams(found if len(parts) == 1 else found.sort_by("seq"))
    return tables | {"torn": torn, "notes": tuple(notes)}


def read_cells(folder: Path, column: str, rows: Sequence[int]) -> list[Any]:
    """What stands in one column of the calls, in `rows` (positions in `read_ledger`'s table).

    No more is read than that takes: columns of headers are most of a ledger.

    Raises `RunFolderError` as `read_ledger` does.
    """
    path = folder / "calls.parquet"
    if not path.exists():
        return list(read_ledger(folder).calls.column(column).take(pa.array(rows, pa.int64())).to_pylist())
    try:
        with pq.ParquetFile(path, memory_map=True) as file:
            sizes = [file.metadata.row_group(group).num_rows for group in range(file.num_row_groups)]
            ends = list(itertools.accumulate(sizes))
            found: dict[int, Any] = {}
            for group, (size, end) in enumerate(zip(sizes, ends, strict=True)):
                mine = sorted({row for row in rows if end - size <= row < end})
                if mine:
                    cells = file.read_row_group(group, columns=[column]).column(0)
                    inside = pa.array([row - end + size for row in mine], pa.int64())
                    found |= zip(mine, cells.take(inside).to_pylist(), strict=True)
    except (pa.ArrowException, OSError) as error:
        raise unreadable(path, error) from error
    return [found[row] for row in rows]


def compact(folder: Path, tables: LedgerTables) -> dict[str, str]:
    """Write the tables as Parquet and remove the streams, so that no moment is without a whole copy.

    Returns the SHA-256 of each file, by name.
    """
    written = {}
    for table in SCHEMAS:
        part = folder / f"{table}.parquet.part"
        pq.write_table(getattr(tables, table), part, compression="zstd")
        with part.open("rb") as file:
            written[f"{table}.parquet"] = hashlib.file_digest(file, "sha256").hexdigest()
        part.rename(folder / f"{table}.parquet")
    for stream in folder.glob("*.arrows"):
        stream.unlink()
    return written


def read_parquet(path: Path, schema: pa.Schema) -> pa.Table:
    """A table of a file. Raises `RunFolderError` when it cannot be read or is not a ledger's."""
    try:
        table = pq.read_table(path, memory_map=True)
    except (pa.ArrowException, OSError) as error:
        raise unreadable(path, error) from error
    return conform(table, schema, path)


def unreadable(path: Path, error: Exception) -> RunFolderError:
    """What is raised when Parquet cannot make sense of a file."""
    return RunFolderError(f"{path}: is not a readable Parquet file: {_first_line(error)}")


def of_another_type(path: Path, error: Exception) -> RunFolderError:
    """What is raised when a column's values are not those of a ledger's."""
    return RunFolderError(f"{path}: a column is of another type: {_first_line(error)}")


def conform(table: pa.Table, schema: pa.Schema, path: Path) -> pa.Table:
    """The table with the columns of `schema`, and their types. Raises `RunFolderError` when it has not."""
    table = _with_added(table, schema)
    missing = [name for name in schema.names if name not in table.schema.names]
    if missing:
        raise RunFolderError(
            f"{path}: is no {path.stem} table of a ledger: it lacks the column {missing[0]!r}"
        )
    try:
        return table.select(schema.names).cast(schema)
    except (pa.ArrowException, ValueError) as error:
        raise of_another_type(path, error) from error


def _with_added(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """With what an earlier version had not yet: columns, and fields of `oauth`, that nothing is known of."""
    for name in _ADDED_COLUMNS:
        if name in schema.names and name not in table.schema.names:
            table = table.append_column(schema.field(name), pa.nulls(len(table), schema.field(name).type))
    place = table.schema.get_field_index("oauth")
    if place < 0 or "oauth" not in schema.names or not pa.types.is_struct(table.schema.field(place).type):
        return table
    wanted = schema.field("oauth").type
    had = {part.name for part in table.schema.field(place).type}
    added = [part.name for part in wanted if part.name not in had]
    if not added or not set(added) <= set(_ADDED_OAUTH):
        return table
    array = table.column(place).combine_chunks()
    parts = [
        pa.nulls(len(array), part.type) if part.name in added else array.field(part.name) for part in wanted
    ]
    filled = pa.StructArray.from_arrays(parts, fields=list(wanted), mask=array.is_null())
    return table.set_column(place, schema.field("oauth"), filled)


def _read_stream(path: Path, schema: pa.Schema) -> tuple[list[pa.RecordBatch], bool]:
    """The whole batches of a stream, and whether it ends before its end-of-stream mark."""
    batches: list[pa.RecordBatch] = []
    try:
        with pa.OSFile(str(path)) as file:
            reader = pa.ipc.open_stream(file)
            if not reader.schema.equals(schema):
                raise RunFolderError(f"{path}: was written with other columns than this version's")
            while True:
                batch = reader.read_next_batch()
                batch.validate(full=True)  # a damaged batch must not crash whoever reads it
                batches.append(batch)
    except StopIteration:
        return batches, not _ends_well(path)
    except (pa.ArrowException, OSError, EOFError):
        return batches, True


def _ends_well(path: Path) -> bool:
    """A finished stream ends with a continuation mark and a length of zero (Arrow columnar format, IPC)."""
    with path.open("rb") as file:
        file.seek(0, 2)
        file.seek(max(0, file.tell() - 8))
        return file.read() == b"\xff\xff\xff\xff\x00\x00\x00\x00"


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
