"""Traffic profiles: how many people there are, when they come, and what they do.

There are three kinds. ``laws`` are written by hand or fitted: sessions by the hour, operations of a session
and think times as laws. ``chain`` is fitted: classes of people, whose gaps follow a Markov chain.
``replay`` and ``resample`` take their times from a trace. All can have a calendar, growth and events.
"""

from __future__ import annotations

import datetime
import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from quotalab.profiles.reading import Table

__all__ = [
    "Calendar",
    "Chain",
    "ChainClass",
    "Discrete",
    "Event",
    "Formula",
    "Growth",
    "Habits",
    "Law",
    "Mood",
    "OperationChain",
    "Quantiles",
    "Replay",
    "Traffic",
    "parse_traffic",
]

# Beyond these a figure is a slip of the pen, and planning from it might not end.
_MOST_OPERATIONS = 10_000
_MOST_THINK_S = 86_400
_MOST_SESSIONS = 10_000
_MOST_PERIOD = 366
_LEAST_EVERY_NS = 1_000_000_000
_DAY_NS = 86_400 * 10**9

KINDS = ("laws", "chain", "replay", "resample")
_FORMULAS: Mapping[str, tuple[str, ...]] = {
    "constant": ("value",),
    "exponential": ("mean",),
    "lognormal": ("mu", "sigma"),
    "weibull": ("scale", "shape"),
    "pareto": ("scale", "alpha"),
}


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
class Discrete:
    """A law of a few values with their shares, which sum to 1."""

    values: tuple[float, ...]
    shares: tuple[float, ...]

    def value(self, probability: float) -> float:
        """The value whose share of [0, 1) holds the probability."""
        below = 0.0
        for value, share in zip(self.values, self.shares, strict=True):
            below += share
            if probability < below:
                return value
        return self.values[-1]

    def mean(self) -> float:
        """The mean of the law."""
        return sum(value * share for value, share in zip(self.values, self.shares, strict=True))


@dataclass(frozen=True, slots=True)
class Formula:
    """A law with a name and parameters, cut off at `most`; all by their quantile functions.

    exponential: mean; lognormal: mu and sigma of the logarithm; weibull: scale and shape; pareto (of the
    second kind, from 0 on): scale and alpha; constant: value.
    """

    law: str
    parameters: tuple[float, ...]
    most: float

    def value(self, probability: float) -> float:
        """The quantile at a probability in [0, 1]."""
        if self.law == "constant":
            return self.parameters[0]
        survival = 1.0 - probability
        if survival <= 0:
            return self.most
        first, second = (*self.parameters, 0.0)[:2]
        if self.law == "exponential":
            value = -first * math.log(survival)
        elif self.law == "weibull":
            value = first * (-math.log(survival)) ** (1 / second)
        elif self.law == "pareto":
            value = first * (survival ** (-1 / second) - 1)
        else:
            value = math.exp(min(first + second * _normal_quantile(probability), 700.0))
        return min(value, self.most)


Law = Quantiles | Discrete | Formula


def _normal_quantile(probability: float) -> float:
    from statistics import NormalDist

    return NormalDist().inv_cdf(min(max(probability, 1e-16), 1 - 1e-16))


@dataclass(frozen=True, slots=True)
class Mood:
    """How a session goes."""

    share: float
    """Of the class's sessions."""
    length: Discrete
    """Operations of a session."""
    first: tuple[float, ...]
    """Shares of the gap classes for a session's first gap."""
    following: tuple[tuple[float, ...], ...]
    """For each gap class that is not short, a pause, the shares of the gap classes that follow it."""
    in_run: tuple[tuple[float, ...], ...]
    """The same for each of the short gap classes, once `Chain.run` short gaps have followed each other."""
    after_short: tuple[tuple[float, ...], ...]
    """The same after one short gap, after two, ... up to a run; first where the session has not paused yet,
    then for each class that its last pause was of."""


@dataclass(frozen=True, slots=True)
class ChainClass:
    """People who are alike."""

    name: str
    people: int
    """How many of `Chain.deck` people are of this class."""
    sessions: Discrete
    """Sessions of a person in a period, from 0 up."""
    by_hour: tuple[float, ...]
    """Shares of sessions that begin in each hour of the period."""
    moods: tuple[Mood, ...]
    """One, or some of which each session has one; their shares sum to 1."""


