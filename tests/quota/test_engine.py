"""The engine in words: at the instants where one nanosecond decides, and over a million arrivals."""

from __future__ import annotations

import random
from bisect import bisect_left, bisect_right
from collections import Counter
from dataclasses import replace
from fractions import Fraction

import pytest
from quota_oracle import OURS

from quotalab.errors import FaultError
from quotalab.profiles.limits import Change, Cost, Limit, Match
from quotalab.quota import NEVER, Decision, Engine, Standing, engine

EVERYBODY = {"app": "app-1", "person": "ann", "ip": "10.0.0.1", "token": "t", "tenant": "acme", "object": "o"}
HOUR = 3_600_000_000_000


def limit(name="hourly", kind="rolling_window", most=3, period_ns=10, **fields) -> Limit:
    """A limit with small numbers."""
    return Limit(name, kind, most, OURS, period_ns=period_ns, **fields)


def asked(*limits, method="GET", route="list", start_ns=0, on_change=None, **sort):
    """An engine, and a function that has it decide one sort of call."""
    mine = Engine(limits, start_ns=start_ns, on_change=on_change)
    selection = mine.select("api", method, route, **sort)

    def decide(now, caller=EVERYBODY, **call):
        return mine.decide(now, selection, caller, **call)

    return mine, decide


def answer(mine, now, status, caller=EVERYBODY):
    """Decide one call and tell the engine how it was answered."""
    selection = mine.select("api", "GET", "list")
    decision = mine.decide(now, selection, caller)
    mine.observe(now, selection, decision, 429 if decision.limit else status)
    return decision


WINDOWS = [
    limit(),
    limit(kind="fixed_window"),
    limit(kind="fixed_window", align="first_call"),
    limit(kind="balance", may_go_negative=False),
    limit(kind="balance"),
]
WINDOW_IDS = ["rolling", "clock-aligned", "first-call", "balance", "negative-balance"]


@pytest.mark.parametrize("one", WINDOWS, ids=WINDOW_IDS)
def test_windows_are_half_open(one):
    """Three calls at 0 fill the window of 10 ns; at 9 it is full, at 10 a new one has begun."""
    _, decide = asked(one)
    assert [decide(0).limit for _ in range(4)] == [None, None, None, "hourly"]
    assert decide(9) == Decision("hourly", 1, 1, (("hourly", "app-1"),), (), (("hourly", 0),))
    assert decide(10) == Decision(None, 0, 1, (("hourly", "app-1"),), (("hourly", 1),), (("hourly", 2),))


def test_the_three_windows_differ_where_they_should():
    """After calls at 8, 8 and 12, a fourth at 13: only the clock's window of 10 ns has begun anew."""
    waits = []
    for one in WINDOWS[:3]:
        _, decide = asked(one)
        for now in (8, 8, 12):
            assert decide(now).limit is None
        waits.append([decide(now).wait_ns for now in (13, 13, 13)])
    assert waits == [[5, 5, 5], [0, 0, 7], [5, 5, 5]]


def test_a_first_call_window_begins_with_the_call_after_the_last_has_ended():
    """Windows of 10 ns that begin at 3 and, after a pause, at 25: the second one lasts until 35."""
    _, decide = asked(limit(kind="fixed_window", align="first_call", most=1))
    assert [decide(now).wait_ns for now in (3, 4, 25, 34, 35)] == [0, 9, 0, 1, 0]


def test_a_call_that_costs_nothing_begins_no_window():
    """A window that starts with the first charged call is not started by one that is charged 0."""
    one = limit(kind="fixed_window", align="first_call", most=1, cost=Cost(base=1, routes={"ping": 0}))
    mine = Engine([one])
    ping, work = mine.select("api", "GET", "ping"), mine.select("api", "GET", "work")
    seen = [
        mine.decide(now, sort, EVERYBODY)
        for now, sort in ((0, ping), (5, work), (12, work), (12, ping), (15, work))
    ]
    assert [decision.wait_ns for decision in seen] == [0, 0, 3, 0, 0]
    assert [decision.charges for decision in seen[:2]] == [(("hourly", 0),), (("hourly", 1),)]


def test_a_refused_call_that_is_charged_may_begin_a_window():
    """Refused by another limit that charges all, a call opens the window of 10 ns at 5, until 15."""
    mine, decide = asked(
        limit("narrow", most=1, period_ns=3, refused_calls="all"),
        limit("first", "fixed_window", align="first_call", period_ns=10, most=9),
    )
    decide(4)
    mine.advance(5)
    assert mine.standing("first", "app-1", 5).reset_ns == 14
    mine.advance(14)
    decide(20)
    assert decide(22).charges == (("narrow", 1), ("first", 1))
    assert mine.standing("first", "app-1", 22) == Standing(9, 2, 7, 30)


