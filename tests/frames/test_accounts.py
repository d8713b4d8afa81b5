"""What each kind of limit had counted, what a refused call has to wait, and what is charged: exact values."""

from __future__ import annotations

import datetime
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quotalab.errors import InputError
from quotalab.frames import disagreements, load
from quotalab.frames.accounts import bucket_levels, metered_uses
from quotalab.frames.asked import Calls
from quotalab.frames.calendar import NEVER
from quotalab.frames.limits import asked
from quotalab.frames.testing import START_NS, LedgerBuilder, provider_document
from quotalab.ledger import OAuthFacts
from quotalab.profiles.limits import Limit

SECOND = 10**9
HOUR = 3600 * SECOND


def told(path, limits, calls, **document):
    """Of decided calls: (used before, wait in s, remaining) by the judges, who agree with the ledger."""
    ledger = LedgerBuilder(provider_document(limits, **document))
    for at, columns in calls:
        ledger.decided_call(at, **columns)
    frames = load(ledger.write(path))
    assert disagreements(frames) == []
    found = {}
    for name, mine in frames.once(asked).items():
        waits = [None if wait == NEVER else wait / SECOND for wait in mine.uses.wait_ns.tolist()]
        left = (mine.number - mine.uses.after).tolist()
        found[name] = list(zip(mine.uses.used.tolist(), waits, left, strict=True))
    return found


def plain(*times):
    return [(at, {}) for at in times]


def answered(at_s):
    return {"answered_ns": round(at_s * SECOND)}


def test_a_rolling_window_waits_for_the_oldest_to_leave(tmp_path):
    """Two of three used at 0 and 4 s; what costs two more at 6 s fits when the first has left, at 10 s."""
    limits = {
        "r": {"kind": "rolling_window", "limit": 3, "period": "10s", "cost": {"base": 1, "per_object": 1}}
    }
    calls = [(0, {}), (4, {}), (6, {"objects": 1}), (9, {"objects": 3}), (10, {"objects": 1})]
    found = told(tmp_path / "run", limits, calls)["r"]
    assert found == [(0, 0, 2), (1, 0, 1), (2, 4, 1), (2, None, 1), (1, 0, 0)]


def test_a_refund_counts_from_the_instant_of_the_answer(tmp_path):
    """Five asked for and one got: until the answer at 3 s five are used, at that instant two."""
    cost = {"base": 1, "per_object": 1, "when": "refund"}
    limits = {"r": {"kind": "rolling_window", "limit": 5, "period": "10s", "cost": cost}}
    calls = [(0, {"objects_asked": 4, "objects": 1} | answered(3)), (2, {}), (3, {}), (10, {})]
    found = told(tmp_path / "run", limits, calls)["r"]
    assert found == [(0, 0, 0), (5, 8, 0), (2, 0, 2), (1, 0, 3)]


def test_what_is_charged_afterwards_may_go_beyond(tmp_path):
    """One has to fit, and six are charged when the answer is there: two more than there are."""
    cost = {"base": 1, "per_object": 1, "when": "after"}
    limits = {"r": {"kind": "rolling_window", "limit": 4, "period": "10s", "cost": cost}}
    calls = [(0, {"objects": 5, "objects_asked": 5} | answered(2)), (1, answered(1)), (2, {}), (12, {})]
    found = told(tmp_path / "run", limits, calls)["r"]
    assert found == [(0, 0, 4), (0, 0, 4), (7, 10, -3), (0, 0, 4)]


@pytest.mark.parametrize(
    ("mode", "left"),
    [("free", (0, 8, 8)), ("this", (-1, 8, 8)), ("longer", (0, 7, 8)), ("all", (-1, 7, 7))],
)
def test_a_refused_call_is_charged_as_the_refusing_limit_says(tmp_path, mode, left):
    """To none, to the one that refused, to those with a longer period, or to all."""
    limits = {
        "first": {"kind": "rolling_window", "limit": 2, "period": "10s", "refused_calls": mode},
        "longer": {"kind": "balance", "credits": 10},
        "shorter": {"kind": "fixed_window", "limit": 10, "period": "5s"},
    }
    found = told(tmp_path / "run", limits, plain(0, 1, 2))
    assert tuple(found[name][-1][-1] for name in limits) == left


