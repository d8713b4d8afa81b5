"""Plain Locust on the virtual clock by environment variables alone."""

from __future__ import annotations

import json
import os
import re
import select
import signal
import subprocess
import sys
import urllib.parse
import urllib.request
from pathlib import Path

import pytest

from quotalab.hosting.process import free_port
from quotalab.ledger import read_ledger

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "virtual-time.md").read_text(encoding="utf-8")
THEIRS = """
import datetime, os, random, time
from locust import User, constant, events, task

class Them(User):
    wait_time = constant(3600)

    @task
    def look(self):
        began = time.monotonic()
        time.sleep(1.5)
        print("LOOK", datetime.datetime.now().isoformat(), random.random(), os.environ.get("GEVENT_LOOP"))
        fired = dict(request_type="X", name="look", response_length=0, exception=None, context={})
        self.environment.events.request.fire(response_time=(time.monotonic() - began) * 1000, **fired)
"""
SPINS = """
import time
from locust import User, task

class Them(User):
    @task
    def look(self):
        while time.monotonic() < 1e9:
            pass
"""


def environment(**more: str) -> dict[str, str]:
    """The process's environment with the clock plugged in."""
    return {**os.environ, "GEVENT_LOOP": "quotalab.clock.plugged.loop", **more}


def locust(folder: Path, text: str, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    """``locust -f their.py --headless`` as a user calls it."""
    (folder / "their.py").write_text(text, encoding="utf-8")
    return subprocess.run(
        [sys.executable, "-m", "locust", "-f", "their.py", "--headless", "--only-summary", *arguments],
        cwd=folder,
        env=environment(**env),
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_locustfile_of_anybodys_lives_a_day_in_virtual_time(tmp_path):
    """Clocks, sleeps, the span and the random generator follow the variables; children are not plugged."""
    done = locust(
        tmp_path, THEIRS, "-u", "3", "-r", "3", "-t", "24h", QUOTALAB_START="2026-03-01", QUOTALAB_SEED="7"
    )
    assert done.returncode == 0, done.stderr
    looks = re.findall(r"LOOK (\S+) (\S+) (\S+)", done.stdout)
    assert len(looks) == 3 * 24
    assert looks[0][0] == "2026-03-01T00:00:01.500000"
    assert looks[-1][0] == "2026-03-01T23:00:36"
    assert {plugged for *_, plugged in looks} == {"None"}
    assert re.search(r"look +72 +0\(0\.00%\) \| +1500 +1500 +1500 +1500 ", done.stderr)
    assert "CPU usage" not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "env", "said"),
    [
        (["--processes", "2"], {}, "--processes: virtual time is one process"),
        (["--master"], {}, "--master, --worker: virtual time is one process"),
        ([], {"QUOTALAB_START": "yesterday"}, "QUOTALAB_START: 'yesterday' is not a date such as"),
        ([], {"QUOTALAB_SEED": "-1"}, "QUOTALAB_SEED: must be a whole number, not '-1'"),
        ([], {"QUOTALAB_STALL": "soon"}, "QUOTALAB_STALL: 'soon'"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(tmp_path, arguments, env, said):
    """Several processes and variables that mean nothing end with exit 2 and one line that says why."""
    done = locust(tmp_path, THEIRS, "-t", "1h", *arguments, **env)
    lines = [line for line in done.stderr.splitlines() if "vm/INFO" not in line and "/INFO/" not in line]
    assert done.returncode == 2, done.stderr
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith(f"quotalab: {said}")


def test_code_that_spins_is_named(tmp_path):
    """A busy wait ends the run with exit 2 and a line that names it."""
    done = locust(tmp_path, SPINS, "-t", "1h")
    assert done.returncode == 2
    last = [line for line in done.stderr.splitlines() if line.startswith("quotalab: ")]
    assert len(last) == 1
    assert "their.py:8 in Them.look reads the clock" in last[0]


STUCK = """
from locust import constant, task
from quotalab.scenario import Person

class Someone(Person):
    population = 2
    wait_time = constant(60)

    @task
    def look(self):
        with self.asking("look", within_s=30) as asked:
            self.app.week(self.name, self.patience(asked))
            BODY
"""


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ("while True: pass", "their.py:13 in Someone.look kept the process busy for 2 real seconds"),
        pytest.param(
            "while True:\n                try:\n                    sum(range(1000))\n"
            "                except BaseException:\n                    pass",
            "goes on all the same, so the process was ended",
            marks=pytest.mark.full,
        ),
    ],
)
def test_a_stall_names_the_run_folder(tmp_path, body, told):
    """Whether an error could end the run or only the end of the process: one line, and what there is is judged."""
    done = locust(
        tmp_path,
        STUCK.replace("BODY", body),
        *("-u", "2", "-r", "2", "-t", "1h", "--run-folder", "out"),
        QUOTALAB_STALL="2s",
    )
    assert done.returncode == 2, done.stderr
    last = [line for line in done.stderr.splitlines() if line.startswith("quotalab: ")]
    assert len(last) == 1
    assert told in last[0]
    assert last[0].endswith("; judge what there is: quotalab report out")
    assert read_ledger(tmp_path / "out").calls.num_rows > 0


@pytest.mark.full
def test_under_the_web_page_time_stands_still_until_a_test_is_started(tmp_path):
    """However long nobody presses Start, the test begins at the start of time, and ends when its span is over."""
    (tmp_path / "their.py").write_text(THEIRS, encoding="utf-8")
    port = free_port()
    page = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "locust", "-f", "their.py", "--web-host", "127.0.0.1"]
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with (
        (tmp_path / "said").open("wb") as said,
        subprocess.Popen(
            [*command, "--web-port", str(port)],
            cwd=tmp_path,
            env=environment(),
            stdout=said,
            stderr=subprocess.STDOUT,
        ) as process,
    ):

        def got(path: str, form: dict[str, str] | None = None) -> bytes:
            data = urllib.parse.urlencode(form).encode() if form else None
            while process.poll() is None:
                try:
                    return opener.open(page + path, data, timeout=10).read()
                except urllib.error.URLError:  # it does not listen yet
                    select.select([], [], [], 0.05)
            raise AssertionError((tmp_path / "said").read_text())

        try:
            for _ in range(20):  # between any two answers there would be room for hours
                got("/stats/requests")
            got("/swarm", {"user_count": "3", "spawn_rate": "3", "run_time": "10h"})
            while (stats := json.loads(got("/stats/requests")))["state"] != "stopped":
                select.select([], [], [], 0.05)
            assert stats["stats"][0]["num_requests"] == 30
        finally:
            process.send_signal(signal.SIGINT)
            try:
                process.wait(20)
            finally:
                process.kill()
    assert process.returncode == 0
    text = (tmp_path / "said").read_text(encoding="utf-8")
    assert "[2026-01-05 00:00:00,000]" in next(line for line in text.splitlines() if "Ramping" in line)


