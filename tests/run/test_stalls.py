"""Runs that could hang end with one line that names the code at fault, exit 2."""

from __future__ import annotations

import signal
import subprocess
import sys
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
        pytest.param(
            "while True:\n                time.sleep(0)", "at one virtual instant", marks=pytest.mark.full
        ),
        ("while True:\n                pass", "kept the process busy for 4 real seconds"),
        pytest.param(
            "gevent.get_hub().threadpool.apply(get_original('time', 'sleep'), (1000,))",
            "virtual time has been held for 4 real seconds by",
            marks=pytest.mark.full,
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


# Each keeps the process for itself; the marked line is the one that is named.
NEVER_YIELDS = {
    "computes": "while True:\n                pass",
    "catches everything": (
        "while True:\n                try:\n                    sum(range(1000))\n"
        "                except BaseException:\n                    pass"
    ),
    "waits in C": "get_original('time', 'sleep')(1000)",
    "waits in C that begins again": "LIBC.pause_for_ever()",
}
"""As `SCENARIO`'s body."""
ALL = [pytest.param(body, id=name, marks=pytest.mark.full) for name, body in NEVER_YIELDS.items()]


def stuck_workspace(tmp_path: Path, body: str) -> Path:
    """A workspace whose one scenario gets stuck in ``body``; the scenario's file."""
    (tmp_path / "locustfiles").mkdir()
    (tmp_path / "pyproject.toml").write_text("[tool.quotalab]\n")
    file = tmp_path / "locustfiles" / "stuck.py"
    file.write_text(C_LOOP + SCENARIO.replace("self.app.week(self.name, self.patience(_))", body))
    return file


# A call into C that takes no notice of signals: pthread_join of a thread that never ends.
C_LOOP = """
import ctypes


class LIBC:
    @staticmethod
    def pause_for_ever():
        libc = ctypes.CDLL(None)
        lock = ctypes.create_string_buffer(64)
        libc.pthread_mutex_lock(lock)
        libc.pthread_mutex_lock(lock)
"""


@pytest.mark.parametrize("body", ALL)
def test_code_that_never_yields_is_ended_and_named(call, tmp_path: Path, body: str) -> None:
    """Whatever it catches and wherever it waits: exit 2, the place is told, the folder can be read."""
    file = stuck_workspace(tmp_path, body)
    out = tmp_path / "out"
    ended = call("run", "stuck", "--for", "1h", "--stall", "4s", "--out", str(out), cwd=tmp_path)
    assert ended.code == 2, ended.err
    assert "kept the process busy for 4 real seconds" in ended.err
    assert f"{file}:" in ended.err
    assert "Traceback" not in ended.err
    assert read_ledger(out).calls.num_rows > 0


@pytest.mark.parametrize("clock", ["virtual", "real"])
@pytest.mark.parametrize("body", ALL)
def test_ctrl_c_ends_code_that_never_yields(tmp_path: Path, body: str, clock: str) -> None:
    """Ctrl-C ends the run within seconds, exit 130, and what was recorded can be read."""
    stuck_workspace(tmp_path, "print('stuck', flush=True)\n            " + body)
    out = tmp_path / "out"
    command = [sys.executable, "-m", "quotalab", "run", "stuck", "--for", "1h", "--out", str(out)]
    with subprocess.Popen(
        [*command, "--clock", clock], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert "stuck" in process.stdout.readline()
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=30)
    assert process.returncode == 130, err
    assert err.startswith("quotalab: interrupted")
    assert err.strip().endswith(f"judge what there is: quotalab report {out}")
    assert "Traceback" not in err
    assert read_ledger(out).calls.num_rows > 0