def test_a_window_from_the_first_call_is_not_opened_by_what_is_free(tmp_path):
    """The first call that is charged opens it, at 3 s; a refund after its end at 13 s changes nothing."""
    cost = {"base": 0, "per_object": 1, "when": "refund"}
    limits = {"f": {"kind": "fixed_window", "limit": 2, "period": "10s", "align": "first_call", "cost": cost}}
    got = {"objects_asked": 1, "objects": 1}
    calls = [(0, {}), (3, {"objects_asked": 2} | answered(14)), (12, got), (13, got), (14, got)]
    found = told(tmp_path / "run", limits, calls)["f"]
    assert found == [(0, 0, 2), (0, 0, 0), (2, 1, 0), (0, 0, 1), (1, 0, 0)]


def test_a_bucket_drains_at_its_exact_rate(tmp_path):
    """Four tokens, three a second: full at 0 s, one free after a third of a second, rounded up to the ns."""
    limits = {"b": {"kind": "token_bucket", "capacity": 4, "rate": "3/1s"}}
    found = told(tmp_path / "run", limits, plain(0, 0, 0, 0, 0, 0.25, 1 / 3, 0.333333334))["b"]
    assert found[4] == (4, 333_333_334 / SECOND, 0)
    assert found[5] == (4, 83_333_334 / SECOND, 0)
    assert found[6] == (4, 1 / SECOND, 0)
    assert found[7] == (3, 0, 0)


def test_a_balance_is_carried_over_and_refilled(tmp_path):
    """Spent 25 of 10 in the first period: 15 over in the second, 5 in the third, where it fits again."""
    cost = {"base": 0, "per_object": 1}
    limits = {"c": {"kind": "balance", "credits": 10, "period": "1h", "cost": cost}}
    calls = [(0, {"objects": 25}), (10, {"objects": 1}), (3600, {"objects": 1}), (7200, {"objects": 1})]
    found = told(tmp_path / "run", limits, calls)["c"]
    assert found == [(0, 0, -15), (25, 7190, -15), (15, 3600, -5), (5, 0, 4)]


def test_a_balance_that_may_not_go_negative(tmp_path):
    """Seven of ten are used: four do not fit until the next period, eleven never do."""
    cost = {"base": 0, "per_object": 1}
    limit = {"kind": "balance", "credits": 10, "period": "1h", "cost": cost, "may_go_negative": False}
    calls = [(0, {"objects": 7}), (60, {"objects": 4}), (70, {"objects": 11}), (80, {"objects": 3})]
    calls.append((90, {"objects": 10}))  # of these 20 the next period takes just what is too much
    found = told(tmp_path / "run", {"c": limit}, calls)["c"]
    assert found == [(0, 0, 3), (7, 3540, 3), (7, None, 3), (7, 0, 0), (10, 3510, 0)]


def test_at_once_counts_from_the_age_that_counts(tmp_path):
    """Of calls under way for 2 s or longer one may be: what comes of age meanwhile is waited for too."""
    limits = {"o": {"kind": "concurrency", "limit": 1, "min_age": "2s"}}
    calls = [(0, answered(5)), (1, answered(9)), (2, {}), (4, {}), (9, {})]
    # At 2 s the first counts, till 5 s; the second from 3 s till 9 s.
    assert told(tmp_path / "run", limits, calls)["o"] == [
        (0, 0, 1),
        (0, 0, 1),
        (1, 7, 0),
        (2, 5, -1),
        (0, 0, 1),
    ]


def test_a_call_that_takes_no_time_is_never_under_way(tmp_path):
    """One at once, and three that are answered in the instant in which they come."""
    found = told(tmp_path / "run", {"o": {"kind": "concurrency", "limit": 1}}, plain(0, 0, 0))["o"]
    assert found == [(0, 0, 1)] * 3


