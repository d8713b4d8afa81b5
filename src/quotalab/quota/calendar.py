"""Windows that the clock cuts time into: even ones, stretches of local days, whole local days, months.

A window is half-open. Each calendar keeps the window that holds the instant it was last moved to, so that
to stay within it costs its user one comparison.
"""

from __future__ import annotations

import datetime
from abc import ABC, abstractmethod
from zoneinfo import ZoneInfo

from quotalab.profiles.limits import Limit
from quotalab.quota.limiter import NEVER

__all__ = ["Calendar", "calendar_of", "first_instant_ns"]

_SECOND_NS = 10**9
_DAY_NS = 86_400 * _SECOND_NS
_EPOCH = datetime.date(1970, 1, 1).toordinal()
_UNIX = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
_LAST_DAY = datetime.date(2262, 4, 11).toordinal() - _EPOCH
"""The day on which nanoseconds since 1970 no longer fit into 64 bits; what begins later never does."""


class Calendar(ABC):
    """The window that holds an instant, and those that follow."""

    start_ns = 0
    end_ns = 0
    index = 0
    """Of the window; that of the next is one more."""

    @abstractmethod
    def move(self, now_ns: int) -> None:
        """To the window that holds `now_ns`, which is not before the present window."""

    @abstractmethod
    def start_after(self, windows: int) -> int:
        """The instant at which the window begins that comes so many after this one, or `NEVER`."""


class EvenWindows(Calendar):
    """Whole periods since 1970-01-01 UTC."""

    def __init__(self, period_ns: int) -> None:
        self._period_ns = period_ns

    def move(self, now_ns: int) -> None:
        self.index = now_ns // self._period_ns
        self.start_ns = self.index * self._period_ns
        self.end_ns = self.start_ns + self._period_ns

    def start_after(self, windows: int) -> int:
        return min(self.start_ns + windows * self._period_ns, NEVER)


class Forever(Calendar):
    """One window without an end."""

    end_ns = NEVER

    def move(self, now_ns: int) -> None:
        """There is no other."""

    def start_after(self, _windows: int) -> int:
        return NEVER


class LocalDays(Calendar):
    """Windows of some whole local days, counted from 1970-01-01, from local midnight to local midnight."""

    def __init__(self, zone: ZoneInfo, days: int) -> None:
        self._zone = zone
        self._days = days

    def move(self, now_ns: int) -> None:
        self.index = _day(self._zone, now_ns) // self._days
        self.start_ns = self._start(self.index)
        self.end_ns = self._start(self.index + 1)

    def start_after(self, windows: int) -> int:
        return self._start(self.index + windows)

    def _start(self, index: int) -> int:
        return first_instant_ns(self._zone, index * self._days)


class LocalMonths(Calendar):
    """Local calendar months."""

    def __init__(self, zone: ZoneInfo) -> None:
        self._zone = zone

    def move(self, now_ns: int) -> None:
        today = datetime.date.fromordinal(_EPOCH + _day(self._zone, now_ns))
        self.index = today.year * 12 + today.month - 1
        self.start_ns = self._start(self.index)
        self.end_ns = self._start(self.index + 1)

    def start_after(self, windows: int) -> int:
        return self._start(self.index + windows)

    def _start(self, index: int) -> int:
        year, month = divmod(index, 12)
        if year > datetime.MAXYEAR:
            return NEVER
        return first_instant_ns(self._zone, datetime.date(year, month + 1, 1).toordinal() - _EPOCH)


