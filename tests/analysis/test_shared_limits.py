"""QL103 to QL109: many at once, of many people, and what an app could know of a limit."""

from __future__ import annotations

import random

import numpy as np
import pytest

from quotalab.frames import load
from quotalab.frames.testing import START_NS, LedgerBuilder, provider_document
from quotalab.rules.crowds import crowd, shares

SECOND = 10**9
TEN = {"ten": {"kind": "rolling_window", "limit": 10, "period": "1h"}}


# ---- QL103 and QL101: the hours of the clock


def test_an_app_that_counts_by_the_clock_fails_where_any_hour_counts(ask):
    """Ten before the hour and ten after it are within a fixed window's letter, and twice a rolling limit."""
    times = [*range(3590, 3600), *range(3600, 3610)]
    ledger = LedgerBuilder(provider_document(TEN))
    for at in times:
        ledger.decided_call(at)
    judgement = ask("QL103", ledger, honest=True)
    assert (judgement.verdict, judgement.metric) == ("FAIL", 2.0)
    (finding,) = judgement.findings
    assert finding.calls == tuple(range(10, 20))
    assert finding.message == (
        "The app kept within 10 in each 1 h of the clock, but 'ten' counts any 1 h: 20 were asked for by app "
        "within 1 h up to Mon 5 Jan 01:00:09, 200 % of it."
    )


def test_an_app_that_kept_to_no_window_is_not_said_to_count_by_the_clock(ask):
    """Eleven within one hour of the clock are an overrun of another make."""
    ledger = LedgerBuilder(provider_document(TEN))
    for at in [*range(3589, 3600), *range(3600, 3603)]:
        ledger.decided_call(at)
    assert ask("QL103", ledger, honest=True).verdict == "NA"


def skewed(by_s, form="http_date"):
    refusal = {"status": 429, "retry_after": form}
    document = provider_document(
        {"one": {"kind": "rolling_window", "limit": 1, "period": "1h"}}, refusal=refusal
    )
    document["faults"] = [{"name": "slow-clock", "kind": "clock_skew", "by": by_s}]
    return document


@pytest.mark.parametrize(("early_s", "named"), [(60, True), (59, True), (61, False)])
def test_a_clock_that_is_behind_is_named_as_the_cause(ask, early_s, named):
    """Calls that came early by no more than the skew waited for the provider's instant by their own clock."""
    ledger = LedgerBuilder(skewed("-60s"))
    ledger.decided_call(0)
    ledger.decided_call(600, operation="op")
    ledger.decided_call(3600 - early_s, operation="op")
    judgement = ask("QL101", ledger)
    assert judgement.verdict == "FAIL"
    assert ("the provider's clock is 1 min behind the app's" in judgement.remedy) is named
    if named:
        assert "1 refused call came early by no more than that" in judgement.remedy


def test_a_clock_that_is_ahead_makes_nobody_early(ask):
    """Then the cause is another."""
    ledger = LedgerBuilder(skewed("60s"))
    ledger.decided_call(0)
    ledger.decided_call(600, operation="op")
    ledger.decided_call(3550, operation="op")
    assert "clock" not in ask("QL101", ledger).remedy


# ---- QL104


def at_once(limit, calls, **approval):
    document = provider_document({"two": {"kind": "concurrency", "limit": limit}, **TEN}, **approval)
    ledger = LedgerBuilder(document)
    for at_ns, answered_ns in calls:
        ledger.decided_call(at_ns=at_ns, answered_ns=answered_ns)
    return ledger


def test_a_call_that_ends_as_the_next_begins_is_not_beside_it(ask):
    """Two at once of two, and a third at the very instant at which the first ends: PASS."""
    ledger = at_once(2, [(0, 5 * SECOND), (0, 9 * SECOND), (5 * SECOND, 6 * SECOND)])
    judgement = ask("QL104", ledger, honest=True)
    assert (judgement.verdict, judgement.metric, judgement.findings) == ("PASS", 0.0, ())


