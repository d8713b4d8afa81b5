"""QL201 and QL202: whether the app waits."""

from __future__ import annotations

import pytest

from quotalab.frames.testing import START_NS, LedgerBuilder, provider_document

SECOND = 10**9
EACH = {"each": {"kind": "rolling_window", "limit": 1, "period": "1h", "key": ["person"]}}


def refused_at_ten(document=None, **columns):
    """Refused at 10 s with Retry-After 60; the answer is there at 10.2 s."""
    ledger = LedgerBuilder(document)
    limit = ledger.provider.limits[0].name
    columns = {"operation": "op-1", **columns}
    ledger.call(10, done_ns=10_200_000_000, refused_by=limit, retry_after_s=60, **columns)
    return ledger


def test_the_same_operation_before_the_promised_end_fails(ask):
    """A call two seconds after the refusal, of the same operation: FAIL, with both calls and both times."""
    ledger = refused_at_ten()
    ledger.call(12, operation="op-1")
    judgement = ask("QL201", ledger)
    assert (judgement.verdict, judgement.metric, judgement.threshold) == ("FAIL", 1.0, 0.0)
    (finding,) = judgement.findings
    assert (finding.calls, finding.at_ns) == ((0, 1), START_NS + 12 * SECOND)
    assert finding.message == (
        "Call 0 was refused by 'hourly' at Mon 5 Jan 00:00:10 with Retry-After 60 s; the same operation called "
        "again 2 s later (call 1), 58 s too early."
    )


@pytest.mark.parametrize(
    ("person", "who"), [("ann", "another operation"), ("bob", "another person's operation")]
)
def test_another_operation_before_the_promised_end_warns(ask, person, who):
    """Whoever else calls early shows that the app did not share what it knew: WARN."""
    ledger = refused_at_ten()
    ledger.call(12, operation="op-2", person=person)
    judgement = ask("QL201", ledger)
    assert (judgement.verdict, judgement.metric) == ("WARN", 1.0)
    assert f"; {who} called again 2 s later" in judgement.findings[0].message


@pytest.mark.parametrize(("sent_ns", "verdict"), [(10_199_999_999, "PASS"), (10_200_000_000, "FAIL")])
def test_a_call_that_was_on_its_way_already_is_nothing(ask, sent_ns, verdict):
    """Sent one nanosecond before the refusal's answer was there: nothing. At that instant: it knew."""
    ledger = refused_at_ten()
    ledger.call(at_ns=10_300_000_000, sent_ns=sent_ns, operation="op-1")
    assert ask("QL201", ledger).verdict == verdict


@pytest.mark.parametrize(("at_ns", "verdict"), [(70 * SECOND, "PASS"), (70 * SECOND - 1, "FAIL")])
def test_exactly_at_the_promised_end_is_nothing(ask, at_ns, verdict):
    """The promise counts from the decision and ends with its last nanosecond."""
    ledger = refused_at_ten()
    ledger.call(at_ns=at_ns, operation="op-1")
    assert ask("QL201", ledger).verdict == verdict


def test_another_key_of_the_limit_is_nothing(ask):
    """Where each person has a limit, ann's refusal does not bind bob."""
    ledger = refused_at_ten(provider_document(EACH))
    ledger.call(12, operation="op-2", person="bob")
    assert ask("QL201", ledger).verdict == "PASS"


def test_a_call_that_the_limit_was_not_asked_about_is_nothing(ask):
    """A 401 before the quota, and a call to the token endpoint, are no calls to the limit's key."""
    ledger = refused_at_ten()
    ledger.call(11, asked=False, status=401, operation="op-1")
    ledger.call(12, kind="token", operation="op-1")
    assert ask("QL201", ledger).verdict == "PASS"


def test_without_operations_person_and_route_link_and_the_finding_says_so(ask):
    """An app whose context does not travel: same person and route is taken for a retry, another route is not."""
    ledger = refused_at_ten(operation=None)
    ledger.call(12)
    judgement = ask("QL201", ledger)
    assert judgement.verdict == "REVIEW"  # a guess is no proof
    assert "the same person and route called again" in judgement.findings[0].message
    assert "The operation is not known: linked by person, route and time." in judgement.findings[0].message
    ledger = refused_at_ten(operation=None)
    ledger.call(12, route="create_event")
    assert ask("QL201", ledger).verdict == "WARN"