class DayStretches(Calendar):
    """Each local day cut into stretches of equal elapsed time from its local midnight on.

    On the days when clocks are changed the last stretch is shorter, or there are some more or fewer.
    """

    def __init__(self, zone: ZoneInfo, period_ns: int) -> None:
        self._zone = zone
        self._period_ns = period_ns
        self._day: int | None = None
        self._midnight_ns = self._next_midnight_ns = 0

    def move(self, now_ns: int) -> None:
        if self._day is None:
            self._open(_day(self._zone, now_ns))
            self._stretch(now_ns)
            return
        stretch = self.index - self._stretch_number(self.start_ns)  # the index of the day's first stretch
        while now_ns >= self._next_midnight_ns:
            stretch += self._stretches(self._midnight_ns, self._next_midnight_ns)
            self._open(self._day + 1)
        self._stretch(now_ns)
        self.index = stretch + self._stretch_number(now_ns)

    def start_after(self, windows: int) -> int:
        assert self._day is not None, "moved before it is asked"
        left = windows + self._stretch_number(self.start_ns)
        day, midnight_ns, next_ns = self._day, self._midnight_ns, self._next_midnight_ns
        while left >= (stretches := self._stretches(midnight_ns, next_ns)):
            left -= stretches
            day += 1
            midnight_ns, next_ns = next_ns, first_instant_ns(self._zone, day + 1)
            if next_ns == NEVER:
                return NEVER
        return midnight_ns + left * self._period_ns

    def _open(self, day: int) -> None:
        self._day = day
        self._midnight_ns = first_instant_ns(self._zone, day)
        self._next_midnight_ns = first_instant_ns(self._zone, day + 1)

    def _stretch(self, now_ns: int) -> None:
        self.start_ns = self._midnight_ns + self._stretch_number(now_ns) * self._period_ns
        self.end_ns = min(self.start_ns + self._period_ns, self._next_midnight_ns)

    def _stretch_number(self, now_ns: int) -> int:
        return (now_ns - self._midnight_ns) // self._period_ns

    def _stretches(self, midnight_ns: int, next_ns: int) -> int:
        return -((midnight_ns - next_ns) // self._period_ns)


def calendar_of(limit: Limit) -> Calendar:
    """The windows of a limit that is aligned to the clock."""
    if limit.calendar == "month":
        return LocalMonths(ZoneInfo(limit.zone))
    if not limit.period_ns:
        return Forever()
    if limit.zone == "UTC":
        return EvenWindows(limit.period_ns)
    if limit.period_ns % _DAY_NS == 0:
        return LocalDays(ZoneInfo(limit.zone), limit.period_ns // _DAY_NS)
    return DayStretches(ZoneInfo(limit.zone), limit.period_ns)


def first_instant_ns(zone: ZoneInfo, day: int) -> int:
    """The first instant of a local day, by its number since 1970-01-01; `NEVER` where it is too far off.

    That is local midnight; the first of two; where clocks jump over it, the instant of the jump.
    """
    if day >= _LAST_DAY:
        return NEVER
    midnight = datetime.datetime.fromordinal(_EPOCH + day)
    before = _offset_s(zone, midnight)
    after = _offset_s(zone, midnight.replace(fold=1))
    found_s = day * 86_400 - before
    if before < after:  # a gap: its instant lies between midnight by the clock after it and by the one before
        early_s = day * 86_400 - after
        while found_s - early_s > 1:
            middle_s = (early_s + found_s) // 2
            if _offset_s(zone, _at(zone, middle_s)) == before:
                early_s = middle_s
            else:
                found_s = middle_s
    return found_s * _SECOND_NS


def _day(zone: ZoneInfo, now_ns: int) -> int:
    """The number of the local day that holds an instant."""
    day = _at(zone, now_ns // _SECOND_NS).toordinal() - _EPOCH
    while now_ns >= first_instant_ns(
        zone, day + 1
    ):  # set back past midnight, clocks show the day before again
        day += 1
    return day


def _at(zone: ZoneInfo, at_s: int) -> datetime.datetime:
    return (_UNIX + datetime.timedelta(seconds=at_s)).astimezone(zone)


def _offset_s(zone: ZoneInfo, local: datetime.datetime) -> int:
    offset = zone.utcoffset(local)
    assert offset is not None, "a zone of the IANA database knows its offsets"
    return offset // datetime.timedelta(seconds=1)
