"""The canonical form of a ledger: what two runs of the same seed have in common, byte for byte."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from heapq import merge
from typing import Any

import pyarrow as pa

from quotalab.ledger.reader import LedgerTables

__all__ = ["canonical_rows", "ledger_sha256"]

# When a row of each table happened, and which of its columns are replaced by the ordinal of their first
# appearance: they differ between runs that behave alike (another key, another port), and must not count.
_AT = {"calls": "at", "operations": "ended", "events": "at"}
_ORDINALS = {
    "calls": ("token", "target", "request_id", "idempotency_key", "ip", "object"),
    "operations": (),
    "events": (),
}
_OAUTH_ORDINALS = (
    *("state", "code_challenge", "code", "refresh_token", "issued_token", "issued_refresh_token"),
)
_OWN_SPACES = ("state", "code_challenge")
_DROPPED = {"calls": ["request_headers", "response_headers"], "operations": [], "events": []}
_BATCH_ROWS = 8192
_encoded = json.JSONEncoder(sort_keys=True, separators=(",", ":"), check_circular=False).encode


def canonical_rows(tables: LedgerTables) -> Iterator[str]:
    """The rows of all three tables in order of (at, seq), each as one line of JSON.

    Tokens, hashes and request ids are ordinals of first appearance (one numbering for all token columns,
    so that a refresh is still seen to use what the grant before it issued); raw headers are left out.
    """
    ordinals: dict[tuple[str, str], int] = {}

    def ordinal(space: str, value: str) -> int:
        return ordinals.setdefault((space, value), len(ordinals))

    streams = (_rows(table, getattr(tables, table)) for table in _AT)
    for _, _, table, row in merge(*streams, key=lambda entry: entry[:2]):
        counted_under = {row[name]: name for name in ("token", "ip", "object") if row.get(name) is not None}
        for column in _ORDINALS[table]:
            if row[column] is not None:
                row[column] = ordinal(column, row[column])
        if counted_under:
            row["keys"] = [
                (
                    limit,
                    [row[counted_under[part]] if part in counted_under else part for part in key.split("|")],
                )
                for limit, key in row["keys"]
            ]
        oauth = row.get("oauth")
        if oauth:
            for column in _OAUTH_ORDINALS:
                if oauth[column] is not None:
                    oauth[column] = ordinal(column if column in _OWN_SPACES else "token", oauth[column])
        yield _encoded([table, row])


def _rows(name: str, table: pa.Table) -> Iterator[tuple[int, int, str, dict[str, Any]]]:
    """(at, seq, name, row) in order of (at, seq), times as integers."""
    table = table.drop_columns(_DROPPED[name])
    plain = pa.schema(
        [pa.field(f.name, pa.int64() if pa.types.is_timestamp(f.type) else f.type) for f in table.schema]
    )
    table = table.cast(plain).sort_by([(_AT[name], "ascending"), ("seq", "ascending")])
    for batch in table.to_batches(max_chunksize=_BATCH_ROWS):
        for row in batch.to_pylist():
            yield row[_AT[name]], row["seq"], name, row


def ledger_sha256(tables: LedgerTables) -> str:
    """SHA-256 over the canonical rows, in hexadecimal."""
    digest = hashlib.sha256()
    for line in canonical_rows(tables):
        digest.update(line.encode())
        digest.update(b"\n")
    return digest.hexdigest()
