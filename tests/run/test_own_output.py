"""What quotalab writes is searched for the run's secrets, whatever it is nested in."""

from __future__ import annotations

import json

import pytest

from quotalab.ledger import Event, LedgerWriter, RunFolder
from quotalab.run.own_output import search_own_output

TOKEN = "k3Jd-92_sLqPw0xZb7Vn4TyRf6Hg1CmEaUoIiKjDlQs"


class Sandbox:
    """What the search needs of one."""

    def __init__(self):
        self.secrets = {TOKEN: "access token"}
        self.faults = []
        self.events = []

    def event(self, what, **details):
        self.events.append((what, details))


@pytest.mark.parametrize("place", ["event", "input", None])
def test_a_secret_in_a_table_or_an_input_is_a_fault(tmp_path, place):
    """Rows that were flushed and inputs are searched; tables without rows are no hindrance."""
    folder = RunFolder.create(tmp_path / "run")
    folder.write_input("provider.json", json.dumps({"a": TOKEN if place == "input" else ""}))
    (folder.path / "run.json").write_text("{}")
    writer = LedgerWriter(folder.path, lambda: 0)
    if place == "event":
        writer.event(Event(1, "x", None, {"a": f"-{TOKEN}-"}))
        writer.flush()
    sandbox = Sandbox()
    search_own_output(folder, sandbox, None)
    writer.close()
    file = {"event": "events.parquet", "input": "provider.json"}.get(place)
    told = sandbox.events[-1][1]
    assert (told["found"], told["tables"], told["inputs"], told["whole"]) == (int(bool(place)), 3, 2, True)
    if place:
        details = {"file": file, "kind": "access token", "encoding": "plain"}
        assert sandbox.events[0] == ("secret-in-own-output", details)
        assert sandbox.faults == [f"a secret (access token, plain) was written to {file} of the run folder"]
    else:
        assert sandbox.faults == []
