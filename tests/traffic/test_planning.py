"""Plans: exact on a small profile, and true to what they promise on any."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quotalab.clock import SeededEntropy
from quotalab.profiles.traffic import Traffic, parse_traffic
from quotalab.traffic import PersonPlan, PlannedOperation, person_name, plan

SECOND = 10**9
HOUR = 3600 * SECOND
DAY = 24 * HOUR
MONDAY = 1_767_571_200 * SECOND  # 2026-01-05 00:00 UTC


def profile(**changed: Any) -> Traffic:
    """Two sessions a day in the hours 9 and 23, three operations a minute apart; but for what is changed."""
    parts: dict[str, Any] = {
        "schema": 1,
        "name": "two-hours",
        "title": "Two hours",
        "people": 1,
        "arrivals": {"by_hour": [1 if hour in (9, 23) else 0 for hour in range(24)]},
        "sessions": {"per_person": [0, 1]},
        "operations": {
            "per_session": {"at": [0, 1], "values": [3, 3]},
            "think_s": {"at": [0, 1], "values": [60, 60]},
        },
        "mix": {"look": 3, "add": 1},
    }
    return parse_traffic(parts | changed, "two-hours.toml")


class Scripted(Random):
    """Draws what it is told to."""

    def __init__(self, draws: list[float]) -> None:
        super().__init__(0)
        self.draws = draws

    def random(self) -> float:
        return self.draws.pop(0)


class ScriptedEntropy(SeededEntropy):
    """Gives each purpose its script, once."""

    def __init__(self, scripts: dict[tuple[str, ...], list[float]]) -> None:
        super().__init__(0)
        self.scripts = scripts

    def stream(self, *purpose: str) -> Random:
        return Scripted(self.scripts.pop(purpose))


def operations(plans: tuple[PersonPlan, ...]) -> list[PlannedOperation]:
    """Everybody's operations."""
    return [operation for kept in plans for operation in kept.operations]


