"""The request budget: exact accounts, by hand-moved time."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quotalab.clock import ManualClock
from quotalab.profiles import policy
from quotalab.reference import Declined
from quotalab.reference.budget import Budget

S = 1_000_000_000
FOREVER = 2**62


def settings(**changed: object) -> policy.Budget:
    """A budget of ten calls a minute, no margin, no reserve."""
    parts: dict[str, object] = {
        "enabled": True,
        "calls": 10,
        "period_ns": 60 * S,
        "margin": 0.0,
        "reserve": 0.0,
        "burst": 1,
        "when_spent": ("wait", "stale"),
    }
    return policy.Budget(**{**parts, **changed})  # type: ignore[arg-type]


def spend(budget: Budget, *, interactive: bool = True, deadline_ns: int = FOREVER) -> None:
    """One call, answered in no time."""
    budget.acquire(interactive=interactive, deadline_ns=deadline_ns)
    budget.settle()


def test_the_eleventh_call_waits_until_the_first_has_left_the_period() -> None:
    """A call counts until one period after its answer, to the nanosecond."""
    clock = ManualClock(0)
    budget = Budget(settings(), clock)
    for _ in range(10):
        spend(budget)
        clock.jump(1 * S)
    assert clock.now_ns() == 10 * S
    spend(budget)
    assert clock.now_ns() == 60 * S
    spend(budget)
    assert clock.now_ns() == 61 * S


def test_the_margin_is_never_used() -> None:
    """Of 100 calls a margin of 5 % leaves 95."""
    clock = ManualClock(0)
    budget = Budget(settings(calls=100, margin=0.05), clock)
    for _ in range(95):
        spend(budget)
    with pytest.raises(Declined):
        spend(budget, deadline_ns=59 * S)
    assert clock.now_ns() == 0


def test_who_cannot_be_served_before_the_deadline_is_declined_at_once() -> None:
    """There is no use in waiting for a wait that is too long; a wait that just fits is waited out."""
    clock = ManualClock(0)
    budget = Budget(settings(calls=1), clock)
    spend(budget)
    with pytest.raises(Declined):
        spend(budget, deadline_ns=60 * S - 1)
    assert clock.now_ns() == 0
    spend(budget, deadline_ns=60 * S)
    assert clock.now_ns() == 60 * S


def test_background_calls_are_spread_evenly_after_their_burst() -> None:
    """Three at once, then one every sixth of the ten-call minute."""
    clock = ManualClock(0)
    budget = Budget(settings(burst=3), clock)
    at = []
    for _ in range(6):
        spend(budget, interactive=False)
        at.append(clock.now_ns() // S)
    assert at == [0, 0, 0, 6, 12, 18]


def test_interactive_calls_get_the_reserve_that_background_calls_leave() -> None:
    """With a reserve of 40 % background work gets 6 of 10 calls, and 4 are left for people."""
    clock = ManualClock(0)
    budget = Budget(settings(reserve=0.4, burst=100), clock)
    for _ in range(6):
        spend(budget, interactive=False)
    with pytest.raises(Declined):
        spend(budget, interactive=False, deadline_ns=59 * S)
    for _ in range(4):
        spend(budget)
    assert clock.now_ns() == 0


def test_nothing_goes_while_the_provider_said_to_wait() -> None:
    """What one call is told holds for the whole app."""
    clock = ManualClock(0)
    budget = Budget(settings(), clock)
    budget.close(90 * S)
    spend(budget)
    assert clock.now_ns() == 90 * S


def test_a_call_on_its_way_counts() -> None:
    """Room taken by a call that has no answer yet cannot be taken again."""
    clock = ManualClock(0)
    budget = Budget(settings(calls=1), clock)
    budget.acquire(interactive=True, deadline_ns=FOREVER)
    with pytest.raises(Declined):
        budget.acquire(interactive=True, deadline_ns=59 * S)


@given(
    calls=st.integers(1, 12),
    traffic=st.lists(
        st.tuples(st.booleans(), st.integers(0, 20 * S), st.integers(0, 5 * S), st.integers(0, 5 * S)),
        max_size=80,
    ),
)
def test_however_long_the_network_takes_the_provider_never_counts_more_than_the_budget(
    calls: int, traffic: list[tuple[bool, int, int, int]]
) -> None:
    """Each call reaches the provider somewhere between being let go and being answered."""
    clock = ManualClock(0)
    budget = Budget(settings(calls=calls, burst=5), clock)
    arrived = []
    for interactive, pause_ns, there_ns, back_ns in traffic:
        clock.jump(pause_ns)
        budget.acquire(interactive=interactive, deadline_ns=FOREVER)
        clock.jump(there_ns)
        arrived.append(clock.now_ns())
        clock.jump(back_ns)
        budget.settle()
    for first in arrived:
        assert sum(first <= at < first + 60 * S for at in arrived) <= calls
