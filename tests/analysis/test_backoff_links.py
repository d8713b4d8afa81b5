"""QL203 to QL212: how the app retries, and what its retries do."""

from __future__ import annotations

import pytest

from quotalab.frames.testing import LedgerBuilder, provider_document

SECOND = 10**9
MINUTE = 60


def chain(ledger, start_s, *gaps_s, status=503, operation="op", **columns):
    """A call that fails, and retries so long after each other; returns the `seq` of all."""
    at_ns = round(start_s * SECOND)
    found = [ledger.call(at_ns=at_ns, status=status, operation=operation, **columns)]
    for gap_s in gaps_s:
        at_ns += round(gap_s * SECOND)
        found.append(ledger.call(at_ns=at_ns, status=status, operation=operation, **columns))
    return found


def in_order(*calls):
    """A ledger of calls that are given as (at_s, columns), in order of their time."""
    ledger = LedgerBuilder()
    for at_s, columns in sorted(calls, key=lambda one: one[0]):
        ledger.call(at_ns=round(at_s * SECOND), **columns)
    return ledger


# ---- QL201: failures promise as well


def failed_with_promise(**columns):
    ledger = LedgerBuilder()
    ledger.call(10, status=503, retry_after_s=60, **{"operation": "op-1", **columns})
    return ledger


@pytest.mark.parametrize(("at_ns", "verdict"), [(70 * SECOND, "PASS"), (70 * SECOND - 1, "FAIL")])
def test_a_retry_after_on_a_503_is_a_promise(ask, at_ns, verdict):
    """An outage that says 60 s binds the operation that was told, to the nanosecond."""
    ledger = failed_with_promise()
    ledger.call(at_ns=at_ns, operation="op-1")
    judgement = ask("QL201", ledger)
    assert judgement.verdict == verdict
    if verdict == "FAIL":
        assert judgement.findings[0].message.startswith(
            "Call 0 was answered 503 at Mon 5 Jan 00:00:10 with Retry-After 60 s; the same operation called"
        )


def test_a_failures_promise_binds_no_other_operation(ask):
    """What one call was told of an outage is not said of every other."""
    ledger = failed_with_promise()
    ledger.call(12, operation="op-2", person="bob")
    assert ask("QL201", ledger).verdict == "PASS"


def test_a_failures_promise_without_operations_is_a_guess(ask):
    """Same person and route: REVIEW; another person: nothing."""
    for person, verdict in (("ann", "REVIEW"), ("bob", "PASS")):
        ledger = failed_with_promise(operation=None)
        ledger.call(12, person=person)
        assert ask("QL201", ledger).verdict == verdict


def test_a_failures_promise_does_not_count_in_ql101(ask):
    """Where refusals are fine if obeyed, an outage's promise is no limit's."""
    ledger = LedgerBuilder(provider_document(refusals="if-obeyed"))
    ledger.call(10, status=503, retry_after_s=60, operation="op-1")
    ledger.call(12, operation="op-1")
    assert ask("QL101", ledger).verdict == "PASS"


# ---- a Retry-After of zero, absent, a date, 2.0


@pytest.mark.parametrize("form", ["seconds", "decimal", "http_date", "iso", "epoch"])
def test_a_promise_is_kept_or_broken_in_whatever_form_it_was_written(ask, form):
    """The ledger holds what was promised: 2 s are 2 s, as `2`, as `2.0` or as a date."""
    for at_s, verdict in ((12, "PASS"), (11.9, "FAIL")):
        ledger = LedgerBuilder(provider_document(refusal={"retry_after": form}))
        ledger.call(10, refused_by="hourly", retry_after_s=2, operation="op")
        ledger.call(at_s, operation="op")
        assert ask("QL201", ledger).verdict == verdict


def test_a_retry_after_of_zero_promises_nothing_and_allows_one_retry_at_once(ask):
    """Zero: QL201 has nothing to judge, QL202 lets one immediate retry pass and not the next."""
    ledger = LedgerBuilder()
    for at_s in (0, 0.01):
        ledger.call(at_s, refused_by="hourly", retry_after_s=0, operation="op")
    assert ask("QL201", ledger).verdict == "NA"
    assert ask("QL202", ledger).verdict == "NA"
    ledger.call(0.02, operation="op")
    judgement = ask("QL202", ledger)
    assert (judgement.verdict, [one.calls for one in judgement.findings]) == ("WARN", [(1, 2)])


