"""The verdict on a run, and the document that it becomes."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from quotalab.frames import load
from quotalab.frames.testing import LedgerBuilder, provider_document
from quotalab.rules import Finding, Judgement, Rule, judge


def rules(*verdicts):
    return [
        Rule(f"QL{i}01", f"rule-{i}", lambda frames, verdict=verdict: Judgement(verdict, 1.0, 2.0))
        for i, verdict in enumerate(verdicts, 1)
    ]


@pytest.fixture
def frames(tmp_path):
    ledger = LedgerBuilder(traffic="office", ended_ns=None)
    ledger.decided_call(1)
    ledger.operation(1, 3)
    return load(ledger.write(tmp_path / "run"))


@pytest.mark.parametrize(
    ("verdicts", "whole", "code", "strict"),
    [
        (("PASS", "NA"), "PASS", 0, 0),
        (("PASS", "REVIEW"), "REVIEW", 0, 1),
        (("REVIEW", "WARN"), "WARN", 0, 1),
        (("WARN", "FAIL", "NA"), "FAIL", 1, 1),
        (("NA",), "NA", 0, 0),
    ],
)
def test_the_runs_verdict_is_the_worst_and_sets_the_exit_code(frames, verdicts, whole, code, strict):
    """Exit 1 for FAIL, with strict for WARN and REVIEW as well; else 0."""
    verdict = judge(frames, rules(*verdicts))
    assert verdict.verdict == whole
    assert (verdict.exit_code(), verdict.exit_code(strict=True)) == (code, strict)


def test_the_document_has_the_fields_of_schema_1(frames):
    """Every field that was promised is there, with its value."""
    finding = Finding("m", 1_767_571_201_500_000_000, (0,))
    one = Rule("QL101", "one", lambda frames: Judgement("WARN", 1.0, 0.5, (finding,)))
    document = json.loads(json.dumps(judge(frames, [one]).as_document(), allow_nan=False))
    assert document["schema"] == 1
    assert document["run"] == {
        "scenario": "small",
        "provider": "small",
        "traffic": "office",
        "policy": "",
        "app": "reference",
        "seed": 1,
        "clock": "virtual",
        "virtual_s": 86400.0,
        "wall_s": None,
        "ledger_sha256": "",
        "complete": True,
    }
    assert document["verdict"] == "WARN"
    assert document["limits"] == [
        {
            "name": "hourly",
            "kind": "rolling_window",
            "key": ["app"],
            "limit": 100,
            "period_s": 3600.0,
            "keys": 1,
            "worst_key": "app",
            "allows": "100 in 1 h",
            "peak_asked": 1,
            "limit_at_peak": 100,
            "peak_at": "2026-01-05T00:00:01Z",
            "utilisation": 0.01,
            "headroom": 0.99,
            "refused": 0,
        }
    ]
    assert document["rules"] == [
        {
            "id": "QL101",
            "name": "one",
            "verdict": "WARN",
            "metric": 1.0,
            "threshold": 0.5,
            "unit": "",
            "findings": [{"message": "m", "at": "2026-01-05T00:00:01.5Z", "calls": [0]}],
            "findings_total": 1,
            "note": None,
            "thresholds": {},
            "silenced": None,
        }
    ]
    assert document["metrics"]["calls"] == 1
    assert document["metrics"]["wait_p95_s"] == 2.0
    assert document["faults"] == []


def test_a_rule_that_raises_is_named_and_the_others_judge(frames):
    """It is a fault, exit 3, with the place; its own verdict is REVIEW."""

    def broken(frames):
        return {}["nothing"]

    verdict = judge(frames, [Rule("QL101", "broken", broken), *rules("PASS")[:0], *rules("NA", "FAIL")[1:]])
    assert [result.verdict for result in verdict.rules] == ["REVIEW", "FAIL"]
    assert verdict.faults_total == 1
    assert "the rule QL101 (broken) raised KeyError in test_verdict.py, line" in verdict.faults[0].message
    assert verdict.exit_code() == 3


def test_a_rule_that_returns_something_else_is_a_fault(frames):
    """A function that forgets its judgement is named."""
    verdict = judge(frames, [Rule("QL101", "silent", lambda frames: None)])
    assert verdict.faults[0].message == "the rule QL101 (silent) must return a Judgement, not NoneType"


def _finding(**wrong):
    return (Finding(**{"message": "m", "at_ns": 1, "calls": (), **wrong}),)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"metric": float("nan")}, "the metric nan, which must be a finite number"),
        ({"metric": float("inf")}, "the metric inf, which must be a finite number"),
        ({"metric": np.int64(3)}, r"the metric np.int64(3), which must be a finite number"),
        ({"metric": np.float32(3)}, r"the metric np.float32(3.0), which must be a finite number"),
        ({"metric": True}, "the metric True, which"),
        ({"metric": "3"}, "the metric '3', which"),
        ({"threshold": pd.NA}, "the threshold <NA>, which"),
        ({"note": 7}, "the note 7, which must be a text or None"),
        ({"remedy": ("x",)}, "the remedy ('x',), which must be a text or None"),
        ({"untold": -1}, "-1 untold findings, which"),
        ({"untold": np.int64(1)}, "np.int64(1) untold findings, which must be a whole number"),
        ({"findings": []}, "a list of findings, which must be a tuple"),
        ({"findings": ("m",)}, "the finding 'm', which must be a Finding"),
        ({"findings": _finding(message=None)}, "a finding with the message None"),
        (
            {"findings": _finding(at_ns=np.int64(3))},
            "a finding at np.int64(3), which must be whole nanoseconds",
        ),
        ({"findings": _finding(at_ns=1.5)}, "a finding at 1.5, which must be whole nanoseconds"),
        ({"findings": _finding(calls=[1])}, "a finding with the calls [1], which must be a tuple of int"),
        ({"findings": _finding(calls=(np.int64(1),))}, "a finding with the calls (np.int64(1),), which must"),
    ],
)
def test_a_judgement_that_cannot_be_written_down_is_a_fault_of_its_rule(frames, wrong, said):
    """It is named with what would be right, the others judge, and the document can be written."""
    bad = Rule("QL101", "bad", lambda frames: Judgement("PASS", **wrong))
    verdict = judge(frames, [bad, *rules("NA", "WARN")[1:]])
    assert verdict.faults[0].message.startswith(f"the rule QL101 (bad) returned {said}")
    assert [result.verdict for result in verdict.rules] == ["REVIEW", "WARN"]
    assert verdict.exit_code() == 3
    json.dumps(verdict.as_document(), allow_nan=False)


def test_a_rule_that_ends_the_process_is_named_too(frames):
    """No rule decides that the others are not asked."""

    def leaves(frames):
        raise SystemExit(0)

    verdict = judge(frames, [Rule("QL101", "leaves", leaves), *rules("NA", "WARN")[1:]])
    assert "the rule QL101 (leaves) raised SystemExit in test_verdict.py" in verdict.faults[0].message
    assert verdict.rules[1].verdict == "WARN"


def test_a_sandbox_that_is_wrong_is_a_fault(tmp_path):
    """A call admitted beyond the limit makes exit 3, whatever the rules say."""
    limits = {"h": {"kind": "rolling_window", "limit": 1, "period": "10s"}}
    ledger = LedgerBuilder(provider_document(limits))
    ledger.call(0)
    ledger.call(1)
    verdict = judge(load(ledger.write(tmp_path / "run")), rules("PASS"))
    assert verdict.exit_code() == 3
    assert verdict.faults[0].calls == (1,)
    assert verdict.faults[0].message.startswith("call 1 was admitted, but by the judges' account 'h' had to")


def test_findings_are_counted_beyond_what_the_document_holds(frames):
    """A thousand findings are written, the rest is a number."""
    many = tuple(Finding(str(i), None) for i in range(1500))
    one = Rule("QL101", "one", lambda frames: Judgement("WARN", findings=many))
    (row,) = judge(frames, [one]).as_document()["rules"]
    assert (len(row["findings"]), row["findings_total"]) == (1000, 1500)


def test_unknown_routes_are_counted_by_method_and_path(tmp_path):
    """What got 404 for want of a route is named, the most called first; a missing item is not."""
    ledger = LedgerBuilder()
    for path in ("/b", "/a", "/b"):
        ledger.call(0, route=None, status=404, path=path)
    ledger.call(0, status=404, path="/events/9")
    ledger.call(0, route=None, status=401, asked=False, path="/x")
    verdict = judge(load(ledger.write(tmp_path / "run")), [])
    found = [(one.method, one.path, one.calls) for one in verdict.unknown_routes]
    assert found == [("GET", "/b", 2), ("GET", "/a", 1)]
    assert verdict.as_document()["unknown_routes"][0] == {"method": "GET", "path": "/b", "calls": 2}


def test_a_remedy_is_the_judgements_own_or_the_first_sentence_of_the_page(frames):
    """What to change comes from the judgement, else from the rule's page."""

    def paged(frames):
        """Title.

        ## What to do instead
        Wait a little,
        and then more. Or not.
        """
        return Judgement("WARN")

    own = Rule("QL101", "own", lambda frames: Judgement("WARN", remedy="do this"))
    results = judge(frames, [own, Rule("QL102", "paged", paged), *rules("NA")]).rules
    assert [result.remedy for result in results[:2]] == ["do this", "Wait a little, and then more"]