def test_the_same_member_takes_no_second_seat(tmp_path):
    """Two people fit, whoever they are; a third never does, and the first may come again."""
    limits = {"p": {"kind": "cardinality", "limit": 2, "of": "person"}}
    calls = [(i, {"person": name}) for i, name in enumerate(["ann", "bob", "ann", "cem", "bob"])]
    found = told(tmp_path / "run", limits, calls)["p"]
    assert found == [(0, 0, 1), (1, 0, 0), (2, 0, 0), (2, None, 0), (2, 0, 0)]


def test_the_oldest_token_leaves(tmp_path):
    """A third refresh token puts the first out, and always fits."""
    evict = {"of": "token", "on_excess": "evict_oldest", "match": {"kinds": ["token"]}}
    limits = {"t": {"kind": "cardinality", "limit": 2, **evict}}
    calls = [
        (i, {"kind": "token", "route": None, "oauth": OAuthFacts(issued_refresh_token=f"r{i}")})
        for i in range(3)
    ]
    assert told(tmp_path / "run", limits, calls)["t"] == [(0, 0, 1), (1, 0, 0), (2, 0, 0)]


def test_people_who_connect_are_seats(tmp_path):
    """A limit on the authorization endpoint refuses the second person there, and without a promise."""
    limits = {"p": {"kind": "cardinality", "limit": 1, "of": "person", "match": {"kinds": ["authorize"]}}}
    connect = {"kind": "authorize", "route": None, "token": None}
    calls = [(0, connect | {"person": "ann"}), (1, connect | {"person": "bob"}), (2, {"person": "ann"})]
    assert told(tmp_path / "run", limits, calls)["p"] == [(0, 0, 0), (1, None, 0)]


@pytest.mark.parametrize("answer", [9.5, 10])
def test_nothing_comes_back_once_the_window_has_ended(tmp_path, answer):
    """Three asked for in the first window and none got: in the second nothing comes back from before."""
    cost = {"base": 0, "per_object": 1, "when": "refund"}
    limits = {"f": {"kind": "fixed_window", "limit": 3, "period": "10s", "cost": cost}}
    one = {"objects_asked": 1, "objects": 1}
    calls = [(1, {"objects_asked": 3} | answered(answer)), (9.5, {}), (10, one), (11, {})]
    used = 0 if answer < 10 else 3
    found = told(tmp_path / "run", limits, calls)["f"]
    assert found == [(0, 0, 0), (used, 0, 3 - used), (0, 0, 2), (1, 0, 2)]


PENALTY = {"kind": "penalty", "statuses": [403], "threshold": 2, "window": "10s", "block": "4s"}


def wrong(*times):
    return [(at, {"status": 403}) for at in times]


def test_a_block_begins_with_the_answer_that_is_one_too_many(tmp_path):
    """The third 403 within 10 s blocks until 4 s later, counting anew; at that instant calls are let in."""
    found = told(tmp_path / "run", {"p": PENALTY}, [*wrong(0, 10, 11, 12), *plain(13, 15.5, 16)])["p"]
    # At 10 s the one of 0 s has left: three are within (2, 12].
    assert found[:4] == [(0, 0, 2), (0, 0, 2), (1, 0, 1), (2, 0, 0)]
    assert found[4:] == [(0, 3, 2), (0, 0.5, 2), (0, 0, 2)]


def test_an_answer_one_window_ago_has_left(tmp_path):
    """Of 403s at 0, 10 and 19 s the second is not within 10 s of the first: a block begins with the third."""
    limits = {"p": {**PENALTY, "threshold": 1}}
    found = told(tmp_path / "run", limits, [*wrong(0, 10), (11, {}), *wrong(19), (20, {})])["p"]
    assert [wait for _, wait, _ in found] == [0, 0, 0, 0, 3]