def test_absent_is_not_zero(ask):
    """Where nothing was said one retry at once is too fast already."""
    ledger = LedgerBuilder()
    for at_s in (0, 0.01):
        ledger.call(at_s, refused_by="hourly", operation="op")
    assert ask("QL202", ledger).verdict == "WARN"


def test_fast_retries_that_are_only_guessed_do_not_fail(ask):
    """Two in a row linked by time alone: WARN, and the finding says what would make it sure."""
    ledger = LedgerBuilder()
    chain(ledger, 0, 0.04, 0.04, operation=None)
    judgement = ask("QL202", ledger)
    assert judgement.verdict == "WARN"
    assert "Linked by person, target and time alone: `traceparent`" in judgement.findings[0].message


# ---- QL203


def jitter(ask, gaps_s, **columns):
    calls = []
    for i, gap_s in enumerate(gaps_s):
        who = {"operation": f"op-{i}", **columns}
        if "operation" in columns:
            who["person"] = f"person-{i}"
        calls += [(i * 10, {"status": 503, **who}), (i * 10 + gap_s, who)]
    return ask("QL203", in_order(*calls))


def test_waits_that_are_all_alike_warn(ask):
    """Eight first retries after exactly one second."""
    judgement = jitter(ask, [1] * 8)
    assert (judgement.verdict, judgement.metric, judgement.threshold) == ("WARN", 1.0, 0.5)
    assert judgement.findings[0].message == (
        "8 of 8 first retries waited 1 s, all within 10 ms of each other, the first of them call 1. Linked by "
        "operation or idempotency key."
    )


def test_waits_that_are_spread_pass(ask):
    """Eight waits between one and two seconds, no two within one percent."""
    judgement = jitter(ask, [1 + i / 8 for i in range(8)])
    assert (judgement.verdict, judgement.metric) == ("PASS", 1 / 8)


@pytest.mark.parametrize(("alike", "verdict"), [(4, "WARN"), (3, "PASS")])
def test_half_of_the_waits_alike_is_the_boundary(ask, alike, verdict):
    """Four of eight warn, three do not."""
    assert jitter(ask, [1] * alike + [2 + i for i in range(8 - alike)]).verdict == verdict


def test_seven_waits_are_too_few(ask):
    """Fewer than eight of a kind tell nothing."""
    assert jitter(ask, [1] * 7).verdict == "NA"


def test_no_wait_at_all_is_not_this_rules_case(ask):
    """Nothing can be spread where nothing is waited."""
    assert jitter(ask, [0.001] * 8).verdict == "NA"


def test_waits_alike_of_guessed_retries_are_for_a_person(ask):
    """Where no operation is known: REVIEW."""
    assert jitter(ask, [1] * 8, operation=None).verdict == "REVIEW"


def promised_together(ask, beyond_s, apart_s):
    calls = []
    for i in range(8):
        who = {"operation": f"op-{i}", "person": f"p{i}"}
        refused = {"refused_by": "hourly", "retry_after_s": 30, **who}
        calls += [(i * apart_s, refused), (i * apart_s + 30 + beyond_s * i, who)]
    return ask("QL203", in_order(*calls))


def test_after_a_shared_promise_all_coming_at_its_end_warns(ask):
    """Eight refused in the same second, and all back at the very end: WARN; spread they pass."""
    assert promised_together(ask, 0, 0.001).verdict == "WARN"
    assert promised_together(ask, 0.5, 0.001).verdict == "PASS"


def test_promises_that_end_apart_need_no_jitter(ask):
    """Each came at its own end, seconds apart from the others: nobody meets anybody."""
    assert promised_together(ask, 0, 5).verdict == "NA"


# ---- QL204


@pytest.mark.parametrize(("retries", "verdict"), [(8, "PASS"), (9, "FAIL")])
def test_nine_retries_of_one_call_are_without_bounds(ask, retries, verdict):
    """Eight are tolerated, the ninth is not."""
    ledger = LedgerBuilder()
    ledger.operation(0, 3000, operation="op", deadline_s=3600)
    chain(ledger, 0, *[60] * retries)
    judgement = ask("QL204", ledger)
    assert (judgement.verdict, judgement.metric, judgement.threshold) == (verdict, float(retries), 8)
    if verdict == "FAIL":
        assert judgement.findings[0].calls == tuple(range(1, 11))
        assert "was made again 9 times until Mon 5 Jan 00:09:00 (call 10)" in judgement.findings[0].message


