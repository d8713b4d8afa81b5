"""Nights as a user runs them: real runs, small ones, in a workspace of their own."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from quotalab.errors import InputError
from quotalab.nightly.baselines import write_baseline
from quotalab.nightly.matrix import read_matrix
from quotalab.nightly.telling import tell
from quotalab.workspace import Workspace

POLICY = """schema = 1
name = "mine"
title = "Mine"
description = "For a test."
refresh_before = "0s"

[budget]
enabled = false

[retry]
attempts = {attempts}
obey_retry_after = false
base = "1s"
cap = "1s"
jitter = "none"
"""
MATRIX = """[tool.quotalab.nightly]
scenarios = ["overload"]
policies = ["mine"]
seeds = [3, 4]
users = 8
for = "2m"
set = ["limits.hourly.limit=12"]
"""


def quotalab(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run the command in a workspace."""
    return subprocess.run(
        [sys.executable, "-m", "quotalab", *arguments], cwd=cwd, capture_output=True, text=True, check=False
    )


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with a matrix of two runs, and its baseline made."""
    root = tmp_path_factory.mktemp("workspace")
    (root / "profiles" / "policies").mkdir(parents=True)
    (root / "profiles" / "policies" / "mine.toml").write_text(POLICY.format(attempts=2))
    (root / "pyproject.toml").write_text(MATRIX)
    first = quotalab("nightly", "--update-baseline", "--out", "night/1", cwd=root)
    assert first.returncode == 0, first.stderr
    assert "are the baseline now" in first.stdout
    return root


def test_a_changed_app_fails_the_night_and_the_first_differing_call_is_named(workspace: Path) -> None:
    """One retry more: the second night says which call is the first that was not expected, and exits 1."""
    policy = workspace / "profiles" / "policies" / "mine.toml"
    policy.write_text(POLICY.format(attempts=4))
    try:
        night = quotalab("nightly", "--out", "night/2", cwd=workspace)
    finally:
        policy.write_text(POLICY.format(attempts=2))
    group = json.loads((workspace / "night/2/nightly.json").read_text())["groups"][0]
    assert group["changed_seeds"]
    assert "is the first that differs: expected" in group["first_difference"]
    assert group["first_difference"] in night.stdout
    assert group["first_difference"].startswith("seed 3: call ")
    # It was a FAIL before, so the verdict cannot get worse: the night is changed, and says what differs.
    assert night.returncode == (group["word"] == "regressed")
    assert (workspace / "night/2/index.html").read_text().count("report.html") == 2
    assert "overload~mine" in (workspace / "night/trend.html").read_text()


def test_an_unchanged_app_repeats_exactly_and_a_killed_job_goes_on_where_it_stood(workspace: Path) -> None:
    """What had ended is kept, what was half done is run again, and nothing differs from the baseline."""
    night = workspace / "night" / "1"
    kept, killed = night / "runs/overload~mine~3", night / "runs/overload~mine~4"
    stamp = (kept / "verdict.json").stat().st_mtime_ns
    (killed / "cell.json").unlink()
    (killed / "verdict.json").write_text("half")
    again = quotalab("nightly", "--out", "night/1", cwd=workspace)
    assert again.returncode == 0, again.stderr
    assert "the same, call by call" in again.stdout
    assert (kept / "verdict.json").stat().st_mtime_ns == stamp
    assert json.loads((killed / "verdict.json").read_text())["verdict"]


def test_two_jobs_in_one_folder_are_refused(workspace: Path) -> None:
    """The second says so at once, and what the first does is not disturbed."""
    with (workspace / "night/1/.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        second = quotalab("nightly", "--out", "night/1", cwd=workspace)
    assert second.returncode == 2
    assert "another job is at work here" in second.stderr


@pytest.mark.full
def test_runs_of_a_job_that_was_killed_keep_the_next_one_out_until_they_have_ended(workspace: Path) -> None:
    """Else two processes would write one run folder."""
    command = [sys.executable, "-m", "quotalab", "nightly", "--jobs", "1", "--out", "night/killed"]
    job = psutil.Popen(command, cwd=workspace, stderr=subprocess.DEVNULL)
    while not (runs := job.children()):
        assert job.is_running()
    runs[0].suspend()
    job.kill()
    job.wait()
    try:
        refused = quotalab("nightly", "--out", "night/killed", cwd=workspace)
        assert refused.returncode == 2
        assert "runs of one that was killed" in refused.stderr
    finally:
        runs[0].kill()
        psutil.wait_procs(runs)
    assert quotalab("nightly", "--out", "night/killed", cwd=workspace).returncode == 0


@pytest.mark.full
def test_a_disk_that_is_full_is_told_and_leaves_the_baseline_alone(workspace: Path) -> None:
    """Here no file may grow beyond 8 KB: one line, exit 2, and nothing half written that could be committed."""
    before = {path: path.read_bytes() for path in (workspace / "baselines").rglob("*") if path.is_file()}
    night = subprocess.run(
        ["sh", "-c", 'ulimit -f 8 && exec "$@"', "sh", sys.executable, "-m", "quotalab", "nightly",
         "--update-baseline", "--out", "night/full"],
        cwd=workspace, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert night.returncode == 2
    assert night.stderr.count("\n") == 1
    assert "File too large" in night.stderr
    assert before == {
        path: path.read_bytes() for path in (workspace / "baselines").rglob("*") if path.is_file()
    }


def test_a_baseline_that_cannot_be_written_whole_is_not_left_in_part(workspace: Path) -> None:
    """What there was stays, and no part of the new one lies beside it."""
    root = workspace / "kept"
    (root / "overload~mine.calls").mkdir(parents=True)
    (group,) = read_matrix(Workspace.find(workspace)).groups
    folders = [workspace / "night/1/runs/overload~mine~3", workspace / "nowhere"]
    with pytest.raises(InputError):
        write_baseline(root, group, {}, [tell(3, folders[0])] * 2, folders)
    assert [path.name for path in root.rglob("*")] == ["overload~mine.calls"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "is damaged"),
        ('{"schema": 7}', "schema must be 1"),
        (
            '{"schema": 1, "runs": [], "environment": {}, "asked": ["run", "other"]}',
            "asked for with run other",
        ),
        ('{"schema": 1, "runs": [{}], "environment": {}, "asked": []}', "is damaged"),
        (
            '{"schema": 1, "environment": {}, "asked": [], "runs": [{"seed": 3, "verdict": "PASS", "rules": {}, '
            '"figures": {"calls": NaN}, "ledger_sha256": "", "calls_sha256": ""}]}',
            "a figure is no number",
        ),
    ],
)
def test_a_damaged_or_foreign_baseline_is_told_before_any_work(workspace: Path, text: str, said: str) -> None:
    """One line, exit 2, no run begun."""
    file = workspace / "baselines" / "overload~mine.json"
    good = file.read_text()
    file.write_text(text)
    try:
        night = quotalab("nightly", "--out", "night/none", cwd=workspace)
    finally:
        file.write_text(good)
    assert night.returncode == 2
    assert said in night.stderr
    assert night.stderr.count("\n") == 1
    assert not (workspace / "night/none").exists()


@pytest.mark.full
def test_a_torn_file_of_calls_is_told_only_when_it_is_needed(workspace: Path) -> None:
    """Equal digests never open it; a baseline written again is the same bytes."""
    calls = workspace / "baselines" / "overload~mine.calls" / "3.gz"
    before = calls.read_bytes()
    calls.write_bytes(before[:40])
    try:
        assert quotalab("nightly", "--out", "night/1", cwd=workspace).returncode == 0
    finally:
        calls.write_bytes(before)
    (workspace / "baselines" / "overload~mine.json").unlink()
    quotalab("nightly", "--update-baseline", "--out", "night/1", cwd=workspace)
    assert calls.read_bytes() == before


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ('scenarios = ["temporary_acces"]', "did you mean 'temporary_access'?"),
        ('providers = ["nobody"]', "nobody"),
        ("seeds = 0", "seeds"),
        ("seeds = [1, 1]", "seeds"),
        ("sceanrios = []", "did you mean 'scenarios'?"),
        ("scenarios = []", "scenarios"),
        ('for = "soon"', "nightly.for"),
        ("[tool.quotalab.nightly.margins]\nbeauty = 1", "margins.beauty"),
    ],
)
def test_an_unknown_cell_or_key_is_named(tmp_path: Path, table: str, said: str) -> None:
    """Nothing runs before the whole matrix is known to be right."""
    (tmp_path / "pyproject.toml").write_text(f"[tool.quotalab.nightly]\n{table}\n")
    with pytest.raises(InputError) as caught:
        read_matrix(Workspace.find(tmp_path))
    assert said in str(caught.value)


@pytest.mark.full
def test_what_cannot_be_run_is_told_in_the_runs_own_words(tmp_path: Path) -> None:
    """A scenario that raises at import: the job ends with its line, exit 2."""
    (tmp_path / "locustfiles").mkdir()
    (tmp_path / "locustfiles" / "broken.py").write_text("import nothing_like_that\n")
    (tmp_path / "pyproject.toml").write_text('[tool.quotalab.nightly]\nscenarios = ["broken"]\nseeds = 1\n')
    night = quotalab("nightly", "--out", "night", cwd=tmp_path)
    assert night.returncode == 2
    assert "broken~1" in night.stderr
    assert "nothing_like_that" in night.stderr


@pytest.mark.full
def test_seeds_say_together_how_often_a_limit_was_overrun(workspace: Path) -> None:
    """Three seeds of an app that overruns: the share, its bound, and the command that repeats the first."""
    told = quotalab(
        "run", "overload", "--policy", "mine", "--users", "8", "--for", "2m", "--set", "limits.hourly.limit=12",
        "--seed", "3", "--seeds", "2", "--out", "seeds", cwd=workspace,
    )  # fmt: skip
    document = json.loads((workspace / "seeds" / "seeds.json").read_text())
    verdicts = [json.loads((workspace / f"seeds/seed-{s}/verdict.json").read_text()) for s in (3, 4)]
    over = sum(one["limits"][0]["headroom"] < 0 or one["limits"][0]["refused"] > 0 for one in verdicts)
    assert document["limits"][0]["overran"] == over > 0
    assert told.returncode == any(one["verdict"] == "FAIL" for one in verdicts)
    first = next(seed for seed, one in zip((3, 4), verdicts, strict=True) if one["verdict"] == "FAIL")
    assert document["repeat"] == (
        "quotalab run overload --policy mine --users 8 --for 2m --set limits.hourly.limit=12 --seed "
        + str(first)
    )
    assert document["repeat"] in told.stdout
    assert os.listdir(workspace / "seeds").count("seeds.json") == 1


def test_without_a_table_the_night_runs_what_run_does(tmp_path: Path) -> None:
    """The scenario that the workspace names for its own app."""
    (tmp_path / "pyproject.toml").write_text('[tool.quotalab]\nscenario = "overload"\n', encoding="utf-8")
    assert {group.scenario for group in read_matrix(Workspace.find(tmp_path)).groups} == {"overload"}
    (tmp_path / "pyproject.toml").write_text("[tool.quotalab]\n", encoding="utf-8")
    assert {group.scenario for group in read_matrix(Workspace.find(tmp_path)).groups} == {"temporary_access"}