def test_blocks_grow_up_to_the_longest_and_are_forgiven(tmp_path):
    """4 s, then 12, then 20 in place of 36; after an hour of quiet 4 s again."""
    limit = {**PENALTY, "threshold": 1, "escalation": 3, "longest": "20s", "forgive": "1h"}
    calls = [*wrong(0, 0), (1, {}), *wrong(4, 4), (5, {}), *wrong(16, 16), (17, {})]
    calls += [*wrong(36 + 3600, 36 + 3600), (37 + 3600, {})]
    found = told(tmp_path / "run", {"p": limit}, calls)["p"]
    assert [found[i][1] for i in (2, 5, 8, 11)] == [3, 11, 19, 3]


def test_a_call_while_blocked_begins_the_block_anew(tmp_path):
    """With `extend`, each call within the 4 s is told of 4 s, and moves the end to 4 s after itself."""
    limit = {**PENALTY, "threshold": 1, "action": "extend"}
    found = told(tmp_path / "run", {"p": limit}, [*wrong(0, 0), *plain(3, 6.5, 10.5)])["p"]
    assert [wait for _, wait, _ in found] == [0, 0, 4, 4, 0]


def test_a_ban_has_no_end(tmp_path):
    """Nothing helps, and nothing is promised."""
    limit = {key: value for key, value in PENALTY.items() if key != "block"} | {"action": "ban"}
    found = told(tmp_path / "run", {"p": limit}, [*wrong(0, 1, 2), *plain(3, 90_000)])["p"]
    assert [wait for _, wait, _ in found] == [0, 0, 0, None, None]


def test_calls_without_a_token_are_asked_of_limits_that_are_for_them(tmp_path):
    """Two 401s an address are counted by the penalty for all callers, and by no limit for known ones."""
    penalty = {**PENALTY, "statuses": [401], "threshold": 1, "key": ["ip"]}
    limits = {"known": {"kind": "rolling_window", "limit": 9, "period": "1h"}, "p": penalty}
    found = told(tmp_path / "run", limits, [(0, {"known": False}), (1, {"known": False}), (2, {})])
    assert found["known"] == [(0, 0, 9)]
    assert [wait for _, wait, _ in found["p"]] == [0, 0, 3]


def test_the_timetable_changes_the_number_and_not_what_is_used(tmp_path):
    """From 5 s on, that instant included, 1 in place of 3: two are used already, one more than there is."""
    limits = {"r": {"kind": "rolling_window", "limit": 3, "period": "10s"}}
    change = {"after": "5s", "limits": {"r": 1}, "why": "a test"}
    found = told(tmp_path / "run", limits, plain(0, 1, 5, 11), timetable=[change])["r"]
    assert found == [(0, 0, 2), (1, 0, 1), (2, 6, -1), (0, 0, 0)]


def test_what_was_drawn_is_what_is_judged_by(tmp_path):
    """The event's number counts; without it, and with one out of bounds, the run is at fault."""
    limits = {"o": {"kind": "opaque", "floor": 1, "ceiling": 5, "period": "10s"}}
    for name, drawn, faults in (("right", 2, 0), ("beyond", 6, 1)):
        ledger = LedgerBuilder(provider_document(limits), drawn={"o": drawn})
        for at in range(7):
            ledger.decided_call(at)
        frames = load(ledger.write(tmp_path / name))
        assert frames.provider.limits[0].limit == drawn
        assert len(disagreements(frames)) == faults
    del ledger._rows[0]
    assert [(one.seq, one.message) for one in disagreements(load(ledger.write(tmp_path / "untold")))] == [
        (-1, "has no event that tells what was drawn for the limit 'o'")
    ]


@pytest.mark.parametrize(
    ("form", "promise_s"),
    [("none", None), ("seconds", 3), ("decimal", 2.8), ("http_date", 3.75), ("iso", 3.75), ("epoch", 3.75)],
)
def test_a_promise_is_rounded_up_in_its_own_form(tmp_path, form, promise_s):
    """A wait of 2.75 s from 7.25 s on, till 10 s; an instant of 10.0000...1 s is the 11th second."""
    limits = {"r": {"kind": "rolling_window", "limit": 1, "period": "10s"}}
    ledger = LedgerBuilder(provider_document(limits, refusal={"retry_after": form}))
    ledger.decided_call(at_ns=1)
    ledger.decided_call(7.25)
    assert ledger._rows[1].retry_after_ns == (None if promise_s is None else round(promise_s * SECOND))
    assert disagreements(load(ledger.write(tmp_path / "run"))) == []


