"""The engine against a brute-force oracle, and at the instants where one nanosecond decides."""

from __future__ import annotations

import copy
import random
from bisect import bisect_left, bisect_right
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quotalab.errors import FaultError
from quotalab.profiles.provider import Limit, Source
from quotalab.quota import Decision, Engine, engine

OURS = Source("a test", None, "own")
EVERYBODY = {"app": "app-1", "person": "ann", "ip": "10.0.0.1", "token": "t", "route": "list"}


def limit(name="hourly", kind="rolling_window", most=3, period_ns=10, key=("app",), align="clock") -> Limit:
    """A limit with small numbers."""
    return Limit(name, kind, most, period_ns, key, align, OURS)


KINDS = [
    limit(),
    limit(kind="fixed_window"),
    limit(kind="fixed_window", align="first_call"),
]
KIND_IDS = ["rolling", "clock-aligned", "first-call"]


class Oracle:
    """Keeps every charge for ever, and counts by looking at all of them again for each question."""

    def __init__(self, limits: list[Limit]) -> None:
        self.limits = limits
        self.charged: dict[tuple[str, str], list[tuple[int, int]]] = {}

    @staticmethod
    def key(one: Limit, caller: dict[str, str]) -> str:
        return "|".join(caller[part] for part in one.key)

    def used(self, one: Limit, key: str, now: int) -> int:
        """The most that any window which holds `now` has been charged so far."""
        charged = self.charged.get((one.name, key), [])
        if one.kind == "rolling_window":
            starts = {now, *(at for at, _ in charged if at <= now < at + one.period_ns)}
            return max(
                sum(cost for at, cost in charged if start <= at < start + one.period_ns) for start in starts
            )
        if one.align == "clock":
            return sum(cost for at, cost in charged if at // one.period_ns == now // one.period_ns)
        start, used = None, 0
        for at, cost in charged:
            if start is None or at >= start + one.period_ns:
                start, used = at, 0
            used += cost
        return used if start is not None and now < start + one.period_ns else 0

    def wait(self, one: Limit, key: str, now: int, cost: int) -> int:
        """The first instant at which the call would fit, tried nanosecond by nanosecond."""
        at = now
        while self.used(one, key, at) + cost > one.limit:
            at += 1
        return at - now

    def decide(self, now: int, caller: dict[str, str], cost: int) -> Decision:
        keys = [(one, self.key(one, caller)) for one in self.limits]
        waits = [self.wait(one, key, now, cost) for one, key in keys]
        longest = max(waits)
        if not longest and cost:
            for one, key in keys:
                self.charged.setdefault((one.name, key), []).append((now, cost))
        return Decision(
            self.limits[waits.index(longest)].name if longest else None,
            longest,
            tuple((one.name, key) for one, key in keys),
            () if longest else tuple((one.name, cost) for one in self.limits),
            tuple((one.name, one.limit - self.used(one, key, now)) for one, key in keys),
        )


limits = st.builds(
    limit,
    kind=st.sampled_from(["rolling_window", "fixed_window"]),
    most=st.integers(2, 6),
    period_ns=st.integers(1, 12),
    key=st.sampled_from([("app",), ("person",), ("ip",), ("person", "ip")]),
    align=st.sampled_from(["clock", "first_call"]),
)
several = st.lists(limits, min_size=1, max_size=3).map(
    lambda found: [replace(one, name=f"limit-{i}") for i, one in enumerate(found)]
)
arrivals = st.lists(
    st.tuples(st.integers(0, 13), st.sampled_from("ab"), st.sampled_from("xy"), st.integers(0, 2)),
    max_size=40,
)


@settings(max_examples=400, deadline=None)
@given(several, st.integers(0, 40), arrivals)
def test_every_decision_is_the_oracles(found, now, calls):
    """Never over, never under: limit, wait, keys, charges and what remains, for ties and boundary hits."""
    mine, oracle = Engine(found), Oracle(found)
    for gap, person, ip, cost in calls:
        now += gap
        caller = {**EVERYBODY, "person": person, "ip": ip}
        assert mine.decide(now, caller, cost) == oracle.decide(now, caller, cost)


@settings(deadline=None)
@given(several, arrivals)
def test_a_wait_is_exact(found, calls):
    """A refused call is admitted after exactly its wait, and still refused one nanosecond earlier."""
    mine, now = Engine(found), 0
    for gap, person, ip, cost in calls:
        now += gap
        caller = {**EVERYBODY, "person": person, "ip": ip}
        decision = mine.decide(now, caller, cost)
        if decision.limit is None:
            assert decision.wait_ns == 0
            continue
        assert copy.deepcopy(mine).decide(now + decision.wait_ns, caller, cost).limit is None
        assert copy.deepcopy(mine).decide(now + decision.wait_ns - 1, caller, cost).limit is not None


@settings(deadline=None)
@given(several, arrivals)
def test_what_is_charged_is_what_was_admitted(found, calls):
    """Each admitted call is charged its cost by every limit, each refused one nothing by any."""
    mine, now = Engine(found), 0
    for gap, person, ip, cost in calls:
        now += gap
        before = {
            name: value - left
            for (name, left), value in zip(
                copy.deepcopy(mine).decide(now, {**EVERYBODY, "person": person, "ip": ip}, 0).remaining,
                [one.limit for one in found],
                strict=True,
            )
        }
        decision = mine.decide(now, {**EVERYBODY, "person": person, "ip": ip}, cost)
        charged = dict(decision.charges)
        assert charged == ({} if decision.limit is not None else {one.name: cost for one in found})
        for one, (name, left) in zip(found, decision.remaining, strict=True):
            assert one.limit - left == before[name] + charged.get(name, 0)


@pytest.mark.parametrize("one", KINDS, ids=KIND_IDS)
def test_windows_are_half_open(one):
    """Three calls at 0 fill the window of 10 ns; at 9 it is full, at 10 a new one has begun."""
    mine = Engine([one])
    assert [mine.decide(0, EVERYBODY).limit for _ in range(4)] == [None, None, None, "hourly"]
    assert mine.decide(9, EVERYBODY) == Decision("hourly", 1, (("hourly", "app-1"),), (), (("hourly", 0),))
    assert mine.decide(10, EVERYBODY) == Decision(
        None, 0, (("hourly", "app-1"),), (("hourly", 1),), (("hourly", 2),)
    )


def test_the_three_kinds_differ_where_they_should():
    """After calls at 8, 8 and 12, a fourth at 13: only the clock's window of 10 ns has begun anew."""
    waits = []
    for one in KINDS:
        mine = Engine([one])
        for now in (8, 8, 12):
            assert mine.decide(now, EVERYBODY).limit is None
        waits.append([mine.decide(now, EVERYBODY).wait_ns for now in (13, 13, 13)])
    assert waits == [[5, 5, 5], [0, 0, 7], [5, 5, 5]]


def test_a_first_call_window_begins_with_the_call_after_the_last_has_ended():
    """Windows of 10 ns that begin at 3 and, after a pause, at 25: the second one lasts until 35."""
    mine = Engine([limit(kind="fixed_window", align="first_call", most=1)])
    assert [mine.decide(now, EVERYBODY).wait_ns for now in (3, 4, 25, 34, 35)] == [0, 9, 0, 1, 0]


def test_a_call_that_costs_nothing_begins_no_window():
    """A window that starts with the first charged call is not started by one that is charged 0."""
    mine = Engine([limit(kind="fixed_window", align="first_call", most=1)])
    assert [
        mine.decide(now, EVERYBODY, cost).wait_ns for now, cost in ((0, 0), (5, 1), (12, 1), (15, 1))
    ] == [
        *(0, 0),
        *(3, 0),
    ]


def test_a_rolling_window_waits_for_as_many_charges_as_the_call_needs():
    """Of charges 1, 2 and 2 at 0, 3 and 6, a call of cost 3 needs the first two to leave, at 13."""
    mine = Engine([limit(most=5)])
    for now, cost in ((0, 1), (3, 2), (6, 2)):
        mine.decide(now, EVERYBODY, cost)
    assert [mine.decide(7, EVERYBODY, cost).wait_ns for cost in (1, 2, 3, 4, 5)] == [3, 6, 6, 9, 9]


def test_refused_by_one_limit_a_call_is_charged_by_none():
    """A person who has used up their own limit takes nothing from the app's."""
    mine = Engine([limit("app", most=3), limit("person", most=1, key=("person",))])
    assert mine.decide(0, EVERYBODY).remaining == (("app", 2), ("person", 0))
    assert [mine.decide(0, EVERYBODY).charges for _ in range(5)] == [()] * 5
    bob = mine.decide(0, {**EVERYBODY, "person": "bob"})
    assert bob == Decision(
        None,
        0,
        (("app", "app-1"), ("person", "bob")),
        (("app", 1), ("person", 1)),
        (("app", 1), ("person", 0)),
    )


@pytest.mark.parametrize(("first", "named"), [(8, "second"), (15, "first"), (10, "first")])
def test_the_limit_with_the_longest_wait_is_named(first, named):
    """Of several limits that refuse, the one that lasts longest; of equals, the profile's first."""
    mine = Engine([limit("first", most=1, period_ns=first), limit("second", most=1, period_ns=10)])
    mine.decide(0, EVERYBODY)
    refused = mine.decide(0, EVERYBODY)
    assert (refused.limit, refused.wait_ns) == (named, max(first, 10))


def test_keys_of_several_parts_are_counted_apart():
    """A limit by person and route counts each pair on its own, under both names."""
    mine = Engine([limit(most=1, key=("person", "route"))])
    seen = [
        mine.decide(0, {**EVERYBODY, "person": person, "route": route})
        for person, route in (("ann", "list"), ("ann", "read"), ("bob", "list"), ("ann", "list"))
    ]
    assert [decision.limit for decision in seen] == [None, None, None, "hourly"]
    assert seen[1].keys == (("hourly", "ann|read"),)


def test_time_that_runs_backwards_is_our_own_fault():
    """The engine raises rather than guess, and repeats of an instant are no step backwards."""
    mine = Engine([limit()])
    mine.decide(5, EVERYBODY)
    mine.decide(5, EVERYBODY)
    with pytest.raises(FaultError, match="the engine's time can't go backwards: 4 after 5"):
        mine.decide(4, EVERYBODY)
    assert mine.decide(5, EVERYBODY).limit is None


@pytest.mark.parametrize("one", KINDS, ids=KIND_IDS)
@pytest.mark.parametrize("used", [0, 2])
def test_a_cost_above_the_limit_is_our_own_fault(one, used):
    """There is no wait after which such a call would be admitted, so none is promised."""
    mine = Engine([one])
    mine.decide(0, EVERYBODY, used)
    with pytest.raises(FaultError, match="a call that costs 4 never fits into a limit of 3"):
        mine.decide(0, EVERYBODY, 4)


def test_a_kind_without_a_limiter_is_our_own_fault():
    """A profile that passed validation must find its limiter."""
    with pytest.raises(FaultError, match=r"limits.hourly: kind 'token_bucket' passed validation"):
        Engine([limit(kind="token_bucket")])


@pytest.mark.parametrize("one", KINDS, ids=KIND_IDS)
def test_keys_that_are_gone_take_no_memory(one, monkeypatch):
    """Of a thousand tokens that called once each, only those within the window are still known."""
    monkeypatch.setattr(engine, "_SWEEP_EVERY", 1000)
    mine = Engine([replace(one, key=("token",))])
    for now in range(1000):
        mine.decide(now, {**EVERYBODY, "token": str(now)})
    ((_, _, limiter),) = mine._limits
    kept = limiter._charged if one.kind == "rolling_window" else limiter._windows
    assert sorted(map(int, kept)) == list(range(990, 1000))


class Ledgers:
    """A second oracle, for long runs: charges as sorted instants and running sums, looked up by bisection."""

    def __init__(self, one: Limit) -> None:
        self.one = one
        self.at: dict[str, list[int]] = {}
        self.sums: dict[str, list[int]] = {}

    def used(self, key: str, now: int) -> int:
        at, sums = self.at.setdefault(key, []), self.sums.setdefault(key, [0])
        if self.one.kind == "rolling_window":
            first = bisect_right(at, now - self.one.period_ns)
        else:
            first = bisect_left(at, now - now % self.one.period_ns)
        return sums[len(at)] - sums[first]

    def charge(self, key: str, now: int, cost: int) -> None:
        self.at[key].append(now)
        self.sums[key].append(self.sums[key][-1] + cost)


@pytest.mark.full
@pytest.mark.parametrize("seed", [1, 2])
def test_a_million_arrivals_are_decided_as_the_oracle_does(seed):
    """A million calls of 50 people against three limits, each decision checked, none over and none under."""
    rng = random.Random(seed)
    hour = 3_600_000_000_000
    found = [
        limit("app", most=9_000, period_ns=hour),
        limit("person", most=120, period_ns=hour // 4, key=("person",)),
        limit("daily", "fixed_window", most=150_000, period_ns=24 * hour),
    ]
    mine, oracles = Engine(found), [Ledgers(one) for one in found]
    now = 20_000 * 24 * hour - 5
    admitted = 0
    for _ in range(1_000_000):
        # Some at one instant, some exactly on a boundary, most by chance.
        step = rng.random()
        if step > 0.2:
            now += int(rng.expovariate(1 / 300_000_000))
        elif step > 0.1999:
            now += hour - now % hour
        person, cost = f"p{rng.randrange(50)}", rng.choice((1, 1, 1, 2, 5))
        keys = ["app-1", person, "app-1"]
        used = [oracle.used(key, now) for oracle, key in zip(oracles, keys, strict=True)]
        fits = [cost + so_far <= one.limit for one, so_far in zip(found, used, strict=True)]
        decision = mine.decide(now, {**EVERYBODY, "person": person}, cost)
        assert (decision.limit is None) == all(fits)
        if all(fits):
            admitted += 1
            for oracle, key in zip(oracles, keys, strict=True):
                oracle.charge(key, now, cost)
            used = [so_far + cost for so_far in used]
        assert [left for _, left in decision.remaining] == [
            one.limit - so_far for one, so_far in zip(found, used, strict=True)
        ]
    for one, oracle in zip(found, oracles, strict=True):
        for at, sums in zip(oracle.at.values(), oracle.sums.values(), strict=True):
            if one.kind == "rolling_window":
                worst = max(
                    sums[bisect_left(at, start + one.period_ns)] - sums[i] for i, start in enumerate(at)
                )
                assert worst <= one.limit
    assert admitted == {1: 397_365, 2: 424_136}[seed]
