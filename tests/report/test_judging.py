"""From a run folder to everything that is written into it."""

from __future__ import annotations

import json

import pytest

from quotalab.errors import InputError, RunFolderError
from quotalab.frames import disagreements, load
from quotalab.frames.testing import LedgerBuilder, provider_document
from quotalab.report import judge_run


def contents(folder):
    files = [folder / "verdict.json", folder / "junit.xml", folder / "report.html"]
    return {path.name: path.read_bytes() for path in [*files, *sorted((folder / "figures").iterdir())]}


def test_the_folder_holds_verdict_junit_figures_and_report(naive):
    """Each file is there whole, and no half-written part is left."""
    folder, verdict = naive
    assert json.loads((folder / "verdict.json").read_text())["verdict"] == verdict.verdict == "FAIL"
    names = {path.name for path in (folder / "figures").iterdir()}
    stems = ("limit-1-hourly", "demand", "refused", "waits")
    assert names == {f"{stem}.{kind}" for stem in stems for kind in ("svg", "png")}
    assert not list(folder.rglob("*.part"))


def test_a_day_is_judged_without_a_fault(naive):
    """The generator's decisions, by plain lists, and the judges' arithmetic agree on every call."""
    folder, verdict = naive
    assert verdict.faults == ()
    assert disagreements(load(folder)) == []
    assert verdict.metrics["refused"] == verdict.limits[0].refused > 100


def test_judging_twice_writes_the_same_bytes(naive, workspace):
    """No time is read and nothing is drawn at random: the same folder makes the same files."""
    folder, _ = naive
    before = contents(folder)
    judge_run(folder, workspace)
    assert contents(folder) == before


def test_stages_are_told_in_order(workspace, tmp_path):
    """The caller can time load, judge, figures and html."""
    stages = []
    judge_run(LedgerBuilder().write(tmp_path / "run"), workspace, timer=stages.append)
    assert stages == ["load", "judge", "figures", "html"]


def test_rules_can_be_chosen(workspace, tmp_path):
    """Only rules that begin as asked are judged, and the page says so; none that fits is an error."""
    folder = LedgerBuilder().write(tmp_path / "run")
    verdict = judge_run(folder, workspace, only=["QL2", "QL301"])
    assert [result.rule.id for result in verdict.rules] == ["QL201", "QL202", "QL301"]
    assert "Only those that begin with QL2, QL301." in (folder / "report.html").read_text()
    with pytest.raises(InputError, match="no rule 'QL9'"):
        judge_run(folder, workspace, only=["QL9"])


def test_figures_of_an_earlier_judging_are_removed(workspace, tmp_path):
    """What is in figures/ belongs to this verdict; other files there are left alone."""
    folder = LedgerBuilder().write(tmp_path / "run")
    (folder / "figures").mkdir()
    for name in ("old.svg", "old.png", "notes.txt"):
        (folder / "figures" / name).write_text("old")
    judge_run(folder, workspace)
    assert [path.name for path in (folder / "figures").iterdir()] == ["notes.txt"]


def test_a_file_that_cannot_be_written_is_named(workspace, tmp_path):
    """One clear line in place of a traceback, and what was there before stays whole."""
    folder = LedgerBuilder().write(tmp_path / "run")
    (folder / "verdict.json").mkdir()
    with pytest.raises(RunFolderError, match=r"verdict\.json: cannot be written"):
        judge_run(folder, workspace)


def test_a_workspace_adds_rules_to_the_bundled_ones(workspace, tmp_path):
    """A rule file of the user's own is judged beside ours."""
    root = tmp_path / "mine"
    (root / "analysis").mkdir(parents=True)
    (root / "analysis" / "quota.py").write_text(
        "from quotalab.rules import Judgement, rule\n"
        "@rule('ACME001', 'own-rule')\n"
        "def own(frames):\n"
        "    '''Ours.'''\n"
        "    return Judgement('REVIEW', float(len(frames.calls)))\n"
    )
    folder = LedgerBuilder().write(tmp_path / "run")
    verdict = judge_run(folder, type(workspace)(root, {}, workspace.bundled))
    assert [result.rule.id for result in verdict.rules][:2] == ["ACME001", "QL101"]
    assert verdict.verdict == "REVIEW"


@pytest.mark.parametrize("kind", ["rolling_window", "fixed_window"])
@pytest.mark.parametrize("align", ["clock", "first_call"])
def test_every_kind_of_limit_makes_a_whole_report(workspace, tmp_path, kind, align):
    """Several limits with keys of several parts, a minute's run: judged, drawn and written."""
    limits = {
        "per minute / person": {"kind": kind, "limit": 3, "period": "1m", "key": ["person"], "align": align},
        "über": {"kind": kind, "limit": 5, "period": "10s", "key": ["route", "ip"], "align": align},
    }
    ledger = LedgerBuilder(provider_document(limits), span_ns=60 * 10**9)
    for i in range(20):
        ledger.decided_call(3 * i, person="ab"[i % 2])
    folder = ledger.write(tmp_path / "run")
    verdict = judge_run(folder, workspace)
    assert verdict.faults == ()
    names = {path.name for path in (folder / "figures").glob("*.svg")}
    assert {"limit-1-per-minute-person.svg", "limit-2-ber.svg"} <= names
