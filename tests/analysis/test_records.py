"""QL701 to QL703: the app's log held against the ledger."""

from __future__ import annotations

import random

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from quotalab.frames import load
from quotalab.frames.testing import START_NS, LedgerBuilder
from quotalab.ledger.schema import APP_LOG


@pytest.fixture
def judge(rules, tmp_path):
    """`judge(rule, ledger, entries)`: as `ask`, with entries of the app's log at seconds from the start."""
    asked = 0

    def judge_one(rule, ledger, entries, **told):
        nonlocal asked
        asked += 1
        told = {"file": "calls.jsonl", "broken": 0, "first_broken": [], "cut": False, "foreign": 0, **told}
        ledger.event(99, "app-log-read", **told)
        folder = ledger.write(tmp_path / f"judged-{asked}")
        if entries is not None:
            rows = [
                {
                    **dict.fromkeys(APP_LOG.names),
                    **{"line": i + 1, "method": "GET", "path": "/events", "status": 200, "person": "ann"},
                    **{"route": "events"},
                    **entry,
                }
                for i, entry in enumerate(entries)
            ]
            for row in rows:
                row["at"] = None if row["at"] is None else START_NS + round(row["at"] * 1e9)
            pq.write_table(pa.Table.from_pylist(rows, schema=APP_LOG), folder / "applog.parquet")
        return rules[rule](load(folder))

    return judge_one


def calls(*at_s, **columns):
    ledger = LedgerBuilder()
    for at in at_s:
        ledger.call(at, **columns)
    return ledger


@pytest.mark.parametrize(
    ("entry", "verdict"),
    [
        ({"at": 10}, "PASS"),
        ({"at": 11.0}, "PASS"),
        ({"at": 9.0}, "PASS"),
        ({"at": 11.000001}, "FAIL"),
        ({"at": 8.999999}, "FAIL"),
        ({"at": 10, "status": 429}, "FAIL"),
        ({"at": 10, "method": "POST"}, "FAIL"),
        ({"at": 10, "path": "/other"}, "FAIL"),
        ({"at": None}, "FAIL"),
    ],
)
def test_an_entry_stands_for_a_call_of_its_kind_and_time(judge, entry, verdict):
    """Method, path, status, and a second before or after; what is off by a microsecond is another."""
    judgement = judge("QL701", calls(10), [entry])
    assert judgement.verdict == verdict
    if verdict == "FAIL":
        assert judgement.findings[0].message == (
            "1 call GET 'list_events' answered 200 stand in no entry of the log, of 1 such; the first at Mon 5 Jan "
            "00:00:10.000."
        )
        assert judgement.findings[0].calls == (0,)
    if entry["at"] is not None:
        assert judge("QL703", calls(10), [entry]).verdict == verdict


def test_each_entry_stands_for_one_call_only(judge):
    """Three calls at once and two entries: one is not logged; three entries and two calls: one never was."""
    judgement = judge("QL701", calls(10, 10, 10), [{"at": 10}, {"at": 10}])
    assert (judgement.verdict, judgement.metric) == ("FAIL", 1 / 3)
    judgement = judge("QL703", calls(10, 10), [{"at": 10}] * 3)
    assert (judgement.verdict, judgement.metric) == ("FAIL", 1 / 3)
    assert judgement.findings[0].message == (
        "Line 3 of the log tells of GET /events answered 200 at Mon 5 Jan 00:00:10.000; there was no such call."
    )


def test_a_request_id_decides_before_time_does(judge):
    """An entry with the call's id is its entry, an hour late; the note says how it was found."""
    ledger = calls(10, request_id="r1")
    judgement = judge("QL701", ledger, [{"at": 3610, "request_id": "r1"}])
    assert judgement.verdict == "PASS"
    assert judgement.note == "1 entry: 1 matched by request id, 0 by method, path, status and time"


@pytest.mark.parametrize(("unlogged", "verdict"), [(1, "WARN"), (2, "FAIL")])
def test_a_hundredth_may_be_missing_with_a_warning(judge, unlogged, verdict):
    """Of 100 calls one unlogged is WARN, two are FAIL; OAuth calls need no entry."""
    ledger = calls(*range(0, 200, 2))
    ledger.call(300, kind="token", path="/oauth/token", method="POST")
    entries = [{"at": at} for at in range(0, 200 - 2 * unlogged, 2)]
    assert judge("QL701", ledger, entries).verdict == verdict