@dataclass(frozen=True, slots=True)
class OperationChain:
    """What is asked after what."""

    names: tuple[str, ...]
    first: tuple[float, ...]
    following: tuple[tuple[float, ...], ...]


@dataclass(frozen=True, slots=True)
class Chain:
    """Sessions whose gaps follow a Markov chain over classes of gaps."""

    period_days: int
    resolution_ns: int
    """How fine the recorder's clock was: within it, times are spread evenly."""
    within_s: tuple[tuple[float, ...], ...]
    """For each gap class, seconds at equally spaced probabilities from 0 to 1; shorter gaps first."""
    run: int
    """How many short gaps in a row make a run: programs, and pages of pictures, go on differently."""
    short: int
    """How many of the gap classes are short; 0: there are no runs."""
    classes: tuple[ChainClass, ...]
    operations: OperationChain

    @property
    def deck(self) -> int:
        """People of all classes together: a deck from which they are dealt."""
        return sum(one.people for one in self.classes)


@dataclass(frozen=True, slots=True)
class Replay:
    """Times from a trace."""

    trace: Path
    sha256: str
    """Of the trace's file, as it is now."""
    shuffled: bool
    """Whether people live their own sessions in another order, or as recorded."""
    at_clock_time: bool
    """Whether the trace's time of day is kept, or it begins when the run does."""
    factor: float
    """How many times as fast."""
    loop_ns: int | None
    """After how long it begins anew; None: it does not."""
    spread_ns: int
    """How far the sessions of copies of a source are moved, at most."""
    operations: Mapping[str, str]
    """The scenario's operation for each of the trace's; ``*`` stands for the others."""


@dataclass(frozen=True, slots=True)
class Calendar:
    """Which days people come on, and whose hours the hours are."""

    zone: str = "UTC"
    by_weekday: tuple[float, ...] = (1.0,) * 7
    """The share of people who come at all, Monday first."""
    holidays: tuple[datetime.date, ...] = ()
    holiday_share: float = 0.0

    @property
    def plain(self) -> bool:
        """Whether every day is a day, in UTC."""
        return self == Calendar()


@dataclass(frozen=True, slots=True)
class Growth:
    """The share of people who are there, over time since the run's start; straight lines between."""

    at_ns: tuple[int, ...]
    share: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happens to traffic; which fields mean something depends on `kind`."""

    kind: str
    at_ns: int = 0
    """Since the run's start."""
    until_ns: int | None = None
    operation: str = ""
    share: float = 1.0
    """Of the people."""
    spread_ns: int = 0
    every_ns: int = 0
    half_life_ns: int = 0
    times: int = 1
    after: str = ""
    path: str = ""
    """Of its table in the profile, for messages."""


@dataclass(frozen=True, slots=True)
class Traffic:
    """A traffic profile, validated."""

    name: str
    title: str
    description: str
    people: int
    """How many there are, unless the run says otherwise."""
    arrivals: tuple[float, ...]
    """Of laws: shares of the day's sessions that begin in each hour, 0 to 23; they sum to 1."""
    sessions: tuple[float, ...]
    """Of laws: shares of people who have one, two, three, ... sessions a day; they sum to 1."""
    operations: Law
    """Of laws: operations in a session, rounded to whole ones when drawn; 1 or more."""
    think_s: Law
    """Of laws: seconds between operations of a session; of chains: the law that comes closest, for waits."""
    mix: Mapping[str, float]
    """Share of each kind of operation; they sum to 1. It names all that can be asked."""
    document: Mapping[str, Any]
    """The TOML document, as a run folder keeps it."""
    chain: Chain | None = None
    replay: Replay | None = None
    calendar: Calendar = field(default_factory=Calendar)
    growth: Growth | None = None
    events: tuple[Event, ...] = ()
    habits: Habits = Habits()
    file: str = ""


