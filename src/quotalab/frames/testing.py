"""Ledgers made by hand, to test rules on: a few calls at exact times, written as a real run folder.

::

    ledger = LedgerBuilder(provider_document)
    refused = ledger.call(at_s=10, refused_by="hourly", retry_after_s=60)
    ledger.call(at_s=11)
    frames = load(ledger.write(tmp_path / "run"))

What is not said gets a plain value: an API call by one app and one person, admitted, that takes no time.
Keys, charges and what remains are worked out from the profile by the plainest means there are, call by call.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from quotalab.ledger import Call, Event, LedgerWriter, Operation, RunDescription, RunFolder
from quotalab.profiles.provider import Limit, Provider, parse_provider

__all__ = ["START_NS", "LedgerBuilder", "provider_document"]

START_NS = 1_767_571_200_000_000_000
"""Monday 2026-01-05, 00:00 UTC, when virtual runs start."""
_SECOND_NS = 1_000_000_000


def provider_document(
    limits: Mapping[str, Mapping[str, Any]] | None = None, **approval: Any
) -> dict[str, Any]:
    """A small provider profile: `limits` (by default one of 100 an hour for the app), `[approval]` keys."""
    source = {"where": "a test", "confidence": "own"}
    limits = limits or {"hourly": {"kind": "rolling_window", "limit": 100, "period": "1h", "key": ["app"]}}
    return {
        "schema": 1,
        "name": "small",
        "title": "A small provider",
        "oauth": {"access_token_lifetime": "1h", "refresh_token_lifetime": "30d"},
        "limits": {name: {"source": source, **limit} for name, limit in limits.items()},
        "approval": approval,
    }


class LedgerBuilder:
    """Gathers calls, operations and events, and writes them as a run folder. Times count from `START_NS`."""

    def __init__(self, document: Mapping[str, Any] | None = None, **run: Any) -> None:
        self.document = dict(document or provider_document())
        self.provider: Provider = parse_provider(self.document, "a test")
        self.run = run
        self._rows: list[Call | Operation | Event] = []
        self._charged: dict[tuple[str, str], list[tuple[int, int]]] = {}
        self._open: dict[tuple[str, str], int] = {}

    def call(
        self,
        at_s: float | None = None,
        *,
        at_ns: int | None = None,
        sent_ns: int | None = None,
        done_ns: int | None = None,
        refused_by: str | None = None,
        retry_after_s: int | None = None,
        asked: bool = True,
        status: int | None = None,
        person: str | None = "ann",
        client_id: str = "app",
        **columns: Any,
    ) -> int:
        """Append a call; returns its `seq`. Calls must be appended in order of their time.

        `at_ns`, `sent_ns` and `done_ns` count from `START_NS`, as `at_s` does. A call that was not `asked` of
        the limits (answered 401 before) has no keys. `columns` are those of `quotalab.ledger.Call`.
        """
        if at_ns is None:
            at_ns = round((at_s or 0) * _SECOND_NS)
        at_ns += START_NS
        kind = columns.get("kind", "api")
        cost = columns.get("cost", 1)
        values = {
            "app": client_id,
            "person": person or "",
            "token": columns.get("token", "t1"),
            "ip": columns.get("ip", "10.0.0.1"),
            "route": columns.get("route", "list_events") or "unknown",
        }
        keys, charges, remaining = [], [], []
        if asked and kind == "api":
            for limit in self.provider.limits:
                key = "|".join(values[part] for part in limit.key)
                keys.append((limit.name, key))
                if refused_by is None:
                    self._charge(limit, key, at_ns, cost)
                    charges.append((limit.name, cost))
                remaining.append((limit.name, limit.limit - self._used(limit, key, at_ns)))
        if status is None:
            status = 200 if refused_by is None else self.provider.refusal.status
        row = {
            "sent": at_ns if sent_ns is None else START_NS + sent_ns,
            "at": at_ns,
            "done": at_ns if done_ns is None else START_NS + done_ns,
            "kind": kind,
            "actor": "app",
            "client_id": client_id,
            "person": person,
            "tenant": None,
            "ip": "10.0.0.1",
            "token": "t1",
            "method": "GET",
            "route": "list_events",
            "path": "/events",
            "target": "target",
            "status": status,
            "error": None,
            "cost": cost if keys else 0,
            "limit": refused_by,
            "retry_after_ns": None if retry_after_s is None else retry_after_s * _SECOND_NS,
            "keys": tuple(keys),
            "charges": tuple(charges),
            "remaining": tuple(remaining),
            "operation": None,
            "request_id": None,
            "idempotency_key": None,
            "scopes_needed": None,
            "oauth": None,
            "fault": None,
            "request_headers": "{}",
            "response_headers": "{}",
            "bytes": 2,
        }
        return self._append(Call(**{**row, **columns}))

    def decided_call(self, at_s: float | None = None, *, at_ns: int | None = None, **columns: Any) -> int:
        """Append a call that is admitted or refused as the profile's limits have it, with its promise."""
        when_ns = START_NS + (round((at_s or 0) * _SECOND_NS) if at_ns is None else at_ns)
        cost = columns.get("cost", 1)
        values = {
            "app": columns.get("client_id", "app"),
            "person": columns.get("person", "ann") or "",
            "token": columns.get("token", "t1"),
            "ip": columns.get("ip", "10.0.0.1"),
            "route": columns.get("route", "list_events") or "unknown",
        }
        longest_ns, refused_by = 0, None
        for limit in self.provider.limits:
            wait_ns = self._wait_ns(limit, "|".join(values[part] for part in limit.key), when_ns, cost)
            if wait_ns > longest_ns:
                longest_ns, refused_by = wait_ns, limit.name
        if refused_by is not None:
            columns["refused_by"] = refused_by
            if self.provider.refusal.retry_after == "seconds":
                columns["retry_after_s"] = -(-longest_ns // _SECOND_NS)
        return self.call(at_ns=when_ns - START_NS, **columns)

    def refused_by(self, seq: int) -> str | None:
        """The limit that refused the call `seq`; None: it was admitted."""
        row = self._rows[seq]
        assert isinstance(row, Call), f"{seq} is not a call"
        return row.limit

    def operation(
        self,
        planned_s: float,
        ended_s: float | None = None,
        *,
        outcome: str = "done",
        deadline_s: float | None = None,
        **columns: Any,
    ) -> int:
        """Append an operation; by default it starts when planned, ends at once and has an hour's deadline."""
        planned_ns = START_NS + round(planned_s * _SECOND_NS)
        ended_ns = planned_ns if ended_s is None else START_NS + round(ended_s * _SECOND_NS)
        deadline_ns = planned_ns + 3600 * _SECOND_NS
        row = {
            "operation": f"op-{len(self._rows)}",
            "person": "ann",
            "name": "look",
            "planned": planned_ns,
            "started": planned_ns,
            "ended": ended_ns,
            "deadline": deadline_ns if deadline_s is None else START_NS + round(deadline_s * _SECOND_NS),
            "outcome": outcome,
            "error": None,
            "calls": 1,
        }
        return self._append(Operation(**{**row, **columns}))

    def event(self, at_s: float, what: str, who: str | None = None, **details: object) -> int:
        """Append an event."""
        return self._append(Event(START_NS + round(at_s * _SECOND_NS), what, who, details))

    def write(self, folder: Path, *, rules: Mapping[str, Any] | None = None) -> Path:
        """Write the run folder; returns its path."""
        run_folder = RunFolder.create(folder)
        inputs = {"provider.json": run_folder.write_input("provider.json", json.dumps(self.document))}
        inputs["rules.json"] = run_folder.write_input("rules.json", json.dumps(rules or {}))
        writer = LedgerWriter(folder, lambda: 0)
        for row in self._rows:
            if isinstance(row, Call):
                writer.call(row)
            elif isinstance(row, Operation):
                writer.operation(row)
            else:
                writer.event(row)
        writer.close()
        run: dict[str, Any] = {
            "scenario": "small",
            "provider": self.provider.name,
            "traffic": None,
            "policy": None,
            "seed": 1,
            "clock": "virtual",
            "transport": "memory",
            "users": 1,
            "start_ns": START_NS,
            "span_ns": 86_400 * _SECOND_NS,
            "settings": (),
            "command": ("quotalab", "run", "small"),
            "inputs": inputs,
            "versions": {"quotalab": "0"},
            "complete": True,
        }
        run_folder.write_description(RunDescription(**{**run, **self.run}))
        return folder

    def _append(self, row: Call | Operation | Event) -> int:
        self._rows.append(row)
        return len(self._rows) - 1

    def _window_start(self, limit: Limit, key: str, now_ns: int) -> int:
        """The first instant whose calls count now."""
        if limit.kind == "rolling_window":
            return now_ns - limit.period_ns + 1
        if limit.align == "clock":
            return now_ns - now_ns % limit.period_ns
        opened = self._open.get((limit.name, key))
        return opened if opened is not None and now_ns - opened < limit.period_ns else now_ns

    def _used(self, limit: Limit, key: str, now_ns: int) -> int:
        start_ns = self._window_start(limit, key, now_ns)
        charged: Sequence[tuple[int, int]] = self._charged.get((limit.name, key), ())
        return sum(cost for at_ns, cost in charged if at_ns >= start_ns)

    def _charge(self, limit: Limit, key: str, now_ns: int, cost: int) -> None:
        self._open[limit.name, key] = self._window_start(limit, key, now_ns)
        self._charged.setdefault((limit.name, key), []).append((now_ns, cost))

    def _wait_ns(self, limit: Limit, key: str, now_ns: int, cost: int) -> int:
        if self._used(limit, key, now_ns) + cost <= limit.limit:
            return 0
        start_ns = self._window_start(limit, key, now_ns)
        if limit.kind == "fixed_window":
            return start_ns + limit.period_ns - now_ns
        inside = [(at, c) for at, c in self._charged.get((limit.name, key), ()) if at >= start_ns and c]
        waits = [at + limit.period_ns - now_ns for at, _ in inside] or [limit.period_ns]
        for gone, wait_ns in enumerate(waits, 1):
            if sum(c for _, c in inside[gone:]) + cost <= limit.limit:
                return wait_ns
        return waits[-1]
