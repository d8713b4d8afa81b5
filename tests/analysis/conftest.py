"""The bundled rules, asked one at a time."""

from __future__ import annotations

from pathlib import Path

import pytest

from quotalab.frames import disagreements, load
from quotalab.rules import load_rules

ANALYSIS = Path(__file__).parents[2] / "analysis"


@pytest.fixture(scope="session")
def rules():
    """All bundled rules by id."""
    return {one.id: one for one in load_rules(sorted(ANALYSIS.glob("[!_]*.py")))}


@pytest.fixture
def ask(rules, tmp_path):
    """`ask("QL101", ledger)`: the rule's judgement. `honest` also has the sandbox's decisions checked."""
    asked = 0

    def ask_one(id, ledger, *, honest=False):
        nonlocal asked
        asked += 1
        frames = load(ledger.write(tmp_path / f"run-{asked}"))
        if honest:
            assert disagreements(frames) == []
        return rules[id](frames)

    return ask_one