def calls_of(at_ns, need, number, key=None):
    at_ns = np.array(at_ns, dtype=np.int64)
    need = np.array(need, dtype=np.int64)
    every = np.ones(len(at_ns), dtype=bool)
    key = np.zeros(len(at_ns), dtype=np.int64) if key is None else np.array(key, dtype=np.int64)
    rows = np.arange(len(at_ns))
    return Calls(rows, at_ns, at_ns, key, np.full(len(at_ns), number), need, need, every, every, "before")


@settings(max_examples=200)
@given(
    st.lists(st.tuples(st.integers(0, 10**13), st.integers(0, 10**9), st.integers(0, 4)), max_size=20),
    st.fractions(Fraction(1, 10**15), 1, max_denominator=10**15).filter(bool),
)
def test_a_bucket_is_exact_where_whole_numbers_outgrow_64_bits(steps, rate):
    """Whatever the rate's denominator, use and wait are those of fractions."""
    limit = Limit("b", "token_bucket", 10**9, None, rate=rate)
    at, times = START_NS, []
    for gap, _, _ in steps:
        at += gap
        times.append(at)
    uses = metered_uses(
        limit, calls_of(times, [need for _, need, _ in steps], 10**9, [k for *_, k in steps]), []
    )
    held, last = {}, {}
    for i, (_, need, key) in enumerate(steps):
        used = max(Fraction(0), held.get(key, Fraction(0)) - rate * (times[i] - last.get(key, 0)))
        over = used + need - 10**9
        assert int(uses.used[i]) == -(-used // 1)
        assert int(uses.wait_ns[i]) == (min(-(-over // rate), NEVER) if need and over > 0 else 0)
        held[key], last[key] = used + need, times[i]


@pytest.mark.parametrize("keys", [1, 3000])
def test_a_meter_of_many_keys_is_that_of_each(keys):
    """However many keys share the axis, each meter stands where it would alone."""
    rng = np.random.default_rng(7)
    at_ns, key = np.sort(rng.integers(0, 10**6, 9000)), rng.integers(0, keys, 9000)
    amount = rng.integers(0, 4, 9000)
    limit = Limit("b", "token_bucket", 5, None, rate=Fraction(3, 1000))
    level, empty = bucket_levels(limit, at_ns, key, amount)
    for one in rng.integers(0, keys, 20):
        held, last = Fraction(0), 0
        for i in np.flatnonzero(key == one).tolist():
            held = max(Fraction(0), held - limit.rate * (int(at_ns[i]) - last))
            assert bool(empty[i]) == (held == 0)
            held, last = held + int(amount[i]), int(at_ns[i])
            assert int(level[i]) == -(-held // 1)


@pytest.mark.parametrize("align", ["clock", "first_call"])
@pytest.mark.parametrize("kind", ["rolling_window", "fixed_window", "balance"])
def test_keys_and_times_far_apart_are_counted_alike(kind, align):
    """A thousand keys over two centuries, which no 63 bits hold together, are those of each key alone."""
    rng = np.random.default_rng(3)
    at_ns, key = np.sort(rng.integers(0, 6 * 10**18, 4000)), rng.integers(0, 1000, 4000)
    need = rng.integers(0, 3, 4000)
    limit = Limit("w", kind, 2, None, period_ns=10**18, align=align)
    together = metered_uses(limit, calls_of(at_ns, need, 2, key), [])
    for one in range(0, 1000, 37):
        mine = key == one
        alone = metered_uses(limit, calls_of(at_ns[mine], need[mine], 2), [])
        assert together.used[mine].tolist() == alone.used.tolist()
        assert together.wait_ns[mine].tolist() == alone.wait_ns.tolist()


def test_costs_whose_sum_would_wrap_are_refused():
    """Costs that add up to 2**62 or more are an error; the largest that do not are counted."""
    limit = Limit("w", "rolling_window", 5, None, period_ns=10)
    with pytest.raises(InputError, match=r"2\*\*62"):
        metered_uses(limit, calls_of([1, 2, 3], [2**61] * 3, 5), [])
    uses = metered_uses(limit, calls_of([1, 2, 3], [2**61, 2**60, 0], 5), [])
    assert uses.used.tolist() == [0, 2**61, 2**61 + 2**60]


def utc(text):
    return int(datetime.datetime.fromisoformat(text).replace(tzinfo=datetime.UTC).timestamp()) * SECOND


@pytest.mark.parametrize(
    ("zone", "period", "at", "start", "end"),
    [
        # Clocks are set forward on 2026-03-08 at 02:00 in New York: a day of 23 hours.
        ("America/New_York", "24h", "2026-03-08 12:00", "2026-03-08 05:00", "2026-03-09 04:00"),
        ("America/New_York", "8h", "2026-03-09 01:00", "2026-03-08 21:00", "2026-03-09 04:00"),
        # Back on 2026-11-01: 25 hours, and a fourth stretch of one.
        ("America/New_York", "24h", "2026-11-02 04:59", "2026-11-01 04:00", "2026-11-02 05:00"),
        ("America/New_York", "8h", "2026-11-02 04:30", "2026-11-02 04:00", "2026-11-02 05:00"),
        # Midnight of 2026-04-24 does not exist in Cairo: the day begins at 01:00 there.
        ("Africa/Cairo", "24h", "2026-04-23 22:00", "2026-04-23 22:00", "2026-04-24 21:00"),
        # Clocks were set back over midnight in St John's, 2010-11-07 00:01: the first midnight counts.
        ("America/St_Johns", "24h", "2010-11-07 03:00", "2010-11-07 02:30", "2010-11-08 03:30"),
        ("Asia/Kolkata", "1h", "2026-01-05 00:10", "2026-01-04 23:30", "2026-01-05 00:30"),
        ("America/New_York", "month", "2026-03-20 00:00", "2026-03-01 05:00", "2026-04-01 04:00"),
        ("UTC", "month", "2028-02-29 23:59", "2028-02-01 00:00", "2028-03-01 00:00"),
        # Pairs of days since 1970-01-01: 2026-01-05 is the 20458th after it.
        ("America/New_York", "48h", "2026-01-06 12:00", "2026-01-05 05:00", "2026-01-07 05:00"),
    ],
)
def test_windows_follow_the_clocks_of_their_zone(zone, period, at, start, end):
    """The window's start and, as the wait, its end."""
    document = provider_document({"w": {"kind": "fixed_window", "limit": 1, "period": period, "zone": zone}})
    limit = LedgerBuilder(document).provider.limits[0]
    uses = metered_uses(limit, calls_of([utc(start) - 1, utc(start), utc(at)], [1, 1, 1], 1), [])
    assert uses.opened_ns.tolist()[1:] == [utc(start)] * 2
    assert uses.used.tolist() == [0, 0, 1]
    assert int(uses.wait_ns[2]) == utc(end) - utc(at)


def test_a_balance_waits_for_a_month_far_ahead():
    """A hundred months' credits are spent: it fits in the month after them; beyond reach, never."""
    document = provider_document(
        {"c": {"kind": "balance", "credits": 10, "period": "month", "zone": "Asia/Tokyo"}}
    )
    limit = LedgerBuilder(document).provider.limits[0]
    at = utc("2026-01-05 00:00")
    uses = metered_uses(limit, calls_of([at, at + 1], [1000, 1], 10), [])
    assert int(uses.wait_ns[1]) == utc("2034-04-30 15:00") - at - 1
    uses = metered_uses(limit, calls_of([at, at + 1], [10**12, 1], 10), [])
    assert int(uses.wait_ns[1]) == NEVER
