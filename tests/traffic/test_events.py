"""Calendars, growth and events: each does what its name says, to the exact number where it can be told."""

from __future__ import annotations

import re
from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quotalab.clock import SeededEntropy
from quotalab.errors import ProfileError
from quotalab.profiles.traffic import parse_traffic
from quotalab.traffic import PersonPlan, plan

SECOND = 10**9
MINUTE = 60 * SECOND
HOUR = 3600 * SECOND
DAY = 24 * HOUR
MONDAY = 1_767_571_200 * SECOND


def planned(
    *events: dict[str, Any],
    people: int = 200,
    span_ns: int = DAY,
    start_ns: int = MONDAY,
    arrivals: dict[str, Any] | None = None,
    **changed: Any,
) -> tuple[PersonPlan, ...]:
    """People who look once between nine and ten, and what happens besides."""
    document = {
        "schema": 1,
        "name": "e",
        "title": "E",
        "people": people,
        "arrivals": {"by_hour": [(hour == 9 and 1) or 0 for hour in range(24)], **(arrivals or {})},
        "sessions": {"per_person": [1]},
        "operations": {
            "per_session": {"law": "constant", "value": 1},
            "think_s": {"law": "exponential", "mean": 60},
        },
        "mix": {"look": 1},
        **changed,
    }
    if events:
        document["events"] = list(events)
    traffic = parse_traffic(document, "e.toml")
    return plan(traffic, SeededEntropy(7), people=people, start_ns=start_ns, span_ns=span_ns)


def of(plans: tuple[PersonPlan, ...], name: str, start_ns: int = MONDAY) -> np.ndarray:
    """When an operation is asked for, nanoseconds since the start, in order."""
    return np.sort([s.planned_ns - start_ns for kept in plans for s in kept.operations if s.name == name])


def who(plans: tuple[PersonPlan, ...], name: str) -> list[str]:
    """Who asks for an operation."""
    return [kept.person for kept in plans for s in kept.operations if s.name == name]


BASE = planned()
EVENTS = [
    {"kind": "launch_spike", "at": "12h", "operation": "open"},
    {"kind": "newsletter", "at": "1h", "operation": "open", "share": 0.5, "times": 2},
    {"kind": "cron_herd", "operation": "sync", "every": "1h"},
    {"kind": "background_sync", "operation": "sync", "every": "15m"},
    {"kind": "slow_leak", "operation": "poll", "every": "10m"},
    {"kind": "wake_up", "at": "9h", "until": "10h", "operation": "sync"},
    {"kind": "reconnect_storm", "at": "10h", "operation": "sync", "times": 3},
    {"kind": "webhooks", "operation": "look", "after": "look", "times": 2},
]


# ---- calendars


