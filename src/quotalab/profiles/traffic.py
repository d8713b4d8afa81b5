"""Traffic profiles: how many people there are, when they come, and what they do."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from quotalab.profiles.reading import Table

__all__ = ["Habits", "Quantiles", "Traffic", "parse_traffic"]

# Beyond these a figure is a slip of the pen, and planning from it might not end.
_MOST_OPERATIONS = 10_000
_MOST_THINK_S = 86_400


@dataclass(frozen=True, slots=True)
class Quantiles:
    """A law given by its quantiles: `values[i]` at probability `at[i]`, straight lines between."""

    at: tuple[float, ...]
    values: tuple[float, ...]

    def value(self, probability: float) -> float:
        """The quantile at a probability in [0, 1]."""
        at, values = self.at, self.values
        for i in range(1, len(at)):
            if probability <= at[i]:
                share = (probability - at[i - 1]) / (at[i] - at[i - 1])
                return values[i - 1] + share * (values[i] - values[i - 1])
        return values[-1]

    def mean(self) -> float:
        """The mean of the law."""
        steps = zip(self.at, self.at[1:], self.values, self.values[1:], strict=False)
        return sum((high - low) * (first + last) / 2 for low, high, first, last in steps)


@dataclass(frozen=True, slots=True)
class Habits:
    """What people do when an app asks for their consent: shares of the people, from 0 to 1."""

    deny: float = 0.0
    close: float = 0.0
    """Who closes the page and never comes back; nobody does that and denies too."""
    untick: float = 0.0
    """Who unticks one scope, where the provider lets them and there is more than one."""
    late: float = 0.0
    """Who leaves the page open and decides only after about `late_by_ns`."""
    late_by_ns: int = 0
    withdraw: float = 0.0
    """Who takes consent back, at the provider, about `withdraw_after_ns` after it was given."""
    withdraw_after_ns: int = 0


@dataclass(frozen=True, slots=True)
class Traffic:
    """A traffic profile, validated."""

    name: str
    title: str
    description: str
    people: int
    """How many there are, unless the run says otherwise."""
    arrivals: tuple[float, ...]
    """Shares of the day's sessions that begin in each hour, 0 to 23 UTC; they sum to 1."""
    sessions: tuple[float, ...]
    """Shares of people who have one, two, three, ... sessions a day; they sum to 1."""
    operations: Quantiles
    """Operations in a session, rounded to whole ones when drawn; 1 or more."""
    think_s: Quantiles
    """Seconds between operations of a session."""
    mix: Mapping[str, float]
    """Share of each kind of operation; they sum to 1."""
    habits: Habits
    document: Mapping[str, Any]
    """The TOML document, as a run folder keeps it."""


def parse_traffic(document: Mapping[str, Any], file: str) -> Traffic:
    """Validate a traffic profile; raises `ProfileError` naming the file and the key."""
    top = Table(document, file)
    top.whole("schema", least=1, most=1)
    arrivals = top.table("arrivals")
    sessions = top.table("sessions")
    operations = top.table("operations")
    mix = top.table("mix")
    traffic = Traffic(
        name=top.text("name"),
        title=top.text("title"),
        description=top.text("description", ""),
        people=top.whole("people", least=1, most=1_000_000),
        arrivals=_shares(arrivals, "by_hour", arrivals.numbers("by_hour", count=24)),
        sessions=_shares(sessions, "per_person", sessions.numbers("per_person")),
        operations=_quantiles(operations.table("per_session"), least=1, most=_MOST_OPERATIONS),
        think_s=_quantiles(operations.table("think_s"), least=0, most=_MOST_THINK_S),
        mix=_mix(mix),
        habits=_habits(top.table("habits", {})),
        document=dict(document),
    )
    for table in (arrivals, sessions, operations, mix, top):
        table.done()
    return traffic


def _habits(table: Table) -> Habits:
    habits = Habits(
        deny=table.number("deny", 0.0, most=1.0),
        close=table.number("close", 0.0, most=1.0),
        untick=table.number("untick", 0.0, most=1.0),
        late=table.number("late", 0.0, most=1.0),
        late_by_ns=table.duration_ns("late_by", 30 * 60 * 10**9),
        withdraw=table.number("withdraw", 0.0, most=1.0),
        withdraw_after_ns=table.duration_ns("withdraw_after", 3 * 3600 * 10**9),
    )
    if habits.deny + habits.close > 1:
        raise table.error("deny", "and 'close' are more than all people together")
    table.done()
    return habits


def _shares(table: Table, key: str, weights: tuple[float, ...]) -> tuple[float, ...]:
    total = sum(weights)
    if not math.isfinite(total):
        raise table.error(key, "must hold finite numbers")
    if not total:
        raise table.error(key, "must hold at least one number above 0")
    return tuple(weight / total for weight in weights)


def _mix(table: Table) -> dict[str, float]:
    weights = {name: table.number(name) for name in table}
    return dict(zip(weights, _shares(table, "", tuple(weights.values())), strict=True))


def _quantiles(table: Table, *, least: float, most: float) -> Quantiles:
    at = table.numbers("at")
    values = table.numbers("values", count=len(at), least=least)
    if len(at) < 2 or at[0] != 0 or at[-1] != 1 or any(a >= b for a, b in pairwise(at)):
        raise table.error("at", "must rise from 0 to 1")
    if any(a > b for a, b in pairwise(values)):
        raise table.error("values", "must not fall: they are quantiles")
    if values[-1] > most:
        raise table.error("values", f"must be at most {most:g}, not {values[-1]:g}")
    table.done()
    return Quantiles(at, values)
