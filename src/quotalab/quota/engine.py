"""The engine: asks all limits of a call together and charges all of them or none.

Integers only, and time is passed in: nanoseconds, never backwards. Windows are half-open, [x, x + W):
at most N calls in any such interval, and a call at the instant of a reset belongs to the new window.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

from quotalab.errors import FaultError
from quotalab.profiles.provider import Limit

__all__ = ["Decision", "Engine", "FixedWindow", "Limiter", "RollingWindow"]

_SWEEP_EVERY = 65_536  # decisions


class Decision(NamedTuple):
    """What the engine decided about one call."""

    limit: str | None
    """The limit that refused the call; None: it was admitted."""
    wait_ns: int
    """How long until every limit would admit it, if nothing else were admitted meanwhile; 0 when admitted."""
    keys: tuple[tuple[str, str], ...]
    charges: tuple[tuple[str, int], ...]
    """By limit; empty when refused."""
    remaining: tuple[tuple[str, int], ...]
    """By limit, after this call."""


class Limiter(Protocol):
    """One limit's state, for all its keys."""

    def wait_ns(self, key: str, now_ns: int, cost: int) -> int:
        """0 when the call fits now, else the time until it would."""
        ...

    def charge(self, key: str, now_ns: int, cost: int) -> None:
        """Count a call that `wait_ns` has just let pass."""
        ...

    def remaining(self, key: str, now_ns: int) -> int:
        """How much more may be charged now."""
        ...

    def sweep(self, now_ns: int) -> None:
        """Forget the keys that nothing is charged to any more."""
        ...


class RollingWindow:
    """At most `limit` in any half-open window of `period_ns`, for each key.

    A call at t was preceded, within the window that ends with it, by those charged in (t - W, t].
    """

    def __init__(self, limit: int, period_ns: int) -> None:
        self._limit = limit
        self._period_ns = period_ns
        self._charged: dict[str, deque[tuple[int, int]]] = {}
        self._used: dict[str, int] = {}

    def _expire(self, key: str, now_ns: int) -> int:
        """Forget what has left the window; the sum of what is still in it."""
        used = self._used.get(key, 0)
        if used:
            charged = self._charged[key]
            gone_ns = now_ns - self._period_ns
            before = used
            while charged and charged[0][0] <= gone_ns:
                used -= charged.popleft()[1]
            if used != before:
                if used:
                    self._used[key] = used
                else:
                    del self._used[key], self._charged[key]
        return used

    def wait_ns(self, key: str, now_ns: int, cost: int) -> int:
        """See `Limiter`."""
        excess = self._expire(key, now_ns) + cost - self._limit
        if excess <= 0:
            return 0
        for at_ns, charge in self._charged.get(key, ()):
            excess -= charge
            if excess <= 0:
                return at_ns + self._period_ns - now_ns
        raise _never(cost, self._limit)

    def charge(self, key: str, now_ns: int, cost: int) -> None:
        """See `Limiter`."""
        if not cost:
            return
        charged = self._charged.get(key)
        if charged is None:
            charged = self._charged[key] = deque()
        charged.append((now_ns, cost))
        self._used[key] = self._used.get(key, 0) + cost

    def remaining(self, key: str, now_ns: int) -> int:
        """See `Limiter`."""
        return self._limit - self._expire(key, now_ns)

    def sweep(self, now_ns: int) -> None:
        """See `Limiter`."""
        for key in list(self._charged):
            self._expire(key, now_ns)


class FixedWindow:
    """At most `limit` in each window of `period_ns`, for each key.

    Aligned to the clock, windows are the whole periods since 1970-01-01 UTC. Otherwise a key's window
    begins with its first charged call after the one before has ended.
    """

    def __init__(self, limit: int, period_ns: int, *, clock_aligned: bool) -> None:
        self._limit = limit
        self._period_ns = period_ns
        self._clock_aligned = clock_aligned
        self._windows: dict[str, tuple[int, int]] = {}

    def _window(self, key: str, now_ns: int) -> tuple[int, int]:
        """(start, used) of the key's window at `now_ns`."""
        window = self._windows.get(key)
        if window is not None:
            if now_ns - window[0] < self._period_ns:
                return window
            del self._windows[key]
        return (now_ns - now_ns % self._period_ns if self._clock_aligned else now_ns), 0

    def wait_ns(self, key: str, now_ns: int, cost: int) -> int:
        """See `Limiter`."""
        start_ns, used = self._window(key, now_ns)
        if used + cost <= self._limit:
            return 0
        if cost > self._limit:
            raise _never(cost, self._limit)
        return start_ns + self._period_ns - now_ns

    def charge(self, key: str, now_ns: int, cost: int) -> None:
        """See `Limiter`."""
        if not cost:
            return
        start_ns, used = self._window(key, now_ns)
        self._windows[key] = (start_ns, used + cost)

    def remaining(self, key: str, now_ns: int) -> int:
        """See `Limiter`."""
        return self._limit - self._window(key, now_ns)[1]

    def sweep(self, now_ns: int) -> None:
        """See `Limiter`."""
        for key in list(self._windows):
            self._window(key, now_ns)


def _never(cost: int, limit: int) -> FaultError:
    return FaultError(f"a call that costs {cost} never fits into a limit of {limit}")


def _limiter(limit: Limit) -> Limiter:
    if limit.kind == "rolling_window":
        return RollingWindow(limit.limit, limit.period_ns)
    if limit.kind == "fixed_window":
        return FixedWindow(limit.limit, limit.period_ns, clock_aligned=limit.align == "clock")
    raise FaultError(f"limits.{limit.name}: kind {limit.kind!r} passed validation but has no limiter")


class Engine:
    """All limits of a provider.

    Not for use from several threads at once; greenlets are fine, since no method yields.
    """

    def __init__(self, limits: Sequence[Limit]) -> None:
        self._limits = tuple((limit.name, limit.key, _limiter(limit)) for limit in limits)
        self._now_ns = 0
        self._until_sweep = _SWEEP_EVERY

    def decide(self, now_ns: int, caller: Mapping[str, str], cost: int = 1) -> Decision:
        """Admit or refuse one call; `caller` gives the value of each part that a limit's key may have.

        Refused by one limit, the call is charged to none. When several refuse, the one with the longest
        wait is named. Raises `FaultError` when time runs backwards, and when the cost is above a limit.
        """
        if now_ns < self._now_ns:
            raise FaultError(f"the engine's time can't go backwards: {now_ns} after {self._now_ns}")
        self._now_ns = now_ns
        self._until_sweep -= 1
        if not self._until_sweep:
            self._until_sweep = _SWEEP_EVERY
            for _, _, limiter in self._limits:
                limiter.sweep(now_ns)
        keys = []
        refusing, longest_ns = None, 0
        for name, parts, limiter in self._limits:
            key = caller[parts[0]] if len(parts) == 1 else "|".join([caller[part] for part in parts])
            keys.append((name, key))
            wait_ns = limiter.wait_ns(key, now_ns, cost)
            if wait_ns > longest_ns:
                refusing, longest_ns = name, wait_ns
        charges = []
        remaining = []
        for (name, key), (_, _, limiter) in zip(keys, self._limits, strict=True):
            if refusing is None:
                limiter.charge(key, now_ns, cost)
                charges.append((name, cost))
            remaining.append((name, limiter.remaining(key, now_ns)))
        return Decision(refusing, longest_ns, tuple(keys), tuple(charges), tuple(remaining))
