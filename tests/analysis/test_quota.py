"""QL101, QL102 and QL103: what was asked of the limits."""

from __future__ import annotations

import pytest

from quotalab.frames.testing import START_NS, LedgerBuilder, provider_document

SECOND = 10**9
DAY = 86_400
TEN = {"ten": {"kind": "rolling_window", "limit": 10, "period": "1h"}}


def asking(times, limits=TEN, **approval):
    ledger = LedgerBuilder(provider_document(limits, **approval))
    for at in times:
        ledger.decided_call(at)
    return ledger


def test_within_the_limit_is_pass(ask):
    """Ten calls of ten: nothing was refused."""
    judgement = ask("QL101", asking(range(10)), honest=True)
    assert (judgement.verdict, judgement.metric, judgement.findings) == ("PASS", 0.0, ())


def test_one_refused_call_fails_where_none_is_tolerated(ask):
    """The eleventh call of ten is an overrun, told with its limit, time and number."""
    judgement = ask("QL101", asking(range(11)), honest=True)
    assert (judgement.verdict, judgement.metric, judgement.threshold) == ("FAIL", 1.0, 0.0)
    (finding,) = judgement.findings
    assert finding.calls == (10,)
    assert finding.at_ns == START_NS + 10 * SECOND
    assert finding.message == (
        "1 call of 1 person was refused by 'ten' (10 in 1 h for app) at Mon 5 Jan 00:00:10, the first of them "
        "call 10."
    )
    assert judgement.remedy is not None
    assert "begin with list_events, which made 11 of the 11 calls" in judgement.remedy


def test_refusals_further_apart_than_the_period_are_two_findings(ask):
    """Two bursts with a quiet stretch between them are two overruns; within one, calls are counted together."""
    judgement = ask("QL101", asking([*range(12), *range(7300, 7311)]), honest=True)
    assert [finding.calls for finding in judgement.findings] == [(10, 11), (22,)]
    assert "2 calls of 1 person were refused" in judgement.findings[0].message
    assert "between Mon 5 Jan 00:00:10 and 00:00:11" in judgement.findings[0].message


def day_of(refused, calls, day):
    return [("refused", day * DAY + i) for i in range(refused)] + [
        ("fine", day * DAY + 1000 + i) for i in range(calls - refused)
    ]


@pytest.mark.parametrize(("refused", "verdict"), [(5, "PASS"), (6, "FAIL")])
def test_a_share_is_tolerated_up_to_itself_on_each_day(ask, refused, verdict):
    """At 5 % of a UTC day's calls: 5 of 100 pass, 6 fail, and a good day does not make up for a bad one."""
    ledger = LedgerBuilder(provider_document(refusals="share:0.05"))
    for what, at in [*day_of(0, 500, 0), *day_of(refused, 100, 1)]:
        ledger.call(at, refused_by="hourly" if what == "refused" else None)
    judgement = ask("QL101", ledger)
    assert (judgement.verdict, judgement.metric, judgement.threshold) == (verdict, refused / 100, 0.05)
    assert len(judgement.findings) == (verdict == "FAIL")
    if judgement.findings:
        assert judgement.findings[0].message.startswith("6 of 100 calls were refused on Tue 6 Jan: 6 %")
        assert judgement.findings[0].calls == tuple(range(500, 506))


@pytest.mark.parametrize(("again_s", "verdict"), [(60, "PASS"), (59, "FAIL")])
def test_if_obeyed_refusals_are_fine_as_long_as_promises_are_kept(ask, again_s, verdict):
    """A retry at the promised end passes, one a second earlier fails."""
    ledger = LedgerBuilder(provider_document(refusals="if-obeyed"))
    ledger.call(0, refused_by="hourly", retry_after_s=60, operation="op")
    ledger.call(again_s, operation="op")
    judgement = ask("QL101", ledger)
    assert (judgement.verdict, judgement.metric) == (verdict, float(verdict == "FAIL"))


def test_if_obeyed_another_operations_early_call_is_no_overrun(ask):
    """What QL201 only warns of does not fail QL101."""
    ledger = LedgerBuilder(provider_document(refusals="if-obeyed"))
    ledger.call(0, refused_by="hourly", retry_after_s=60, operation="a")
    ledger.call(5, operation="b", person="bob")
    assert ask("QL101", ledger).verdict == "PASS"


def test_headroom_at_the_threshold_is_enough(ask):
    """98 of 100 leave the 2 % that are wanted; 99 do not."""
    limits = {"h": {"kind": "rolling_window", "limit": 100, "period": "1h"}}
    judgement = ask("QL102", asking(range(98), limits, headroom=0.02), honest=True)
    assert (judgement.verdict, judgement.metric, judgement.threshold) == ("PASS", 0.02, 0.02)
    judgement = ask("QL102", asking(range(99), limits, headroom=0.02), honest=True)
    assert (judgement.verdict, judgement.metric) == ("WARN", 0.01)
    assert judgement.findings[0].message == (
        "99 were asked of 'h' (100 in 1 h for app) up to Mon 5 Jan 00:01:38 (calls 0 to 98): headroom 1 %."
    )
    assert judgement.findings[0].calls == (0, 98)


