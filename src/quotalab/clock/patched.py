"""The process's clocks, made to tell virtual time in place and put back.

time-machine covers ``time``, ``time_ns``, ``gmtime``, ``localtime``, ``strftime``, ``datetime.now``,
``utcnow``, ``today``, ``date.today`` and ``uuid1``; the rest of :mod:`time` is redirected here. Both reach
modules that imported the functions before. Clocks of used processor time stay real, as do readers in C that
ask the kernel themselves: sqlite's ``now``, file times, OpenSSL.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import time_machine

from quotalab.clock.inplace import Redirection, duplicate
from quotalab.clock.timeline import MONOTONIC_ORIGIN_NS, Timeline
from quotalab.errors import FaultError

__all__ = ["PatchedClocks"]

_S = 1_000_000_000

# Linux's numbers of the clocks that go with the wall, or with the time since the machine came up. Those
# without a name in :mod:`time` (coarse and alarm clocks) can still be asked for by number.
_WALL_IDS = frozenset({0, 5, 8, 11})
_MONOTONIC_IDS = frozenset({1, 4, 6, 7, 9})


class PatchedClocks:
    """All clocks of the process read ``timeline`` until :meth:`restore`."""

    def __init__(self, timeline: Timeline) -> None:
        self._travel = time_machine.travel(0, tick=False)
        # time-machine's patched functions ask the current traveller for time_ns() at every read; giving it
        # ours saves a call at every jump and keeps nanoseconds, which its shift() would round.
        self._travel.start().time_ns = timeline.read_wall_ns  # type: ignore[method-assign]
        self._redirections = [
            Redirection(getattr(time, name), reader) for name, reader in _readers(timeline).items()
        ]
        if time.time_ns() != timeline.now_ns or time.monotonic_ns() != MONOTONIC_ORIGIN_NS:
            self.restore()
            raise FaultError(f"time-machine {_version()} does not read the time where quotalab puts it")

    def restore(self) -> None:
        """Put the real clocks back."""
        while self._redirections:
            self._redirections.pop().undo()
        self._travel.stop()


def _version() -> str:
    from importlib.metadata import version

    return version("time-machine")


def _readers(timeline: Timeline) -> dict[str, Callable[..., object]]:
    offset_ns = MONOTONIC_ORIGIN_NS - timeline.start_ns

    # Not by way of Timeline.read_monotonic_ns: HTTP libraries and Locust read these several times a call.
    def monotonic() -> float:
        timeline.looks += 1
        if timeline.looks > timeline.looks_limit:
            timeline.on_too_many("reads the clock")
        return (timeline.now_ns + offset_ns) / _S

    def monotonic_ns() -> int:
        timeline.looks += 1
        if timeline.looks > timeline.looks_limit:
            timeline.on_too_many("reads the clock")
        return timeline.now_ns + offset_ns

    real_gettime = duplicate(time.clock_gettime)
    real_gettime_ns = duplicate(time.clock_gettime_ns)
    real_ctime = duplicate(time.ctime)
    real_asctime = duplicate(time.asctime)

    def clock_gettime(clk_id: int, /) -> float:
        if clk_id in _MONOTONIC_IDS:
            return monotonic()
        if clk_id in _WALL_IDS:
            return timeline.read_wall_ns() / _S
        return float(real_gettime(clk_id))

    def clock_gettime_ns(clk_id: int, /) -> int:
        if clk_id in _MONOTONIC_IDS:
            return monotonic_ns()
        if clk_id in _WALL_IDS:
            return timeline.read_wall_ns()
        return int(real_gettime_ns(clk_id))

    def ctime(*seconds: float | None) -> str:
        if seconds in ((), (None,)):
            seconds = (timeline.read_wall_ns() // _S,)
        return str(real_ctime(*seconds))

    def asctime(*moment: time.struct_time) -> str:
        return str(real_asctime(*(moment or (time.localtime(),))))

    return {
        "monotonic": monotonic,
        "monotonic_ns": monotonic_ns,
        "perf_counter": monotonic,
        "perf_counter_ns": monotonic_ns,
        "clock_gettime": clock_gettime,
        "clock_gettime_ns": clock_gettime_ns,
        "ctime": ctime,
        "asctime": asctime,
    }
