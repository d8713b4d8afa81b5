"""Credits that are spent, and refilled at the start of each window, or never."""

from __future__ import annotations

from quotalab.profiles.limits import Limit
from quotalab.quota.calendar import Calendar
from quotalab.quota.limiter import NEVER

__all__ = ["Balance"]


class Balance:
    """At most `number` spent; each window that begins gives so much back, down to nothing spent.

    A key is held as one whole number: what it has spent, as if its credits had been refilled in full at the
    start of every window since the calendar's first.
    """

    def __init__(self, limit: Limit, calendar: Calendar) -> None:
        self.number = limit.limit
        self._may_go_negative = limit.may_go_negative
        self._calendar = calendar
        self._refilled = bool(limit.period_ns)
        self._end_ns = 0
        self._base = 0
        """What a key would be held as that has spent nothing."""
        self._spent: dict[str, int] = {}

    def _move(self, now_ns: int) -> None:
        self._calendar.move(now_ns)
        self._end_ns = self._calendar.end_ns
        self._base = self._calendar.index * self.number

    def _used(self, key: str, now_ns: int) -> int:
        if now_ns >= self._end_ns:
            self._move(now_ns)
        return max(0, self._spent.get(key, self._base) - self._base)

    def room(self, key: str, now_ns: int, what: int) -> int | None:
        used = self._used(key, now_ns)
        left = self.number - used - what
        if left >= 0 or not what or (self._may_go_negative and used < self.number):
            return left
        return None

    def enter(self, key: str, now_ns: int, cost: int) -> int | None:
        left = self.room(key, now_ns, cost)
        if left is not None:
            self._spent[key] = self._base + self.number - left
        return left

    def leave(self, key: str, _now_ns: int, cost: int) -> None:
        self._spent[key] -= cost

    def take(self, key: str, now_ns: int, what: int) -> None:
        used = self._used(key, now_ns)  # which may move on to the window that holds now
        self._spent[key] = self._base + used + what

    def wait_ns(self, key: str, now_ns: int, what: int) -> int:
        used = self._used(key, now_ns)
        if not self._refilled or (what > self.number and not self._may_go_negative):
            return NEVER
        spare = 1 if self._may_go_negative else what
        refills = -(-(used + spare - self.number) // self.number)
        start_ns = self._calendar.start_after(refills)
        return NEVER if start_ns == NEVER else start_ns - now_ns

    def left(self, key: str, now_ns: int) -> int:
        return self.number - self._used(key, now_ns)

    def reset_ns(self, key: str, now_ns: int) -> int:
        if not self._refilled:
            return NEVER
        used = self._used(key, now_ns)
        return self._calendar.start_after(-(-used // self.number)) if used else now_ns

    def give_back(self, key: str, _at_ns: int, _now_ns: int, amount: int) -> None:
        if key in self._spent:
            self._spent[key] -= amount

    def sweep(self, now_ns: int) -> int:
        if now_ns >= self._end_ns:
            self._move(now_ns)
        self._spent = {key: spent for key, spent in self._spent.items() if spent > self._base}
        return len(self._spent)