def test_windows_with_an_offset_are_each_keys_own():
    """Two people's windows of 10 ns begin at different instants, the same ones whenever they call."""
    one = limit(kind="fixed_window", align="offset", most=1, key=("person",))
    ends = {}
    for person in ("ann", "bob", "cem"):
        mine, decide = asked(one)
        ends[person] = mine.standing("hourly", person, 100).reset_ns
        assert 100 < ends[person] <= 110
        decide(100, {"person": person})
        assert decide(100, {"person": person}).wait_ns == ends[person] - 100
        assert decide(ends[person] - 1, {"person": person}).wait_ns == 1
        assert decide(ends[person], {"person": person}).limit is None
    assert len(set(ends.values())) > 1


def test_a_rolling_window_waits_for_as_many_charges_as_the_call_needs():
    """Of charges 1, 2 and 2 at 0, 3 and 6, a call of cost 3 needs the first two to leave, at 13."""
    mine = Engine([limit(most=5, cost=Cost(routes={str(cost): cost for cost in range(6)}))])

    def decide(now, cost):
        return mine.decide(now, mine.select("api", "GET", str(cost)), EVERYBODY)

    for now, cost in ((0, 1), (3, 2), (6, 2)):
        decide(now, cost)
    assert [decide(7, cost).wait_ns for cost in (1, 2, 3, 4, 5)] == [3, 6, 6, 9, 9]


def test_refused_by_one_limit_a_call_is_charged_by_none():
    """A person who has used up their own limit takes nothing from the app's."""
    _, decide = asked(limit("app", most=3), limit("person", most=1, key=("person",)))
    assert decide(0).remaining == (("app", 2), ("person", 0))
    assert [decide(0).charges for _ in range(5)] == [()] * 5
    bob = decide(0, {**EVERYBODY, "person": "bob"})
    assert bob == Decision(
        *(None, 0, 1),
        (("app", "app-1"), ("person", "bob")),
        (("app", 1), ("person", 1)),
        (("app", 1), ("person", 0)),
    )


@pytest.mark.parametrize(("first", "named"), [(8, "second"), (15, "first"), (10, "first")])
def test_the_limit_with_the_longest_wait_is_named(first, named):
    """Of several limits that refuse, the one that lasts longest; of equals, the profile's first."""
    _, decide = asked(limit("first", most=1, period_ns=first), limit("second", most=1))
    decide(0)
    refused = decide(0)
    assert (refused.limit, refused.wait_ns) == (named, max(first, 10))


def test_a_limit_that_never_admits_is_named_before_one_with_any_wait():
    """A person too many is refused for ever, whatever else would let them wait."""
    _, decide = asked(limit("hourly", most=1), limit("people", "cardinality", 1, key=("app",), of="person"))
    decide(0)
    refused = decide(0, {**EVERYBODY, "person": "bob"})
    assert (refused.limit, refused.wait_ns) == ("people", NEVER)


def test_keys_of_several_parts_are_counted_apart():
    """A limit by person and route counts each pair on its own, under both names; a route may be unknown."""
    mine = Engine([limit(most=1, key=("person", "route"))])
    seen = [
        mine.decide(0, mine.select("api", "GET", route), {"person": person})
        for person, route in (
            ("ann", "list"),
            ("ann", "read"),
            ("bob", "list"),
            ("ann", "list"),
            ("ann", None),
        )
    ]
    assert [decision.limit for decision in seen] == [None, None, None, "hourly", None]
    assert [decision.keys[0][1] for decision in seen] == [
        "ann|list",
        "ann|read",
        "bob|list",
        "ann|list",
        "ann|unknown",
    ]


@pytest.mark.parametrize(
    ("mode", "charges"),
    [
        ("free", ()),
        ("this", (("ten", 1),)),
        ("longer", (("hundred", 1), ("prepaid", 1))),
        ("all", (("ten", 1), ("hundred", 1), ("one", 1), ("prepaid", 1))),
    ],
)
def test_whom_a_refused_call_is_charged_to(mode, charges):
    """To none, to the limit that refuses, to those with longer periods (for ever is longest), or to all."""
    _, decide = asked(
        limit("ten", most=1, refused_calls=mode),
        limit("hundred", most=9, period_ns=100),
        limit("one", most=9, period_ns=1),
        limit("busy", "concurrency", 9),
        limit("prepaid", "balance", 9, period_ns=0),
    )
    decide(0)
    refused = decide(5)
    assert (refused.limit, refused.wait_ns, refused.charges) == ("ten", 5, charges)
    left = {"ten": 0, "hundred": 8, "one": 9, "busy": 9, "prepaid": 8}
    for name, amount in charges:
        left[name] -= amount
    assert dict(refused.remaining) == left


