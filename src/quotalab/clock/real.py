"""The real clock, real even where the process's own clocks are virtual."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime
from types import BuiltinFunctionType

from quotalab.clock.inplace import duplicate
from quotalab.errors import InputError

__all__ = ["RealClock", "monotonic_s", "real_sleep"]


def _c_sleep() -> Callable[[float], None]:
    """The interpreter's own ``time.sleep``, also where gevent has put another in its place."""
    if isinstance(time.sleep, BuiltinFunctionType):
        return time.sleep
    from gevent.monkey import get_original

    original: Callable[[float], None] = get_original("time", "sleep")
    return original


_time_ns = duplicate(time.time_ns)
_monotonic_ns = duplicate(time.monotonic_ns)
#: Seconds of real time since an arbitrary origin, as a float.
monotonic_s = duplicate(time.monotonic)
#: Blocks the operating system's thread, with everything that runs in it, for a number of seconds.
real_sleep = duplicate(_c_sleep())


class RealClock:
    """The machine's own time, which never runs backwards: where wall time is set anew, this one goes on."""

    def __init__(self) -> None:
        self._epoch_ns = int(_time_ns()) - int(_monotonic_ns())

    def now_ns(self) -> int:
        """Wall time, in nanoseconds since 1970-01-01 00:00 UTC, as it was set when this clock was made."""
        return self._epoch_ns + int(_monotonic_ns())

    def monotonic_ns(self) -> int:
        """Nanoseconds since an arbitrary origin."""
        return int(_monotonic_ns())

    def sleep_ns(self, duration_ns: int) -> None:
        """Wait ``duration_ns`` nanoseconds, cooperatively where gevent has patched ``time.sleep``."""
        if duration_ns < 0:
            raise InputError(f"cannot sleep for {duration_ns} ns: a duration is 0 or more")
        time.sleep(duration_ns / 1_000_000_000)

    def __repr__(self) -> str:
        seconds, fraction_ns = divmod(self.now_ns(), 1_000_000_000)
        now = datetime.fromtimestamp(seconds, UTC)
        return f"<RealClock {now:%Y-%m-%dT%H:%M:%S}.{fraction_ns:09d}Z>"
