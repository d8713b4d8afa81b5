"""A limit in words: the one place that says what a limit of each kind allows, and what was asked of it."""

from __future__ import annotations

from fractions import Fraction

from quotalab.frames import LimitUse
from quotalab.profiles.limits import Limit
from quotalab.rules.times import clock_time, count, duration

__all__ = ["allowed", "asked_for", "counts_in", "lasts_ns", "made_up", "whom"]

_SECOND_NS = 1_000_000_000
_MINUTE_NS, _DAY_NS = 60 * _SECOND_NS, 86_400 * _SECOND_NS
_RATES = (
    ("a second", _SECOND_NS),
    ("a minute", _MINUTE_NS),
    ("an hour", 60 * _MINUTE_NS),
    ("a day", _DAY_NS),
)
_MEMBERS = {
    "person": ("person", "people"),
    "tenant": ("tenant", "tenants"),
    "token": ("token", "tokens"),
    "ip": ("address", "addresses"),
    "object": ("object", "objects"),
}


def allowed(limit: Limit, number: int | None = None) -> str:
    """What the limit allows: ``100 in 1 h``, ``40, then 2 a second``, ``5 at once``, ``10 people``.

    `number`: the one in force where a timetable has changed it.
    """
    number = limit.limit if number is None else number
    kind = limit.counts or limit.kind
    if kind == "token_bucket":
        return f"{number:,}, then {_rate(limit.rate)}"
    if kind == "concurrency":
        aged = f", of those under way for {duration(limit.min_age_ns)}" if limit.min_age_ns else ""
        return f"{number:,} at once{aged}"
    if kind == "cardinality":
        return count(number, *_MEMBERS[limit.of])
    if kind == "penalty":
        statuses = " or ".join(map(str, limit.statuses))
        follows = "banned" if limit.action == "ban" else f"blocked for {duration(limit.block_ns)}"
        answers = count(number, "answer")
        return f"{answers} {statuses} in {duration(limit.period_ns)}, then {follows}"
    credits = " credits" if kind == "balance" else ""
    if not limit.period_ns:
        return f"{number:,}{credits} in all"
    if limit.calendar:
        period = f"{number:,}{credits} in a calendar month"
    else:
        period = f"{number:,}{credits} in {duration(limit.period_ns)}"
    return period if limit.zone == "UTC" else f"{period} by the clock of {limit.zone}"


def _rate(rate: Fraction) -> str:
    unit, size_ns = next((each for each in _RATES if rate * each[1] >= 1), _RATES[-1])
    return f"{float(rate * size_ns):,.4g} {unit}"


def counts_in(limit: Limit) -> str:
    """How the limit counts, in a word or two."""
    if limit.kind == "opaque":
        return f"undisclosed, {limit.counts.replace('_', ' ')}"
    return limit.kind.replace("_", " ")


def whom(limit: Limit) -> str:
    """For whom it is: ``the app``, ``each person and route``."""
    return "the app" if limit.key == ("app",) else f"each {' and '.join(limit.key)}"


def asked_for(use: LimitUse, by: str = "") -> str:
    """What the peak was: ``101 were asked for in the 1 h up to Mon 5 Jan 09:12:00``; `by`: after the verb."""
    limit, kind = use.limit, use.limit.counts or use.limit.kind
    assert use.peak_at_ns is not None, "a limit that was asked has a peak"
    when = clock_time(use.peak_at_ns)
    if kind == "concurrency":
        return f"{use.peak_asked:,} were asked for{by} at once at {when}"
    if kind == "token_bucket":
        return f"{use.peak_asked:,} were asked for{by} and had not drained away by {when}"
    if kind == "cardinality":
        return f"{count(use.peak_asked, *_MEMBERS[limit.of])} asked{by} up to {when}"
    if kind == "penalty":
        answers = "answer was" if use.peak_asked == 1 else "answers were"
        return (
            f"{use.peak_asked:,} such {answers} counted{by} in the {duration(limit.period_ns)} up to {when}"
        )
    if not limit.period_ns:
        return f"{use.peak_asked:,} were asked for{by} up to {when}"
    stretch = "calendar month" if limit.calendar else duration(limit.period_ns)
    return f"{use.peak_asked:,} were asked for{by} in the {stretch} up to {when}"


def made_up(limit: Limit) -> str:
    """What the calls are called that make up a peak: those of one window, or what else hangs together."""
    kind = limit.counts or limit.kind
    if kind == "concurrency":
        return "the worst moment"
    if kind == "token_bucket":
        return "the worst burst"
    if kind in ("cardinality", "penalty") or not limit.period_ns:
        return "the count"
    return "the worst window"


def lasts_ns(limit: Limit) -> int:
    """Refusals that follow each other within so long are told as one."""
    if limit.kind == "concurrency":
        return _MINUTE_NS
    if limit.kind == "cardinality":
        return 366 * _DAY_NS
    if limit.kind == "penalty":
        return max(limit.period_ns, limit.block_ns)
    length_ns = limit.length_ns
    return 366 * _DAY_NS if length_ns is None else length_ns