def test_calls_that_are_charged_when_refused_put_off_their_own_admission():
    """Asking again each ns, an app stays refused for ever; after 10 ns of silence it is admitted."""
    _, decide = asked(limit(most=1, refused_calls="this"))
    assert decide(0).limit is None
    assert all(decide(now).limit == "hourly" for now in range(1, 50))
    assert decide(58).limit == "hourly"
    assert decide(68).limit is None


def test_a_token_bucket_is_exact():
    """3 tokens each 7 ns, capacity 2: after both are used at 0 the next comes at 3 (7/3), then at 5 (14/3)."""
    mine, decide = asked(limit(kind="token_bucket", most=2, period_ns=0, rate=Fraction(3, 7)))
    assert [decide(0).wait_ns for _ in range(3)] == [0, 0, 3]
    assert mine.standing("hourly", "app-1", 0) == Standing(2, 2, 0, 5)
    assert [decide(now).wait_ns for now in (2, 3, 3, 4, 5, 7)] == [1, 0, 2, 1, 0, 0]
    assert decide(7).remaining == (("hourly", 0),)


def test_a_token_bucket_does_not_drift():
    """At 1 token each 3 ns a call each 3 ns is admitted a hundred thousand times, and one more never is."""
    _, decide = asked(limit(kind="token_bucket", most=1, period_ns=0, rate=Fraction(1, 3)))
    start = 10**18
    for i in range(100_000):
        assert decide(start + 3 * i).limit is None
        assert decide(start + 3 * i).wait_ns == 3


def test_objects_asked_for_have_to_fit_and_those_not_returned_come_back():
    """5 asked for and 2 returned at 4: 4 of 10 are left at once, 7 once the call has been answered."""
    one = limit(most=10, cost=Cost(base=1, per_object=1, when="refund"))
    mine, decide = asked(one)
    first = decide(0, objects=2, objects_asked=5, answered_ns=4)
    assert (first.cost, first.charges, first.remaining) == (6, (("hourly", 3),), (("hourly", 4),))
    assert decide(3, objects=0, objects_asked=5).wait_ns == 7, "what is to come back is not waited for"
    assert decide(4, objects_asked=5, charge=False).remaining == (("hourly", 7),)
    assert mine.standing("hourly", "app-1", 9) == Standing(10, 3, 7, 10)
    assert mine.standing("hourly", "app-1", 10) == Standing(10, 0, 10, 10)


def test_a_refund_of_a_window_that_has_ended_is_none():
    """Charged in the window [0, 10) and answered at 10, a call gives nothing back to the window [10, 20)."""
    mine, decide = asked(limit(kind="fixed_window", most=5, cost=Cost(base=0, per_object=1, when="refund")))
    decide(9, objects_asked=4, answered_ns=10)
    decide(10, objects=2, objects_asked=2)
    assert mine.standing("hourly", "app-1", 10).used == 2


def test_what_is_charged_afterwards_may_not_fit():
    """1 has to fit; 7 are charged at 4, when the call has been answered, and leave the window at 14."""
    mine, decide = asked(limit(most=3, cost=Cost(base=0, per_object=1, when="after")))
    first = decide(0, objects=7, objects_asked=9, answered_ns=4)
    assert (first.limit, first.cost, first.charges, first.remaining) == (
        None,
        1,
        (("hourly", 7),),
        (("hourly", 3),),
    )
    assert decide(3, objects=0).limit is None
    refused = decide(4)
    assert (refused.limit, refused.wait_ns, refused.remaining) == ("hourly", 10, (("hourly", -4),))
    assert mine.standing("hourly", "app-1", 13).used == 7
    assert mine.standing("hourly", "app-1", 14).used == 0


def test_settlements_of_one_instant_come_in_the_order_of_decision():
    """In a bucket a refund before a charge and one after it differ: nothing is given back of nothing."""
    costs = {"early": Cost(base=0, per_object=1, when="refund")}
    mine, decide = asked(
        limit(kind="token_bucket", most=5, period_ns=0, rate=Fraction(1, 1), cost=costs["early"])
    )
    decide(0, objects=0, objects_asked=5, answered_ns=5)
    decide(5, objects=4, objects_asked=4, answered_ns=5)
    assert mine.standing("hourly", "app-1", 5).used == 4


