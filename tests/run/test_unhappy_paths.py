"""Runs that go wrong while they go on: interrupted, crashing, without room."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from quotalab.ledger import read_ledger

ROOT = Path(__file__).parents[2]
HEAD = """
import sys
from locust import constant, task
from quotalab.scenario import Person


class Someone(Person):
    population = 3
    wait_time = constant(60)

    @task
    def act(self):
"""


def scenario(folder: Path, body: str) -> Path:
    """A workspace with the scenario `mine`."""
    (folder / "locustfiles").mkdir()
    (folder / "pyproject.toml").write_text("[tool.quotalab]\n")
    (folder / "locustfiles" / "mine.py").write_text(
        HEAD + "".join(f"        {line}\n" for line in body.splitlines())
    )
    return folder


def test_ctrl_c_ends_with_one_line_that_names_the_folder(tmp_path: Path, call) -> None:
    """Exit 130, no traceback; what was recorded until then is judged."""
    out = tmp_path / "out"
    process = subprocess.Popen(
        [sys.executable, "-m", "quotalab", "run", "overload", "--for", "300h", "--out", str(out)],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    stream = out / "calls.0.arrows"
    deadline = time.monotonic() + 60
    while not (stream.exists() and stream.stat().st_size > 100_000):
        assert process.poll() is None
        assert time.monotonic() < deadline
        os.sched_yield()
    process.send_signal(signal.SIGINT)
    _, err = process.communicate()
    assert process.returncode == 130
    assert err.strip() == f"quotalab: interrupted; judge what there is: quotalab report {out}"
    assert read_ledger(out).calls.num_rows > 256
    assert call("report", str(out)).code in (0, 1)


def test_exceptions_are_counted_with_type_and_the_teams_own_line(tmp_path: Path, call) -> None:
    """One line for all of a kind; where nothing else happened, nothing was judged: exit 2."""
    root = scenario(tmp_path, "import json\njson.loads('{')")
    ended = call("run", "mine", "--for", "30m", "--out", str(tmp_path / "out"), cwd=root)
    assert ended.code == 2
    first, second = ended.err.strip().splitlines()
    assert first.startswith("quotalab: the scenario or the app raised JSONDecodeError (")
    assert first.endswith(f"({root / 'locustfiles' / 'mine.py'}:14), 93 times")
    assert second == "quotalab: nothing could be judged: all that the scenario did was to raise exceptions"


def test_an_exit_inside_an_operation_is_no_silent_end(tmp_path: Path, call) -> None:
    """sys.exit in the app's code ends the run with a line and exit 2, whatever code it gave."""
    root = scenario(tmp_path, "with self.asking('x', within_s=3):\n    sys.exit(0)")
    ended = call("run", "mine", "--for", "1h", "--out", str(tmp_path / "out"), cwd=root)
    assert ended.code == 2
    assert ended.err.strip() == "quotalab: the scenario or the app ended the process: exit(0)"


def test_tags_that_leave_no_task_are_refused(call, tmp_path: Path) -> None:
    """Locust would start users without tasks again and again."""
    ended = call("run", "overload", "--out", str(tmp_path / "out"), "--", "--tags", "morning")
    assert ended.code == 2
    assert (
        ended.err.strip()
        == "quotalab: Locust options after --: no task of Hammerer is left by the tags given"
    )
    assert not (tmp_path / "out").exists()


@pytest.mark.full
def test_a_device_without_room_is_no_verdict(run_once) -> None:
    """A full disk under the output is exit 2, never the 1 that means FAIL."""
    folder = run_once("--for", "2h").folder
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "quotalab", "report", str(folder)],
            cwd=ROOT,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert done.returncode == 2
    assert "No space left on device" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_changed_table_is_not_judged(run_once, call, tmp_path: Path) -> None:
    """What does not have the SHA-256 that the run left proves nothing."""
    import shutil

    folder = tmp_path / "copy"
    shutil.copytree(run_once("--for", "2h").folder, folder)
    assert call("report", str(folder)).code == 0
    table = folder / "calls.parquet"
    table.write_bytes(table.read_bytes()[:-1] + b"x")
    ended = call("report", str(folder))
    assert ended.code == 2
    assert "calls.parquet: was changed after the run" in ended.err
