"""Times, durations and counts in words, from integer nanoseconds."""

from __future__ import annotations

import datetime

__all__ = ["clock_time", "count", "duration", "iso", "share"]

_EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
_SECOND_NS = 1_000_000_000
# From so many seconds on: a unit of so many, then what is left in a smaller one. A day is 24 h.
_UNITS = ((48 * 3600, 86_400, "d", 3600, "h"), (3600, 3600, "h", 60, "min"), (60, 60, "min", 1, "s"))


def iso(at_ns: int) -> str:
    """RFC 3339 in UTC, with as many decimals as it takes: ``2026-01-05T09:12:00.25Z``."""
    seconds, rest = divmod(at_ns, _SECOND_NS)
    fraction = f".{rest:09d}".rstrip("0") if rest else ""
    return f"{_at(seconds):%Y-%m-%dT%H:%M:%S}{fraction}Z"


def clock_time(at_ns: int, *, day: bool = True, decimals: int = 0) -> str:
    """For people, cut off and not rounded: ``Mon 5 Jan 09:12:00`` (UTC)."""
    seconds, rest = divmod(at_ns, _SECOND_NS)
    moment = _at(seconds)
    text = f"{moment:%H:%M:%S}"
    if decimals:
        text += f".{rest:09d}"[: decimals + 1]
    return f"{moment:%a} {moment.day} {moment:%b} {text}" if day else text


def duration(ns: int) -> str:
    """Two units at most: ``1 h``, ``46 min 40 s``, ``2.5 s``, ``80 ms``."""
    if ns < 0:
        return f"-{duration(-ns)}"
    if ns < _SECOND_NS:
        return f"{ns / 1e6:.3g} ms" if ns else "0 s"
    seconds = ns / _SECOND_NS
    if round(seconds) < 60:
        return f"{seconds:.3g} s"
    whole = round(seconds)
    for least, size, unit, below, name in _UNITS:
        if whole >= least:
            most, rest = divmod(whole, size)
            rest //= below
            return f"{most} {unit} {rest} {name}" if rest else f"{most} {unit}"
    raise AssertionError("a minute or more is at least one minute")


def count(number: int, noun: str, plural: str | None = None) -> str:
    """``1 call``, ``2,012 calls``."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def share(value: float) -> str:
    """``2.5 %``, with three digits at most."""
    return f"{value * 100:.3g} %" if abs(value) < 9.995 else f"{value * 100:,.0f} %"


def _at(seconds: int) -> datetime.datetime:
    return _EPOCH + datetime.timedelta(seconds=int(seconds))
