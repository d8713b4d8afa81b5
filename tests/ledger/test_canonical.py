"""The canonical form: what two runs that behave alike have in common."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys

import pytest

from quotalab.ledger import LedgerTables, canonical_rows, ledger_sha256, read_ledger


def scenario(one, facts, name: str, **changed) -> LedgerTables:
    """A sign-in, a call by its token and a refresh, whose hashes, ids and address begin with `name`."""
    one.call(
        1,
        kind="token",
        token=None,
        ip=f"{name}-ip",
        target=f"{name}-t1",
        oauth=facts(
            state=f"{name}-state",
            code=f"{name}-code",
            issued_token=f"{name}-a1",
            issued_refresh_token=f"{name}-r1",
        ),
    )
    one.call(
        **{
            "at": 2,
            "token": f"{name}-a1",
            "ip": f"{name}-ip",
            "target": f"{name}-t2",
            "request_id": f"{name}-id",
            "idempotency_key": f"{name}-key",
            "request_headers": json.dumps({"x": name}),
            "keys": (("hourly", f"ann|{name}-a1"), ("daily", f"{name}-ip")),
            **changed,
        }
    )
    one.call(3, token=None, ip=f"{name}-ip", target=f"{name}-t3", oauth=facts(refresh_token=f"{name}-r1"))
    one.operation(2)
    one.event(2, path="/events")
    one.writer.close()
    return read_ledger(one.folder)


def test_hashes_ids_addresses_and_headers_do_not_count(writing, facts):
    """Two ledgers that differ in key, tokens, request ids, ports and headers have the same canonical rows."""
    first, second = (scenario(writing(name), facts, name) for name in ("one", "two"))
    rows = list(canonical_rows(first))
    assert rows == list(canonical_rows(second))
    assert not any("one-" in row for row in rows)
    assert ledger_sha256(first) == ledger_sha256(second)


@pytest.mark.parametrize(
    "changed",
    [
        {"at": 4},
        {"status": 429},
        {"person": "bob"},
        {"path": "/other"},
        {"retry_after_ns": 1},
        {"token": "one-other"},
        {"target": "one-t1"},
        {"keys": (("hourly", "bob"), ("daily", "one-ip"))},
        {"charges": ()},
        {"bytes": 3},
        {"request_id": None},
    ],
    ids=lambda changed: next(iter(changed)),
)
def test_behaviour_counts(writing, facts, changed):
    """Another time, answer, person, token or charge makes other canonical rows."""
    first = scenario(writing("one"), facts, "one")
    second = scenario(writing("two"), facts, "one", **changed)
    assert ledger_sha256(first) != ledger_sha256(second)


def test_the_use_of_what_was_issued_is_still_seen(writing, facts):
    """An access token and a refresh token have one number where they are issued and where they are used."""
    tables = scenario(writing(), facts, "one")
    calls = [row for table, row in map(json.loads, canonical_rows(tables)) if table == "calls"]
    assert calls[0]["oauth"]["issued_token"] == calls[1]["token"]
    assert calls[0]["oauth"]["issued_refresh_token"] == calls[2]["oauth"]["refresh_token"]
    assert calls[1]["keys"] == [["hourly", ["ann", calls[1]["token"]]], ["daily", [calls[1]["ip"]]]]


def test_rows_of_all_tables_are_in_order_of_time_then_number(writing):
    """Rows that were written late stand where they happened, and ties in the order of writing."""
    one = writing()
    one.call(5)
    one.event(3)
    one.call(3)
    one.operation(3)
    one.call(1)
    one.writer.close()
    rows = [json.loads(row) for row in canonical_rows(read_ledger(one.folder))]
    assert [(table, row["seq"]) for table, row in rows] == [
        ("calls", 4),
        ("events", 1),
        ("calls", 2),
        ("operations", 3),
        ("calls", 0),
    ]


def test_the_sha256_is_that_of_the_rows_as_lines(writing):
    """Anyone can take the checksum again from the canonical rows."""
    one = writing()
    one.call(5)
    one.event(3)
    one.writer.close()
    tables = read_ledger(one.folder)
    text = "".join(row + "\n" for row in canonical_rows(tables))
    assert ledger_sha256(tables) == hashlib.sha256(text.encode()).hexdigest()
    assert text.count("\n") == 2


def test_the_sha256_does_not_depend_on_the_hash_seed(writing, facts):
    """Processes with different PYTHONHASHSEED take the same checksum."""
    one = writing()
    tables = scenario(one, facts, "one")
    code = (
        "import pathlib, sys; from quotalab.ledger import ledger_sha256, read_ledger;"
        "print(ledger_sha256(read_ledger(pathlib.Path(sys.argv[1]))))"
    )
    seen = {
        subprocess.run(
            [sys.executable, "-c", code, str(one.folder)],
            capture_output=True,
            check=True,
            text=True,
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
        ).stdout.strip()
        for hash_seed in ("1", "2")
    }
    assert seen == {ledger_sha256(tables)}
