"""The engine against a brute-force oracle, on made-up days of small numbers, ties and boundaries."""

from __future__ import annotations

import copy
from collections import Counter
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from quota_oracle import ROUTES, Call, a_day, anonymous, ask, days, difference

from quotalab.profiles.limits import KINDS, METERED
from quotalab.quota import NEVER, Engine

draws = st.randoms(use_true_random=False)


@settings(max_examples=400, deadline=None)
@given(draws)
def test_every_decision_is_the_oracles(draw):
    """Decisions, standings, changes of numbers: all of them, of several limits of any kind, at every instant."""
    assert difference(*a_day(draw)) is None


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_alone_is_decided_as_the_oracle_does(kind):
    """A hundred days of limits of one kind, and of two kinds together."""
    for limits, start, day in days(range(100), kinds=[kind]):
        assert difference(limits, start, day) is None
    for limits, start, day in days(range(100), kinds=[kind, "fixed_window"]):
        assert difference(limits, start, day) is None


@settings(max_examples=200, deadline=None)
@given(draws)
def test_one_jump_is_as_many_steps(draw):
    """An engine that was advanced again and again between two calls stands as one that was not."""
    limits, start, day = a_day(draw)
    jumped, stepped = Engine(limits, start_ns=start), Engine(limits, start_ns=start)
    of_jumped, of_stepped = {}, {}
    for before, call in pairwise([Call(start, {}), *map(anonymous, day)]):
        for now in range(before.at, call.at + 1):
            stepped.advance(now)
            for limit in limits:
                stepped.standing(limit.name, draw.choice(("app-1", "a", "x")), now)
        assert ask(stepped, call, of_stepped) == ask(jumped, call, of_jumped)


@settings(max_examples=200, deadline=None)
@given(draws)
def test_sweeping_changes_no_answer(draw):
    """An engine that forgets idle keys before each decision decides as one that never does."""
    limits, start, day = a_day(draw)
    keeps, forgets = Engine(limits, start_ns=start), Engine(limits, start_ns=start)
    of_keeps, of_forgets = {}, {}
    for call in map(anonymous, day):
        forgets._until_sweep = 1
        decision = ask(forgets, call, of_forgets)
        assert decision == ask(keeps, call, of_keeps)
        for name, key in decision.keys:
            assert forgets.standing(name, key, call.at) == keeps.standing(name, key, call.at)


@settings(max_examples=200, deadline=None)
@given(draws)
def test_asking_changes_nothing(draw):
    """Of two engines, one of which is asked about each call before it is made, both decide the same."""
    limits, start, day = a_day(draw)
    asked, plain = Engine(limits, start_ns=start), Engine(limits, start_ns=start)
    of_asked, of_plain = {}, {}
    for call in map(anonymous, day):
        only = ask(asked, replace(call, charge=False), of_asked)
        assert only.charges == ()
        decision = ask(asked, call, of_asked)
        assert decision == ask(plain, call, of_plain)
        if call.charge:
            assert (only.limit, only.wait_ns, only.cost, only.keys) == decision[:4]


@settings(max_examples=60, deadline=None)
@given(draws)
def test_a_wait_is_exact(draw):
    """Asked after exactly its wait a refused call fits, and one nanosecond earlier it does not.

    Where nothing else happens meanwhile: nothing is settled, no number changes, no call comes of age.
    """
    limits, start, day = a_day(draw)
    limits = [
        replace(
            limit, changes=(), refused_calls="free", min_age_ns=0, cost=replace(limit.cost, when="before")
        )
        for limit in limits
        if limit.action != "extend"
    ]
    mine, selections = Engine(limits, start_ns=start), {}
    for call in map(anonymous, day):
        before = copy.deepcopy((mine, selections))
        refused = ask(mine, call, selections)
        if refused.limit is None or refused.wait_ns == NEVER:
            continue
        for wait, fits in ((refused.wait_ns - 1, False), (refused.wait_ns, True)):
            same = replace(call, at=call.at + wait, answered=None, charge=False)
            # Not after the call itself, nor each other: a refusal may be one answer too many for a penalty.
            later, of_later = copy.deepcopy(before)
            assert (ask(later, same, of_later).limit is None) == fits


@settings(max_examples=200, deadline=None)
@given(draws)
def test_what_is_asked_is_admitted_or_refused(draw):
    """Admitted and refused are all; what each limit holds of a balance without refills is all it was charged."""
    limits, start, day = a_day(draw)
    limits = [replace(limit, period_ns=0) if limit.kind == "balance" else limit for limit in limits]
    mine, selections = Engine(limits, start_ns=start), {}
    outcomes, charged = Counter(), Counter()
    for call in map(anonymous, day):
        decision = ask(mine, call, selections)
        outcomes[decision.limit is None] += 1
        asked = dict(decision.keys)
        if decision.limit is None:
            assert decision.wait_ns == 0
            assert [name for name, _ in decision.charges] == (list(asked) if call.charge else [])
        else:
            assert decision.wait_ns > 0
            assert decision.limit in asked
        for name, amount in decision.charges:
            charged[name, asked[name]] += amount
    assert outcomes.total() == len(day)
    end = max((call.answered or call.at for call in day), default=start)
    for limit in limits:
        if limit.kind == "balance":
            for (name, key), amount in charged.items():
                if name == limit.name:
                    assert mine.standing(name, key, end).used == amount


@settings(max_examples=60, deadline=None)
@given(draws)
def test_refused_by_a_limit_that_lets_off_a_call_is_charged_to_none(draw):
    """With ``refused_calls = "free"`` every limit stands after a refusal as it stood before."""
    limits, start, day = a_day(draw)
    limits = [replace(limit, refused_calls="free") for limit in limits if limit.kind in METERED]
    mine, selections = Engine(limits, start_ns=start), {}
    for call in map(anonymous, day):
        before = copy.deepcopy(mine)
        decision = ask(mine, call, selections)
        if decision.limit is not None:
            assert decision.charges == ()
            for name, key in decision.keys:
                assert mine.standing(name, key, call.at) == before.standing(name, key, call.at)


@pytest.mark.parametrize("kind", KINDS)
def test_days_are_worth_deciding(kind):
    """The made-up days of each kind admit and refuse, and the sorts of calls in them are all asked."""
    seen = Counter()
    for limits, start, day in days(range(60), kinds=[kind]):
        mine, selections = Engine(limits, start_ns=start), {}
        for call in map(anonymous, day):
            seen[ask(mine, call, selections).limit is None] += 1
    assert seen[True] > 300
    assert seen[False] > 70
    assert set(ROUTES) == {"list", "read", "create", None}