def test_a_balance_may_go_below_zero_once():
    """Of 3 credits 2 are spent; a call of 5 is admitted, since something is left, and then none until two refills."""
    one = limit(kind="balance", cost=Cost(routes={"dear": 5}, base=2))
    mine = Engine([one])
    cheap, dear = mine.select("api", "GET"), mine.select("api", "GET", "dear")
    assert mine.decide(0, cheap, EVERYBODY).remaining == (("hourly", 1),)
    assert mine.decide(0, dear, EVERYBODY).remaining == (("hourly", -4),)
    assert mine.decide(0, dear, EVERYBODY).wait_ns == 20
    assert mine.standing("hourly", "app-1", 0) == Standing(3, 7, -4, 30)
    assert mine.standing("hourly", "app-1", 20) == Standing(3, 1, 2, 30)


def test_a_balance_without_a_period_is_never_refilled():
    """What has been spent stays spent, and no wait helps."""
    mine, decide = asked(limit(kind="balance", most=1, period_ns=0))
    assert decide(0).limit is None
    assert decide(10**18).wait_ns == NEVER
    assert mine.standing("hourly", "app-1", 10**18) == Standing(1, 1, 0, NEVER)


def test_calls_under_way_count_until_the_instant_of_their_answer():
    """Two calls answered at 10 and 20: a third fits at 10, not at 9."""
    mine, decide = asked(limit("busy", "concurrency", 2, period_ns=0))
    assert decide(0, answered_ns=20).remaining == (("busy", 1),)
    assert decide(0, answered_ns=10).remaining == (("busy", 0),)
    assert decide(9, answered_ns=30) == Decision("busy", 1, 1, (("busy", "app-1"),), (), (("busy", 0),))
    assert decide(10, answered_ns=30).limit is None
    assert mine.standing("busy", "app-1", 20) == Standing(2, 1, 1, 20)


def test_a_call_counts_as_under_way_from_its_least_age_on():
    """With a least age of 5 two calls at 0 are both admitted; at 5 they count, and a third has to wait to 9.

    At 9 the first is answered, but one that was admitted at 4 comes of age then: the wait lasts until 12.
    """
    mine, decide = asked(limit("busy", "concurrency", 2, period_ns=0, min_age_ns=5))
    decide(0, answered_ns=9)
    assert decide(0, answered_ns=12).remaining == (("busy", 2),)
    assert decide(4, answered_ns=30).limit is None
    assert mine.standing("busy", "app-1", 4).used == 0
    assert decide(5).wait_ns == 7
    assert mine.standing("busy", "app-1", 9).used == 2
    assert decide(12).limit is None


def test_a_call_that_is_answered_younger_never_counts():
    """A call of 5 ns is not under way for longer than 5 ns at any instant."""
    mine, decide = asked(limit("busy", "concurrency", 1, period_ns=0, min_age_ns=5))
    decide(0, answered_ns=5)
    decide(0, answered_ns=6)
    assert mine.standing("busy", "app-1", 4).used == 0
    assert mine.standing("busy", "app-1", 5).used == 1
    assert mine.standing("busy", "app-1", 6).used == 0


def test_a_member_always_fits_and_one_too_many_never_does():
    """Of two people the second is the last; both may come again, and a refused third is no member."""
    _, decide = asked(limit("people", "cardinality", 2, key=("app",), of="person"))
    seen = [decide(0, {**EVERYBODY, "person": person}) for person in ("ann", "bob", "cem", "ann", "cem")]
    assert [decision.wait_ns for decision in seen] == [0, 0, NEVER, 0, NEVER]
    assert [decision.charges for decision in seen] == [
        (("people", 1),),
        (("people", 1),),
        (),
        (("people", 0),),
        (),
    ]


@pytest.mark.parametrize("number", [2, 30])
def test_the_oldest_member_has_to_leave(number):
    """A refresh token more than the number revokes the one that was issued first, also when used since."""
    one = limit(
        "tokens",
        "cardinality",
        number,
        key=("person",),
        of="token",
        on_excess="evict_oldest",
        match=Match(("token",)),
    )
    mine = Engine([one])
    selection = mine.select("token", "POST")
    tokens = [f"t{i}" for i in range(number)]
    evicted = [
        mine.decide(0, selection, {"person": "ann", "token": token}).evicted for token in [*tokens, "t0"]
    ]
    assert evicted == [None] * (number + 1)
    assert [mine.decide(0, selection, {"person": "ann", "token": f"n{i}"}).evicted for i in range(3)] == [
        *tokens,
        *("n0", "n1"),
    ][:3]
    assert mine.decide(0, selection, {"person": "ann", "token": "t0"}).limit is None
    assert mine.standing("tokens", "ann", 0).remaining == 0