def parse_traffic(document: Mapping[str, Any], file: str) -> Traffic:
    """Validate a traffic profile; raises `ProfileError` naming the file and the key."""
    top = Table(document, file)
    top.whole("schema", least=1, most=1)
    kind = top.choice("kind", KINDS, "laws")
    name, title, description = top.text("name"), top.text("title"), top.text("description", "")
    people = top.whole("people", least=1, most=1_000_000)
    never = Quantiles((0.0, 1.0), (0.0, 0.0))
    parts: dict[str, Any] = {"arrivals": (), "sessions": (), "operations": never, "think_s": never}
    if kind == "laws":
        calendar = _laws(top, parts)
    elif kind == "chain":
        parts["chain"] = _chain(top)
        if "think_s" in top:
            parts["think_s"] = _law(top.table("think_s"), least=0, most=_MOST_THINK_S)
        operations = parts["chain"].operations
        parts["mix"] = dict(zip(operations.names, _in_the_long_run(operations), strict=True))
        table = top.table("calendar", {})
        calendar = _calendar(table)
        table.done()
    else:
        replay = _replay(top, file, shuffled=kind == "resample")
        parts["replay"] = replay
        names = sorted(set(replay.operations.values()))
        parts["mix"] = dict.fromkeys(names, 1 / len(names))
        document = {**document, kind: {**document[kind], "sha256": replay.sha256}}
        calendar = Calendar()
    growth = _growth(top.table("growth")) if "growth" in top else None
    events = tuple(_event(table) for table in top.array("events"))
    for event in events:
        if event.operation:
            parts["mix"].setdefault(event.operation, 0.0)
    habits = _habits(top.table("habits", {}))
    top.done()
    return Traffic(
        name=name,
        title=title,
        description=description,
        people=people,
        document=dict(document),
        calendar=calendar,
        growth=growth,
        events=events,
        habits=habits,
        file=file,
        **parts,
    )


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


def _laws(top: Table, parts: dict[str, Any]) -> Calendar:
    arrivals, sessions, operations, mix = (
        top.table(key) for key in ("arrivals", "sessions", "operations", "mix")
    )
    parts["arrivals"] = _shares(arrivals, "by_hour", arrivals.numbers("by_hour", count=24))
    parts["sessions"] = _shares(sessions, "per_person", sessions.numbers("per_person"))
    parts["operations"] = _law(operations.table("per_session"), least=1, most=_MOST_OPERATIONS)
    parts["think_s"] = _law(operations.table("think_s"), least=0, most=_MOST_THINK_S)
    parts["mix"] = _mix(mix)
    calendar = _calendar(arrivals)
    for table in (arrivals, sessions, operations, mix):
        table.done()
    return calendar


def _shares(table: Table, key: str, weights: Sequence[float]) -> tuple[float, ...]:
    total = sum(weights)
    if not math.isfinite(total):
        raise table.error(key, "must hold finite numbers")
    if not total:
        raise table.error(key, "must hold at least one number above 0")
    return tuple(weight / total for weight in weights)


def _mix(table: Table) -> dict[str, float]:
    weights = {name: table.number(name) for name in table}
    return dict(zip(weights, _shares(table, "", tuple(weights.values())), strict=True))


def _law(table: Table, *, least: float, most: float) -> Law:
    if "law" in table:
        return _formula(table, least=least, most=most)
    if "weights" in table:
        return _discrete(table, least=least, most=most)
    return _quantiles(table, least=least, most=most)


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


def _discrete(table: Table, *, least: float, most: float) -> Discrete:
    values = table.numbers("values", least=least)
    shares = _shares(table, "weights", table.numbers("weights", count=len(values)))
    if max(values) > most:
        raise table.error("values", f"must be at most {most:g}, not {max(values):g}")
    table.done()
    return Discrete(values, shares)


def _formula(table: Table, *, least: float, most: float) -> Formula:
    law = table.choice("law", tuple(_FORMULAS))
    highest = table.number("most", most, least=least, most=most)
    parameters = []
    for name in _FORMULAS[law]:
        value = table.number(name, least=-1e6 if name == "mu" else 0, most=1e9)
        if name not in ("mu", "value") and value <= 0:
            raise table.error(name, f"must be above 0, not {value:g}")
        parameters.append(value)
    if law == "constant" and not least <= parameters[0] <= most:
        raise table.error("value", f"must be a number from {least:g} to {most:g}, not {parameters[0]:g}")
    table.done()
    return Formula(law, tuple(parameters), highest)


