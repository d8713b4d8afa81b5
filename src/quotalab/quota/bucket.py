"""The token bucket, which is the leaky bucket seen from the other side."""

from __future__ import annotations

from quotalab.profiles.limits import Limit
from quotalab.quota.limiter import NEVER

__all__ = ["TokenBucket"]


class TokenBucket:
    """What is used drains at a steady rate down to nothing; at most `number` may be used at once.

    Exact: with a rate of p/q tokens a nanosecond in lowest terms, a key is held as one whole number, the
    instant at which it will have drained, counted in 1/p ns. What is used at t is (that - t x p) / q.
    """

    def __init__(self, limit: Limit) -> None:
        self.number = limit.limit
        self._p = limit.rate.numerator
        self._q = limit.rate.denominator
        self._drained: dict[str, int] = {}

    def room(self, key: str, now_ns: int, what: int) -> int | None:
        left = self.number - what
        level = self._drained.get(key, 0) - now_ns * self._p
        if level > 0:
            left += -level // self._q
        return left if left >= 0 or not what else None

    def enter(self, key: str, now_ns: int, cost: int) -> int | None:
        left = self.number - cost
        drained, now = self._drained.get(key, 0), now_ns * self._p
        if drained <= now:
            drained = now
        else:
            left += (now - drained) // self._q
        if left < 0:
            return None
        self._drained[key] = drained + cost * self._q
        return left

    def leave(self, key: str, _now_ns: int, cost: int) -> None:
        self._drained[key] -= cost * self._q

    def take(self, key: str, now_ns: int, what: int) -> None:
        drained, now = self._drained.get(key, 0), now_ns * self._p
        self._drained[key] = (drained if drained > now else now) + what * self._q

    def _level(self, key: str, now_ns: int) -> int:
        """What is used now, in 1/q tokens."""
        return max(0, self._drained.get(key, 0) - now_ns * self._p)

    def wait_ns(self, key: str, now_ns: int, what: int) -> int:
        if what > self.number:
            return NEVER
        return -(-(self._level(key, now_ns) + (what - self.number) * self._q) // self._p)

    def left(self, key: str, now_ns: int) -> int:
        return self.number + -self._level(key, now_ns) // self._q

    def reset_ns(self, key: str, now_ns: int) -> int:
        return now_ns + -(-self._level(key, now_ns) // self._p)

    def give_back(self, key: str, _at_ns: int, _now_ns: int, amount: int) -> None:
        if key in self._drained:
            self._drained[key] -= amount * self._q

    def sweep(self, now_ns: int) -> int:
        now = now_ns * self._p
        self._drained = {key: drained for key, drained in self._drained.items() if drained > now}
        return len(self._drained)
