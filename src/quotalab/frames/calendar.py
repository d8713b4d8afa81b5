"""Windows that follow the clock: whole periods since 1970, or the days and months of a time zone.

Each window has an index that grows by one from window to window, so that the boundaries between two instants
are counted by a subtraction. Instants are int64 ns since 1970 UTC; zones are those of the IANA database.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
import numpy.typing as npt
import pandas as pd

from quotalab.profiles.limits import Limit

__all__ = ["NEVER", "ClockWindows", "LocalWindows", "PlainWindows", "clock_windows"]

Ints = npt.NDArray[np.int64]

NEVER = 2**63 - 1
_DAY_NS = 86_400 * 10**9
_LAST_DAY = 106_000  # in the year 2260; ns since 1970 fit into 63 bits for two years more


class ClockWindows(Protocol):
    """Windows that are the same for all keys."""

    def index(self, at_ns: Ints) -> Ints:
        """The window that each instant lies in."""
        ...

    def start_ns(self, index: Ints) -> Ints:
        """When each window begins; `NEVER` where that is out of reach."""
        ...


def clock_windows(limit: Limit, at_ns: Ints) -> ClockWindows:
    """The clock-aligned windows of a limit, for instants as far apart as those in `at_ns`."""
    if limit.zone == "UTC" and not limit.calendar:
        return PlainWindows(limit.period_ns)
    first_ns, last_ns = (int(at_ns.min()), int(at_ns.max())) if len(at_ns) else (0, 0)
    if limit.calendar:
        return LocalWindows(limit.zone, first_ns, last_ns, months=True)
    if limit.period_ns % _DAY_NS == 0:
        return LocalWindows(limit.zone, first_ns, last_ns, days=limit.period_ns // _DAY_NS)
    return LocalWindows(limit.zone, first_ns, last_ns, stretch_ns=limit.period_ns)


class PlainWindows:
    """Whole periods since 1970-01-01 in UTC."""

    def __init__(self, period_ns: int) -> None:
        self._period_ns = period_ns

    def index(self, at_ns: Ints) -> Ints:
        """See `ClockWindows`."""
        found: Ints = at_ns // self._period_ns
        return found

    def start_ns(self, index: Ints) -> Ints:
        """See `ClockWindows`."""
        far = index > NEVER // self._period_ns
        return np.where(far, NEVER, np.where(far, 0, index) * self._period_ns)


class LocalWindows:
    """Blocks that begin at local midnights, each one window, or cut into stretches of elapsed time.

    A block is `days` local days counted from 1970-01-01, or a calendar month. Where a midnight does not exist
    the block begins with the day's first instant; where there are two, with the first.
    """

    def __init__(
        self,
        zone: str,
        first_ns: int,
        last_ns: int,
        *,
        days: int = 1,
        months: bool = False,
        stretch_ns: int | None = None,
    ) -> None:
        self._zone, self._days, self._months, self._stretch_ns = zone, days, months, stretch_ns
        # No zone is two days from UTC.
        self._first = self._block(first_ns // _DAY_NS - 2)
        self._cover(self._block(last_ns // _DAY_NS + 2) + 2)

    def _block(self, day: int) -> int:
        """The block of a day in a calendar without zones."""
        if self._months:
            return int(np.array([day], dtype="datetime64[D]").astype("datetime64[M]").astype(np.int64)[0])
        return day // self._days

    def _cover(self, end: int) -> None:
        """Lay out the blocks up to `end`, excluded."""
        block = np.arange(self._first, end)
        if self._months:
            midnight = block.astype("datetime64[M]").astype("datetime64[ns]")
        else:
            midnight = (block * self._days).astype("datetime64[D]").astype("datetime64[ns]")
        local = pd.DatetimeIndex(midnight).tz_localize(
            self._zone, ambiguous=np.ones(len(block), dtype=bool), nonexistent="shift_forward"
        )
        self._starts: Ints = local.as_unit("ns").asi8
        lengths = np.diff(self._starts)
        each = np.ones(len(lengths), dtype=np.int64)
        if self._stretch_ns is not None:
            each = -(-lengths // self._stretch_ns)
        self._before = np.append(0, np.cumsum(each))
        """How many windows there are before each block."""

    def index(self, at_ns: Ints) -> Ints:
        """See `ClockWindows`; windows are numbered from where the instants begin."""
        block = np.searchsorted(self._starts, at_ns, "right") - 1
        found: Ints = self._before[block]
        if self._stretch_ns is not None:
            found = found + (at_ns - self._starts[block]) // self._stretch_ns
        return found

    def start_ns(self, index: Ints) -> Ints:
        """See `ClockWindows`."""
        days = 31 if self._months else self._days
        while len(index) and int(index.max()) >= self._before[-1]:
            end = self._first + 2 * len(self._starts)
            if end * days > _LAST_DAY:
                end = max(_LAST_DAY // days, self._first + 1)
                if end <= self._first + len(self._starts):
                    break
            self._cover(end)
        far = index >= self._before[-1]
        near = np.where(far, 0, index)
        block = np.searchsorted(self._before, near, "right") - 1
        start: Ints = self._starts[block]
        if self._stretch_ns is not None:
            start = start + (near - self._before[block]) * self._stretch_ns
        return np.where(far, NEVER, start)