@pytest.mark.parametrize(("refusals", "verdict"), [("never", "FAIL"), ("if-obeyed", "WARN")])
def test_a_nanosecond_too_early_is_one_too_many(ask, refusals, verdict):
    """And the worst moment is told with the calls under way."""
    calls = [(0, 5 * SECOND), (0, 9 * SECOND), (5 * SECOND - 1, 6 * SECOND), (5 * SECOND - 1, 6 * SECOND)]
    judgement = ask("QL104", at_once(2, calls, refusals=refusals), honest=True)
    assert (judgement.verdict, judgement.metric) == (verdict, 2.0)
    (finding,) = judgement.findings
    assert finding.calls == (0, 1, 2, 3)
    assert finding.message == (
        "2 calls of app were refused by 'two', which allows 2 at once: at Mon 5 Jan 00:00:04.999 4 were wanted "
        "at once."
    )
    assert judgement.remedy == "hold a semaphore of 2 around every call, shared by all workers"


def test_without_such_a_limit_there_is_nothing_to_judge(ask):
    """A limit of calls an hour is no limit of calls at once."""
    ledger = LedgerBuilder(provider_document(TEN))
    ledger.decided_call(0)
    assert ask("QL104", ledger).verdict == "NA"


# ---- QL105


def herd(people, apart_s, **settings):
    """One call fills the limit's hour; `people` ask in vain at 00:10, and come back when they were told to."""
    ledger = LedgerBuilder(provider_document({"one": {"kind": "rolling_window", "limit": 1, "period": "1h"}}))
    ledger.decided_call(0)
    for i in range(people):
        ledger.decided_call(600, person=f"p{i}", operation=f"op{i}", target=f"t{i}")
    for i in range(people):
        ledger.decided_call(3600 + i * apart_s, person=f"p{i}", operation=f"op{i}", target=f"t{i}")
    return ledger


def test_people_who_were_promised_the_same_moment_and_take_it_are_a_herd(ask):
    """Five at the same instant, each of whom kept the wait that it was promised: WARN."""
    judgement = ask("QL105", herd(5, 0), honest=True)
    assert (judgement.verdict, judgement.metric, judgement.threshold) == ("WARN", 5.0, 5.0)
    (finding,) = judgement.findings
    assert finding.message == (
        "5 people called within 1 s up to Mon 5 Jan 01:00:00.000, after 'one' for app had made them wait: 500 % "
        "of its 1 at once; 5 were retries (linked by operation), and 5 of them kept the promised wait."
    )
    assert finding.calls == (6, 7, 8, 9, 10)


def test_four_are_no_herd_and_five_that_keep_apart_are_none(ask):
    """The number is counted in any second, half-open: calls 0.25 s apart are four in one."""
    assert ask("QL105", herd(4, 0)).verdict == "PASS"
    assert (ask("QL105", herd(5, 0.25)).verdict, ask("QL105", herd(5, 0.25)).metric) == ("PASS", 4.0)
    assert ask("QL105", herd(5, 0.2499)).verdict == "WARN"


def test_one_person_many_times_is_no_herd(ask):
    """A herd is of people."""
    ledger = LedgerBuilder(provider_document({"one": {"kind": "rolling_window", "limit": 1, "period": "1h"}}))
    ledger.decided_call(0)
    ledger.decided_call(600, operation="op")
    for _ in range(9):
        ledger.decided_call(3600, operation="op")
    judgement = ask("QL105", ledger)
    assert (judgement.verdict, judgement.metric) == ("PASS", 1.0)


def test_a_herd_is_a_share_of_the_limit_as_well(ask, rules, tmp_path):
    """Five of a limit of sixty are less than a tenth at once; with another share they are a herd."""
    ledger = LedgerBuilder(provider_document({"h": {"kind": "rolling_window", "limit": 60, "period": "1h"}}))
    for _ in range(60):
        ledger.decided_call(0)
    for at in (600, 3600):
        for i in range(5):
            ledger.decided_call(at, person=f"p{i}", operation=f"op{i}", target=f"t{i}")
    assert ask("QL105", ledger).verdict == "PASS"
    frames = load(ledger.write(tmp_path / "set", rules={"QL105": {"herd_share": 0.08}}))
    assert rules["QL105"](frames).verdict == "WARN"