@pytest.mark.full
def test_a_scenario_repeats_with_the_seed(tmp_path):
    """A scenario of quotalab's under plain Locust, as the page calls it, leaves the same ledger twice."""
    command = re.search(r"^GEVENT_LOOP=\S+ locust (.*)$", PAGE, re.MULTILINE)
    assert command is not None
    (tmp_path / "pyproject.toml").write_text("[tool.quotalab]\n", encoding="utf-8")
    arguments = command[1].replace("locustfiles/", f"{ROOT}/locustfiles/").split()
    ledgers = []
    for _ in range(2):
        done = subprocess.run(
            [sys.executable, "-m", "locust", *arguments],
            cwd=tmp_path,
            env=environment(),
            capture_output=True,
            text=True,
            check=False,
        )
        folder = re.search(r"quotalab report (runs/\S+)", done.stderr)
        assert folder is not None, done.stderr
        told = json.loads((tmp_path / folder[1] / "run.json").read_text(encoding="utf-8"))
        assert (told["clock"], told["seed"], told["complete"]) == ("virtual", 1, True)
        subprocess.run(
            [sys.executable, "-m", "quotalab", "report", folder[1]],
            cwd=tmp_path,
            check=False,
            capture_output=True,
        )
        verdict = json.loads((tmp_path / folder[1] / "verdict.json").read_text(encoding="utf-8"))
        assert verdict["metrics"]["calls"] > 500
        ledgers.append(verdict["run"]["ledger_sha256"])
    assert ledgers[0] == ledgers[1]
