"""Planning people's operations ahead: an open model, in which nothing slips because the app is slow."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate
from random import Random  # noqa: TID251  (the type; nothing is drawn from the module)

from quotalab.clock import Entropy
from quotalab.profiles.traffic import Traffic

__all__ = ["PersonPlan", "PlannedOperation", "person_name", "plan"]

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

    A person's day is drawn from a stream of that person and that UTC day alone: more people, a longer span
    or another start change nobody's day. Sessions that began on the day before the start are not there.
    """
    draw = _Day(traffic)
    return tuple(
        PersonPlan(name, tuple(_operations(draw, entropy, name, start_ns, start_ns + span_ns)))
        for name in map(person_name, range(1, people + 1))
    )


def _operations(
    draw: _Day, entropy: Entropy, person: str, start_ns: int, end_ns: int
) -> Iterator[PlannedOperation]:
    planned: list[PlannedOperation] = []
    for day in range(start_ns // _DAY_NS, -(-end_ns // _DAY_NS)):
        planned += draw.operations(entropy.stream("traffic", person, str(day)), day * _DAY_NS)
    planned.sort(key=lambda operation: operation.planned_ns)
    first = bisect_left(planned, start_ns, key=lambda operation: operation.planned_ns)
    last = bisect_left(planned, end_ns, key=lambda operation: operation.planned_ns)
    yield from planned[first:last]


class _Day:
    """Draws days from a traffic profile."""

    def __init__(self, traffic: Traffic) -> None:
        self._sessions = list(accumulate(traffic.sessions))
        self._hours = list(accumulate(traffic.arrivals))
        self._length = traffic.operations.value
        self._think_s = traffic.think_s.value
        self._names = list(traffic.mix)
        self._mix = list(accumulate(traffic.mix.values()))

    def operations(self, random: Random, day_ns: int) -> Iterator[PlannedOperation]:
        """One person's operations of the day that begins at `day_ns`, session by session."""
        uniform = random.random
        for _ in range(_pick(self._sessions, uniform()) + 1):
            hour = _pick(self._hours, uniform())
            at_ns = day_ns + hour * _HOUR_NS + int(uniform() * _HOUR_NS)
            for i in range(round(self._length(uniform()))):
                if i:
                    at_ns += int(self._think_s(uniform()) * _SECOND_NS)
                yield PlannedOperation(at_ns, self._names[_pick(self._mix, uniform())])


def _pick(cumulated: list[float], probability: float) -> int:
    """The index whose share of [0, 1) holds the probability."""
    return min(bisect_right(cumulated, probability), len(cumulated) - 1)
