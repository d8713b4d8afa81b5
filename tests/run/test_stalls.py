"""Runs that could hang end with one line that names the code at fault, exit 2."""

from __future__ import annotations

from pathlib import Path

import pytest

from quotalab.ledger import read_ledger

SCENARIO = """
import time
import gevent
from gevent.monkey import get_original
from locust import constant, task
from quotalab.scenario import Person


class Someone(Person):
    population = 2
    wait_time = constant(60)

    @task
    def look(self):
        with self.asking("look", within_s=30):
            self.app.week(self.name, self.patience(_))
"""


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (
            "end = time.time() + 5\n            while time.time() < end:\n                pass",
            "reads the clock",
        ),
        ("while True:\n                time.sleep(0)", "at one virtual instant"),
        ("while True:\n                pass", "kept the process busy for 4 real seconds"),
        (
            "gevent.get_hub().threadpool.apply(get_original('time', 'sleep'), (1000,))",
            "virtual time has been held for 4 real seconds by",
        ),
    ],
)
def test_what_stops_time_is_named(call, tmp_path: Path, body: str, told: str) -> None:
    """File, line and function of the code stand in the message; the ledger until then can be read."""
    (tmp_path / "locustfiles").mkdir()
    (tmp_path / "pyproject.toml").write_text("[tool.quotalab]\n")
    file = tmp_path / "locustfiles" / "stuck.py"
    file.write_text(SCENARIO.replace("self.app.week(self.name, self.patience(_))", body))
    out = tmp_path / "out"
    ended = call("run", "stuck", "--for", "1h", "--stall", "4s", "--out", str(out), cwd=tmp_path)
    assert ended.code == 2, ended.err
    assert told in ended.err
    assert f"{file}:1" in ended.err
    assert "in Someone.look" in ended.err
    assert "Traceback" not in ended.err
    assert read_ledger(out).calls.num_rows > 0
    assert call("report", str(out)).code in (0, 1)