def test_hours_are_those_of_the_zone() -> None:
    """Nine in New York is fourteen UTC in winter and thirteen in summer."""
    july = MONDAY + 180 * DAY
    zone = {"zone": "America/New_York"}
    for start_ns, hour in ((MONDAY, 14), (july, 13)):
        found = of(planned(arrivals=zone, start_ns=start_ns, span_ns=7 * DAY), "look", start_ns)
        assert set(found % DAY // HOUR) == {hour}
        assert len(found) == 7 * 200


def test_weekdays_and_holidays_have_their_share_of_people() -> None:
    """Nobody comes on Sundays or holidays, half of them on Saturdays, everybody else every day."""
    week = {"by_weekday": [1, 1, 1, 1, 1, 0.5, 0], "holidays": ["2026-01-06"]}
    days = Counter((of(planned(arrivals=week, span_ns=7 * DAY), "look") // DAY).tolist())
    assert [days[i] for i in (0, 1, 2, 3, 4, 6)] == [200, 0, 200, 200, 200, 0]
    assert 70 <= days[5] <= 130
    some = {**week, "holiday_share": 0.25}
    assert 25 <= Counter((of(planned(arrivals=some, span_ns=2 * DAY), "look") // DAY).tolist())[1] <= 75


def test_a_calendar_changes_only_who_comes() -> None:
    """Who does come lives the day that they would have lived."""
    half = planned(arrivals={"by_weekday": [0.5] * 7})
    there = [kept for kept in half if kept.operations]
    assert 70 <= len(there) <= 130
    assert set(there) <= set(BASE)


# ---- growth


def test_people_come_with_the_growth_and_stay() -> None:
    """From a twentieth to all of them within ten days, each once they have come."""
    growth = {"at": ["0d", "10d", "20d"], "share": [0.05, 1.0, 1.0]}
    plans = planned(growth=growth, span_ns=20 * DAY)
    days = Counter((of(plans, "look") // DAY).tolist())
    for day in range(20):
        expected = 200 * min(1.0, 0.05 + 0.095 * (day + 0.4))
        assert days[day] == pytest.approx(expected, abs=25)
    for kept in plans:
        mine = [(s.planned_ns - MONDAY) // DAY for s in kept.operations]
        assert mine == list(range(mine[0], 20))


# ---- events


def test_a_launch_halves_with_each_half_life() -> None:
    """Everybody comes once: half within the first half-life, a quarter within the second, and so on."""
    times = of(
        planned({"kind": "launch_spike", "at": "12h", "operation": "open", "half_life": "30m"}, people=4000),
        "open",
    )
    assert len(times) == pytest.approx(4000, abs=5)
    since = (times - 12 * HOUR) // (30 * MINUTE)
    assert since.min() == 0
    assert [(since == i).sum() for i in range(4)] == pytest.approx([2000, 1000, 500, 250], abs=130)


def test_a_newsletter_reaches_its_share() -> None:
    """Half of the people, each twice."""
    found = Counter(
        who(
            planned({"kind": "newsletter", "at": "1h", "operation": "open", "share": 0.5, "times": 2}), "open"
        )
    )
    assert set(found.values()) == {2}
    assert 70 <= len(found) <= 130


def test_a_cron_herd_strikes_at_the_hour() -> None:
    """All of them, at every full hour of the clock, within two seconds; wherever the run starts."""
    start = MONDAY + 20 * MINUTE
    event = {"kind": "cron_herd", "operation": "sync", "every": "1h", "spread": "2s"}
    times = of(planned(event, start_ns=start, span_ns=6 * HOUR), "sync", start)
    assert len(times) == 6 * 200
    assert ((times + 20 * MINUTE) % HOUR < 2 * SECOND).all()


def test_background_sync_is_no_herd() -> None:
    """Each person every quarter of an hour exactly, all together evenly spread."""
    plans = planned({"kind": "background_sync", "operation": "sync", "every": "15m"})
    for kept in plans:
        mine = np.array([s.planned_ns for s in kept.operations if s.name == "sync"])
        assert len(mine) == 96
        assert set(np.diff(mine)) == {15 * MINUTE}
    assert np.bincount(of(plans, "sync") // MINUTE).max() < 40


def test_a_leak_grows_for_ever() -> None:
    """Each operation leaves a timer behind, which fires every ten minutes until the end, or until it is mended."""
    plans = planned({"kind": "slow_leak", "operation": "poll", "every": "10m"})
    for kept in plans:
        (look,) = (s.planned_ns for s in kept.operations if s.name == "look")
        polls = [s.planned_ns for s in kept.operations if s.name == "poll"]
        assert polls == list(range(look + 10 * MINUTE, MONDAY + DAY, 10 * MINUTE))
    mended = planned({"kind": "slow_leak", "operation": "poll", "every": "10m", "until": "12h"})
    assert of(mended, "poll").max() < 12 * HOUR


def test_phones_wake_up_after_an_outage() -> None:
    """What was asked within it comes when it is over, within the spread; nothing is lost or doubled."""
    event = {"kind": "wake_up", "at": "9h 15m", "until": "9h 45m", "spread": "10s"}
    before, after = of(BASE, "look"), of(planned(event), "look")
    inside = (before >= 9.25 * HOUR) & (before < 9.75 * HOUR)
    assert len(after) == len(before)
    assert ((after >= 9.25 * HOUR) & (after < 9.75 * HOUR)).sum() == 0
    woken = (after >= 9.75 * HOUR) & (after < 9.75 * HOUR + 10 * SECOND)
    assert woken.sum() >= inside.sum() > 50
    assert set(before[~inside]) <= set(after)


def test_a_reconnect_storm_comes_in_waves() -> None:
    """Everybody, three times, half a minute apart, within the spread."""
    event = {
        "kind": "reconnect_storm",
        "at": "10h",
        "operation": "sync",
        "times": 3,
        "every": "30s",
        "spread": "5s",
    }
    times = of(planned(event), "sync") - 10 * HOUR
    assert len(times) == 600
    assert Counter((times // (30 * SECOND)).tolist()) == {0: 200, 1: 200, 2: 200}
    assert (times % (30 * SECOND) < 5 * SECOND).all()


def test_webhooks_make_others_read() -> None:
    """Two reads of others for each cause, within the spread after it."""
    event = {"kind": "webhooks", "operation": "read", "after": "look", "times": 2, "spread": "5s"}
    plans = planned(event)
    causes, reads = of(plans, "look"), of(plans, "read")
    assert len(reads) == 2 * len(causes)
    behind = np.searchsorted(causes, reads, "right") - 1
    assert (reads - causes[behind] < 5 * SECOND).all()
    for kept in plans:
        mine = {s.planned_ns for s in kept.operations if s.name == "look"}
        assert not mine & {s.planned_ns for s in kept.operations if s.name == "read"}


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: str(event["kind"]))
def test_an_event_changes_nothing_else(event: dict[str, Any]) -> None:
    """People's own operations stay, but for those that an outage holds back; more people change nobody."""
    plans = planned(event)
    if event["kind"] not in ("wake_up", "webhooks"):
        assert of(plans, "look").tolist() == of(BASE, "look").tolist()
    if event["kind"] != "webhooks":  # whom a provider tells depends on who there is
        assert planned(event, people=250)[:200] == plans
    assert all([*kept.operations] == sorted(kept.operations, key=lambda s: s.planned_ns) for kept in plans)
    assert all(MONDAY <= s.planned_ns < MONDAY + DAY for kept in plans for s in kept.operations)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.sampled_from(EVENTS), max_size=4), st.integers(1, 30), st.integers(0, 2 * DAY // SECOND))
def test_any_events_plan_within_the_span(events: list[dict[str, Any]], people: int, span_s: int) -> None:
    """In order, in integer nanoseconds, and again the same."""
    plans = planned(*events, people=people, span_ns=span_s * SECOND)
    assert len(plans) == people
    for kept in plans:
        times = [s.planned_ns for s in kept.operations]
        assert times == sorted(times)
        assert all(type(at) is int and MONDAY <= at < MONDAY + span_s * SECOND for at in times)
    assert planned(*events, people=people, span_ns=span_s * SECOND) == plans


# ---- mistakes


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"events": [{"kind": "launch"}]}, "events[0].kind: must be one of 'launch_spike'"),
        ({"events": [{"kind": "launch_spike"}]}, "events[0].operation: is missing"),
        ({"events": [{"kind": "cron_herd", "operation": "x"}]}, "events[0].every: is missing"),
        (
            {"events": [{"kind": "cron_herd", "operation": "x", "every": "1ms"}]},
            'events[0].every: must be a duration such as "90s", "15m" or "1h" of at least 1 s, not \'1ms\'',
        ),
        (
            {"events": [{"kind": "slow_leak", "operation": "x", "every": "1m", "at": "2h", "until": "1h"}]},
            "events[0].until: must be later than at",
        ),
        ({"events": [{"kind": "wake_up"}]}, "events[0].until: is missing"),
        (
            {"events": [{"kind": "newsletter", "operation": "x", "share": 2}]},
            "events[0].share: must be a number from 0 to 1, not 2",
        ),
        ({"growth": {"at": ["0d"], "share": [1, 1]}}, "growth.at: must be a list of 2 durations"),
        ({"growth": {"at": ["1d", "0d"], "share": [1, 1]}}, "growth.at: must rise"),
        ({"growth": {"at": ["0d"], "share": [2]}}, "growth.share: must hold shares of people from 0 to 1"),
        ({"growth": {"at": ["soon"], "share": [1]}}, "growth.at[0].at: must be a duration"),
    ],
)
def test_a_mistake_names_its_key(changed: dict[str, Any], message: str) -> None:
    """One line says what would be right."""
    with pytest.raises(ProfileError, match=re.escape(f"e.toml: {message}")):
        planned(**changed)


@pytest.mark.parametrize(
    ("arrivals", "message"),
    [
        ({"zone": "Mars/Olympus"}, "arrivals.zone: must be a time zone such as 'Europe/Berlin'"),
        ({"by_weekday": [1, 1]}, "arrivals.by_weekday: must be a list of 7 numbers"),
        ({"by_weekday": [2] * 7}, "arrivals.by_weekday: must hold shares of people from 0 to 1"),
        ({"holidays": ["Christmas"]}, "arrivals.holidays: must be a list of dates such as 2026-01-01"),
    ],
)
def test_a_wrong_calendar_names_its_key(arrivals: dict[str, Any], message: str) -> None:
    """One line says what would be right."""
    with pytest.raises(ProfileError, match=re.escape(f"e.toml: {message}")):
        planned(arrivals=arrivals)


def test_what_would_not_end_is_refused_with_its_key() -> None:
    """A timer a second of ten thousand people for a week would be six thousand million operations."""
    event = {"kind": "background_sync", "operation": "x", "every": "1s"}
    with pytest.raises(
        ProfileError, match=re.escape("e.toml: events[0].every: would add 6,048,000,000 operations")
    ):
        planned(event, people=10_000, span_ns=7 * DAY)


@pytest.mark.parametrize(
    ("law", "message"),
    [
        ({"law": "normal"}, "operations.think_s.law: must be one of 'constant', 'exponential'"),
        ({"law": "pareto", "scale": 1}, "operations.think_s.alpha: is missing"),
        ({"law": "weibull", "scale": 1, "shape": 0}, "operations.think_s.shape: must be above 0"),
        ({"law": "constant", "value": 1e9}, "operations.think_s.value: must be a number from 0 to 86400"),
        ({"values": [1, 2], "weights": [1]}, "operations.think_s.weights: must be a list of 2 numbers"),
    ],
)
def test_a_wrong_law_names_its_key(law: dict[str, Any], message: str) -> None:
    """Laws by formula, by shares and by quantiles."""
    operations = {"per_session": {"law": "constant", "value": 1}, "think_s": law}
    with pytest.raises(ProfileError, match=re.escape(f"e.toml: {message}")):
        planned(operations=operations)


@pytest.mark.parametrize(
    ("law", "quantiles"),
    [
        ({"law": "exponential", "mean": 10}, {0.0: 0.0, 0.5: 6.931471805599453, 1.0: 86_400.0}),
        ({"law": "lognormal", "mu": 0, "sigma": 1, "most": 100}, {0.5: 1.0, 1.0: 100.0}),
        ({"law": "weibull", "scale": 4, "shape": 2}, {1 - np.exp(-1): 4.0}),
        ({"law": "pareto", "scale": 3, "alpha": 1}, {0.5: 3.0, 0.75: 9.0}),
        ({"values": [5, 7], "weights": [1, 3]}, {0.0: 5.0, 0.2499: 5.0, 0.25: 7.0, 1.0: 7.0}),
    ],
)
def test_laws_have_their_quantiles(law: dict[str, Any], quantiles: dict[float, float]) -> None:
    """By the inverse of their distribution functions, cut off at `most`."""
    document = {
        "schema": 1, "name": "e", "title": "E", "people": 1,
        "arrivals": {"by_hour": [1] * 24}, "sessions": {"per_person": [1]}, "mix": {"look": 1},
        "operations": {"per_session": {"law": "constant", "value": 1}, "think_s": law},
    }  # fmt: skip
    think_s = parse_traffic(document, "e.toml").think_s
    for probability, value in quantiles.items():
        assert think_s.value(probability) == pytest.approx(value)
