"""QL501 and QL502: what people got, and when."""

from __future__ import annotations

import pytest

from quotalab.frames.testing import START_NS, LedgerBuilder, provider_document

SECOND = 10**9


def day(**outcomes):
    ledger = LedgerBuilder(provider_document(failed_operations=0.05, wait_p95="10m"))
    at = 0
    for outcome, number in outcomes.items():
        for _ in range(number):
            at += 1
            error = "Timeout" if outcome == "failed" else None
            ledger.operation(at, outcome=outcome, error=error)
    return ledger


def test_what_the_end_of_the_run_cut_off_in_time_is_not_counted(ask):
    """An operation abandoned before its deadline could still have been done; one past it could not."""
    ledger = day(done=10)
    ledger.operation(50, 3600, outcome="abandoned", deadline_s=90_000)
    judgement = ask("QL501", ledger)
    assert (judgement.verdict, judgement.metric) == ("PASS", 0.0)
    assert "1 still had time when the run ended" in judgement.note
    ledger.operation(51, 3600, outcome="abandoned", deadline_s=60)
    assert ask("QL501", ledger).metric == 1 / 11


@pytest.mark.parametrize(
    ("outcomes", "verdict", "metric"),
    [
        ({"done": 90, "stale": 5, "failed": 5}, "PASS", 0.05),
        ({"done": 94, "failed": 6}, "FAIL", 0.06),
        ({"done": 94, "failed": 3, "abandoned": 3}, "FAIL", 0.06),
        ({"done": 94, "declined": 6}, "WARN", 0.06),
        ({"done": 90, "failed": 5, "declined": 5}, "WARN", 0.1),
        ({"stale": 100}, "PASS", 0.0),
    ],
)
def test_the_share_that_got_nothing_is_judged_by_why(ask, outcomes, verdict, metric):
    """Failed and abandoned above the threshold: FAIL; only with the declined above it: WARN; stale is fine."""
    judgement = ask("QL501", day(**outcomes))
    assert (judgement.verdict, judgement.metric, judgement.threshold) == (verdict, metric, 0.05)
    assert bool(judgement.findings) == (verdict != "PASS")


def test_findings_name_the_operation_the_error_and_the_worst_hour(ask):
    """One finding for each name and outcome, the most frequent first, with calls that show it."""
    ledger = day(done=10, declined=1)
    for at in (3700, 3800, 99):
        ledger.operation(at, outcome="failed", name="sync", error="Timeout", operation=f"sync-{at}")
    ledger.call(3700, operation="sync-3700")
    judgement = ask("QL501", ledger)
    assert judgement.verdict == "FAIL"
    assert [finding.message for finding in judgement.findings] == [
        "3 of 3 operations 'sync' failed (most often: Timeout); the most in one hour, 2, from Mon 5 Jan "
        "01:00:00.",
        "1 of 11 operations 'look' was declined; the most in one hour, 1, from Mon 5 Jan 00:00:00.",
    ]
    assert judgement.findings[0].calls == (14,)
    assert judgement.note == "3 failed, 0 abandoned, 1 declined"


def test_in_a_run_that_was_cut_the_note_says_what_is_not_counted(ask):
    """Operations under way at the cut are neither done nor failed."""
    ledger = LedgerBuilder(complete=False)
    ledger.operation(1)
    assert (ask("QL501", ledger).note or "").endswith(
        "operations that were under way when the run was cut are not counted"
    )


@pytest.mark.parametrize(("longest_s", "verdict"), [(600, "PASS"), (601, "WARN")])
def test_the_95th_percentile_is_judged(ask, longest_s, verdict):
    """Of 20 waits the 19th decides: at the tolerated 10 min it passes, a second above it warns."""
    ledger = day(done=18)
    ledger.operation(100, 100 + longest_s)
    ledger.operation(200, 200 + 3000)
    judgement = ask("QL502", ledger)
    assert (judgement.verdict, judgement.metric, judgement.threshold) == (verdict, float(longest_s), 600.0)
    if verdict == "WARN":
        assert judgement.findings[0].message == (
            "The 95th percentile of 20 waits is 10 min 1 s, where 10 min is tolerated; the longest wait is "
            "50 min."
        )


def test_an_answer_after_the_deadline_is_a_finding(ask):
    """At the deadline is in time, a second later is not; the latest is told first, with its calls."""
    ledger = day(done=50)
    ledger.operation(100, 130, deadline_s=130)
    ledger.operation(200, 231, deadline_s=230, operation="late", name="sync")
    ledger.operation(300, 340, deadline_s=330, operation="later")
    ledger.operation(400, 999, deadline_s=500, outcome="failed")
    ledger.call(231, operation="late")
    judgement = ask("QL502", ledger)
    assert judgement.verdict == "WARN"
    assert [finding.message for finding in judgement.findings] == [
        "'look' of ann, planned for Mon 5 Jan 00:05:00, was answered 40 s later, 10 s after its deadline "
        "(operation later).",
        "'sync' of ann, planned for Mon 5 Jan 00:03:20, was answered 31 s later, 1 s after its deadline "
        "(operation late).",
    ]
    assert judgement.findings[1].calls == (54,)
    assert judgement.findings[1].at_ns == START_NS + 231 * SECOND
    assert judgement.note == "2 operations of 53 answered after the deadline"


def test_without_an_answered_operation_there_is_no_wait(ask):
    """Only failed operations: QL502 has nothing to judge."""
    assert ask("QL502", day(failed=3)).verdict == "NA"
