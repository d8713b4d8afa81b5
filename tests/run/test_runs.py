"""Whole runs, each in a process of its own, judged: what the commands of the README promise."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from quotalab.ledger import LedgerTables, canonical_rows, read_ledger

ROOT = Path(__file__).parents[2]
HOUR_NS = 3600 * 10**9


def api_calls(folder: Path) -> pd.DataFrame:
    """`at` (ns) and `status` of the calls to the API."""
    calls = read_ledger(folder).calls.select(["at", "kind", "status"]).to_pandas()
    calls["at"] = calls["at"].astype("int64")
    return calls[calls["kind"] == "api"]


def most_in_an_hour(at: np.ndarray) -> int:
    """The largest count in any half-open hour, the slow and plain way."""
    times = sorted(at)
    return max(
        sum(1 for other in times[i : i + 400] if other < first + HOUR_NS) for i, first in enumerate(times)
    )


# ---- the default run


def test_the_default_run_passes_the_quota_and_ends_in_three_sentences(run_once) -> None:
    """Exit 0, WARN by what was not done and by nothing else, nothing refused, a folder named last."""
    ended = run_once()
    assert ended.code == 0, ended.err
    assert ended.verdict["verdict"] == "WARN"
    assert [rule["id"] for rule in ended.verdict["rules"] if rule["verdict"] == "WARN"] == ["QL501"]
    assert ended.verdict["metrics"]["refused"] == 0
    assert ended.rule("QL101") == "PASS"
    assert ended.rule("QL201") == "NA"  # nothing was refused, so there was nothing to judge
    assert ended.out.strip().splitlines()[-1] == str(ended.folder)
    assert "Traceback" not in ended.err


def test_the_default_run_leaves_a_whole_folder(run_once) -> None:
    """Everything that the design names is there, and no stream is left over."""
    folder = run_once().folder
    names = {path.name for path in folder.iterdir()}
    assert names >= {
        "run.json",
        "inputs",
        "calls.parquet",
        "operations.parquet",
        "events.parquet",
        "verdict.json",
        "report.html",
        "junit.xml",
        "figures",
    }
    assert not list(folder.glob("*.arrows"))
    assert run_once().description["complete"] is True


def test_the_default_run_is_a_real_day(run_once) -> None:
    """At least 1,000 calls to the API, never more than 100 in an hour, 70 % of operations done."""
    ended = run_once()
    metrics = ended.verdict["metrics"]
    assert metrics["api_calls"] >= 1000
    assert metrics["operations_done"] / metrics["operations"] >= 0.7
    assert most_in_an_hour(api_calls(ended.folder)["at"].to_numpy()) <= 97
    assert ended.verdict["run"]["virtual_s"] == 86400.0


@pytest.mark.full
@pytest.mark.parametrize("seed", range(1, 11))
def test_no_seed_is_lucky(run_once, seed: int) -> None:
    """Ten seeds: enough calls, demand over 150 in the busiest hour, 70 % done, nothing refused."""
    ended = run_once("--seed", str(seed))
    metrics = ended.verdict["metrics"]
    assert ended.code == 0
    assert metrics["api_calls"] >= 1000
    assert metrics["demand_peak_per_hour"] > 150
    assert metrics["operations_done"] / metrics["operations"] >= 0.7
    assert metrics["refused"] == 0


def test_the_naive_policy_fails_by_overrun_and_by_retrying_too_early(run_once) -> None:
    """Exit 1; QL101 and QL201 both FAIL, with calls to show it."""
    ended = run_once("--policy", "naive")
    assert ended.code == 1
    assert ended.verdict["verdict"] == "FAIL"
    for rule in ended.verdict["rules"]:
        if rule["id"] in ("QL101", "QL201"):
            assert rule["verdict"] == "FAIL"
            assert rule["findings"][0]["calls"]


def test_beyond_ten_people_the_provider_lets_nobody_connect(run_once) -> None:
    """The variant few-users: ten are let in, and the verdict shows what the others met."""
    ended = run_once("--provider", "temporary-production/few-users", "--for", "12h")
    assert ended.code == 1
    tables = read_ledger(ended.folder)
    what = tables.events.column("what").to_pylist()
    assert what.count("consent-given") == 10
    assert what.count("connection-refused") > 50
    assert ended.rule("QL501") == "FAIL"


@pytest.mark.full
def test_ten_people_fit_into_the_test_phase(run_once) -> None:
    """With --users 10 the same variant is satisfied."""
    ended = run_once("--provider", "temporary-production/few-users", "--users", "10", "--for", "12h")
    assert ended.code == 0
    assert ended.rule("QL501") == "PASS"


# ---- overload


@pytest.mark.full
def test_overload_of_a_fixed_window_admits_exactly_its_number(run_once) -> None:
    """24 windows of 100: 2,400 admitted calls, not one more or less."""
    ended = run_once("overload", "--set", "limits.hourly.kind=fixed_window")
    calls = api_calls(ended.folder)
    admitted = calls[calls["status"] < 400]
    assert len(admitted) == 2400
    assert (admitted["at"] // HOUR_NS).value_counts().unique().tolist() == [100]


@pytest.mark.full
def test_overload_of_a_rolling_window_is_never_over_and_hardly_under(run_once) -> None:
    """Never more than 100 in any hour, and at least 2,300 in the day."""
    calls = api_calls(run_once("overload").folder)
    admitted = calls[calls["status"] < 400]
    assert most_in_an_hour(admitted["at"].to_numpy()) == 100
    assert len(admitted) >= 2300


# ---- repeating exactly


def rows_of(folder: Path) -> list[str]:
    """The canonical rows of a run."""
    return list(canonical_rows(read_ledger(folder)))


def test_the_same_seed_repeats_the_run_in_another_process(run_once) -> None:
    """Another hash seed changes nothing: identical canonical rows and ledger_sha256."""
    one = run_once("--for", "12h", PYTHONHASHSEED="1")
    two = run_once("--for", "12h", PYTHONHASHSEED="2")
    assert rows_of(one.folder) == rows_of(two.folder)
    assert one.description["ledger_sha256"] == two.description["ledger_sha256"]


@pytest.mark.full
def test_another_seed_is_another_day(run_once) -> None:
    """The seed decides who comes when."""
    one = run_once("--for", "12h", PYTHONHASHSEED="1")
    other = run_once("--for", "12h", "--seed", "2")
    assert one.description["ledger_sha256"] != other.description["ledger_sha256"]


def test_memory_and_sockets_give_the_same_ledger(run_once) -> None:
    """Over loopback sockets in virtual time not one decision differs."""
    one = run_once("--for", "12h", PYTHONHASHSEED="1")
    two = run_once("--for", "12h", "--transport", "socket")
    assert two.code == 0, two.err
    assert rows_of(one.folder) == rows_of(two.folder)


@pytest.mark.full
def test_one_more_person_changes_nobody_elses_plan(run_once) -> None:
    """What others ask, and when, is the same with one person more."""

    def asked(tables: LedgerTables) -> list[tuple[str, str, int]]:
        rows = tables.operations.select(["person", "name", "planned"]).to_pandas()
        rows = rows[rows["person"] <= "p00050"]
        return sorted(rows.itertuples(index=False, name=None))

    one = run_once("--for", "12h", "--users", "50")
    two = run_once("--for", "12h", "--users", "51")
    assert asked(read_ledger(one.folder)) == asked(read_ledger(two.folder))


# ---- judged again, cut short, copied away


def test_a_run_is_judged_again_from_its_folder(run_once, call, tmp_path: Path) -> None:
    """`quotalab report` gives the same verdict, and only the rules asked for where that is asked."""
    ended = run_once("--policy", "naive")
    before = ended.verdict
    again = call("report", str(ended.folder))
    assert again.code == 1
    assert ended.verdict["rules"] == before["rules"]


def test_no_secret_is_left_in_the_folder(run_once) -> None:
    """No bearer token, code, cookie or client secret stands in any file: they are 43 characters of base64url."""
    folder = run_once("--for", "12h", PYTHONHASHSEED="1").folder
    secretlike = re.compile(
        rb"(?<![A-Za-z0-9_-])(?=[A-Za-z0-9_-]*[A-Z])(?=[A-Za-z0-9_-]*[0-9])[A-Za-z0-9_-]{43}(?![A-Za-z0-9_-])"
    )
    for path in folder.rglob("*"):
        if path.suffix in (".json", ".xml"):
            assert not secretlike.search(path.read_bytes()), path
    for table in ("calls", "operations", "events"):
        for column in pq.read_table(folder / f"{table}.parquet").itercolumns():
            text = str(column.to_pylist()).encode()
            assert not secretlike.search(text), table


def test_a_killed_run_loses_at_most_a_batch_and_says_that_it_was_cut(tmp_path: Path, call) -> None:
    """kill -9 in the middle: the ledger reads, the report says so, the folder is judged."""
    out = tmp_path / "cut"
    process = subprocess.Popen(
        [sys.executable, "-m", "quotalab", "run", "overload", "--for", "72h", "--out", str(out)],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    stream = out / "calls.0.arrows"
    deadline = time.monotonic() + 60
    while not (stream.exists() and stream.stat().st_size > 200_000):
        assert process.poll() is None, "the run ended before it could be killed"
        assert time.monotonic() < deadline
        os.sched_yield()
    process.send_signal(signal.SIGKILL)
    process.wait()
    tables = read_ledger(out)
    assert tables.torn
    seqs = sorted(
        seq
        for table in ("calls", "operations", "events")
        for seq in getattr(tables, table).column("seq").to_pylist()
    )
    assert seqs[-1] + 1 - len(seqs) <= 3 * 256
    ended = call("report", str(out))
    assert ended.code in (0, 1), ended.err
    assert "cut" in ended.out
    assert "cut" in (out / "report.html").read_text(encoding="utf-8")


# ---- the real clock, and plain Locust


@pytest.mark.full
def test_the_real_clock_runs_the_same_scenario(run_once) -> None:
    """--clock real takes the time that it takes, and is judged the same way."""
    # Without latency the first call comes after some 10 ms of work, however many wait for a CPU.
    settings = ("--set", "limits.hourly.period=1s", "--set", "latency.median=0s")
    ended = run_once("overload", "--clock", "real", "--for", "2s", "--users", "3", *settings)
    assert ended.code in (0, 1), ended.err
    assert ended.verdict["run"]["clock"] == "real"
    assert ended.verdict["metrics"]["api_calls"] > 0


def test_a_locustfile_runs_under_plain_locust(tmp_path: Path, call) -> None:
    """`locust -f` drives it on the real clock and leaves a run folder that can be judged."""
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "locust",
            "-f",
            str(ROOT / "locustfiles" / "overload.py"),
            "--headless",
            "-u",
            "2",
            "-r",
            "2",
            "-t",
            "2s",
            "--only-summary",
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "open_event" in done.stdout + done.stderr
    (folder,) = (tmp_path / "runs").iterdir()
    assert f"quotalab report {folder.relative_to(tmp_path)}" in done.stderr
    ended = call("report", str(folder))
    assert ended.code in (0, 1), ended.err


# ---- an app of one's own


def test_another_app_is_plugged_in(tmp_path: Path, call) -> None:
    """`[tool.quotalab.app] build` and `env`: a stranger's integration on httpx alone, driven and judged."""
    (tmp_path / "pyproject.toml").write_text(
        "[tool.quotalab.app]\nbuild = 'mine:build'\n"
        "env = { MINE_API = '{api_base}', MINE_ID = '{client_id}', MINE_REVOKE = '{revocation_endpoint}', "
        "MINE_ASK = '{introspection_endpoint}' }\n"
    )
    (tmp_path / "mine.py").write_text(
        "import os, time, httpx\n"
        "class Mine:\n"
        "    def __init__(self, access):\n"
        "        assert os.environ['MINE_API'] == access.api_base\n"
        "        assert os.environ['MINE_REVOKE'] == access.revocation_endpoint\n"
        "        assert os.environ['MINE_ASK'] == (access.introspection_endpoint or '')\n"
        "        self.http = httpx.Client(transport=access.transport, base_url=access.api_base)\n"
        "    def look(self):\n"
        "        time.sleep(60)\n"
        "        return self.http.get('/v1/events').status_code\n"
        "def build(access):\n"
        "    return Mine(access)\n"
    )
    (tmp_path / "locustfiles").mkdir()
    (tmp_path / "locustfiles" / "mine_at_work.py").write_text(
        "from locust import constant, task\n"
        "from quotalab.scenario import Person\n"
        "class Someone(Person):\n"
        "    population = 1\n"
        "    wait_time = constant(540)\n"
        "    def is_connected(self): return True\n"
        "    @task\n"
        "    def look(self):\n"
        "        with self.asking('look', within_s=120):\n"
        "            assert self.app.look() == 401\n"
    )
    out = tmp_path / "out"
    ended = call("run", "mine_at_work", "--for", "1h", "--out", str(out), cwd=tmp_path)
    assert ended.code in (0, 1), ended.err
    calls = read_ledger(out).calls
    assert calls.column("status").to_pylist() == [401] * 6
    operations = read_ledger(out).operations.to_pandas()
    assert (operations["outcome"] == "done").all()
    assert ((operations["ended"] - operations["started"]).dt.total_seconds().round() == 60).all()
