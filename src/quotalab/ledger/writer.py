"""Writing the ledger: three zstd Arrow streams a process, flushed often, compacted to Parquet at the end.

A batch is on disk (handed to the operating system) when it has been written, so kill -9 at any moment
loses at most the rows of the batch being gathered.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa

from quotalab.errors import RunFolderError
from quotalab.ledger.schema import SCHEMAS, Call, Event, Operation

__all__ = ["BATCH_ROWS", "FLUSH_NS", "LedgerWriter"]

BATCH_ROWS = 256
FLUSH_NS = 1_000_000_000


class _Stream:
    """One table's stream: rows are gathered as tuples and written a batch at a time."""

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        self.path = path
        self.rows: list[tuple[Any, ...]] = []
        self._schema = schema
        self._types = [field.type for field in schema]
        self._file = path.open("xb", buffering=0)
        options = pa.ipc.IpcWriteOptions(compression="zstd")
        self._writer = pa.ipc.new_stream(self._file, schema, options=options)

    def flush(self) -> None:
        if not self.rows:
            return
        columns = zip(*self.rows, strict=True)
        arrays = [pa.array(column, kind) for column, kind in zip(columns, self._types, strict=True)]
        self.rows.clear()
        try:
            self._writer.write_batch(pa.RecordBatch.from_arrays(arrays, schema=self._schema))
        except OSError as error:
            raise RunFolderError(f"{self.path}: cannot be written: {error.strerror or error}") from error

    def close(self) -> None:
        if self._file.closed:
            return
        self.flush()
        self._writer.close()
        self._file.close()


class LedgerWriter:
    """Appends rows; numbers them in the order in which they are written, over all three tables.

    `monotonic_ns` is a real clock: a batch waits at most one real second for company, checked whenever a
    row is added and by `flush_if_due`, which a run that may fall silent calls once a second.
    Not for use from several threads at once; greenlets are fine, since no method yields.
    """

    def __init__(self, folder: Path, monotonic_ns: Callable[[], int], *, process: int = 0) -> None:
        self.seq = 0
        self.listener: Callable[[Call], None] | None = None
        """Told of each call as it is appended."""
        try:
            self._streams = {
                table: _Stream(folder / f"{table}.{process}.arrows", schema)
                for table, schema in SCHEMAS.items()
            }
        except OSError as error:
            raise RunFolderError(f"{folder}: the ledger cannot be written there: {error.strerror}") from error
        self._calls = self._streams["calls"].rows
        self._monotonic_ns = monotonic_ns
        self._due_ns = monotonic_ns() + FLUSH_NS

    def call(self, row: Call) -> int:
        """Append a call; returns its `seq`."""
        seq = self.seq
        self.seq = seq + 1
        self._calls.append((seq, *row))
        if self.listener is not None:
            self.listener(row)
        if len(self._calls) >= BATCH_ROWS or self._monotonic_ns() >= self._due_ns:
            self.flush()
        return seq

    def operation(self, row: Operation) -> int:
        """Append an operation; returns its `seq`."""
        return self._append("operations", tuple(row))

    def event(self, row: Event) -> int:
        """Append an event; returns its `seq`."""
        details = json.dumps(row.details, sort_keys=True, separators=(",", ":"))
        return self._append("events", (row.at, row.what, row.who, details))

    def _append(self, table: str, row: tuple[Any, ...]) -> int:
        seq = self.seq
        self.seq = seq + 1
        rows = self._streams[table].rows
        rows.append((seq, *row))
        if len(rows) >= BATCH_ROWS or self._monotonic_ns() >= self._due_ns:
            self.flush()
        return seq

    def flush_if_due(self) -> None:
        """Write what has waited for a second or longer."""
        if self._monotonic_ns() >= self._due_ns:
            self.flush()

    def flush(self) -> None:
        """Write all gathered rows."""
        for stream in self._streams.values():
            stream.flush()
        self._due_ns = self._monotonic_ns() + FLUSH_NS

    def close(self) -> None:
        """Write what is left and end the streams; closing again does nothing."""
        for stream in self._streams.values():
            stream.close()
