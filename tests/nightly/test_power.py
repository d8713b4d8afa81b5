"""The measurement of a night's power, in small."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.full
def test_every_change_that_is_planted_can_be_made() -> None:
    """The script says so before it runs anything, as the app that it changes goes on changing."""
    done = subprocess.run(
        [sys.executable, ROOT / "tests/benchmarks/power.py", "--trials", "0", "--harmless", "0"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.full
def test_a_night_finds_what_was_planted_and_a_log_line_is_no_regression(tmp_path: Path) -> None:
    """One found by a rule, one by figures, and what is measured in forks is what the command runs."""
    changes = ("one scope more", "one retry more", "a log line")
    done = subprocess.run(
        [sys.executable, ROOT / "tests/benchmarks/power.py", "--trials", "1", "--harmless", "1", "--jobs", "2",
         "--first", "1", "--out", tmp_path / "kept", *(word for one in changes for word in ("--only", one))],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    rows = [row.split(" | ") for row in done.stdout.splitlines() if row.startswith("| ")]
    assert [row[0].strip("| ") for row in rows[1:]] == ["one retry more", "one scope more", "harmless"]
    assert ["QL407 1" in row[3] for row in rows[1:]] == [False, True, False]
    assert ["retry_amplification 1" in row[3] for row in rows[1:]] == [True, False, False]
    assert rows[-1][2].startswith("0: at most 95.0%")
    (file,) = (tmp_path / "kept").iterdir()
    kept = [json.loads(line) for line in file.read_text().splitlines()]
    assert len(kept) == 4 * 8
    (told,) = (one for one in kept if (one["change"], one["seed"]) == ("clean", 1))
    night = ROOT / "tests/benchmarks/power"
    outage = next(line for line in (night / "pyproject.toml").read_text().splitlines() if "outage" in line)
    subprocess.run(
        [sys.executable, "-m", "quotalab", "--workspace", night, "run", "start_page", "--policy", "polite",
         "--for", "4h", "--seed", "1", "--set", outage.split("'")[1], "--out", tmp_path / "run"],
        cwd=tmp_path, capture_output=True, check=False,
    )  # fmt: skip
    verdict = json.loads((tmp_path / "run/verdict.json").read_text())
    assert verdict["run"]["ledger_sha256"] == told["ledger_sha256"]