def test_a_log_that_is_not_there_or_not_whole_is_for_a_person(judge, ask):
    """No log named: NA. Named and not there, or with lines that could not be read: REVIEW, saying which."""
    for rule in ("QL701", "QL702", "QL703"):
        assert ask(rule, calls(1)).verdict == "NA"
        judgement = judge(rule, calls(1), None, missing="cannot be read: No such file or directory")
        assert (judgement.verdict, judgement.note) == (
            "REVIEW",
            "the app's log calls.jsonl: cannot be read: No such file or directory",
        )
    broken = {"broken": 1, "first_broken": [{"line": 2, "why": "is not UTF-8"}]}
    judgement = judge("QL701", calls(1, 5), [{"at": 1}], **broken)
    assert judgement.verdict == "REVIEW"
    assert judgement.note.endswith("1 line could not be read: line 2 is not UTF-8")


FULL = {"at": 10, "person": "ann", "wait": "2", "request_id": "r1"}


@pytest.mark.parametrize(
    ("lacking", "what"),
    [
        ({"at": None}, "the time"),
        ({"person": None}, "for whom it was"),
        ({"route": None}, "the route"),
        ({"status": None}, "the status"),
        ({"wait": None}, "how long was waited"),
        ({"request_id": None}, "the request id"),
        ({"request_id": "[unknown]"}, "the request id"),
    ],
)
def test_what_an_entry_lacks_is_named(judge, lacking, what):
    """A refused call's entry: each field that is missing is a finding of its own, with the line."""
    ledger = calls(10, refused_by="hourly", retry_after_s=2, request_id="r1")
    full = {**FULL, "status": 429}
    assert judge("QL702", ledger, [full]).verdict == "PASS"
    ledger = calls(10, refused_by="hourly", retry_after_s=2, request_id="r1")
    judgement = judge("QL702", ledger, [{**full, **lacking}])
    messages = [finding.message for finding in judgement.findings]
    assert (judgement.verdict, messages) == ("WARN", [f"1 of 1 entries do not say {what}: line 1."])


def test_a_good_calls_entry_needs_no_wait_and_a_tenant_is_somebody(judge):
    """Nothing was refused, the provider gave no id, and the tenant says for whom it was."""
    assert judge("QL702", calls(10), [{"at": 10, "person": None, "tenant": "t"}]).verdict == "PASS"
    assert judge("QL702", calls(10), []).verdict == "NA"


def test_matching_finds_as_many_pairs_as_there_can_be(rules, tmp_path, judge):
    """Random calls and entries: the number of pairs is that of a search through all of them."""
    draw = random.Random(3)
    for _ in range(12):
        at_calls = sorted(round(draw.uniform(0, 20), 3) for _ in range(12))
        at_entries = [
            round(draw.choice(at_calls) + draw.uniform(-1.3, 1.3), 3) for _ in range(draw.randrange(14))
        ]
        ledger = LedgerBuilder()
        long = [draw.choice([0, 0.4]) for _ in at_calls]
        for at, took in zip(at_calls, long, strict=True):
            ledger.call(at, done_ns=round((at + took) * 1e9))
        spans = [(at - 1, at + took + 1) for at, took in zip(at_calls, long, strict=True)]
        # Kuhn's algorithm for a largest matching.
        partner: dict[int, int] = {}

        def place(entry, seen, spans=spans, at_entries=at_entries, partner=partner):
            for i, (begin, end) in enumerate(spans):
                near = round(begin, 3) <= at_entries[entry] <= round(end, 3)
                if near and i not in seen:
                    seen.add(i)
                    if i not in partner or place(partner[i], seen):
                        partner[i] = entry
                        return True
            return False

        best = sum(place(entry, set()) for entry in range(len(at_entries)))
        judgement = judge("QL701", ledger, [{"at": at} for at in at_entries])
        assert judgement.metric == (12 - best) / 12