def test_calls_that_were_held_back_and_let_go_together_are_a_herd_too(ask):
    """A queue that opens at the promised end: other operations than the one that was refused."""
    ledger = LedgerBuilder(provider_document({"one": {"kind": "rolling_window", "limit": 1, "period": "1h"}}))
    ledger.decided_call(0)
    ledger.decided_call(600, person="p0", operation="op")
    for i in range(6):
        ledger.decided_call(3600, person=f"p{i}", operation=f"new{i}", target=f"t{i}")
    judgement = ask("QL105", ledger)
    assert (judgement.verdict, judgement.metric) == ("WARN", 6.0)


def test_limits_of_single_people_make_no_herd(ask):
    """Nobody waits for another's limit; and nothing refused is nothing to judge."""
    limit = {"one": {"kind": "rolling_window", "limit": 1, "period": "1h", "key": ["person"]}}
    ledger = LedgerBuilder(provider_document(limit))
    for at in (0, 600, 3600):
        for i in range(9):
            ledger.decided_call(at, person=f"p{i}", operation=f"op{i}")
    assert ask("QL105", ledger).verdict == "NA"
    assert ask("QL105", LedgerBuilder(provider_document(TEN))).verdict == "NA"


def test_crowds_are_counted_as_by_hand():
    """Against the plainest count, on random rows with ties."""
    draw = random.Random(1)
    for _ in range(200):
        n = draw.randrange(1, 40)
        key = np.array([draw.randrange(3) for _ in range(n)])
        who = np.array([draw.randrange(5) for _ in range(n)])
        at_ns = np.array([draw.randrange(30) for _ in range(n)])
        within = draw.randrange(1, 12)
        plain = [
            len({who[j] for j in range(n) if key[j] == key[i] and at_ns[i] - within < at_ns[j] <= at_ns[i]})
            for i in range(n)
        ]
        assert crowd(key, who, at_ns, within).tolist() == plain


# ---- QL106


def asking(answered):
    """Operations of people by name: a list of whether each was answered, all in the same hour."""
    ledger = LedgerBuilder(provider_document(TEN))
    ledger.decided_call(0)
    for person, outcomes in answered.items():
        for at, good in enumerate(outcomes):
            ledger.operation(at, outcome="done" if good else "declined", person=person)
    return ledger


def test_an_even_share_is_fair_however_small(ask):
    """Each gets half of what they ask."""
    judgement = ask("QL106", asking({f"p{i}": [True, False] * 6 for i in range(6)}))
    assert (judgement.verdict, judgement.metric, judgement.threshold) == ("PASS", 1.0, 0.8)
    assert judgement.note == "6 people compared, by the operations that were done"


def test_one_who_gets_all_and_others_nothing_is_unfair(ask):
    """Jain's index falls, and whoever got nothing is named."""
    answered = {"big": [True] * 40, **{f"p{i}": [False] * 12 for i in range(3)}}
    judgement = ask("QL106", asking(answered))
    assert judgement.verdict == "WARN"
    # Everybody's rate is 40/76; the shares are 1.9, 0, 0, 0: v = 3, less what chance makes of it.
    rate = 40 / 76
    by_chance = (
        40 * rate * (1 - rate) / (40 * rate) ** 2 + 3 * (12 * rate * (1 - rate) / (12 * rate) ** 2)
    ) / 4
    mean = (1 / rate) / 4
    variance = mean**2 * 3
    assert judgement.metric == pytest.approx(mean**2 / (mean**2 + variance - by_chance), rel=1e-12)
    assert judgement.findings[1].message == (
        "p0 had none of 12 operations done, where 6.3 were to be expected of people who asked for the same "
        "then."
    )
    assert len(judgement.findings) == 4


def test_small_numbers_that_chance_explains_are_fair(ask):
    """People of six operations each, answered by the toss of a coin."""
    draw = random.Random(7)
    answered = {f"p{i}": [draw.random() < 0.6 for _ in range(6)] for i in range(60)}
    judgement = ask("QL106", asking(answered))
    assert judgement.verdict == "PASS"
    assert judgement.metric > 0.95


