"""Ledgers made by hand, to test rules on: a few calls at exact times, written as a real run folder.

::

    ledger = LedgerBuilder(provider_document)
    refused = ledger.call(at_s=10, refused_by="hourly", retry_after_s=60)
    ledger.call(at_s=11)
    frames = load(ledger.write(tmp_path / "run"))

What is not said gets a plain value: an API call by one app and one person, admitted, that takes no time.
Keys, charges and what remains are worked out from the profile by the plainest means there are, call by call:
see `quotalab.frames.plain`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from quotalab.frames.plain import NEVER, Plain, PlainCall
from quotalab.ledger import Call, Event, LedgerWriter, Operation, RunDescription, RunFolder
from quotalab.profiles.provider import Provider, parse_provider

__all__ = ["START_NS", "LedgerBuilder", "provider_document"]

START_NS = 1_767_571_200_000_000_000
"""Monday 2026-01-05, 00:00 UTC, when virtual runs start."""
_SECOND_NS = 1_000_000_000


def provider_document(
    limits: Mapping[str, Mapping[str, Any]] | None = None,
    *,
    routes: Mapping[str, Sequence[str]] | None = None,
    refusal: Mapping[str, Any] | None = None,
    timetable: Sequence[Mapping[str, Any]] = (),
    **approval: Any,
) -> dict[str, Any]:
    """A small provider profile: `limits` (by default one of 100 an hour for the app), `[approval]` keys.

    `routes` are names with their tags; a limit that names no source has that of a test.
    """
    source = {"where": "a test", "confidence": "own"}
    limits = limits or {"hourly": {"kind": "rolling_window", "limit": 100, "period": "1h", "key": ["app"]}}
    return {
        "schema": 1,
        "name": "small",
        "title": "A small provider",
        "oauth": {"access_token_lifetime": "1h", "refresh_token_lifetime": "30d"},
        "limits": {name: {"source": source, **limit} for name, limit in limits.items()},
        "timetable": list(timetable),
        "refusal": dict(refusal or {}),
        "routes": [
            {"name": name, "path": f"/{name}", "answer": "fixed", "tags": list(tags)}
            for name, tags in (routes or {}).items()
        ],
        "approval": approval,
    }


class LedgerBuilder:
    """Gathers calls, operations and events, and writes them as a run folder. Times count from `START_NS`.

    The numbers of opaque limits are `drawn`, by default from the middle of what they may be; an event tells.
    """

    def __init__(
        self,
        document: Mapping[str, Any] | None = None,
        *,
        drawn: Mapping[str, int] | None = None,
        **run: Any,
    ) -> None:
        self.document = dict(document or provider_document())
        self.provider: Provider = parse_provider(self.document, "a test").for_people(run.get("users", 1))
        self.run = run
        self._rows: list[Call | Operation | Event] = []
        numbers = {
            limit.name: (drawn or {}).get(limit.name, (limit.floor + limit.ceiling) // 2)
            for limit in self.provider.limits
            if limit.kind == "opaque"
        }
        for name, number in numbers.items():
            self.event(0, "limit-drawn", limit=name, number=number)
        limits = [limit.drawn(numbers.get(limit.name, limit.limit)) for limit in self.provider.limits]
        self._tags = {route.name: route.tags for route in self.provider.routes}
        self._plain = Plain(limits, run.get("start_ns", START_NS))

    def call(
        self,
        at_s: float | None = None,
        *,
        at_ns: int | None = None,
        sent_ns: int | None = None,
        answered_ns: int | None = None,
        done_ns: int | None = None,
        refused_by: str | None = None,
        retry_after_s: float | None = None,
        asked: bool = True,
        known: bool = True,
        status: int | None = None,
        person: str | None = "ann",
        client_id: str | None = "app",
        **columns: Any,
    ) -> int:
        """Append a call; returns its `seq`. Calls must be appended in order of their time.

        `at_ns`, `sent_ns`, `answered_ns` and `done_ns` count from `START_NS`, as `at_s` does; what is not
        said happens at once. A call that was not `asked` of the limits (answered 401 before) has no keys; one
        that is not `known` came without a valid token. `columns` are those of `quotalab.ledger.Call`.
        """
        if at_ns is None:
            at_ns = round((at_s or 0) * _SECOND_NS)
        row: dict[str, Any] = {
            "sent": START_NS + (at_ns if sent_ns is None else sent_ns),
            "at": START_NS + at_ns,
            "answered": START_NS + (at_ns if answered_ns is None else answered_ns),
            "done": START_NS + max(at_ns if done_ns is None else done_ns, answered_ns or 0),
            "kind": "api",
            "actor": "app",
            "client_id": client_id if known else None,
            "person": person if known else None,
            "tenant": None,
            "ip": "10.0.0.1",
            "token": "t1" if known else None,
            "token_state": None,
            "method": "GET",
            "route": "list_events",
            "object": None,
            "path": "/events",
            "target": "target",
            "status": status,
            "error": None,
            "cost": 0,
            "objects": 0,
            "objects_asked": 0,
            "limit": refused_by,
            "retry_after_ns": None if retry_after_s is None else round(retry_after_s * _SECOND_NS),
            "keys": (),
            "charges": (),
            "remaining": (),
            "operation": None,
            "request_id": None,
            "idempotency_key": None,
            "scopes_needed": None,
            "oauth": None,
            "fault": None,
            "request_headers": "{}",
            "response_headers": "{}",
            "bytes": 2,
            **columns,
        }
        if row["status"] is None:
            row["status"] = 200 if known else 401
            if refused_by is not None:
                row["status"] = self.provider.dialect.refusal(refused_by).status
        if row["kind"] == "api" and row["token_state"] is None:
            row["token_state"] = "none" if not known else "valid" if asked else "expired"
        if row["kind"] == "api" and refused_by is None and row["error"] is None and not (asked and known):
            row["error"] = "unauthorized"
        if row["kind"] == "api" and row["token"] is not None:
            row.setdefault("token_at", "header")
        if asked:
            self._decide(row, known)
        return self._append(Call(**{**row, **columns}))

    def _decide(self, row: dict[str, Any], known: bool) -> None:
        """Fill in what the limits make of a call, whether or not they were right to admit or refuse it."""
        call = self._plain_call(row, known)
        charges, remaining = self._plain.take(call, self._plain.waits(call), row["limit"] is not None)
        self._plain.answer(call, row["status"], row["limit"])
        row["cost"] = self._plain.cost(call)
        row["keys"] = tuple((limit.name, key) for limit, key in self._plain.asked(call))
        row["charges"], row["remaining"] = tuple(charges.items()), tuple(remaining.items())

    def _plain_call(self, row: Mapping[str, Any], known: bool) -> PlainCall:
        return PlainCall(
            at_ns=row["at"],
            answered_ns=row["answered"],
            kind=row["kind"],
            method=row["method"],
            route=row["route"],
            tags=self._tags.get(row["route"], ()),
            known=known,
            values={
                "app": row["client_id"],
                "person": row["person"],
                "tenant": row["tenant"],
                "token": row["token"],
                "ip": row["ip"],
                "route": row["route"],
                "object": row["object"],
                "refresh_token": row["oauth"].issued_refresh_token if row["oauth"] is not None else None,
            },
            objects=row["objects"],
            objects_asked=row["objects_asked"],
        )

    def decided_call(self, at_s: float | None = None, *, at_ns: int | None = None, **columns: Any) -> int:
        """Append a call that is admitted or refused as the profile's limits have it, with its promise.

        What is refused is answered at once: `answered_ns` and `status` are those of an admitted call.
        """
        at_ns = round((at_s or 0) * _SECOND_NS) if at_ns is None else at_ns
        row = {
            **{"client_id": "app", "person": "ann", "tenant": None, "token": "t1", "ip": "10.0.0.1"},
            **{"kind": "api", "method": "GET", "route": "list_events", "object": None, "oauth": None},
            **{"objects": 0, "objects_asked": 0},
            **columns,
            "at": START_NS + at_ns,
            "answered": START_NS + (columns.get("answered_ns") or at_ns),
        }
        waits = self._plain.waits(self._plain_call(row, columns.get("known", True)))
        longest_ns = max(waits.values(), default=0)
        if longest_ns:
            refused_by = next(name for name, wait_ns in waits.items() if wait_ns == longest_ns)
            columns |= {"refused_by": refused_by, "answered_ns": None, "status": None}
            columns["retry_after_ns"] = self._promise_ns(refused_by, START_NS + at_ns, longest_ns)
        return self.call(at_ns=at_ns, **columns)

    def _promise_ns(self, refused_by: str, at_ns: int, wait_ns: int) -> int | None:
        form = self.provider.dialect.refusal(refused_by).retry_after
        if form == "none" or wait_ns == NEVER:
            return None
        if form in ("seconds", "decimal"):
            unit_ns = _SECOND_NS if form == "seconds" else _SECOND_NS // 10
            return -(-wait_ns // unit_ns) * unit_ns
        return -(-(at_ns + wait_ns) // _SECOND_NS) * _SECOND_NS - at_ns

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
