"""The example of docs/app-files.md, read and run."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from quotalab.frames import load
from quotalab.profiles.app import app_settings
from quotalab.rules import load_rules

ROOT = Path(__file__).parents[2]


def test_the_example_is_read():
    """As it stands on the page."""
    text = (ROOT / "docs" / "app-files.md").read_text(encoding="utf-8")
    example = re.search(r"```toml\n(.*?)```", text, re.DOTALL)
    settings = app_settings(tomllib.loads(example[1])["tool"]["quotalab"], "pyproject.toml")
    assert settings.files == ("logs/*.log", "state/*.json")
    assert settings.log.columns["person"] == "user.id"


@pytest.mark.full
def test_the_reference_integration_leaves_a_whole_log_and_no_secret(tmp_path):
    """Its token store, its log and the run folder are searched; each call has its entry, twice over in a run
    after a run."""
    (tmp_path / "pyproject.toml").write_text(
        '[tool.quotalab.app]\nfiles = ["logs/*"]\nlog = { file = "logs/calls.jsonl" }\n'
    )
    rules = {one.id: one for one in load_rules(sorted((ROOT / "analysis").glob("[!_]*.py")))}
    for out in ("one", "two"):
        command = [
            sys.executable,
            "-m",
            "quotalab",
            "run",
            "--for",
            "3h",
            "--users",
            "40",
            "--start",
            "2026-01-05T08:00",
            "--out",
            out,
        ]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        frames = load(tmp_path / out)
        for id in ("QL320", "QL321", "QL322", "QL701", "QL702", "QL703"):
            judgement = rules[id](frames)
            assert judgement.verdict == "PASS", (id, judgement)
        entries = pq.read_table(tmp_path / out / "applog.parquet").num_rows
        assert entries == len(frames.api_calls) > 30
        assert "applog.parquet" in frames.run.tables