def test_many_retries_that_are_only_guessed_are_for_a_person(ask):
    """By time alone it may be ten people's work."""
    ledger = LedgerBuilder()
    chain(ledger, 0, *[60] * 9, operation=None)
    assert ask("QL204", ledger).verdict == "REVIEW"


@pytest.mark.parametrize(("at_ns", "verdict"), [(30 * SECOND, "PASS"), (30 * SECOND + 1, "WARN")])
def test_a_retry_after_the_deadline_warns(ask, at_ns, verdict):
    """At the deadline somebody still waits; a nanosecond later nobody does."""
    ledger = LedgerBuilder()
    ledger.operation(0, 40, operation="op", deadline_s=30)
    ledger.call(0, status=503, operation="op")
    ledger.call(at_ns=at_ns, operation="op")
    assert ask("QL204", ledger).verdict == verdict


def test_promises_that_are_kept_for_ever_are_without_bounds_as_well(ask):
    """Refused ten times, each time after the promised wait."""
    ledger = LedgerBuilder()
    for i in range(10):
        ledger.call(i * 60, refused_by="hourly", retry_after_s=60, operation="op")
    assert ask("QL201", ledger).verdict == "PASS"
    assert ask("QL204", ledger).verdict == "FAIL"


# ---- QL205


@pytest.mark.parametrize("status", [400, 403, 404, 422])
def test_repeating_what_stays_wrong_fails(ask, status):
    """A permission that is missing is no rate limit: the same call again is an error of its own."""
    ledger = LedgerBuilder()
    chain(ledger, 0, 5, status=status, error="insufficient_scope")
    judgement = ask("QL205", ledger)
    assert (judgement.verdict, judgement.metric) == ("FAIL", 1.0)
    assert judgement.findings[0].message == (
        f"Call 0 was answered {status} (insufficient_scope) at Mon 5 Jan 00:00:00, which no waiting changes, and "
        f"was made again 5 s later (call 1, which was answered {status} (insufficient_scope)). Linked by operation."
    )
    assert ask("QL202", ledger).verdict == "NA"


def test_a_403_by_a_limit_may_be_retried(ask):
    """Some providers refuse with 403: that is a limit's answer."""
    ledger = LedgerBuilder(provider_document(refusal={"status": 403}))
    for at_s in (0, 60):
        ledger.call(at_s, refused_by="hourly", retry_after_s=60, operation="op")
    assert ask("QL205", ledger).verdict == "NA"
    assert ask("QL201", ledger).verdict == "PASS"


def test_a_403_with_another_token_and_a_404_that_is_found_then_are_no_repetition(ask):
    """A new token may be allowed more, and what was found the second time was made in between."""
    ledger = LedgerBuilder()
    ledger.call(0, status=403, operation="a")
    ledger.call(1, status=403, operation="a", token="t2")
    ledger.call(2, status=404, operation="b", target="other")
    ledger.call(3, operation="b", target="other")
    assert ask("QL205", ledger).verdict == "PASS"


def test_two_operations_that_meet_the_same_error_are_no_retry(ask):
    """Two people's two mistakes."""
    ledger = LedgerBuilder()
    ledger.call(0, status=404, operation="a")
    ledger.call(1, status=404, operation="b")
    assert ask("QL205", ledger).verdict == "PASS"


@pytest.mark.parametrize(("at_ns", "verdict"), [(60 * SECOND, "REVIEW"), (60 * SECOND + 1, "PASS")])
def test_by_time_alone_a_minute_counts(ask, at_ns, verdict):
    """Where operations are not known, a person must look; after a minute it is another visit."""
    ledger = LedgerBuilder()
    ledger.call(0, status=404)
    ledger.call(at_ns=at_ns, status=404)
    assert ask("QL205", ledger).verdict == verdict