def _chain(top: Table) -> Chain:
    gaps = top.table("gaps")
    within = _lists(gaps, "within_s")
    if any(len(row) < 2 or list(row) != sorted(row) or row[-1] > _MOST_THINK_S for row in within):
        raise gaps.error(
            "within_s", f"must hold rising lists of two or more seconds, at most {_MOST_THINK_S}"
        )
    resolution_ns = gaps.duration_ns("resolution", 0)
    run, short = gaps.whole("run", 1, least=1, most=1000), gaps.whole("short", 0, most=len(within))
    gaps.done()
    period = top.whole("period_days", 1, least=1, most=_MOST_PERIOD)
    classes = []
    for table in top.array("classes"):
        classes.append(
            ChainClass(
                table.text("name"),
                table.whole("people", least=1, most=1_000_000),
                _discrete(table.table("sessions"), least=0, most=_MOST_SESSIONS),
                _shares(table, "by_hour", table.numbers("by_hour", count=24 * period)),
                _moods(table, len(within), short, run),
            )
        )
        table.done()
    if not classes:
        raise top.error("classes", "must name at least one class of people")
    operations = top.table("operations")
    names = operations.texts("names")
    if not names:
        raise operations.error("names", "must name at least one operation")
    chained = OperationChain(
        names,
        _shares(operations, "first", operations.numbers("first", count=len(names))),
        _rows(operations, "next", len(names), len(names)),
    )
    operations.done()
    return Chain(period, resolution_ns, within, run, short, tuple(classes), chained)


def _moods(table: Table, width: int, short: int, run: int) -> tuple[Mood, ...]:
    tables = table.array("moods")
    if not tables:
        raise table.error("moods", "must say how sessions go, at least once")
    shares = _shares(table, "moods", [one.number("share", 1.0) for one in tables])
    steps = (run - 1) * (width - short + 1) if short else 0
    moods = []
    for mood, share in zip(tables, shares, strict=True):
        moods.append(
            Mood(
                share,
                _discrete(mood.table("length"), least=1, most=1_000_000),
                _shares(mood, "first", mood.numbers("first", count=width)),
                _rows(mood, "next", width - short, width) if width > short else (),
                _rows(mood, "next_in_run", short, width) if short else (),
                _rows(mood, "next_after_short", steps, width) if steps else (),
            )
        )
        mood.done()
    return tuple(moods)


def _lists(table: Table, key: str) -> tuple[tuple[float, ...], ...]:
    value = table.any(key)
    good = (
        isinstance(value, list)
        and bool(value)
        and all(isinstance(row, list) for row in value)
        and all(
            isinstance(one, int | float) and not isinstance(one, bool) and 0 <= one < math.inf
            for row in value
            for one in row
        )
    )
    if not good:
        raise table.error(key, "must be a list of lists of numbers of 0 or more")
    return tuple(tuple(float(one) for one in row) for row in value)


def _rows(table: Table, key: str, count: int, width: int) -> tuple[tuple[float, ...], ...]:
    rows = _lists(table, key)
    if len(rows) != count or any(len(row) != width for row in rows):
        raise table.error(key, f"must be {count} lists of {width} numbers, one for each that can follow")
    return tuple(_shares(table, key, row) for row in rows)


def _in_the_long_run(chain: OperationChain) -> list[float]:
    """Shares of the operations after many steps."""
    shares = list(chain.first)
    for _ in range(200):
        shares = [
            sum(shares[i] * chain.following[i][j] for i in range(len(shares))) for j in range(len(shares))
        ]
    total = sum(shares)
    return [share / total for share in shares]


def _replay(top: Table, file: str, *, shuffled: bool) -> Replay:
    table = top.table("resample" if shuffled else "replay")
    path = Path(file).parent / table.text("trace")
    try:
        with path.open("rb") as opened:
            sha256 = hashlib.file_digest(opened, "sha256").hexdigest()
    except OSError as error:
        raise table.error("trace", f"{path} cannot be read: {error.strerror or error}") from None
    expected = table.text("sha256", sha256)
    if expected != sha256:
        raise table.error("sha256", f"{path} is another file than the one that was recorded here")
    factor = 1.0 if shuffled else table.number("factor", 1.0, most=10_000)
    if factor <= 0:
        raise table.error("factor", "must be above 0: 2 is twice as fast")
    align = "clock" if shuffled else table.choice("align", ("start", "clock"), "start")
    if align == "clock" and factor != 1:
        raise table.error("factor", "must be 1 where the time of day is kept (align = 'clock')")
    loop_ns = None if shuffled else table.duration_ns("loop", None, least_ns=1)
    spread_ns = table.duration_ns("spread", 900 * 10**9)
    names = table.table("operations")
    operations = {name: names.text(name) for name in names}
    if not operations:
        raise names.error("", "must say which operation of the scenario each of the trace's is; '*' is any")
    for read in (names, table):
        read.done()
    return Replay(path, sha256, shuffled, align == "clock", factor, loop_ns, spread_ns, operations)