def test_one_answer_too_many_begins_a_block():
    """More than two 403 within 10 ns: the third, at 9, blocks [9, 14), and the count starts anew."""
    mine = Engine([limit("abuse", "penalty", 2, statuses=(403,), block_ns=5, longest_ns=5)])
    assert [
        answer(mine, now, status).remaining for now, status in ((0, 403), (5, 200), (5, 403), (9, 403))
    ] == [
        *((("abuse", 2),), (("abuse", 1),), (("abuse", 1),), (("abuse", 0),)),
    ]
    assert mine.standing("abuse", "app-1", 9) == Standing(2, 0, 2, 14)
    assert [answer(mine, now, 403).wait_ns for now in (9, 13, 14, 14, 15)] == [5, 1, 0, 0, 0]
    assert answer(mine, 15, 403).limit == "abuse"


def test_answers_leave_the_window_of_a_penalty():
    """Three 403 at 0, 5 and 10 are never three within (t - 10, t]."""
    mine = Engine([limit("abuse", "penalty", 2, statuses=(403,), block_ns=5, longest_ns=5)])
    assert [answer(mine, now, 403).limit for now in (0, 5, 10, 10)] == [None] * 4
    assert answer(mine, 10, 200).limit == "abuse"


def test_a_call_that_another_limit_refused_is_counted_by_the_penalty():
    """A 429 counts where 429 is among the statuses."""
    mine = Engine(
        [
            limit(most=1, period_ns=100),
            limit("abuse", "penalty", 2, statuses=(429,), block_ns=500, longest_ns=500),
        ]
    )
    assert [answer(mine, now, 200).limit for now in (0, 1, 2, 3, 4)] == [
        None,
        "hourly",
        "hourly",
        "hourly",
        "abuse",
    ]


def test_blocks_become_longer_until_forgiven():
    """Of 2 ns, then 6, then at most 10; after 20 ns without one it is 2 again."""
    one = limit(
        "abuse", "penalty", 1, 5, statuses=(403,), block_ns=2, escalation=3, longest_ns=10, forgive_ns=20
    )
    mine, now, lengths = Engine([one]), 0, []
    for pause in (0, 0, 19, 20):
        now += pause
        answer(mine, now, 403)
        answer(mine, now, 403)
        lengths.append(answer(mine, now, 200).wait_ns)
        now += lengths[-1]
    assert lengths == [2, 6, 10, 2]


def test_calls_while_blocked_extend_a_block():
    """Blocked at 0 for 5 ns and asked at 4, a key is told of 5 ns more, and is let in after exactly those."""
    mine = Engine([limit("abuse", "penalty", 1, statuses=(403,), action="extend", block_ns=5, longest_ns=5)])
    assert [answer(mine, now, 403).wait_ns for now in (0, 0, 4, 8, 13)] == [0, 0, 5, 5, 0]


def test_a_ban_is_for_ever():
    """A banned key never gets in again; others do."""
    mine = Engine([limit("abuse", "penalty", 1, key=("ip",), statuses=(401,), action="ban")])
    assert [answer(mine, now, 401).wait_ns for now in (0, 0, 1, 10**18)] == [0, 0, NEVER, NEVER]
    assert mine.standing("abuse", "10.0.0.1", 10**18).reset_ns == NEVER
    assert answer(mine, 10**18, 401, {**EVERYBODY, "ip": "10.0.0.2"}).limit is None


def test_an_opaque_limit_counts_as_it_says():
    """With its drawn number it is a rolling or a fixed window."""
    rolling = limit("unknown", "opaque", 2, counts="rolling_window")
    fixed = limit("unknown", "opaque", 2, counts="fixed_window")
    assert [[asked(one)[1](8).limit for _ in range(1)] for one in (rolling, fixed)] == [[None], [None]]
    waits = []
    for one in (rolling, fixed):
        _, decide = asked(one)
        waits.append([decide(now).wait_ns for now in (8, 8, 9)])
    assert waits == [[0, 0, 9], [0, 0, 1]]


def test_the_timetable_changes_a_number_at_an_instant():
    """From 100 + 20 on there are 5, from 100 + 30 on 1; what was used before stays used, and may be too much."""
    told = []
    changing = limit(period_ns=1000, changes=(Change(20, 5, "review passed"), Change(30, 1, "cut")))
    mine, decide = asked(changing, start_ns=100, on_change=lambda *change: told.append(change))
    assert [decide(119).limit for _ in range(4)] == [None, None, None, "hourly"]
    assert told == []
    assert [decide(120).limit for _ in range(3)] == [None, None, "hourly"]
    assert told == [(120, "hourly", 3, 5, "review passed")]
    assert mine.number("hourly") == 5
    mine.advance(500)
    assert told[1:] == [(130, "hourly", 5, 1, "cut")]
    assert mine.standing("hourly", "app-1", 500) == Standing(1, 5, -4, 1120)
    assert decide(500).wait_ns == 620