def test_an_error_told_in_a_200_counts_as_well(ask):
    """Some providers answer 200 and say in the body that a scope is missing."""
    document = provider_document()
    document["errors"] = {"insufficient_scope": {"status": 200, "body": {"ok": False}}}
    ledger = LedgerBuilder(document)
    chain(ledger, 0, 5, status=200, error="insufficient_scope")
    assert ask("QL205", ledger).verdict == "FAIL"


# ---- QL206

POST = {"method": "POST", "route": "create_event", "operation": "op"}


@pytest.mark.parametrize("status", [0, 500, 502, 503, 504])
def test_a_post_repeated_after_nobody_knows_what_fails(ask, status):
    """Without an Idempotency-Key it may have been done twice."""
    ledger = LedgerBuilder()
    ledger.call(0, status=status, **POST)
    ledger.call(5, **POST)
    judgement = ask("QL206", ledger)
    assert (judgement.verdict, judgement.metric) == ("FAIL", 1.0)
    assert "so that nobody knows whether it was carried out" in judgement.findings[0].message
    assert judgement.findings[0].message.endswith("(call 1) without an Idempotency-Key. Linked by operation.")


@pytest.mark.parametrize(
    ("first", "second", "verdict"),
    [("k", "k", "PASS"), ("k", "other", "FAIL"), ("k", None, "FAIL"), (None, "k", "FAIL")],
)
def test_the_same_idempotency_key_makes_it_safe(ask, first, second, verdict):
    """A key for each attempt, or a key that is lost on the way, protects nobody."""
    ledger = LedgerBuilder()
    ledger.call(0, status=0, idempotency_key=first, **POST)
    ledger.call(5, idempotency_key=second, **POST)
    judgement = ask("QL206", ledger)
    assert judgement.verdict == verdict
    assert (judgement.note is not None) == (verdict == "PASS")


def test_after_a_clean_refusal_a_post_may_be_repeated(ask):
    """A 429 says that nothing was done; a refusal whose answer was dropped says nothing."""
    for status, verdict in ((429, "NA"), (0, "FAIL")):
        ledger = LedgerBuilder()
        ledger.call(0, refused_by="hourly", retry_after_s=60, status=status, **POST)
        ledger.call(60, **POST)
        assert ask("QL206", ledger).verdict == verdict


def test_an_answer_that_cannot_be_read_leaves_a_post_in_doubt(ask):
    """201 with half a body: it was done, and the app did not learn of it."""
    ledger = LedgerBuilder()
    ledger.call(0, status=201, error="truncated", **POST)
    assert ask("QL206", ledger).verdict == "PASS"
    ledger.call(5, **POST)
    assert ask("QL206", ledger).verdict == "FAIL"


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
def test_idempotent_methods_may_be_repeated(ask, method):
    """What may be done twice is none of this rule's."""
    ledger = LedgerBuilder()
    chain(ledger, 0, 5, method=method)
    assert ask("QL206", ledger).verdict == "NA"


def test_a_post_that_only_reads_may_be_repeated(ask):
    """Some APIs read by POST: the profile's route says so."""
    document = provider_document()
    document["collections"] = {"events": {"initial": 1}}
    document["routes"] = [
        {"name": "search", "path": "/search", "method": "POST", "answer": "list", "collection": "events"}
    ]
    ledger = LedgerBuilder(document)
    chain(ledger, 0, 5, method="POST", route="search")
    assert ask("QL206", ledger).verdict == "NA"


def test_a_post_that_is_only_guessed_to_be_the_same_is_for_a_person(ask):
    """Two equal posts within ten minutes may be two people's wishes."""
    ledger = LedgerBuilder()
    ledger.call(0, status=0, **{**POST, "operation": None})
    ledger.call(5, **{**POST, "operation": None})
    assert ask("QL206", ledger).verdict == "REVIEW"


# ---- QL207


def storm(ask, attempts, number=5, operation="op"):
    calls = []
    for i in range(number):
        who = {"operation": operation and f"{operation}-{i}", "target": f"t{i}", "status": 503}
        calls += [(i + 100 * k, who) for k in range(attempts)]
    return ask("QL207", in_order(*calls))