def test_an_overrun_leaves_headroom_below_zero(ask):
    """12 asked of 10: WARN, and the finding says how many were too many."""
    judgement = ask("QL102", asking(range(12)), honest=True)
    assert (judgement.verdict, judgement.metric) == ("WARN", -0.2)
    assert judgement.findings[0].message.endswith("(calls 0 to 11): 2 more than there are.")


def test_a_rolling_limit_has_no_edges(ask):
    """QL103 has nothing to judge where all limits are rolling."""
    assert ask("QL103", asking(range(10))).verdict == "NA"


@pytest.mark.parametrize("align", ["clock", "first_call"])
def test_a_burst_across_the_edge_of_a_fixed_window_is_found(ask, align):
    """Ten calls before a window's end and ten after it: 20 within an hour, twice the limit."""
    limits = {"ten": {"kind": "fixed_window", "limit": 10, "period": "1h", "align": align}}
    start = [0] if align == "first_call" else []
    ledger = asking([*start, *range(3600 - 10 + len(start), 3600), *range(3600, 3610)], limits)
    judgement = ask("QL103", ledger, honest=True)
    most = 20 - len(start)
    assert (judgement.verdict, judgement.metric, judgement.threshold) == ("WARN", most / 10, 1.0)
    (finding,) = judgement.findings
    assert finding.calls == tuple(range(len(start), 20))
    assert f"{most} were admitted by 'ten' for app within 1 h up to Mon 5 Jan 01:00:09" in finding.message


def test_one_window_used_up_is_no_burst(ask):
    """The whole limit in any one hour, and no more, is what was granted."""
    limits = {"ten": {"kind": "fixed_window", "limit": 10, "period": "1h"}}
    judgement = ask("QL103", asking([*range(12), *range(7200, 7209)], limits), honest=True)
    assert (judgement.verdict, judgement.metric) == ("PASS", 1.0)


def test_a_limit_of_any_kind_overruns_in_its_own_words(ask):
    """A call beyond two at once is an overrun like any other, and the remedy names what the limit allows."""
    ledger = LedgerBuilder(provider_document({"two": {"kind": "concurrency", "limit": 2}}))
    for _ in range(3):
        ledger.decided_call(0, answered_ns=5 * SECOND)
    judgement = ask("QL101", ledger, honest=True)
    assert (judgement.verdict, judgement.metric) == ("FAIL", 1.0)
    assert "was refused by 'two' (2 at once for app) at Mon 5 Jan 00:00:00" in judgement.findings[0].message
    assert judgement.remedy == (
        "keep a request budget below what 'two' allows (2 at once) that all of the app shares, and begin with "
        "list_events, which made 3 of the 3 calls of the worst moment"
    )


PEOPLE = {"kind": "cardinality", "limit": 2, "of": "person", "match": {"kinds": ["authorize"]}}


def test_people_who_may_not_connect_are_no_overrun(ask):
    """A third person at the authorization endpoint is refused there; the API's limits were kept."""
    ledger = LedgerBuilder(provider_document({**TEN, "people": PEOPLE}))
    for at, person in enumerate(["ann", "bob", "cem"]):
        ledger.decided_call(at, kind="authorize", person=person, route=None)
    ledger.decided_call(9)
    judgement = ask("QL101", ledger, honest=True)
    assert (judgement.verdict, judgement.metric, judgement.remedy) == ("PASS", 0.0, None)


def test_seats_that_are_all_taken_need_no_headroom(ask):
    """Two of two people connected is what the limit is for: only the other limit is judged."""
    ledger = LedgerBuilder(provider_document({**TEN, "people": PEOPLE}))
    for at, person in enumerate(["ann", "bob"]):
        ledger.decided_call(at, kind="authorize", person=person, route=None)
    assert ask("QL102", ledger, honest=True).verdict == "NA"
    ledger.decided_call(9)
    judgement = ask("QL102", ledger, honest=True)
    assert (judgement.verdict, judgement.metric) == ("PASS", 0.9)


def test_headroom_is_of_the_number_in_force(ask):
    """Five of ten were fine until the limit was cut to five."""
    change = {"after": "1h", "limits": {"ten": 5}, "why": "a test"}
    ledger = LedgerBuilder(provider_document(TEN, timetable=[change]))
    for at in range(3600, 3605):
        ledger.decided_call(at)
    judgement = ask("QL102", ledger, honest=True)
    assert (judgement.verdict, judgement.metric) == ("WARN", 0.0)
    assert "'ten' (5 in 1 h for app)" in judgement.findings[0].message


def test_an_undisclosed_limit_with_fixed_windows_has_edges_too(ask):
    """What was drawn is what the burst is measured by."""
    limit = {"kind": "opaque", "floor": 4, "ceiling": 4, "period": "1h", "counts": "fixed_window"}
    ledger = LedgerBuilder(provider_document({"secret": limit}))
    for at in (3598, 3599, 3600, 3601, 3602):
        ledger.decided_call(at)
    judgement = ask("QL103", ledger, honest=True)
    assert (judgement.verdict, judgement.metric) == ("WARN", 1.25)


def test_a_limit_that_one_call_fills_has_no_room_to_keep(ask):
    """One of one a second is no warning; a second call in that second is."""
    limits = {"one": {"kind": "rolling_window", "limit": 1, "period": "1s"}}
    assert ask("QL102", asking([0, 1, 2], limits), honest=True).verdict == "PASS"
    assert ask("QL102", asking([0, 0.5], limits), honest=True).verdict == "WARN"
