"""Days and hours as people keep them: time zones, weekdays, holidays."""

from __future__ import annotations

import datetime
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt

from quotalab.profiles.traffic import Calendar

__all__ = ["HOUR_NS", "days_of_periods", "hours_of_days", "share_of_day"]

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

HOUR_NS = 3600 * 10**9
_MONDAY = 4
"""Days from 1970-01-01, a Thursday, to the first Monday: periods of whole weeks begin on Mondays."""
_EPOCH = datetime.date(1970, 1, 1)


def days_of_periods(start_ns: int, end_ns: int, period_days: int) -> Ints:
    """The first local day of each period that may hold a part of [start, end), whatever the zone."""
    day_ns = 24 * HOUR_NS
    first = (start_ns - 14 * HOUR_NS) // day_ns - _MONDAY
    last = (end_ns + 14 * HOUR_NS) // day_ns - _MONDAY
    return np.arange(first // period_days, last // period_days + 1) * period_days + _MONDAY


def hours_of_days(days: Ints, calendar: Calendar) -> Ints:
    """When each local hour of some days begins: (days, 24), nanoseconds since 1970 UTC.

    An hour that a clock skips begins where it would have; of one that comes twice it is the first.
    """
    utc = (days[:, None] * 24 + np.arange(24)) * HOUR_NS
    if calendar.zone == "UTC":
        return utc
    zone = ZoneInfo(calendar.zone)
    shifts = np.empty(utc.shape, dtype=np.int64)
    for i, day in enumerate(days.tolist()):
        date = _EPOCH + datetime.timedelta(days=day)
        for hour in range(24):
            offset = datetime.datetime(date.year, date.month, date.day, hour, tzinfo=zone).utcoffset()
            assert offset is not None, "a zone has an offset at every time"
            shifts[i, hour] = (offset.days * 86_400 + offset.seconds) * 10**9
    return utc - shifts


def share_of_day(days: Ints, calendar: Calendar) -> Floats:
    """The share of people who come on each day, by weekday and holidays."""
    share = np.array(calendar.by_weekday)[(days - _MONDAY) % 7]
    if calendar.holidays:
        free = np.array([(day - _EPOCH).days for day in calendar.holidays])
        share = np.where(np.isin(days, free), calendar.holiday_share, share)
    return share
