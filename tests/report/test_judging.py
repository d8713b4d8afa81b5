"""From a run folder to everything that is written into it."""

from __future__ import annotations

import json

import pytest

from quotalab.errors import InputError, RunFolderError
from quotalab.frames import disagreements, load
from quotalab.frames.testing import LedgerBuilder, provider_document
from quotalab.report import document, judge_run


def contents(folder):
    files = [folder / name for name in ("verdict.json", "junit.xml", "summary.md", "report.html")]
    return {path.name: path.read_bytes() for path in [*files, *sorted((folder / "figures").iterdir())]}


def test_the_folder_holds_verdict_junit_figures_and_report(naive):
    """Each file is there whole, and no half-written part is left."""
    folder, verdict = naive
    assert json.loads((folder / "verdict.json").read_text())["verdict"] == verdict.verdict == "FAIL"
    names = {path.name for path in (folder / "figures").iterdir()}
    assert (folder / "summary.md").read_text().startswith("## quotalab: FAIL")
    stems = ("limit-1-hourly", "demand", "refused", "promises", "tokens", "waits")
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


def test_rules_can_be_chosen_and_then_nothing_is_written(workspace, tmp_path):
    """What a folder holds is of all rules, always; none that begins as asked is an error."""
    folder = LedgerBuilder().write(tmp_path / "run")
    before = sorted(folder.rglob("*"))
    verdict = judge_run(folder, workspace, only=["QL2", "QL301"])
    assert {result.rule.family for result in verdict.rules} == {"QL2", "QL3"}
    assert [result.rule.id for result in verdict.rules][-1] == "QL301"
    assert json.loads(document(verdict))["only"] == ["QL2", "QL301"]
    assert sorted(folder.rglob("*")) == before
    assert json.loads(document(judge_run(folder, workspace)))["only"] is None
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


@pytest.mark.parametrize("name", ["figures", "verdict.json", "inputs", "report.html.part", "figures/x.svg"])
def test_a_link_that_leads_out_of_the_folder_is_refused(workspace, tmp_path, name):
    """Run folders come from others: nothing outside is read, written or removed."""
    folder = LedgerBuilder().write(tmp_path / "run")
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "precious.svg").write_text("mine")
    place = folder / name
    place.parent.mkdir(exist_ok=True)
    if place.is_dir():
        place.rename(folder / "was")
    place.symlink_to(outside if place.suffix == "" else outside / "precious.svg")
    with pytest.raises(RunFolderError, match=f"{name}: is a link that leads out of the run folder"):
        judge_run(folder, workspace)
    assert (outside / "precious.svg").read_text() == "mine"
    assert [path.name for path in outside.iterdir()] == ["precious.svg"]


def test_a_part_that_was_left_behind_is_not_written_through(workspace, tmp_path):
    """Not even to a file of the folder itself."""
    folder = LedgerBuilder().write(tmp_path / "run")
    description = (folder / "run.json").read_bytes()
    (folder / "verdict.json.part").symlink_to(folder / "run.json")
    judge_run(folder, workspace)
    assert (folder / "run.json").read_bytes() == description
    assert not (folder / "verdict.json").is_symlink()


def test_a_fault_of_the_sandbox_is_a_fault_whenever_the_run_is_judged(workspace, tmp_path):
    """The ledger tells of it, so a later report ends as the run did: exit 3."""
    ledger = LedgerBuilder()
    ledger.decided_call(1)
    for error in ("KeyError", "KeyError", "ValueError"):
        ledger.event(2, "sandbox-fault", None, error=error)
    verdict = judge_run(ledger.write(tmp_path / "run"), workspace)
    assert [fault.message for fault in verdict.faults] == [
        "the sandbox itself failed: KeyError, 2 times",
        "the sandbox itself failed: ValueError, 1 time",
    ]
    assert verdict.exit_code() == 3


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


def test_every_kind_of_limit_makes_a_whole_report(workspace, tmp_path):
    """One limit of each kind, and a timetable: judged without a fault, drawn and written."""
    month = {"kind": "fixed_window", "limit": 50, "period": "month", "zone": "Europe/Oslo"}
    limits = {
        "per-minute": {"kind": "rolling_window", "limit": 3, "period": "1m", "key": ["person"]},
        "month": month,
        "bucket": {"kind": "token_bucket", "capacity": 9, "rate": "1/2s", "key": ["route", "ip"]},
        "at-once": {"kind": "concurrency", "limit": 2, "min_age": "1s"},
        "credits": {"kind": "balance", "credits": 12, "cost": {"base": 2, "when": "after"}},
        "people": {"kind": "cardinality", "limit": 2, "of": "person"},
        "mistakes": {"kind": "penalty", "statuses": [403], "threshold": 1, "window": "9s", "block": "4s"},
        "secret": {"kind": "opaque", "floor": 5, "ceiling": 9, "period": "20s", "counts": "fixed_window"},
    }
    change = {"after": "30s", "limits": {"per-minute": 1, "bucket": 20}, "why": "a test"}
    document = provider_document(limits, timetable=[change])
    ledger = LedgerBuilder(document, span_ns=60 * 10**9)
    for i in range(40):
        status = 403 if i % 5 == 4 else 200
        ledger.decided_call(1.5 * i, person="abc"[i % 3], answered_ns=(3 * i + 8) * 5 * 10**8, status=status)
    folder = ledger.write(tmp_path / "run")
    verdict = judge_run(folder, workspace)
    assert verdict.faults == ()
    refusing = {use.limit.name for use in verdict.limits if use.refused}
    assert refusing >= {"per-minute", "credits", "people"}
    names = {path.stem for path in (folder / "figures").glob("limit-*.svg")}
    kept = ["per-minute", "month", "bucket", "at-once", "credits", "people"]
    assert names == {f"limit-{i}-{name}" for i, name in enumerate(kept, 1)}
    rows = json.loads((folder / "verdict.json").read_text())["limits"]
    assert {row["name"]: row["allows"] for row in rows} == {
        "per-minute": "3 in 1 min",
        "month": "50 in a calendar month by the clock of Europe/Oslo",
        "bucket": "9, then 30 a minute",
        "at-once": "2 at once, of those under way for 1 s",
        "credits": "12 credits in all",
        "people": "2 people",
        "mistakes": "1 answer 403 in 9 s, then blocked for 4 s",
        "secret": "7 in 20 s",
    }
    assert [row["period_s"] for row in rows if row["name"] in ("bucket", "at-once", "people")] == [None] * 3
    assert next(row["limit_at_peak"] for row in rows if row["name"] == "per-minute") == 1