def test_whoever_asks_at_a_bad_hour_is_compared_with_those_who_did_too(ask):
    """All are declined at nine and served at ten: nobody is treated worse than another."""
    ledger = LedgerBuilder(provider_document(TEN))
    ledger.decided_call(0)
    for i in range(20):
        for n in range(12):
            bad = i < 10
            at = 9 * 3600 + n if bad else 10 * 3600 + n
            served = n == 0 and i in (0, 1) if bad else True
            ledger.operation(at, outcome="done" if served else "declined", person=f"p{i:02}")
    assert ask("QL106", ledger).verdict == "PASS"


def test_what_was_answered_from_a_copy_took_nothing_of_the_limit(ask):
    """Whoever has an older copy is no competitor, and no victim."""
    ledger = asking({f"p{i}": [True, False] * 6 for i in range(6)})
    for person in ("p0", "copy"):
        for at in range(40):
            ledger.operation(at, outcome="stale", person=person)
    judgement = ask("QL106", ledger)
    assert (judgement.verdict, judgement.metric) == ("PASS", 1.0)


def test_fairness_needs_a_limit_that_is_shared_and_two_people(ask):
    """Else NA, with the reason; and without operations calls are compared."""
    own = {"one": {"kind": "rolling_window", "limit": 1, "period": "1h", "key": ["person"]}}
    ledger = LedgerBuilder(provider_document(own))
    ledger.decided_call(0)
    assert ask("QL106", ledger).note == "no call was asked of a limit that people share"
    assert ask("QL106", asking({"ann": [True] * 9})).verdict == "NA"
    ledger = LedgerBuilder(provider_document(TEN), app="unknown")
    for i in range(40):
        ledger.decided_call(i, person="big")
        ledger.decided_call(i, person="tiny") if i > 20 else None
    judgement = ask("QL106", ledger, honest=True)
    assert judgement.verdict == "WARN"
    assert judgement.note == "2 people compared, by the calls that were admitted"


def test_shares_leave_out_who_could_expect_too_little():
    """A person of two operations says nothing about fairness."""
    who = np.array([0] * 6 + [1] * 6 + [2] * 2)
    got = np.array([True] * 6 + [True] * 6 + [False] * 2)
    found = shares(who, np.zeros(14, dtype=np.int64), got, 3)
    assert found.who.tolist() == [0, 1]
    assert shares(who[:6], np.zeros(6, dtype=np.int64), got[:6], 3) is None


# ---- QL107

MISTAKES = {
    "mistakes": {"kind": "penalty", "statuses": [404], "threshold": 4, "window": "10m", "block": "5m"},
    **TEN,
}


@pytest.mark.parametrize(("mistakes", "verdict"), [(2, "PASS"), (3, "WARN"), (4, "WARN"), (5, "FAIL")])
def test_mistakes_up_to_half_of_what_is_forgiven_are_fine(ask, mistakes, verdict):
    """Beyond it WARN; one more than is forgiven begins a block: FAIL."""
    ledger = LedgerBuilder(provider_document(MISTAKES))
    for at in range(mistakes):
        ledger.decided_call(at, status=404)
    judgement = ask("QL107", ledger, honest=True)
    assert (judgement.verdict, judgement.metric, judgement.threshold) == (verdict, mistakes / 4, 0.5)
    assert len(judgement.findings) == (verdict != "PASS")


def test_a_block_is_told_with_what_it_cost(ask):
    """The answers that brought it about, and the calls that it refused."""
    ledger = LedgerBuilder(provider_document(MISTAKES))
    for at in range(5):
        ledger.decided_call(at, status=404)
    for at in (10, 20):
        ledger.decided_call(at)
    judgement = ask("QL107", ledger, honest=True)
    (finding,) = judgement.findings
    assert finding.calls == (0, 1, 2, 3, 4)
    assert finding.at_ns == START_NS + 4 * SECOND
    assert finding.message.startswith(
        "5 of 4 answers that 'mistakes' forgives (4 answers 404 in 10 min, then"
    )
    assert finding.message.endswith("by Mon 5 Jan 00:00:04, and began a block: it refused 2 calls.")


# ---- QL108 and QL109

