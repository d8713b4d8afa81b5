"""The office day: the traffic that is drawn from it is the one that was fitted, and it asks for enough."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from quotalab.clock import SeededEntropy
from quotalab.profiles.reading import read_toml
from quotalab.profiles.traffic import Quantiles, Traffic, parse_traffic
from quotalab.traffic import PersonPlan, PlannedOperation, plan

FILE = Path(__file__).parents[2] / "profiles" / "traffic" / "office-day.toml"
HOUR = 3600 * 10**9
DAY = 24 * HOUR
MONDAY = 1_767_571_200 * 10**9  # 2026-01-05 00:00 UTC
MANY = 20_000
ONE = Quantiles((0.0, 1.0), (1.0, 1.0))
CALLS = {"export_calendar": 3}
"""What the reference integration pays for an operation; 1 where it is not said."""


@pytest.fixture(scope="module")
def office_day() -> Traffic:
    """The bundled profile."""
    return parse_traffic(read_toml(FILE), str(FILE))


def monday(traffic: Traffic, people: int, seed: int = 1) -> tuple[PersonPlan, ...]:
    """Everybody's plan of the first day."""
    return plan(traffic, SeededEntropy(seed), people=people, start_ns=MONDAY, span_ns=DAY)


@pytest.fixture(scope="module")
def sessions(office_day: Traffic) -> list[list[PlannedOperation]]:
    """Many sessions, one a person, begun in the first hour so that the day's end cuts almost none."""
    lone = replace(office_day, sessions=(1.0,), arrivals=(1.0,) + (0.0,) * 23)
    return [list(kept.operations) for kept in monday(lone, MANY)]


class TestWhatIsDrawn:
    """20,000 people with seed 1 against the profile's own figures."""

    def test_sessions_begin_in_the_fitted_hours(self, office_day: Traffic) -> None:
        """Each hour's share of session starts is within 0.005 of the profile's."""
        starts = monday(replace(office_day, operations=ONE), MANY)
        hours = Counter((at.planned_ns - MONDAY) // HOUR for kept in starts for at in kept.operations)
        shares = [hours[hour] / hours.total() for hour in range(24)]
        assert shares == pytest.approx(office_day.arrivals, abs=0.005)

    def test_sessions_begin_evenly_within_the_hour(self, office_day: Traffic) -> None:
        """Each quarter of an hour has a quarter of them, within 0.01."""
        starts = monday(replace(office_day, operations=ONE), MANY)
        quarters = Counter(
            (at.planned_ns - MONDAY) % HOUR * 4 // HOUR for kept in starts for at in kept.operations
        )
        assert [quarters[i] / quarters.total() for i in range(4)] == pytest.approx([0.25] * 4, abs=0.01)

    def test_people_have_the_fitted_number_of_sessions(self, office_day: Traffic) -> None:
        """The share of people with one, two, three, ... is within 0.005 of the profile's."""
        counts = Counter(len(kept.operations) for kept in monday(replace(office_day, operations=ONE), MANY))
        shares = [counts[i] / MANY for i in range(1, len(office_day.sessions) + 1)]
        assert shares == pytest.approx(office_day.sessions, abs=0.005)
        assert counts[0] == 0

    def test_sessions_have_the_fitted_length(self, sessions: list[list[PlannedOperation]]) -> None:
        """Median 3, 90 % within 16 operations, and a mean within 4 % of the trace's 6.433."""
        lengths = [len(session) for session in sessions]
        assert np.quantile(lengths, [0.5, 0.9]).tolist() == [3, 16]
        assert np.quantile(lengths, 0.99) == pytest.approx(40, abs=2)
        assert np.mean(lengths) == pytest.approx(6.433, rel=0.04)

    def test_people_think_as_long_as_fitted(self, sessions: list[list[PlannedOperation]]) -> None:
        """Quantiles within 3 % of the profile's, the mean within 4 % of the trace's 101.5 s."""
        think_s = [(b.planned_ns - a.planned_ns) / 1e9 for session in sessions for a, b in pairwise(session)]
        quantiles = np.quantile(think_s, [0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99])
        assert quantiles == pytest.approx([16, 23, 39, 80, 202, 425, 1175.58], rel=0.03)
        assert np.mean(think_s) == pytest.approx(101.5, rel=0.04)
        assert min(think_s) >= 11
        assert max(think_s) <= 1805

    def test_people_ask_for_what_the_mix_says(self, office_day: Traffic) -> None:
        """Each operation's share is within 0.005 of the mix."""
        names = Counter(at.name for kept in monday(office_day, MANY) for at in kept.operations)
        assert {name: count / names.total() for name, count in names.items()} == pytest.approx(
            dict(office_day.mix), abs=0.005
        )

    def test_the_busiest_hour_is_as_busy_as_the_trace(self, office_day: Traffic) -> None:
        """Between 8.2 and 9.5 % of operations: the trace's busiest hour has 9.5 %, of one day only."""
        hours = Counter(
            (at.planned_ns - MONDAY) // HOUR for kept in monday(office_day, MANY) for at in kept.operations
        )
        assert 0.082 < max(hours.values()) / hours.total() < 0.095


class Demand:
    """What the default population asks of the provider on Monday, at `CALLS` an operation."""

    def __init__(self, traffic: Traffic, seed: int) -> None:
        plans = monday(traffic, traffic.people, seed)
        asked = sorted((at.planned_ns, at.name) for kept in plans for at in kept.operations)
        hours: Counter[int] = Counter()
        sent: list[int] = []
        done = 0
        for planned_ns, name in asked:
            for _ in range(CALLS.get(name, 1)):
                hours[(planned_ns - MONDAY) // HOUR] += 1
                # First come, first served, at most 100 in any hour.
                room_ns = sent[-100] + HOUR if len(sent) >= 100 else 0
                sent.append(max(planned_ns, room_ns, sent[-1] if sent else 0))
            done += sent[-1] < MONDAY + DAY
        self.operations = len(asked)
        self.calls = hours.total()
        self.peak = max(hours.values())
        self.done_by_waiting = done / len(asked)


@pytest.fixture(scope="module")
def demands(office_day: Traffic) -> list[Demand]:
    """The demand of seeds 1 to 10."""
    return [Demand(office_day, seed) for seed in range(1, 11)]


class TestDefaultPopulation:
    """As many people as make an hourly limit of 100 calls hurt, on a day that it can still serve."""

    def test_each_seed_has_an_hour_well_beyond_the_limit(self, demands: list[Demand]) -> None:
        """Over 160 calls are asked for in every seed's busiest hour, about 200 on average."""
        peaks = [demand.peak for demand in demands]
        assert min(peaks) > 160
        assert np.mean(peaks) == pytest.approx(200, abs=10)

    def test_each_day_stays_below_what_the_limit_allows_in_a_day(self, demands: list[Demand]) -> None:
        """Under 2,000 calls, of the 2,400 that 100 an hour allows."""
        assert max(demand.calls for demand in demands) < 2000

    def test_most_of_it_can_be_done_by_waiting(self, demands: list[Demand]) -> None:
        """First come, first served, at least 80 % of operations are done before the day ends."""
        assert min(demand.done_by_waiting for demand in demands) > 0.8

    def test_seed_one_never_changes(self, demands: list[Demand]) -> None:
        """Its operations, calls and busiest hour: a change of the profile shows here, and in every run."""
        assert (demands[0].operations, demands[0].calls, demands[0].peak) == (1724, 1886, 195)