def test_a_cost_that_never_fits_waits_for_ever():
    """Four in a limit of three: no wait helps, used or not; except where a balance may go below zero."""
    for one in (*WINDOWS, limit(kind="token_bucket", period_ns=0, rate=Fraction(1, 2))):
        _, decide = asked(replace(one, cost=Cost(base=4)))
        refused = decide(0)
        if one.kind == "balance" and one.may_go_negative:
            assert refused.limit is None
            continue
        assert (refused.limit, refused.wait_ns, refused.cost) == ("hourly", NEVER, 4)
        assert decide(10**15).wait_ns == NEVER


def test_a_wait_is_at_most_never():
    """A bucket that drains for longer than an integer of 64 bits can say is waited for for ever."""
    one = limit(
        kind="token_bucket", most=10**12, period_ns=0, rate=Fraction(1, 10**15), cost=Cost(base=10**12)
    )
    mine, decide = asked(one)
    decide(0)
    assert decide(0).wait_ns == NEVER
    assert mine.standing("hourly", "app-1", 0).reset_ns == NEVER


@pytest.mark.parametrize(
    ("match", "sort", "is_asked"),
    [
        (Match(), {}, True),
        (Match(), {"known": False}, False),
        (Match(callers="anonymous"), {"known": False}, True),
        (Match(callers="anonymous"), {}, False),
        (Match(callers="all"), {"known": False}, True),
        (Match(kinds=("token",)), {}, False),
        (Match(routes=("list",)), {}, True),
        (Match(routes=("list",)), {"route": "read"}, False),
        (Match(routes=("list",)), {"route": None}, False),
        (Match(tags=("search",)), {"tags": ("search", "slow")}, True),
        (Match(tags=("search",)), {"tags": ("slow",)}, False),
        (Match(tags=("search",), routes=("read",)), {"route": "read"}, True),
        (Match(methods=("POST",)), {"method": "POST"}, True),
        (Match(methods=("POST",)), {}, False),
    ],
)
def test_which_calls_a_limit_is_asked_of(match, sort, is_asked):
    """By kind, caller, route or tag, and method; a call that no limit is asked of costs nothing."""
    mine = Engine([limit(key=("ip",), match=match)])
    sort = {"method": "GET", "route": "list", **sort}
    decision = mine.decide(0, mine.select("api", **sort), EVERYBODY)
    assert bool(decision.keys) == is_asked
    assert decision.cost == int(is_asked)


def test_limits_on_objects_and_tenants_are_asked_of_calls_that_have_one():
    """A call without an object or a tenant passes such limits by."""
    mine = Engine([limit("object", key=("app", "object")), limit("tenant", key=("tenant",))])
    seen = [
        mine.decide(
            0, mine.select("api", "GET", with_object=has_object, with_tenant=has_tenant), EVERYBODY
        ).keys
        for has_object, has_tenant in ((True, True), (False, True), (True, False), (False, False))
    ]
    both = (("object", "app-1|o"), ("tenant", "acme"))
    assert seen == [both, both[1:], both[:1], ()]


def test_a_selection_says_what_has_to_be_known():
    """Whether objects count, and whether the answers' statuses do."""
    plain = Engine([limit()]).select("api", "GET")
    assert (plain.counts_objects, plain.penalties) == (False, False)
    whole = Engine(
        [limit(cost=Cost(per_object=1)), limit("abuse", "penalty", statuses=(403,), block_ns=1)]
    ).select("api", "GET")
    assert (whole.counts_objects, whole.penalties) == (True, True)


@pytest.mark.parametrize("act", ["decide", "observe", "standing", "advance"])
def test_time_that_runs_backwards_is_our_own_fault(act):
    """The engine raises rather than guess, and repeats of an instant are no step backwards."""
    mine = Engine([limit(), limit("abuse", "penalty", statuses=(403,), block_ns=1, longest_ns=1)])
    selection = mine.select("api", "GET")
    decision = mine.decide(5, selection, EVERYBODY)
    mine.decide(5, selection, EVERYBODY)
    with pytest.raises(FaultError, match="the engine's time can't go backwards: 4 after 5"):
        {
            "decide": lambda: mine.decide(4, selection, EVERYBODY),
            "observe": lambda: mine.observe(4, selection, decision, 403),
            "standing": lambda: mine.standing("hourly", "app-1", 4),
            "advance": lambda: mine.advance(4),
        }[act]()
    assert mine.decide(5, selection, EVERYBODY).limit is None


