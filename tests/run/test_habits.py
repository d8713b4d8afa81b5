"""Whole runs of people with habits: they deny, close, come late, untick, withdraw; the app lives with it."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from quotalab.ledger import canonical_rows, read_ledger

ROOT = Path(__file__).parents[2]
HABITS = """
[habits]
deny = 0.15
close = 0.15
untick = 0.3
late = 0.3
late_by = "20m"
withdraw = 0.4
withdraw_after = "2h"
"""


def workspace(folder: Path) -> Path:
    """A workspace with the traffic profile `moody`: an office day, and habits."""
    (folder / "profiles" / "traffic").mkdir(parents=True)
    (folder / "pyproject.toml").write_text("[tool.quotalab]\n")
    day = (ROOT / "profiles" / "traffic" / "office-day.toml").read_text(encoding="utf-8")
    moody = day.replace('name = "office-day"', 'name = "moody"')
    (folder / "profiles" / "traffic" / "moody.toml").write_text(moody + HABITS, encoding="utf-8")
    return folder


@pytest.mark.full
def test_people_do_what_they_are_in_the_habit_of(tmp_path: Path, call: Any) -> None:
    """Every habit shows in the ledger; who left asks nothing more, and no operation fails by it.

    The same seed gives the same ledger.
    """
    arguments = ("run", "--traffic", "moody", "--users", "60", "--for", "14h", "--set", "oauth.untick=true")
    folder = workspace(tmp_path)
    rows = []
    for i in range(2):
        ended = call(*arguments, "--out", str(tmp_path / f"out{i}"), cwd=folder)
        assert ended.code in (0, 1), ended.err
        assert ended.err == ""
        rows.append(list(canonical_rows(read_ledger(tmp_path / f"out{i}"))))
    assert rows[0] == rows[1]
    tables = read_ledger(tmp_path / "out0")
    events = tables.events.to_pylist()
    what = Counter(row["what"] for row in events)
    assert what["consent-denied"] > 2
    assert what["consent-withdrawn"] > 2
    assert what["token-revoked"] >= what["consent-withdrawn"]
    scopes = Counter(json.loads(row["details"])["scopes"] for row in events if row["what"] == "consent-given")
    assert scopes["events.read"] + scopes["events.write"] > 2
    assert scopes["events.read events.write"] > 2
    denied = {row["who"] for row in events if row["what"] == "consent-denied"}
    gave = {row["who"] for row in events if row["what"] == "consent-given"}
    seen = {row["person"] for row in tables.calls.to_pylist() if row["kind"] == "authorize"} - {None}
    closed = seen - gave - denied
    assert len(closed) > 2
    assert denied & gave == set()
    # A page that lies open when the run ends cuts off what was asked; nothing else of theirs is an operation.
    left = [row["outcome"] for row in tables.operations.to_pylist() if row["person"] in denied | closed]
    assert set(left) <= {"abandoned"}
    assert len(left) < 3
    # Who withdrew asks for more later: the app learns of it, and has them connect again.
    withdrew = {row["who"]: row["at"] for row in events if row["what"] == "consent-withdrawn"}
    again = {
        row["who"]
        for row in events
        if row["what"] == "consent-given" and row["who"] in withdrew and row["at"] > withdrew[row["who"]]
    }
    assert again
