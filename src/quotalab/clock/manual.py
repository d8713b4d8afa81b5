"""A clock for tests, which moves when it is told to."""

from __future__ import annotations

from quotalab.clock.timeline import MONOTONIC_ORIGIN_NS, written
from quotalab.errors import InputError

__all__ = ["ManualClock"]


class ManualClock:
    """Stands still except for :meth:`jump` and :meth:`sleep_ns`, which take no real time.

    ``start_ns`` is wall time in nanoseconds since 1970-01-01 00:00 UTC.
    """

    def __init__(self, start_ns: int) -> None:
        self._start_ns = start_ns
        self._elapsed_ns = 0

    def now_ns(self) -> int:
        """Wall time, in nanoseconds since 1970-01-01 00:00 UTC."""
        return self._start_ns + self._elapsed_ns

    def monotonic_ns(self) -> int:
        """Nanoseconds since an arbitrary origin, 1000 s before the start."""
        return MONOTONIC_ORIGIN_NS + self._elapsed_ns

    def jump(self, duration_ns: int) -> None:
        """Move ``duration_ns`` nanoseconds ahead; raises InputError when that is negative."""
        if duration_ns < 0:
            raise InputError(f"time can't go backwards: jump({duration_ns})")
        self._elapsed_ns += duration_ns

    def sleep_ns(self, duration_ns: int) -> None:
        """Return at once, ``duration_ns`` nanoseconds later."""
        if duration_ns < 0:
            raise InputError(f"cannot sleep for {duration_ns} ns: a duration is 0 or more")
        self._elapsed_ns += duration_ns

    def __repr__(self) -> str:
        since_s = self._elapsed_ns / 1_000_000_000
        return f"<ManualClock {written(self.now_ns())}, {since_s:g} s after its start>"