@pytest.mark.parametrize(("attempts", "verdict"), [(4, "PASS"), (5, "WARN"), (8, "WARN"), (9, "FAIL")])
def test_calls_that_become_many_are_a_storm(ask, attempts, verdict):
    """Four attempts are tolerated; above eight it fails, however long the app waits between them."""
    judgement = storm(ask, attempts)
    assert (judgement.verdict, judgement.metric, judgement.threshold) == (verdict, float(attempts), 4.0)
    if verdict != "PASS":
        assert judgement.findings[0].message == (
            f"The 5 calls that the app began in the minute from Mon 5 Jan 00:00:00 became {5 * attempts}: "
            f"{attempts} times as many, where 4 are tolerated. Linked by operation or idempotency key."
        )


def test_a_few_retries_are_no_storm(ask):
    """One call that is made ten times over has nine retries, where ten make a storm."""
    judgement = storm(ask, 10, number=1)
    assert (judgement.verdict, judgement.note) == ("PASS", "no minute had 10 retries")


def test_a_storm_of_guesses_is_for_a_person(ask):
    """Without operations: REVIEW."""
    assert storm(ask, 9, operation=None).verdict == "REVIEW"


# ---- QL208


def gave_up(ask, *, deadline_s=30, refused=None, outcome="failed", **call):
    ledger = LedgerBuilder()
    columns = {"status": 503, "operation": "op", **call}
    if refused is not None:
        columns |= {"refused_by": "hourly", "retry_after_s": refused, "status": None}
    ledger.call(0, **columns)
    ledger.operation(0, 0.1, operation="op", outcome=outcome, deadline_s=deadline_s)
    return ask("QL208", ledger)


def test_giving_up_at_the_first_503_with_time_left_warns(ask):
    """Half a minute was left, and the answer could have been retried."""
    judgement = gave_up(ask)
    assert (judgement.verdict, judgement.metric) == ("WARN", 1.0)
    assert judgement.findings[0].message == (
        "'look' of ann failed 100 ms after it was asked for: call 0 was answered 503, which promised no wait, and "
        "was not tried again, with 29.9 s left (operation op)."
    )


@pytest.mark.parametrize(("deadline_s", "verdict"), [(11, "WARN"), (10.999, "PASS")])
def test_without_time_for_the_wait_it_is_right_to_give_up(ask, deadline_s, verdict):
    """One second of wait and ten of slack must fit before the deadline."""
    assert gave_up(ask, deadline_s=deadline_s).verdict == verdict


@pytest.mark.parametrize(("promise", "verdict"), [(60, "WARN"), (61, "PASS"), (3600, "PASS")])
def test_giving_up_on_a_long_promise_is_no_retry_fault_but_the_operation_is_lost(ask, promise, verdict):
    """An hour is too long to wait for, however far the deadline is: QL501 counts the operation."""
    ledger = LedgerBuilder()
    ledger.call(0, refused_by="hourly", retry_after_s=promise, operation="op")
    ledger.operation(0, 0.1, operation="op", outcome="failed", deadline_s=20_000)
    assert ask("QL208", ledger).verdict == verdict
    assert ask("QL501", ledger).verdict == "FAIL"


def test_a_post_in_doubt_must_not_be_retried(ask):
    """Giving up is right where repeating is not safe; with a key, or after a refusal, it is safe."""
    post = {"method": "POST", "route": "create_event"}
    assert gave_up(ask, **post).verdict == "PASS"
    assert gave_up(ask, idempotency_key="k", **post).verdict == "WARN"
    assert gave_up(ask, refused=5, **post).verdict == "WARN"


def test_declining_and_succeeding_are_no_giving_up(ask):
    """The app said when it will work, or answered from what it had."""
    for outcome in ("declined", "stale", "done", "abandoned"):
        assert gave_up(ask, outcome=outcome).verdict == "PASS"


def test_who_has_retried_has_not_given_up_early(ask):
    """One retry is a try."""
    ledger = LedgerBuilder()
    chain(ledger, 0, 2)
    ledger.operation(0, 2.1, operation="op", outcome="failed", deadline_s=30)
    assert ask("QL208", ledger).verdict == "PASS"


def test_without_trouble_or_operations_there_is_nothing_to_judge(ask):
    """NA, with the reason."""
    assert gave_up(ask, status=200).verdict == "NA"
    ledger = LedgerBuilder()
    ledger.call(0, status=503)
    judgement = ask("QL208", ledger)
    assert (judgement.verdict, judgement.note) == ("NA", "which operation a call belongs to is not known")


