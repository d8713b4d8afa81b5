"""The columns that people work with: times as timestamps in UTC, spans in seconds.

The judges count in integer nanoseconds (`quotalab.frames`), which is exact and not pleasant to read.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pandas as pd

from quotalab.frames import Frames

__all__ = ["CALLS", "EVENTS", "LIMITS", "OPERATIONS", "calls_of", "events_of", "limits_of", "operations_of"]

CALLS: Mapping[str, str] = {
    "seq": "order of arrival, over all three tables",
    "sent": "when it left its sender",
    "at": "when it reached the sandbox and was decided",
    "done": "when its answer reached the sender",
    "took_s": "seconds from `sent` to `done`",
    "kind": "api, authorize, token, revoke, introspect or metadata",
    "actor": "app or browser",
    "person": "whose access it used",
    "method": "of HTTP",
    "route": "the route's name in the provider profile; missing: unknown to it",
    "path": "as it was called, without the query",
    "status": "of the answer; 0: the connection was closed without one",
    "error": "the error code of the answer",
    "refused": "whether a limit refused it",
    "limit": "the limit that refused it",
    "retry_after_s": "the wait that was promised, in seconds from `at`",
    "cost": "the largest cost that a limit was asked for",
    "operation": "what it was made for, as in `operations`; missing: not known",
    "fault": "the fault that was injected",
    "request_id": "the answer's request id",
    "bytes": "of the answer's body",
}
"""The columns of `Run.calls`, in their order; behind them one ``key:LIMIT``, ``charge:LIMIT`` and
``remaining:LIMIT`` for each limit."""

OPERATIONS: Mapping[str, str] = {
    "seq": "order of arrival, over all three tables",
    "operation": "its id",
    "person": "who asked",
    "name": "what was asked",
    "planned": "when the person wanted it",
    "started": "when it began",
    "ended": "when it ended",
    "deadline": "until when it was of use",
    "wait_s": "seconds from `planned` to `ended`",
    "outcome": "done, stale, declined, failed or abandoned",
    "error": "why, where it was not done",
    "calls": "how many calls were made for it",
}
"""The columns of `Run.operations`, in their order."""

EVENTS: Mapping[str, str] = {
    "seq": "order of arrival, over all three tables",
    "at": "when",
    "what": "consent-given, token-revoked, quota-cut, ...",
    "who": "the person, where there is one",
    "details": "a dict",
}
"""The columns of `Run.events`, in their order."""

LIMITS: Mapping[str, str] = {
    "kind": "of limit, as rolling_window",
    "limit": "its number",
    "period_s": "its period in seconds; missing where it has none",
    "keys": "how many keys (apps, people, tokens, ...) had calls",
    "worst_key": "the key of the peak",
    "peak": "the most that was asked for, refused calls included",
    "peak_at": "when it came to that",
    "utilisation": "peak / limit: above 1 it was overrun",
    "headroom": "1 - utilisation",
    "refused": "calls that it refused",
}
"""The columns of `Run.limits`, in their order; the index is the limit's name."""


def calls_of(frames: Frames) -> pd.DataFrame:
    """`CALLS`, then the columns of each limit."""
    source = frames.calls
    made = {
        **_times(source, "sent", "at", "done"),
        "took_s": (source["done"] - source["sent"]) / 1e9,
        "refused": source["limit"].notna(),
        "retry_after_s": source["retry_after_ns"].astype("Float64") / 1e9,
    }
    by_limit = [name for name in source.columns if name.startswith(("key:", "charge:", "remaining:"))]
    return _arranged(source, made, (*CALLS, *by_limit))


def operations_of(frames: Frames) -> pd.DataFrame:
    """`OPERATIONS`."""
    source = frames.operations
    made = {
        **_times(source, "planned", "started", "ended", "deadline"),
        "wait_s": (source["ended"] - source["planned"]) / 1e9,
    }
    return _arranged(source, made, OPERATIONS)


def events_of(frames: Frames) -> pd.DataFrame:
    """`EVENTS`."""
    source = frames.events
    details = pd.Series([json.loads(text) for text in source["details"]], index=source.index, dtype="object")
    return _arranged(source, {**_times(source, "at"), "details": details}, EVENTS)


def limits_of(document: Mapping[str, Any]) -> pd.DataFrame:
    """`LIMITS`, of a `verdict.json`."""
    rows = [{**row, "peak": row["peak_asked"]} for row in document["limits"]]
    table = pd.DataFrame(rows, columns=["name", *LIMITS]).set_index("name")
    table["peak_at"] = pd.to_datetime(table["peak_at"], utc=True).astype("datetime64[ns, UTC]")
    table["period_s"] = table["period_s"].astype("float64")
    return table


def _times(source: pd.DataFrame, *names: str) -> dict[str, pd.Series]:
    return {name: pd.to_datetime(source[name], unit="ns", utc=True) for name in names}


def _arranged(source: pd.DataFrame, made: Mapping[str, pd.Series], columns: Any) -> pd.DataFrame:
    return pd.DataFrame({name: made[name] if name in made else source[name] for name in columns})