class TestADay:
    """One person's day, drawn by hand."""

    def test_each_draw_has_its_place(self) -> None:
        """Sessions; then for each its hour, its place in the hour, its length, and its operations."""
        draws = [0.5]  # two sessions
        draws += [0.6, 0.25, 0.5, 0.1, 0.5, 0.76, 0.5, 0.2]  # the second busy hour, 15 minutes past
        draws += [0.4, 0.5, 0.5, 0.1, 0.5, 0.2, 0.5, 0.99]  # the first, half past
        script = {("traffic", "p00001", str(MONDAY // DAY)): draws}
        (kept,) = plan(profile(), ScriptedEntropy(script), people=1, start_ns=MONDAY, span_ns=DAY)
        half_past_nine = MONDAY + 9 * HOUR + 1800 * SECOND
        quarter_past = MONDAY + 23 * HOUR + 900 * SECOND
        assert kept == PersonPlan(
            "p00001",
            (
                PlannedOperation(half_past_nine, "look"),
                PlannedOperation(half_past_nine + 60 * SECOND, "look"),
                PlannedOperation(half_past_nine + 120 * SECOND, "add"),
                PlannedOperation(quarter_past, "look"),
                PlannedOperation(quarter_past + 60 * SECOND, "add"),
                PlannedOperation(quarter_past + 120 * SECOND, "look"),
            ),
        )
        assert not draws

    def test_lengths_are_rounded_and_thinking_is_not(self) -> None:
        """A length of 2.6 is three operations; a think time of 0.5 s is 500,000,000 ns."""
        traffic = profile(
            sessions={"per_person": [1]},
            operations={
                "per_session": {"at": [0, 1], "values": [2.6, 2.6]},
                "think_s": {"at": [0, 1], "values": [0, 1]},
            },
        )
        draws = [0.0, 0.0, 0.0, 0.0, 0.0, 0.5, 0.0, 0.25, 0.0]
        script = {("traffic", "p00001", str(MONDAY // DAY)): draws}
        planned = operations(plan(traffic, ScriptedEntropy(script), people=1, start_ns=MONDAY, span_ns=DAY))
        nine = MONDAY + 9 * HOUR
        assert [at.planned_ns for at in planned] == [nine, nine + 500_000_000, nine + 750_000_000]

    def test_an_operation_at_the_start_counts_and_one_at_the_end_does_not(self) -> None:
        """The span is half-open: [start, start + span)."""
        traffic = profile(sessions={"per_person": [1]})
        script = {("traffic", "p00001", str(MONDAY // DAY)): [0.0] * 9}
        nine = MONDAY + 9 * HOUR
        entropy = ScriptedEntropy(script)
        planned = operations(plan(traffic, entropy, people=1, start_ns=nine, span_ns=120 * SECOND))
        assert [at.planned_ns for at in planned] == [nine, nine + 60 * SECOND]

    def test_a_late_session_goes_on_past_midnight(self) -> None:
        """The day after has what was left, and its own; all in order."""
        traffic = profile(
            arrivals={"by_hour": [1] + [0] * 22 + [1]},
            sessions={"per_person": [1]},
            operations={
                "per_session": {"at": [0, 1], "values": [2, 2]},
                "think_s": {"at": [0, 1], "values": [7200, 7200]},
            },
        )
        scripts = {
            ("traffic", "p00001", str(MONDAY // DAY)): [0.0, 0.9, 0.5, 0.0, 0.0, 0.0, 0.0],
            ("traffic", "p00001", str(MONDAY // DAY + 1)): [0.0, 0.1, 0.5, 0.0, 0.0, 0.0, 0.0],
        }
        planned = operations(
            plan(traffic, ScriptedEntropy(scripts), people=1, start_ns=MONDAY, span_ns=2 * DAY)
        )
        assert [(at.planned_ns - MONDAY) / HOUR for at in planned] == [23.5, 24.5, 25.5, 26.5]


def test_names_number_the_people_from_one() -> None:
    """p00001, p00002 and so on, in that order; a hundred thousandth has one digit more."""
    plans = plan(profile(), SeededEntropy(1), people=3, start_ns=MONDAY, span_ns=DAY)
    assert [kept.person for kept in plans] == ["p00001", "p00002", "p00003"]
    assert person_name(100_000) == "p100000"


def test_nobody_plans_nothing() -> None:
    """No people, no plans; no span, no operations."""
    assert plan(profile(), SeededEntropy(1), people=0, start_ns=MONDAY, span_ns=DAY) == ()
    assert plan(profile(), SeededEntropy(1), people=1, start_ns=MONDAY, span_ns=0) == (
        PersonPlan("p00001", ()),
    )


def test_hours_without_arrivals_see_no_session_begin() -> None:
    """With sessions of one operation, everything lies in the two hours that have a share."""
    traffic = profile(
        operations={
            "per_session": {"at": [0, 1], "values": [1, 1]},
            "think_s": {"at": [0, 1], "values": [60, 60]},
        }
    )
    planned = operations(plan(traffic, SeededEntropy(5), people=200, start_ns=MONDAY, span_ns=DAY))
    assert len(planned) == 400
    assert {(at.planned_ns - MONDAY) // HOUR for at in planned} == {9, 23}


def test_days_differ() -> None:
    """A person does not live the same day again."""
    (kept,) = plan(profile(), SeededEntropy(1), people=1, start_ns=MONDAY, span_ns=2 * DAY)
    first = [at.planned_ns - MONDAY for at in kept.operations if at.planned_ns < MONDAY + DAY]
    second = [at.planned_ns - MONDAY - DAY for at in kept.operations if at.planned_ns >= MONDAY + DAY]
    assert first
    assert second
    assert first != second


def test_the_first_plan_of_seed_one_never_changes() -> None:
    """Runs that were judged can be repeated by a later quotalab: same seed, same nanoseconds."""
    (kept,) = plan(profile(), SeededEntropy(1), people=1, start_ns=MONDAY, span_ns=DAY)
    assert [(at.planned_ns - MONDAY, at.name) for at in kept.operations] == [
        (83_011_860_792_269, "look"),
        (83_071_860_792_269, "look"),
        (83_131_860_792_269, "add"),
        (85_966_966_463_548, "look"),
        (86_026_966_463_548, "add"),
        (86_086_966_463_548, "look"),
    ]


@st.composite
def traffics(draw: st.DrawFn) -> Traffic:
    """Any small profile; sessions may last for many hours."""

    def shares(count: int) -> list[int]:
        return draw(st.lists(st.integers(0, 5), min_size=count, max_size=count).filter(any))

    def law(most: float) -> dict[str, list[float]]:
        low, high = sorted(draw(st.tuples(st.floats(1, most), st.floats(1, most))))
        return {"at": [0, 1], "values": [low, high]}

    return profile(
        arrivals={"by_hour": shares(24)},
        sessions={"per_person": shares(3)},
        operations={"per_session": law(8), "think_s": law(20_000)},
        mix=dict(zip(("look", "open", "add"), shares(3), strict=True)),
    )


seeds = st.integers(0, 2**32)
starts = st.integers(MONDAY - 2 * DAY, MONDAY + 2 * DAY)
spans = st.integers(0, 3 * DAY)


class TestAnyProfile:
    """What holds for every profile, seed, start and span."""

    @given(traffics(), seeds, starts, spans)
    def test_operations_are_in_order_and_within_the_span(
        self, traffic: Traffic, seed: int, start_ns: int, span_ns: int
    ) -> None:
        """Integer nanoseconds in [start, start + span), rising; only what the mix has a share for."""
        for kept in plan(traffic, SeededEntropy(seed), people=3, start_ns=start_ns, span_ns=span_ns):
            times = [at.planned_ns for at in kept.operations]
            assert times == sorted(times)
            assert all(type(at) is int and start_ns <= at < start_ns + span_ns for at in times)
            assert {at.name for at in kept.operations} <= {
                name for name, share in traffic.mix.items() if share
            }

    @given(traffics(), seeds, starts, spans, st.integers(0, 4), st.integers(0, 4))
    def test_more_people_change_nobody(
        self, traffic: Traffic, seed: int, start_ns: int, span_ns: int, few: int, more: int
    ) -> None:
        """The first people of a larger population have the plans of the smaller one."""
        small = plan(traffic, SeededEntropy(seed), people=few, start_ns=start_ns, span_ns=span_ns)
        large = plan(traffic, SeededEntropy(seed), people=few + more, start_ns=start_ns, span_ns=span_ns)
        assert large[:few] == small

    @given(traffics(), seeds, starts, spans)
    def test_the_same_seed_plans_the_same_whatever_else_was_drawn(
        self, traffic: Traffic, seed: int, start_ns: int, span_ns: int
    ) -> None:
        """Draws for other purposes, or an earlier plan, leave no trace."""
        used = SeededEntropy(seed)
        used.token("access")
        used.stream("traffic").random()
        first = plan(traffic, used, people=2, start_ns=start_ns, span_ns=span_ns)
        assert plan(traffic, used, people=2, start_ns=start_ns, span_ns=span_ns) == first
        fresh = SeededEntropy(seed)
        assert plan(traffic, fresh, people=2, start_ns=start_ns, span_ns=span_ns) == first

    @given(traffics(), seeds, st.integers(0, DAY - 1), spans)
    def test_a_start_within_the_day_cuts_what_came_before(
        self, traffic: Traffic, seed: int, into_ns: int, span_ns: int
    ) -> None:
        """A span that starts at noon holds exactly what a span from midnight holds from noon on."""
        start_ns = MONDAY + into_ns
        (whole,) = plan(traffic, SeededEntropy(seed), people=1, start_ns=MONDAY, span_ns=5 * DAY)
        (part,) = plan(traffic, SeededEntropy(seed), people=1, start_ns=start_ns, span_ns=span_ns)
        assert part.operations == tuple(
            at for at in whole.operations if start_ns <= at.planned_ns < start_ns + span_ns
        )


@pytest.mark.parametrize("other", [2, 3, 12345])
def test_another_seed_plans_another_day(other: int) -> None:
    """No person keeps their plan when the seed changes."""
    first = plan(profile(), SeededEntropy(1), people=20, start_ns=MONDAY, span_ns=DAY)
    second = plan(profile(), SeededEntropy(other), people=20, start_ns=MONDAY, span_ns=DAY)
    assert all(a.operations != b.operations for a, b in zip(first, second, strict=True))


def test_no_two_people_live_the_same_day() -> None:
    """Each has a stream of their own."""
    plans = plan(profile(), SeededEntropy(1), people=200, start_ns=MONDAY, span_ns=DAY)
    assert len({kept.operations for kept in plans}) == 200