def test_judging_needs_nothing_of_the_acting_half():
    """Importing the judges and the report brings in no gevent, Locust, Flask, engine, sandbox or clock."""
    code = (
        "import sys, quotalab.report, quotalab.rules, quotalab.frames, quotalab.report.page\n"
        "bad = ('gevent', 'locust', 'flask', 'authlib', 'httpx', 'quotalab.sandbox', 'quotalab.quota',\n"
        "       'quotalab.clock', 'quotalab.run', 'matplotlib')\n"
        "print([name for name in sys.modules if name.startswith(bad)])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_tightest_limit_is_one_that_needs_headroom(tmp_path):
    """Taken seats are no tight limit, unless more were wanted than there are."""
    people = {"kind": "cardinality", "limit": 2, "of": "person", "match": {"kinds": ["authorize"]}}
    calls = {"kind": "rolling_window", "limit": 10, "period": "1h"}
    ledger = LedgerBuilder(provider_document({"people": people, "calls": calls}))
    for at, person in enumerate(["ann", "bob"]):
        ledger.decided_call(at, kind="authorize", person=person, route=None)
    ledger.decided_call(5)
    assert judge(load(ledger.write(tmp_path / "taken")), []).tightest.limit.name == "calls"
    ledger.decided_call(6, kind="authorize", person="cem", route=None)
    verdict = judge(load(ledger.write(tmp_path / "wanted")), [])
    assert verdict.tightest.limit.name == "people"
    assert verdict.metrics["refused"] == 0


def test_what_concerns_the_whole_ledger_is_a_fault_without_a_call(tmp_path):
    """An undisclosed limit of which no event tells the number."""
    limits = {"o": {"kind": "opaque", "floor": 1, "ceiling": 5, "period": "10s"}}
    ledger = LedgerBuilder(provider_document(limits))
    ledger.decided_call(0)
    del ledger._rows[0]
    (fault,) = judge(load(ledger.write(tmp_path / "run")), []).faults
    assert (fault.calls, fault.message) == (
        (),
        "the ledger has no event that tells what was drawn for the limit 'o'",
    )
