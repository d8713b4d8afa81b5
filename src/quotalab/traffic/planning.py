"""Planning people's operations ahead: an open model, in which nothing slips because the app is slow."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate
from random import Random  # noqa: TID251  (the type; nothing is drawn from the module)

import numpy as np

from quotalab.clock import Entropy
from quotalab.errors import ProfileError
from quotalab.profiles.traffic import Traffic
from quotalab.traffic.arrivals import Arrivals
from quotalab.traffic.calendar import days_of_periods, hours_of_days, share_of_day
from quotalab.traffic.chain import chain_arrivals
from quotalab.traffic.events import grown, with_events
from quotalab.traffic.replaying import replayed

__all__ = ["PersonPlan", "PlannedOperation", "arrivals", "person_name", "plan", "rate_curve"]

_SECOND_NS = 1_000_000_000
_HOUR_NS = 3600 * _SECOND_NS
_DAY_NS = 24 * _HOUR_NS


@dataclass(frozen=True, slots=True)
class PlannedOperation:
    """Something that a person will ask of the app at `planned_ns`, nanoseconds since 1970 UTC."""

    planned_ns: int
    name: str


@dataclass(frozen=True, slots=True)
class PersonPlan:
    """A person, and what they will ask, in order of time."""

    person: str
    operations: tuple[PlannedOperation, ...]


def person_name(number: int) -> str:
    """The name of the n-th person, from 1."""
    return f"p{number:05d}"


def plan(
    traffic: Traffic, entropy: Entropy, *, people: int, start_ns: int, span_ns: int
) -> tuple[PersonPlan, ...]:
    """What each of `people` persons asks in [start, start + span).

    A person's day is drawn from a stream of that person and that day alone: more people, a longer span or
    another start change nobody's day. Sessions that began on the day before the start are not there.
    Raises `ProfileError` where the profile asks for what cannot be.
    """
    end_ns = start_ns + span_ns
    if traffic.chain is None and traffic.replay is None:
        draw = _Day(traffic)
        plans = tuple(
            PersonPlan(name, tuple(_operations(draw, entropy, name, start_ns, end_ns)))
            for name in map(person_name, range(1, people + 1))
        )
        if traffic.growth is None and not traffic.events:
            return plans
        base = _arrivals_of(plans)
    else:
        base = arrivals(traffic, entropy, people=people, start_ns=start_ns, span_ns=span_ns)
    if traffic.growth is not None:
        base = grown(base, traffic.growth, entropy, people=people, start_ns=start_ns)
    base = with_events(
        base, traffic.events, entropy, file=traffic.file, people=people, start_ns=start_ns, end_ns=end_ns
    )
    return _plans_of(base, people)


def arrivals(traffic: Traffic, entropy: Entropy, *, people: int, start_ns: int, span_ns: int) -> Arrivals:
    """What people ask by a chain or a trace, as arrays; before growth and events."""
    span = {"people": people, "start_ns": start_ns, "end_ns": start_ns + span_ns}
    if traffic.chain is not None:
        return chain_arrivals(traffic.chain, traffic.calendar, entropy, **span)
    assert traffic.replay is not None, "laws are planned person by person"
    return replayed(traffic.replay, traffic.file, entropy, **span)


def rate_curve(traffic: Traffic, start_ns: int, end_ns: int) -> list[tuple[int, float]]:
    """When each hour around [start, end) begins, and how busy it is: 1 in the busiest hour of a full day.

    Raises `ProfileError` for a replay, which has no curve.
    """
    if traffic.replay is not None:
        raise ProfileError(traffic.file, "kind", "a replay has no day curve; give laws or a chain")
    if traffic.chain is None:
        weights, period = np.array(traffic.arrivals), 1
    else:
        period = traffic.chain.period_days
        classes = traffic.chain.classes
        people = [one.people * one.sessions.mean() for one in classes]
        weights = np.array(people) @ np.array([one.by_hour for one in classes])
    begins, shares = [], []
    for first in days_of_periods(start_ns, end_ns, period).tolist():
        days = first + np.arange(period)
        begins += hours_of_days(days, traffic.calendar).ravel().tolist()
        shares += (weights * np.repeat(share_of_day(days, traffic.calendar), 24)).tolist()
    most = float(weights.max())
    return [(begin, share / most) for begin, share in zip(begins, shares, strict=True)]


def _arrivals_of(plans: tuple[PersonPlan, ...]) -> Arrivals:
    steps = [(i, step.planned_ns, step.name) for i, kept in enumerate(plans) for step in kept.operations]
    if not steps:
        return Arrivals.none()
    person, at_ns, asked = zip(*steps, strict=True)
    names = tuple(dict.fromkeys(asked))
    codes = {name: code for code, name in enumerate(names)}
    return Arrivals(np.array(person), np.array(at_ns), np.array([codes[name] for name in asked]), names)


def _plans_of(base: Arrivals, people: int) -> tuple[PersonPlan, ...]:
    base = base.in_order()
    names = base.names
    steps = [
        PlannedOperation(at_ns, names[code])
        for at_ns, code in zip(base.at_ns.tolist(), base.operation.tolist(), strict=True)
    ]
    edges = np.searchsorted(base.person, np.arange(people + 1)).tolist()
    return tuple(PersonPlan(person_name(i + 1), tuple(steps[edges[i] : edges[i + 1]])) for i in range(people))


def _operations(
    draw: _Day, entropy: Entropy, person: str, start_ns: int, end_ns: int
) -> Iterator[PlannedOperation]:
    planned: list[PlannedOperation] = []
    for day, begins, comes in draw.days(start_ns, end_ns):
        if comes < 1 and entropy.stream("traffic-day", person, str(day)).random() >= comes:
            continue
        planned += draw.operations(entropy.stream("traffic", person, str(day)), begins)
    planned.sort(key=lambda operation: operation.planned_ns)
    first = bisect_left(planned, start_ns, key=lambda operation: operation.planned_ns)
    last = bisect_left(planned, end_ns, key=lambda operation: operation.planned_ns)
    yield from planned[first:last]


class _Day:
    """Draws days from a traffic profile."""

    def __init__(self, traffic: Traffic) -> None:
        self._sessions = list(accumulate(traffic.sessions))
        self._hours = list(accumulate(traffic.arrivals))
        self._calendar = traffic.calendar
        self._days: tuple[int, int, list[tuple[int, list[int], float]]] = (0, 0, [])
        self._length = traffic.operations.value
        self._think_s = traffic.think_s.value
        self._names = list(traffic.mix)
        self._mix = list(accumulate(traffic.mix.values()))

    def days(self, start_ns: int, end_ns: int) -> list[tuple[int, list[int], float]]:
        """The days of a span: each with its hours' beginnings and the share of people who come."""
        if self._days[:2] != (start_ns, end_ns):
            if self._calendar.plain:
                days = np.arange(start_ns // _DAY_NS, -(-end_ns // _DAY_NS))
            else:
                days = days_of_periods(start_ns, end_ns, 1)
            hours = hours_of_days(days, self._calendar).tolist()
            share = share_of_day(days, self._calendar).tolist()
            self._days = (start_ns, end_ns, list(zip(days.tolist(), hours, share, strict=True)))
        return self._days[2]

    def operations(self, random: Random, hours_ns: list[int]) -> Iterator[PlannedOperation]:
        """One person's operations of the day whose hours begin at `hours_ns`, session by session."""
        uniform = random.random
        for _ in range(_pick(self._sessions, uniform()) + 1):
            hour = _pick(self._hours, uniform())
            at_ns = hours_ns[hour] + int(uniform() * _HOUR_NS)
            for i in range(round(self._length(uniform()))):
                if i:
                    at_ns += int(self._think_s(uniform()) * _SECOND_NS)
                yield PlannedOperation(at_ns, self._names[_pick(self._mix, uniform())])


def _pick(cumulated: list[float], probability: float) -> int:
    """The index whose share of [0, 1) holds the probability."""
    return min(bisect_right(cumulated, probability), len(cumulated) - 1)