TOLD = [{"name": "X-Left", "value": "{tightest.remaining}"}]


def spent(*, told, refusals="if-obeyed"):
    document = provider_document(
        {"two": {"kind": "rolling_window", "limit": 2, "period": "1h"}}, refusals=refusals
    )
    if told:
        document["dialect"] = {"headers": TOLD}
    return LedgerBuilder(document)


def test_calls_under_way_when_the_header_came_are_an_overshoot_of_their_number(ask):
    """Nothing left was said at 0.2 s; what was sent before overshot, what was sent then did not listen."""
    ledger = spent(told=True)
    ledger.decided_call(0)
    ledger.decided_call(at_ns=SECOND, done_ns=SECOND + 200)
    ledger.decided_call(at_ns=SECOND + 150, sent_ns=SECOND + 100, done_ns=SECOND + 300)
    ledger.decided_call(at_ns=SECOND + 250, sent_ns=SECOND + 199, done_ns=SECOND + 400)
    ledger.decided_call(at_ns=SECOND + 260, sent_ns=SECOND + 200)
    over = ask("QL108", ledger, honest=True)
    assert (over.verdict, over.metric, over.note) == ("WARN", 2.0, "2 calls of 3 refused")
    assert over.findings[0].calls == (2, 3)
    ignored = ask("QL109", ledger, honest=True)
    assert (ignored.verdict, ignored.metric) == ("WARN", 1.0)
    assert ignored.findings[0].calls == (1, 4)
    assert ignored.findings[0].message == (
        "The answer to call 1 at Mon 5 Jan 00:00:01 said that nothing is left of 'two'; 1 call followed all the "
        "same, the first 0 s later, and was refused."
    )


def test_without_headers_the_first_refusal_is_what_tells(ask):
    """The first refused call could not know; those sent before its answer overshot; the rest disobeyed."""
    ledger = spent(told=False)
    for _ in range(2):
        ledger.decided_call(0)
    ledger.decided_call(at_ns=SECOND, done_ns=SECOND + 100)
    ledger.decided_call(at_ns=SECOND + 120, sent_ns=SECOND + 99)
    ledger.decided_call(at_ns=SECOND + 130, sent_ns=SECOND + 100)
    judgement = ask("QL108", ledger, honest=True)
    assert (judgement.verdict, judgement.metric) == ("WARN", 1.0)
    assert judgement.findings[0].calls == (3,)
    assert ask("QL109", ledger).verdict == "NA"


def test_an_app_that_stays_under_what_headers_tell_passes(ask):
    """Told that nothing is left, it waits until there is: QL109 PASS, and nothing overshot."""
    ledger = spent(told=True)
    for at in (0, 1, 3600, 3601, 7201):
        ledger.decided_call(at)
    assert ask("QL109", ledger, honest=True).verdict == "PASS"
    assert ask("QL108", ledger).verdict == "NA"
    assert ask("QL101", ledger).verdict == "PASS"


def test_each_stretch_in_which_a_limit_was_spent_counts_for_itself(ask):
    """What was learnt an hour ago is no warning now: a new stretch begins blind."""
    ledger = spent(told=False)
    for at in (0, 0, 10, 3600, 3600, 3610):
        ledger.decided_call(at)
    judgement = ask("QL108", ledger, honest=True)
    assert (judgement.verdict, judgement.note) == ("PASS", "0 calls of 2 refused")


def test_a_key_of_its_own_is_told_for_itself(ask):
    """Nothing left for ann says nothing about bob."""
    limits = {"two": {"kind": "rolling_window", "limit": 1, "period": "1h", "key": ["person"]}}
    document = provider_document(limits, refusals="if-obeyed")
    document["dialect"] = {"headers": TOLD}
    ledger = LedgerBuilder(document)
    ledger.decided_call(0, person="ann")
    ledger.decided_call(1, person="bob")
    ledger.decided_call(2, person="cem")
    assert ask("QL109", ledger, honest=True).verdict == "PASS"
    ledger.decided_call(3, person="bob")
    judgement = ask("QL109", ledger, honest=True)
    assert judgement.findings[0].calls == (1, 3)