def test_calls_that_cannot_have_been_are_our_own_fault():
    """An answer before the call, more objects than were asked for, and a kind that has no limiter."""
    _, decide = asked(limit(cost=Cost(per_object=1, when="refund")))
    with pytest.raises(FaultError, match="can't have been answered before, at 4"):
        decide(5, answered_ns=4)
    with pytest.raises(FaultError, match=r"limits\.hourly returns more objects than it asked for"):
        decide(5, objects=2, objects_asked=1)
    with pytest.raises(FaultError, match=r"limits\.hourly: kind 'sieve' passed validation"):
        Engine([limit(kind="sieve")])


KEPT = {
    "rolling": (limit(), "_kept", 10),
    "costs": (limit(cost=Cost(base=2)), "_costs", 10),
    "clock": (limit(kind="fixed_window"), "_used", 10),
    "first": (limit(kind="fixed_window", align="first_call"), "_windows", 10),
    "bucket": (limit(kind="token_bucket", period_ns=0, rate=Fraction(1, 10)), "_drained", 10),
    "balance": (limit(kind="balance"), "_spent", 10),
    "concurrency": (limit(kind="concurrency"), "_ends", 10),
    "young": (limit(kind="concurrency", min_age_ns=4), "_young", 4),
    "penalty": (limit(kind="penalty", statuses=(403,), block_ns=1, longest_ns=1), "_counted", 10),
    "blocks": (
        *(
            limit(kind="penalty", most=0, statuses=(403,), block_ns=4, longest_ns=9, forgive_ns=6),
            "_blocks",
            10,
        ),
    ),
}


@pytest.mark.parametrize("kind", KEPT)
def test_keys_that_are_gone_take_no_memory(kind, monkeypatch):
    """Of a thousand tokens that called once each, only those that still matter are known."""
    monkeypatch.setattr(engine, "_SWEEP_EVERY", 1000)
    one, where, most = KEPT[kind]
    mine = Engine([replace(one, key=("token",))])
    selection = mine.select("api", "GET")
    for now in range(1000):
        decision = mine.decide(now, selection, {"token": str(now)}, answered_ns=now + 10)
        mine.observe(now, selection, decision, 403)
    kept = getattr(mine._limiters["hourly"], where)
    assert sorted(map(int, kept)) == list(range(1000 - most, 1000))


def test_a_long_window_is_held_in_little_memory():
    """A window that ten thousand calls have gone through holds its hundred charges and not many more."""
    mine, decide = asked(limit(most=1000, period_ns=100))
    for now in range(10_000):
        decide(now)
    assert len(mine._limiters["hourly"]._kept["app-1"]) < 180