def test_queueing_everything_is_a_long_wait_and_no_pass(ask):
    """Nothing is retried, nobody is refused, and everybody waits for an hour: QL2 is silent, QL502 is not."""
    ledger = LedgerBuilder()
    for i in range(4):
        ledger.call(3700 + i, operation=f"op-{i}")
        ledger.operation(i, 3700 + i, operation=f"op-{i}", deadline_s=7200)
    assert [ask(f"QL2{i:02}", ledger).verdict for i in range(1, 13)] == ["NA"] * 12
    assert ask("QL502", ledger).verdict == "WARN"


# ---- QL209


UNASKED = {"asked": False, "token_state": "valid", "error": None}
"""Calls that no limit is asked about: outages are about other things, and the plain account is slow."""


def outage(ask, *after, known=True, until=90, before=1):
    """An hour with an operation a minute and a call for each; down from 60 to 80; `after`: calls a minute."""
    ledger = LedgerBuilder(span_ns=until * 60 * SECOND)
    for minute in range(until):
        number = 1
        if minute >= 81:
            number = after[min(minute - 81, len(after) - 1)]
        for i in range(number):
            down = 60 <= minute <= 80
            name = f"op-{minute}" if known else None
            target = f"{minute}-{i}"
            ledger.call(
                minute * 60 + i, status=503 if down else 200, operation=name, target=target, **UNASKED
            )
        if known:
            ledger.operation(minute * 60, operation=f"op-{minute}")
    return ask("QL209", ledger)


def test_a_load_that_is_at_once_what_it_was_passes(ask):
    """One call a minute before, one a minute after."""
    judgement = outage(ask, 1)
    assert (judgement.verdict, judgement.metric, judgement.threshold) == ("PASS", 0.0, 600.0)
    assert judgement.note == (
        "outage from Mon 5 Jan 01:00:00 to 01:20:00, calls multiplied by 1 in it; load back at once"
    )


def test_making_up_for_everything_for_long_warns_with_when_it_was_over(ask):
    """High loads up to ten minutes after the last failure are tolerated, a minute more is not."""
    judgement = outage(ask, *[10] * 9, 1, until=120)
    assert (judgement.verdict, judgement.metric) == ("PASS", 600.0)
    judgement = outage(ask, *[10] * 10, 1, until=120)
    assert (judgement.verdict, judgement.metric) == ("WARN", 660.0)
    assert "the app's load returned to what it was only 11 min after it" in judgement.findings[0].message


def test_a_load_that_never_returns_fails(ask):
    """Ten times the load until the run's end."""
    judgement = outage(ask, 10, until=120)
    assert judgement.verdict == "FAIL"
    assert "was still more than 1.5 times as high" in judgement.findings[0].message


def test_an_app_that_does_not_come_back_fails(ask):
    """People ask as before, and no call is made any more."""
    judgement = outage(ask, 0, until=120)
    assert judgement.verdict == "FAIL"
    assert "did not come back: 0 calls" in judgement.findings[0].message


def test_more_that_people_ask_for_is_no_slow_recovery(ask):
    """Where ten times as many operations are planned, ten times as many calls are to be expected."""
    ledger = LedgerBuilder(span_ns=120 * 60 * SECOND)
    for minute in range(120):
        down = 60 <= minute <= 80
        for i in range(10 if minute > 80 else 1):
            name = f"op-{minute}-{i}"
            ledger.call(minute * 60 + i, status=503 if down else 200, operation=name, target=name, **UNASKED)
            ledger.operation(minute * 60 + i, operation=name)
    assert ask("QL209", ledger).verdict == "PASS"


def test_without_operations_a_slow_recovery_is_for_a_person(ask):
    """It may be that people asked for more."""
    assert outage(ask, 10, known=False, until=120).verdict == "REVIEW"


def test_single_failures_are_no_outage(ask):
    """Nine in a row, or one in three, are not."""
    ledger = LedgerBuilder()
    for i in range(60):
        ledger.call(i * 60, status=503 if 20 <= i < 29 or (i > 40 and i % 3 == 0) else 200)
    judgement = ask("QL209", ledger)
    assert (judgement.verdict, judgement.note) == ("NA", "there was no outage")


