"""A trace: recorded requests in order of time, as a Parquet file and as arrays."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from quotalab.errors import InputError

__all__ = ["KINDS", "META", "SCHEMA", "Trace", "read_trace"]

Ints = npt.NDArray[np.int64]

KINDS = ("browser", "program", "crawler", "unknown")
META = b"quotalab.trace"
_WORD = pa.dictionary(pa.int32(), pa.string())
SCHEMA = pa.schema(
    [
        pa.field("at", pa.timestamp("ns", "UTC"), nullable=False),
        pa.field("source", _WORD),
        pa.field("operation", _WORD, nullable=False),
        pa.field("method", _WORD),
        pa.field("path", _WORD),
        pa.field("status", pa.int16()),
        pa.field("bytes", pa.int64()),
        pa.field("kind", _WORD),
    ]
)
"""A row a request, in order of `at`. `source` and `path` are keyed hashes, unless wanted in the clear."""


@dataclass(frozen=True)
class Trace:
    """The columns that figures, fits and replays are made of; arrays of one length, in order of time."""

    at_ns: Ints
    source: Ints
    """Codes from 0 in order of first appearance; all 0 where the trace does not tell sources apart."""
    operation: Ints
    """Codes into `operations`."""
    operations: tuple[str, ...]
    kind: Ints
    """Codes into `KINDS`."""
    status: Ints
    """0 where there is none."""
    sources: tuple[str, ...] = ()
    """The sources' pseudonyms by code; empty where there are none."""
    meta: Mapping[str, Any] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.at_ns)

    @property
    def source_count(self) -> int:
        """How many sources there are."""
        return int(self.source.max(initial=-1)) + 1

    @property
    def resolution_ns(self) -> int:
        """How fine the recorder's clock was."""
        return int(self.meta.get("resolution_ns", 1))

    @property
    def burst_ns(self) -> int:
        """Requests of a source no further apart are one operation; -1: each is its own."""
        return int(self.meta.get("burst_ns", -1))

    def by_operation(self) -> Trace:
        """The requests that begin an operation.

        Those that follow one of their source within `burst_ns` are part of it; it has the name of its first.
        """
        if self.burst_ns < 0:
            return self
        order = np.lexsort((self.at_ns, self.source))
        at, source = self.at_ns[order], self.source[order]
        begins = np.ones(len(at), dtype=bool)
        begins[1:] = (source[1:] != source[:-1]) | (at[1:] - at[:-1] > self.burst_ns)
        kept = np.sort(order[begins])
        return Trace(
            self.at_ns[kept],
            self.source[kept],
            self.operation[kept],
            self.operations,
            self.kind[kept],
            self.status[kept],
            self.sources,
            {**self.meta, "burst_ns": -1},
        )

    @classmethod
    def of(cls, at_ns: Ints, source: Ints, operation: Ints | None = None, **parts: Any) -> Trace:
        """A trace from times and sources in any order; codes are made anew in order of first appearance."""
        order = np.argsort(at_ns, kind="stable")
        at_ns, source = at_ns[order], source[order]
        zeros = np.zeros(len(at_ns), dtype=np.int64)
        return cls(
            at_ns,
            _by_appearance(source)[0],
            zeros if operation is None else operation[order],
            parts.pop("operations", ("request",)),
            zeros + KINDS.index("unknown"),
            zeros,
            **parts,
        )


def _by_appearance(codes: Ints) -> tuple[Ints, Ints]:
    """Codes renumbered in order of first appearance, and the old code of each new one."""
    old, first, inverse = np.unique(codes, return_index=True, return_inverse=True)
    order = np.argsort(first)
    new = np.empty(len(old), dtype=np.int64)
    new[order] = np.arange(len(old))
    return new[inverse.reshape(-1)], old[order]


def read_trace(path: Path) -> Trace:
    """A trace that `quotalab trace import` wrote. Raises `InputError`."""
    try:
        table = pq.read_table(path, columns=["at", "source", "operation", "kind", "status"])
        meta = json.loads((pq.read_metadata(path).metadata or {})[META]) if table.num_rows else {}
    except FileNotFoundError:
        raise InputError(f"{path}: there is no such trace") from None
    except (OSError, pa.ArrowException, KeyError, ValueError) as error:
        told = " ".join(str(error).split())[:160]
        raise InputError(f"{path}: is no trace; make one with quotalab trace import ({told})") from None
    if not table.num_rows:
        raise InputError(f"{path}: the trace holds no request")
    at_ns = table["at"].cast(pa.timestamp("ns", "UTC")).cast(pa.int64()).to_numpy()
    if np.any(at_ns[1:] < at_ns[:-1]):
        raise InputError(f"{path}: the trace is not in order of time; import it again")
    source, names = _codes(table["source"])
    operation, operations = _codes(table["operation"])
    kind, kinds = _codes(table["kind"])
    places = np.array([KINDS.index(name) if name in KINDS else 3 for name in kinds] or [3], dtype=np.int64)
    nobody = np.zeros(len(at_ns), dtype=np.int64)
    if (source >= 0).all():
        source, old = _by_appearance(source)
        names = tuple(names[i] for i in old.tolist())
    else:
        source, names = nobody, ()
    return Trace(
        at_ns,
        source,
        np.maximum(operation, 0),
        operations or ("request",),
        np.where(kind >= 0, places[kind], 3),
        pc.fill_null(table["status"], 0).to_numpy().astype(np.int64),
        names,
        meta if isinstance(meta, dict) else {},
    )


def _codes(column: pa.ChunkedArray) -> tuple[Ints, tuple[str, ...]]:
    """Dictionary codes (-1: null) over one dictionary for all chunks."""
    if not pa.types.is_dictionary(column.type):
        column = column.cast(pa.string()).dictionary_encode()
    column = column.unify_dictionaries()
    codes = [chunk.indices.fill_null(-1).to_numpy(zero_copy_only=False) for chunk in column.chunks]
    names = column.chunk(0).dictionary.to_pylist() if column.num_chunks else []
    return (np.concatenate(codes) if codes else np.empty(0)).astype(np.int64), tuple(names)
