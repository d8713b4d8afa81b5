"""Reading the ledger one column at a time, so that no more of it lies in memory than is kept."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from quotalab.ledger.reader import (
    LedgerTables,
    conform,
    each_table,
    of_another_type,
    read_parquet,
    unreadable,
)
from quotalab.ledger.schema import SCHEMAS

__all__ = ["Columns", "LedgerColumns", "open_ledger"]

_PART_ROWS = 2**20


class Columns:
    """A table whose columns are read when they are asked for."""

    def __init__(self, table: pa.Table) -> None:
        self._table = table
        self.schema: pa.Schema = table.schema
        self.rows: int = table.num_rows

    def parts(self, name: str, field: str | None = None) -> Iterator[pa.Array]:
        """A column, or one field of a column of structs, in arrays of at most 2**20 rows; texts may be
        dictionary-encoded.

        Raises `RunFolderError` when it cannot be read.
        """
        column = self._table.column(name)
        for start in range(0, self.rows, _PART_ROWS):
            part = column.slice(start, _PART_ROWS)
            array = part.chunk(0) if part.num_chunks == 1 else pa.concat_arrays(part.chunks)
            yield array if field is None else pa.compute.struct_field(array, field)

    def whole(self) -> pa.Table:
        """All of it. Raises `RunFolderError` when it cannot be read."""
        return self._table


class _ParquetColumns(Columns):
    """The same of a file."""

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        try:
            self._had: pa.Schema = pq.read_schema(path)
            # Not those in structs: there Arrow cannot put the dictionaries of several row groups together.
            texts = [field.name for field in self._had if pa.types.is_string(field.type)]
            self._file = pq.ParquetFile(path, memory_map=True, read_dictionary=texts)
        except (pa.ArrowException, OSError) as error:
            raise unreadable(path, error) from error
        conform(self._had.empty_table(), schema, path)  # what is wrong with the columns is told at once
        self._path = path
        self.schema = schema
        self.rows = self._file.metadata.num_rows

    def parts(self, name: str, field: str | None = None) -> Iterator[pa.Array]:
        kind = self.schema.field(name).type
        kind = kind if field is None else kind.field(field).type
        column = name if field is None else f"{name}.{field}"
        missing = name not in self._had.names
        if missing or (field is not None and self._had.field(name).type.get_field_index(field) < 0):
            yield pa.nulls(self.rows, kind)  # an earlier version had it not yet
            return
        batches = self._file.iter_batches(batch_size=_PART_ROWS, columns=[column])
        while True:
            try:
                batch = next(batches, None)
            except (pa.ArrowException, OSError) as error:
                raise unreadable(self._path, error) from error
            if batch is None:
                return
            part = batch.column(0) if field is None else pa.compute.struct_field(batch.column(0), field)
            is_text = pa.types.is_dictionary(part.type) and part.type.value_type == kind
            try:
                yield part if is_text else part.cast(kind)
            except (pa.ArrowException, ValueError) as error:
                raise of_another_type(self._path, error) from error

    def whole(self) -> pa.Table:
        return read_parquet(self._path, self.schema)


@dataclass(frozen=True)
class LedgerColumns:
    """The three tables, and whether a stream among them was cut off."""

    calls: Columns
    operations: Columns
    events: Columns
    torn: bool
    notes: tuple[str, ...] = ()
    """What was left out."""

    @classmethod
    def of(cls, tables: LedgerTables) -> LedgerColumns:
        """Of tables that are in memory already."""
        whole = {name: Columns(getattr(tables, name)) for name in SCHEMAS}
        return cls(**whole, torn=tables.torn, notes=tables.notes)


def open_ledger(folder: Path) -> LedgerColumns:
    """The ledger of a run folder, as `quotalab.ledger.read_ledger` has it, without reading it yet.

    Raises `RunFolderError` when a table is missing or is not a ledger's.
    """
    return LedgerColumns(**each_table(folder, _ParquetColumns, Columns))
