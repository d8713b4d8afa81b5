"""Ledgers by hand: rows with plain values, and a writer whose real clock stands still unless it is moved."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from quotalab.ledger import Call, Event, LedgerWriter, OAuthFacts, Operation

START_NS = 1_767_571_200_000_000_000


class Writing:
    """A ledger being written; `now_ns` is its real clock."""

    def __init__(self, folder: Path, process: int = 0) -> None:
        folder.mkdir(exist_ok=True)
        self.folder = folder
        self.now_ns = 0
        self.writer = LedgerWriter(folder, lambda: self.now_ns, process=process)

    def call(self, at: int = 0, **columns: Any) -> int:
        """Append a call with plain values, `at` nanoseconds after the start."""
        return self.writer.call(self.row(at, **columns))

    @staticmethod
    def row(at: int = 0, **columns: Any) -> Call:
        """A call with plain values."""
        at += START_NS
        plain = Call(
            sent=at,
            at=at,
            answered=at,
            done=at,
            kind="api",
            actor="app",
            client_id="app-1",
            person="ann",
            tenant=None,
            ip="127.0.0.1",
            token="aa",
            token_state="valid",
            method="GET",
            route="list",
            object=None,
            path="/events",
            target="bb",
            status=200,
            error=None,
            cost=1,
            objects=0,
            objects_asked=0,
            limit=None,
            retry_after_ns=None,
            keys=(("hourly", "app-1"),),
            charges=(("hourly", 1),),
            remaining=(("hourly", 99),),
            operation="o1",
            request_id=None,
            idempotency_key=None,
            scopes_needed="events.read",
            oauth=None,
            fault=None,
            request_headers="{}",
            response_headers="{}",
            bytes=2,
        )
        return plain._replace(**columns)

    def operation(self, ended: int = 0, **columns: Any) -> int:
        """Append an operation with plain values."""
        at = START_NS + ended
        return self.writer.operation(
            Operation("o1", "ann", "read", at, at, at, at + 10**9, "done", None, 1)._replace(**columns)
        )

    def event(self, at: int = 0, **details: object) -> int:
        """Append an event with plain values."""
        return self.writer.event(Event(START_NS + at, "consent-given", "ann", details))

    def on_disk(self) -> list[int]:
        """How many bytes of each stream have reached the file, in order of name."""
        return [path.stat().st_size for path in sorted(self.folder.glob("*.arrows"))]


@pytest.fixture
def writing(tmp_path):
    """Makes ledgers under `tmp_path`; they are closed in the end."""
    opened: list[Writing] = []

    def make(name: str = "run", process: int = 0) -> Writing:
        opened.append(Writing(tmp_path / name, process))
        return opened[-1]

    yield make
    for one in opened:
        one.writer.close()


@pytest.fixture
def facts() -> type[OAuthFacts]:
    """The `oauth` struct's type."""
    return OAuthFacts