def _calendar(table: Table) -> Calendar:
    zone = table.text("zone", "UTC")
    try:
        ZoneInfo(zone)
    except (ValueError, OSError, ZoneInfoNotFoundError):
        raise table.error("zone", f"must be a time zone such as 'Europe/Berlin', not {zone!r}") from None
    weekdays: tuple[float, ...] = (1.0,) * 7
    if "by_weekday" in table:
        weekdays = table.numbers("by_weekday", count=7)
        if max(weekdays) > 1:
            raise table.error("by_weekday", "must hold shares of people from 0 to 1, Monday first")
    holidays = []
    for day in table.any("holidays", []) if "holidays" in table else []:
        try:
            good = day if type(day) is datetime.date else datetime.date.fromisoformat(day)
        except (TypeError, ValueError):
            raise table.error(
                "holidays", f"must be a list of dates such as 2026-01-01, not {day!r}"
            ) from None
        holidays.append(good)
    share = table.number("holiday_share", 0.0, most=1.0)
    return Calendar(zone, weekdays, tuple(holidays), share)


def _growth(table: Table) -> Growth:
    texts = table.any("at")
    share = table.numbers("share")
    if not isinstance(texts, list) or len(texts) != len(share) or not texts:
        raise table.error("at", f"must be a list of {len(share)} durations since the start, as share is")
    at = []
    for i, text in enumerate(texts):
        entry = Table({"at": text}, table.file, f"{table.path}.at[{i}]")
        at.append(entry.duration_ns("at"))
    if any(a >= b for a, b in pairwise(at)):
        raise table.error("at", "must rise")
    if max(share) > 1:
        raise table.error("share", "must hold shares of people from 0 to 1")
    table.done()
    return Growth(tuple(at), share)


_EVENTS: Mapping[str, tuple[str, ...]] = {
    # what people do more of
    "launch_spike": ("at", "operation", "share", "half_life", "times"),
    "newsletter": ("at", "operation", "share", "half_life", "times"),
    # what machines do
    "cron_herd": ("at", "until", "operation", "share", "every", "spread"),
    "background_sync": ("at", "until", "operation", "share", "every"),
    "slow_leak": ("at", "until", "operation", "share", "every"),
    # what an outage leaves behind
    "wake_up": ("at", "until", "operation", "share", "spread"),
    "reconnect_storm": ("at", "operation", "share", "spread", "times", "every"),
    # what the provider's messages set off
    "webhooks": ("at", "until", "operation", "after", "times", "spread"),
}


def _event(table: Table) -> Event:
    kind = table.choice("kind", tuple(_EVENTS))
    known = _EVENTS[kind]
    found: dict[str, Any] = {"kind": kind, "path": table.path}
    found["at_ns"] = table.duration_ns("at", 0)
    if "until" in known:
        found["until_ns"] = table.duration_ns("until", None)
        if found["until_ns"] is not None and found["until_ns"] <= found["at_ns"]:
            raise table.error("until", "must be later than at; both count from the run's start")
    found["operation"] = table.text("operation", "") if kind == "wake_up" else table.text("operation")
    if "share" in known:
        found["share"] = table.number("share", 1.0, most=1.0)
    if "spread" in known:
        found["spread_ns"] = table.duration_ns("spread", {"cron_herd": 2 * 10**9}.get(kind, 10 * 10**9))
    if "every" in known:
        found["every_ns"] = (
            table.duration_ns("every", 30 * 10**9, least_ns=_LEAST_EVERY_NS)
            if kind == "reconnect_storm"
            else table.duration_ns("every", least_ns=_LEAST_EVERY_NS)
        )
    if "half_life" in known:
        usual_ns = {"launch_spike": 3600 * 10**9}.get(kind, 2 * 3600 * 10**9)
        found["half_life_ns"] = table.duration_ns("half_life", usual_ns, least_ns=1_000_000)
    if "times" in known:
        found["times"] = table.whole("times", 1, least=1, most=1000)
    if "after" in known:
        found["after"] = table.text("after")
    if kind == "wake_up" and found["until_ns"] is None:
        raise table.error("until", "is missing; it must be the end of the outage, since the run's start")
    table.done()
    return Event(**found)