class Ledgers:
    """A second oracle, for long runs: charges as sorted instants and running sums, looked up by bisection."""

    def __init__(self, one: Limit) -> None:
        self.one = one
        self.at: dict[str, list[int]] = {}
        self.sums: dict[str, list[int]] = {}
        self.ends: dict[str, list[int]] = {}
        self.members: set[str] = set()
        self.spent: dict[str, tuple[int, int]] = {}
        self.blocked: dict[str, int] = {}

    def used(self, key: str, now: int) -> int:
        """Of a token bucket in those parts of a token of which whole ones drain each nanosecond."""
        one = self.one
        if one.kind == "token_bucket":
            level, at = self.spent.get(key, (0, 0))
            return max(0, level - one.rate.numerator * (now - at))
        if one.kind == "balance":
            spent, at = self.spent.get(key, (0, 0))
            return max(0, spent - (now // one.period_ns - at // one.period_ns) * one.limit)
        if one.kind == "concurrency":
            return sum(end > now for end in self.ends.get(key, ()))
        if one.kind == "cardinality":
            return len(self.members)
        at, sums = self.at.setdefault(key, []), self.sums.setdefault(key, [0])
        if one.kind in ("rolling_window", "penalty"):
            first = bisect_right(at, now - one.period_ns)
        else:
            first = bisect_left(at, now - now % one.period_ns)
        return sums[len(at)] - sums[first]

    def charge(self, key: str, now: int, used: int, cost: int, person: str, answered: int) -> None:
        kind = self.one.kind
        if kind == "token_bucket":
            self.spent[key] = (used + cost * self.one.rate.denominator, now)
        elif kind == "balance":
            self.spent[key] = (used + cost, now)
        elif kind == "concurrency":
            self.ends[key] = [*(end for end in self.ends.get(key, ()) if end > now), answered]
        elif kind == "cardinality":
            self.members.add(person)
        elif kind != "penalty":
            self.add(key, now, cost)

    def fits(self, key: str, now: int, used: int, cost: int, person: str) -> bool:
        one = self.one
        if one.kind == "penalty":
            return now >= self.blocked.get(key, 0)
        if one.kind == "cardinality":
            return person in self.members or used < one.limit
        if one.kind in ("balance", "concurrency"):
            return used < one.limit
        if one.kind == "token_bucket":
            return used + cost * one.rate.denominator <= one.limit * one.rate.denominator
        return used + cost <= one.limit

    def left(self, key: str, now: int) -> int:
        used, one = self.used(key, now), self.one
        return (one.limit * one.rate.denominator - used) // one.rate.denominator

    def add(self, key: str, now: int, cost: int) -> None:
        self.at.setdefault(key, []).append(now)
        sums = self.sums.setdefault(key, [0])
        sums.append(sums[-1] + cost)

    def answer(self, key: str, now: int) -> None:
        """An answer that a penalty counts."""
        if self.one.kind == "penalty" and now >= self.blocked.get(key, 0):
            self.add(key, now, 1)
            if self.used(key, now) > self.one.limit:
                self.blocked[key] = now + self.one.block_ns
                self.at[key], self.sums[key] = [], [0]


COST = Cost(routes={str(cost): cost for cost in (1, 2, 5)})
PERSON = ("person",)
LONG = {
    "windows and bucket": [
        limit("app", most=8_500, period_ns=HOUR, cost=COST),
        limit("person", most=130, period_ns=HOUR // 4, key=PERSON, cost=COST),
        limit("daily", "fixed_window", most=100_000, period_ns=24 * HOUR, cost=COST),
        limit("bucket", "token_bucket", 90, 0, key=PERSON, rate=Fraction(7, 100 * 10**9), cost=COST),
    ],
    "the others": [
        limit("money", "balance", 6_300, HOUR, cost=COST),
        limit("busy", "concurrency", 5, 0),
        limit("people", "cardinality", 48, 0, of="person"),
        limit(
            "abuse",
            "penalty",
            30,
            HOUR // 12,
            key=PERSON,
            statuses=(403,),
            block_ns=HOUR // 6,
            longest_ns=HOUR,
        ),
        limit("unknown", "opaque", 6_300, HOUR, counts="fixed_window", cost=COST),
    ],
}


@pytest.mark.full
@pytest.mark.parametrize("sort", LONG)
def test_half_a_million_arrivals_are_decided_as_the_oracle_does(sort):
    """A million calls of 50 people in all, against all kinds: each decision and what it leaves is right.

    None is over and none under, and each limit has had something to refuse.
    """
    rng = random.Random(sort)
    found = LONG[sort]
    mine, oracles = Engine(found), [Ledgers(one) for one in found]
    selections = {cost: mine.select("api", "GET", str(cost)) for cost in (1, 2, 5)}
    now = 20_000 * 24 * HOUR - 5
    refused, seen = Counter(), Counter()
    for _ in range(500_000):
        # Some at one instant, some exactly on a boundary, most by chance.
        step = rng.random()
        if step > 0.2:
            now += int(rng.expovariate(1 / 800_000_000))
        elif step > 0.1999:
            now += HOUR - now % HOUR
        person, cost = f"p{int(50 * rng.random() ** 2)}", rng.choice((1, 1, 1, 2, 5))
        answered = now + int(rng.expovariate(1 / 900_000_000))
        keys = [person if one.key == PERSON else "app-1" for one in found]
        used = [oracle.used(key, now) for oracle, key in zip(oracles, keys, strict=True)]
        unfit = [
            oracle.one.name
            for oracle, key, so_far in zip(oracles, keys, used, strict=True)
            if not oracle.fits(key, now, so_far, cost, person)
        ]
        decision = mine.decide(
            now, selections[cost], {"app": "app-1", "person": person}, answered_ns=answered
        )
        seen[decision.limit is None] += 1
        refused.update(unfit)
        if unfit:
            assert decision.limit in unfit
        else:
            assert decision.limit is None
            for oracle, key, so_far in zip(oracles, keys, used, strict=True):
                oracle.charge(key, now, so_far, cost, person, answered)
        assert [left for _, left in decision.remaining] == [
            oracle.left(key, now) for oracle, key in zip(oracles, keys, strict=True)
        ]
        if not unfit and rng.random() < 0.4:
            mine.observe(now, selections[cost], decision, 403)
            for oracle, key in zip(oracles, keys, strict=True):
                oracle.answer(key, now)
    assert seen.total() == 500_000
    assert seen[True] > 100_000
    assert set(refused) == {one.name for one in found}
    for one, oracle in zip(found, oracles, strict=True):
        if one.kind == "rolling_window":
            for at, sums in zip(oracle.at.values(), oracle.sums.values(), strict=True):
                ends = (bisect_left(at, start + one.period_ns) for start in at)
                assert all(sums[end] - sums[i] <= one.limit for i, end in enumerate(ends))