def test_of_two_refusals_the_one_of_the_same_operation_is_told(ask):
    """An early call is told once: its own operation's refusal counts before a later-ending one."""
    ledger = refused_at_ten()
    ledger.call(11, refused_by="hourly", retry_after_s=600, operation="op-2", person="bob")
    ledger.call(30, operation="op-1")
    judgement = ask("QL201", ledger)
    assert judgement.verdict == "FAIL"
    assert [finding.calls for finding in judgement.findings] == [(0, 2, 1)]
    assert judgement.metric == 2.0
    assert judgement.findings[0].message.endswith(
        "too early. 1 more call came before that end, 0 of them its own."
    )
    assert judgement.note == "1 early call by refused operations themselves, 1 by others"


def test_a_refusal_without_a_promise_is_nothing_to_judge(ask):
    """Where no Retry-After was sent none can be broken."""
    ledger = LedgerBuilder()
    ledger.call(0, refused_by="hourly", operation="op")
    ledger.call(1, operation="op")
    assert ask("QL201", ledger).verdict == "NA"


def failing(*times_ns, status=503, **columns):
    ledger = LedgerBuilder(provider_document(retry_wait="1s"))
    for at_ns in times_ns:
        ledger.call(at_ns=at_ns, status=status, operation="op", **columns)
    return ledger


@pytest.mark.parametrize(("gap_ns", "verdict"), [(SECOND, "PASS"), (SECOND - 1, "WARN")])
def test_one_retry_sooner_than_wanted_warns(ask, gap_ns, verdict):
    """After a 503 without a promise: at one second it is patient, a nanosecond sooner it is not."""
    judgement = ask("QL202", failing(0, gap_ns))
    assert (judgement.verdict, judgement.metric, judgement.threshold) == (verdict, gap_ns / 1e9, 1.0)
    assert len(judgement.findings) == (verdict == "WARN")


def test_the_wait_counts_from_the_answer_to_the_sending(ask):
    """A retry sent 0.5 s after the answer is too fast, however long both calls were on their way."""
    ledger = LedgerBuilder()
    ledger.call(at_ns=0, done_ns=2 * SECOND, status=503, operation="op")
    ledger.call(at_ns=9 * SECOND, sent_ns=2_500_000_000, operation="op")
    judgement = ask("QL202", ledger)
    assert (judgement.verdict, judgement.metric) == ("WARN", 0.5)
    assert judgement.findings[0].message == (
        "Call 0 was answered 503 at Mon 5 Jan 00:00:00.000 and was repeated 500 ms later (call 1); at least 1 s "
        "are wanted. Linked by operation."
    )


def test_two_in_a_row_fail(ask):
    """Twice too fast for one call is an app without backoff."""
    judgement = ask("QL202", failing(0, 40_000_000, 80_000_000))
    assert judgement.verdict == "FAIL"
    assert [finding.calls for finding in judgement.findings] == [(0, 1), (1, 2)]
    assert "again too soon" in judgement.findings[1].message


def test_two_fast_retries_of_different_calls_warn(ask):
    """One quick retry each, of two operations, is twice the milder thing."""
    ledger = failing(0, 40_000_000)
    ledger.call(at_ns=SECOND, status=503, operation="other")
    ledger.call(at_ns=SECOND + 1, operation="other")
    judgement = ask("QL202", ledger)
    assert (judgement.verdict, len(judgement.findings)) == ("WARN", 2)


def test_what_may_not_be_retried_is_no_retry(ask):
    """After a 404 the same call again is another matter than backoff."""
    assert ask("QL202", failing(0, 1, status=404)).verdict == "NA"


def test_after_a_promise_it_is_the_other_rules_case(ask):
    """A refusal with Retry-After is judged by QL201 alone; one without by QL202."""
    for promise, verdict in ((60, "NA"), (None, "WARN")):
        ledger = LedgerBuilder()
        ledger.call(0, refused_by="hourly", retry_after_s=promise, operation="op")
        ledger.call(0.5, operation="op")
        assert ask("QL202", ledger).verdict == verdict
