"""Two runs side by side."""

from __future__ import annotations

import re

import pytest

from quotalab.cli import main
from quotalab.frames.testing import LedgerBuilder, provider_document
from quotalab.report import compare_runs
from quotalab.report.beside import judge_for_comparison, rows_of

LIMITS = {"ten": {"kind": "rolling_window", "limit": 10, "period": "1h"}}


def asking(number, path, **run):
    ledger = LedgerBuilder(provider_document(LIMITS), **run)
    for i in range(number):
        ledger.decided_call(60 * i)
    return ledger.write(path)


@pytest.fixture
def two(tmp_path):
    """A run that keeps inside the limit, and one that does not."""
    return asking(4, tmp_path / "calm"), asking(13, tmp_path / "wild", policy="none")


def test_rows_say_which_way_it_went(two, workspace):
    """Headroom, refusals and rules got worse; the policy is another; the provider is the same."""
    first, second = (judge_for_comparison(folder, workspace).verdict for folder in two)
    rows = {row.name: row for row in rows_of(first, second)}
    assert (rows["verdict"].first, rows["verdict"].second) == ("PASS", "FAIL")
    assert (rows["ten"].first, rows["ten"].change) == ("4/10, 60 % left", "worse")
    assert rows["ten"].second == "13/10, -30 % left, 3 refused"
    assert rows["refused"].change == rows["QL101 quota-overrun"].change == "worse"
    assert (rows["policy"].change, rows["provider"].change) == ("other", "")
    back = {row.name: row.change for row in rows_of(second, first)}
    assert back["ten"] == back["refused"] == back["QL101 quota-overrun"] == "better"
    assert all(not row.change for row in rows_of(first, first))


def test_both_are_on_one_page_and_neither_run_is_touched(two, workspace):
    """beside.html goes into the second run's folder; every id is once there."""
    before = {path: path.read_bytes() for folder in two for path in folder.rglob("*") if path.is_file()}
    text, path = compare_runs(*two, workspace)
    assert path == two[1] / "beside.html"
    assert all(path.read_bytes() == data for path, data in before.items())
    page = path.read_text()
    ids = re.findall(r' id="([^"]*)"', page)
    assert len(ids) == len(set(ids)) > 4
    assert "<script" not in page
    assert page.count("<figure") == 2 * page.count('<div class="two">') - 2
    assert max(map(len, text.splitlines()[:-2])) <= 100
    assert "calm" in text


def test_hostile_texts_are_only_text_on_both_pages(hostile, workspace, tmp_path):
    """Every name is a client's."""
    _, path = compare_runs(hostile[0], hostile[0], workspace, tmp_path / "two.html")
    page = path.read_text()
    assert "<script" not in page
    assert not re.search(r"<img|onmouseover=\"", page)


def test_the_command_takes_two_folders(two, capsys, monkeypatch):
    """`quotalab report A B`, and what does not go with it is refused."""
    assert main(["report", *map(str, two)]) == 0
    assert capsys.readouterr().out.endswith("beside.html\n")
    assert main(["report", *map(str, two), "--json"]) == 2
    assert main(["report", str(two[0]), "--html", "x.html"]) == 2
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    assert main(["report", str(two[1])]) == 1
    assert "\n::error title=QL101 quota-overrun" in capsys.readouterr().out