def test_amplification_in_an_outage_is_told(ask):
    """Each operation's call is made three times while the API is down."""
    ledger = LedgerBuilder(span_ns=3 * 3600 * SECOND)
    for minute in range(120):
        down = 60 <= minute <= 80
        for i in range(3 if down else 1):
            ledger.call(minute * 60 + i, status=503 if down else 200, operation=f"op-{minute}")
        ledger.operation(minute * 60, operation=f"op-{minute}")
    judgement = ask("QL209", ledger)
    assert judgement.verdict == "PASS"
    assert "calls multiplied by 3 in it" in judgement.note


# ---- QL210


@pytest.mark.parametrize(("waited_s", "verdict"), [(49, "PASS"), (50, "FAIL"), (60, "FAIL"), (100, "PASS")])
def test_a_wait_cut_short_is_found(ask, waited_s, verdict):
    """Retry-After 100, retried after 60: the app waits and stops too soon. Below half it is not waiting."""
    ledger = LedgerBuilder()
    ledger.call(0, refused_by="hourly", retry_after_s=100, operation="op")
    ledger.call(waited_s, operation="op")
    judgement = ask("QL210", ledger)
    assert judgement.verdict == verdict
    assert ask("QL201", ledger).verdict == ("PASS" if waited_s == 100 else "FAIL")
    if waited_s == 60:
        assert judgement.findings[0].message == (
            "Call 0 was refused by 'hourly' at Mon 5 Jan 00:00:00 with Retry-After 100 s, and call 1 came after "
            "1 min: the wait was cut short by 40 s. Linked by operation."
        )


FIXED = {"hourly": {"kind": "fixed_window", "limit": 1, "period": "1h", "key": ["app"]}}
ROLLING = {"hourly": {"kind": "rolling_window", "limit": 1, "period": "1h", "key": ["app"]}}


@pytest.mark.parametrize("limits", [FIXED, ROLLING])
@pytest.mark.parametrize(
    ("again_ns", "verdict"),
    [
        (3_599_600_000_000, "WARN"),  # 0.4 s before the edge
        (3_599_999_999_999, "WARN"),
        (3_600_000_000_000, "PASS"),
        (3_599_000_000_000, "WARN"),
        (3_598_999_999_999, "PASS"),  # an unlucky backoff, nobody's arithmetic
    ],
)
def test_waking_just_before_a_windows_edge_is_found(ask, limits, again_ns, verdict):
    """No Retry-After is sent; the hour ends at 3,600 s, and the app wakes 0.4 s before that."""
    ledger = LedgerBuilder(provider_document(limits, refusal={"retry_after": "none"}))
    ledger.decided_call(at_ns=0, operation="first", target="other")
    ledger.decided_call(at_ns=600 * SECOND, operation="op")
    ledger.decided_call(at_ns=again_ns, operation="op")
    judgement = ask("QL210", ledger, honest=True)
    assert judgement.verdict == verdict
    if again_ns == 3_599_600_000_000:
        assert judgement.findings[0].message == (
            "Call 1 was refused by 'hourly' at Mon 5 Jan 00:10:00 without a Retry-After. There was room again "
            "50 min later; call 2 came 400 ms before that and was refused again. Linked by operation."
        )


def test_a_place_that_another_took_is_no_early_waking(ask):
    """The app came when there was room, and somebody else had been quicker."""
    ledger = LedgerBuilder(provider_document(ROLLING, refusal={"retry_after": "none"}))
    ledger.decided_call(0, operation="first", target="other")
    ledger.decided_call(600, operation="op")
    ledger.decided_call(3600, operation="quick", target="other")
    ledger.decided_call(3601, operation="op")
    assert ask("QL210", ledger, honest=True).verdict == "PASS"


# ---- QL211


def forms(ask, kept_seconds, waits_of_dates, promise=60, operation="op", as_="http_date"):
    """Refusals in whole seconds, of which some are kept; and refusals with a date, waited for so long."""
    document = provider_document()
    document["faults"] = [{"kind": "retry_after", "name": "dated", "as": as_}]
    ledger = LedgerBuilder(document)
    at_s = 0.0
    for i, (waited, fault) in enumerate(
        [
            *((promise if kept else 1, None) for kept in kept_seconds),
            *((one, "dated") for one in waits_of_dates),
        ]
    ):
        who = {"operation": operation and f"{operation}-{i}", "target": f"t{i}"}
        ledger.call(at_s, refused_by="hourly", retry_after_s=promise, fault=fault, **who)
        ledger.call(at_s + waited, person="ann", **who)
        at_s += max(waited, promise) + 10
    return ask("QL211", ledger)


def test_a_date_that_is_not_read_where_seconds_are_fails(ask):
    """Seconds are kept, dates are not: the app does not read dates."""
    judgement = forms(ask, [True] * 3, [1] * 3)
    assert (judgement.verdict, judgement.metric, judgement.threshold) == ("FAIL", 0.0, 0.5)
    assert judgement.findings[0].message == (
        "3 of 3 retries came before the end that an HTTP date promised, while a Retry-After in whole seconds is "
        "kept. Linked by operation or idempotency key."
    )


@pytest.mark.parametrize("as_", ["decimal", "iso", "epoch"])
def test_each_form_is_judged_for_itself(ask, as_):
    """`2.0`, ISO dates and seconds since 1970 are misread as well as HTTP dates."""
    assert forms(ask, [True] * 3, [1] * 3, as_=as_).verdict == "FAIL"
    assert forms(ask, [True] * 3, [60] * 3, as_=as_).verdict == "PASS"


def test_dates_alone_that_are_not_waited_for_are_for_a_person(ask):
    """Misread or ignored: that cannot be told."""
    assert forms(ask, [], [1] * 3).verdict == "REVIEW"


def test_seconds_that_are_ignored_are_not_misread(ask):
    """That is QL201's case: NA, and the note says so."""
    judgement = forms(ask, [False] * 3, [])
    assert (judgement.verdict, judgement.note) == (
        "NA",
        "Retry-After in seconds was not waited for at all: see QL201",
    )


def test_fewer_than_three_tell_nothing(ask):
    """Two of a form are not judged."""
    assert forms(ask, [True] * 2, [1] * 2).verdict == "NA"
    assert forms(ask, [True] * 3, [1] * 2).verdict == "PASS"


def test_a_thousand_times_too_long_looks_like_milliseconds(ask):
    """A promise of 2 s that is waited for 2,000 s: WARN."""
    assert forms(ask, [], [2000] * 3, promise=2).verdict == "WARN"
    assert forms(ask, [], [1900] * 3, promise=2).verdict == "PASS"


def test_a_date_in_another_time_zone_is_found(ask):
    """An hour beyond the date, each time."""
    judgement = forms(ask, [], [3660] * 3)
    assert judgement.verdict == "WARN"
    assert "as if it were of another time zone" in judgement.findings[0].message
    assert forms(ask, [], [60 + 1000] * 3).verdict == "PASS"


def test_a_misread_form_that_is_only_guessed_is_for_a_person(ask):
    """Without operations: REVIEW."""
    assert forms(ask, [True] * 3, [1] * 3, operation=None).verdict == "REVIEW"


# ---- QL212


def growing(ask, *gaps_s, number=8, operation="op"):
    ledger = LedgerBuilder()
    for i in range(number):
        chain(ledger, i * 1000, *gaps_s, operation=operation and f"{operation}-{i}", target=f"t{i}")
    return ask("QL212", ledger)


@pytest.mark.parametrize(("third_s", "verdict"), [(1.2, "PASS"), (1.199, "WARN")])
def test_waits_that_do_not_grow_warn(ask, third_s, verdict):
    """The third wait must be a fifth longer than the first."""
    judgement = growing(ask, 1, 1, third_s)
    assert (judgement.verdict, judgement.metric, judgement.threshold) == (verdict, third_s, 1.2)


def test_too_few_third_retries_or_no_wait_tell_nothing(ask):
    """Seven are too few, two retries have no third, and without a wait it is QL202's case."""
    assert growing(ask, 1, 1, 1, number=7).verdict == "NA"
    assert growing(ask, 1, 1).verdict == "NA"
    assert growing(ask, 0.001, 0.001, 0.001).verdict == "NA"


def test_waits_of_guessed_retries_are_for_a_person(ask):
    """Without operations: REVIEW."""
    assert growing(ask, 1, 1, 1, operation=None).verdict == "REVIEW"
