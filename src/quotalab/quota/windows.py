"""Limiters that count within windows: rolling ones, those of the clock, and those that each key has."""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right

from quotalab.profiles.limits import Limit, key_offset_ns
from quotalab.quota.calendar import Calendar
from quotalab.quota.limiter import NEVER

__all__ = ["ClockWindow", "FirstCallWindow", "OffsetWindow", "RollingWindow"]

_HEAD, _USED, _FIRST = 0, 1, 2
"""Where in a key's array the index of its oldest charge is, the sum of its charges, and where they begin."""
_SLACK = 32
"""So many charges that have left may stay in an array before it is looked at whether to cut them off."""


class RollingWindow:
    """At most `number` in any half-open window of `period_ns`, for each key.

    A call at t was preceded, within the window that ends with it, by those charged in (t - W, t]. For each
    key one array holds the instants of the charges, in order; a second one their costs, once one is not 1.
    """

    def __init__(self, limit: Limit) -> None:
        self.number = limit.limit
        self._period_ns = limit.period_ns
        self._kept: dict[str, array[int]] = {}
        self._costs: dict[str, array[int]] = {}

    def room(self, key: str, now_ns: int, what: int) -> int | None:
        kept = self._kept.get(key)
        if kept is None:
            left = self.number - what
        else:
            if kept[kept[0]] <= now_ns - self._period_ns:
                self._expire(key, kept, now_ns)
            left = self.number - kept[1] - what
        return left if left >= 0 or not what else None

    def enter(self, key: str, now_ns: int, cost: int) -> int | None:
        kept = self._kept.get(key)
        if kept is None or cost != 1 or self._costs:
            left = self.room(key, now_ns, cost)
            if left is not None:
                self.take(key, now_ns, cost)
            return left
        if kept[kept[0]] <= now_ns - self._period_ns:
            self._expire(key, kept, now_ns)
        used = kept[1] + 1
        left = self.number - used
        if left < 0:
            return None
        if used == 1:
            self._kept[key] = array("q", (_FIRST, 1, now_ns))
        else:
            kept[1] = used
            kept.append(now_ns)
        return left

    def leave(self, key: str, _now_ns: int, cost: int) -> None:
        kept = self._kept[key]
        kept.pop()
        kept[_USED] -= cost
        if key in self._costs:
            self._costs[key].pop()
        if kept[_HEAD] == len(kept):
            del self._kept[key]
            self._costs.pop(key, None)

    def take(self, key: str, now_ns: int, what: int) -> None:
        kept = self._kept.get(key)
        if what != 1 or self._costs:
            self._take_cost(key, now_ns, what)
        elif kept is None:
            self._kept[key] = array("q", (_FIRST, 1, now_ns))
        else:
            kept[1] += 1
            kept.append(now_ns)

    def _take_cost(self, key: str, now_ns: int, cost: int) -> None:
        kept = self._kept.get(key)
        if kept is None:
            kept = self._kept[key] = array("q", (_FIRST, 0))
        costs = self._costs.get(key)
        if costs is None and cost != 1:
            costs = self._costs[key] = array("q", (1,)) * len(kept)
        kept[_USED] += cost
        kept.append(now_ns)
        if costs is not None:
            costs.append(cost)

    def _expire(self, key: str, kept: array[int], now_ns: int) -> None:
        """Let go what has left the window; a key with nothing in it is forgotten, its array shows 0 used."""
        head, length, gone_ns = kept[0], len(kept), now_ns - self._period_ns
        first = head + 1
        if first < length and kept[first] <= gone_ns:
            first = bisect_right(kept, gone_ns, first)
        costs = self._costs.get(key) if self._costs else None
        if first == length:
            kept[_USED] = 0
            del self._kept[key]
            if costs is not None:
                del self._costs[key]
            return
        kept[1] -= first - head if costs is None else sum(costs[head:first])
        if first > _SLACK and 4 * first > length:
            del kept[_FIRST:first]
            if costs is not None:
                del costs[_FIRST:first]
            first = _FIRST
        kept[0] = first

    def _current(self, key: str, now_ns: int) -> array[int] | None:
        kept = self._kept.get(key)
        if kept is not None and kept[kept[_HEAD]] <= now_ns - self._period_ns:
            self._expire(key, kept, now_ns)
            kept = self._kept.get(key)
        return kept

    def wait_ns(self, key: str, now_ns: int, what: int) -> int:
        if what > self.number:
            return NEVER
        kept = self._kept[key]
        excess = kept[_USED] + what - self.number
        oldest = kept[_HEAD]
        costs = self._costs.get(key)
        if costs is None:
            oldest += excess - 1
        else:
            while (excess := excess - costs[oldest]) > 0:
                oldest += 1
        return kept[oldest] + self._period_ns - now_ns

    def left(self, key: str, now_ns: int) -> int:
        kept = self._current(key, now_ns)
        return self.number if kept is None else self.number - kept[_USED]

    def reset_ns(self, key: str, now_ns: int) -> int:
        kept = self._current(key, now_ns)
        if kept is None or not kept[_USED]:
            return now_ns
        newest = len(kept) - 1
        costs = self._costs.get(key)
        while costs is not None and not costs[newest]:  # wholly given back
            newest -= 1
        return kept[newest] + self._period_ns

    def give_back(self, key: str, at_ns: int, now_ns: int, amount: int) -> None:
        kept = self._current(key, now_ns)
        if kept is None or at_ns <= now_ns - self._period_ns:
            return
        costs = self._costs.get(key)
        if costs is None:
            costs = self._costs[key] = array("q", (1,)) * len(kept)
        kept[_USED] -= amount
        charge = bisect_left(kept, at_ns, kept[_HEAD])
        while amount:  # charges of one instant leave together, so it does not matter whose is reduced
            part = min(amount, costs[charge])
            costs[charge] -= part
            amount -= part
            charge += 1

    def sweep(self, now_ns: int) -> int:
        for key in list(self._kept):
            self._current(key, now_ns)
        self._kept, self._costs = dict(self._kept), dict(self._costs)
        return len(self._kept)


class ClockWindow:
    """At most `number` in each window of a calendar, which is the same for all keys."""

    def __init__(self, limit: Limit, calendar: Calendar) -> None:
        self.number = limit.limit
        self._calendar = calendar
        self._end_ns = 0
        self._used: dict[str, int] = {}

    def room(self, key: str, now_ns: int, what: int) -> int | None:
        if now_ns >= self._end_ns:
            self._move(now_ns)
        left = self.number - self._used.get(key, 0) - what
        return left if left >= 0 or not what else None

    def enter(self, key: str, now_ns: int, cost: int) -> int | None:
        if now_ns >= self._end_ns:
            self._move(now_ns)
        used = self._used.get(key, 0) + cost
        left = self.number - used
        if left < 0:
            return None
        self._used[key] = used
        return left

    def leave(self, key: str, _now_ns: int, cost: int) -> None:
        self._used[key] -= cost

    def take(self, key: str, now_ns: int, what: int) -> None:
        if now_ns >= self._end_ns:
            self._move(now_ns)
        self._used[key] = self._used.get(key, 0) + what

    def _move(self, now_ns: int) -> None:
        self._calendar.move(now_ns)
        self._end_ns = self._calendar.end_ns
        self._used = {}

    def wait_ns(self, _key: str, now_ns: int, what: int) -> int:
        return NEVER if what > self.number else self._end_ns - now_ns

    def left(self, key: str, now_ns: int) -> int:
        if now_ns >= self._end_ns:
            self._move(now_ns)
        return self.number - self._used.get(key, 0)

    def reset_ns(self, _key: str, now_ns: int) -> int:
        if now_ns >= self._end_ns:
            self._move(now_ns)
        return self._end_ns

    def give_back(self, key: str, at_ns: int, now_ns: int, amount: int) -> None:
        if now_ns >= self._end_ns:
            self._move(now_ns)
        if at_ns >= self._calendar.start_ns:
            self._used[key] -= amount

    def sweep(self, now_ns: int) -> int:
        if now_ns >= self._end_ns:
            self._move(now_ns)
        return len(self._used)


class FirstCallWindow:
    """At most `number` in each window of `period_ns` that begins with a key's first charged call.

    A key's window is held as one whole number: its end in the low 64 bits, what is used above them.
    """

    _END = (1 << 64) - 1

    def __init__(self, limit: Limit) -> None:
        self.number = limit.limit
        self._limit = limit
        self._period_ns = limit.period_ns
        self._windows: dict[str, int] = {}
        self._before: int | None = None
        """What the last key to enter was held as before."""

    def _end(self, _key: str, now_ns: int) -> int:
        """The end of the window that a charge now would begin."""
        return now_ns + self._period_ns

    def room(self, key: str, now_ns: int, what: int) -> int | None:
        window = self._windows.get(key)
        left = self.number - what
        if window is not None and now_ns < window & self._END:
            left -= window >> 64
        return left if left >= 0 or not what else None

    def enter(self, key: str, now_ns: int, cost: int) -> int | None:
        window = self._windows.get(key)
        left = self.number - cost
        self._before = window
        if window is None or now_ns >= window & self._END:
            window = self._end(key, now_ns)
        else:
            left -= window >> 64
        if left < 0:
            return None
        self._windows[key] = window + (cost << 64)
        return left

    def leave(self, key: str, _now_ns: int, _cost: int) -> None:
        if self._before is None:
            del self._windows[key]
        else:
            self._windows[key] = self._before

    def take(self, key: str, now_ns: int, what: int) -> None:
        window = self._windows.get(key)
        if window is None or now_ns >= window & self._END:
            window = self._end(key, now_ns)
        self._windows[key] = window + (what << 64)

    def wait_ns(self, key: str, now_ns: int, what: int) -> int:
        return NEVER if what > self.number else (self._windows[key] & self._END) - now_ns

    def left(self, key: str, now_ns: int) -> int:
        window = self._windows.get(key, 0)
        return self.number if now_ns >= window & self._END else self.number - (window >> 64)

    def reset_ns(self, key: str, now_ns: int) -> int:
        return max(self._windows.get(key, 0) & self._END, now_ns)

    def give_back(self, key: str, at_ns: int, now_ns: int, amount: int) -> None:
        window = self._windows.get(key, 0)
        end_ns = window & self._END
        if end_ns - self._period_ns <= at_ns and now_ns < end_ns:
            self._windows[key] = window - (amount << 64)

    def sweep(self, now_ns: int) -> int:
        self._windows = {key: one for key, one in self._windows.items() if now_ns < one & self._END}
        return len(self._windows)


class OffsetWindow(FirstCallWindow):
    """At most `number` in each window of `period_ns`; each key's begin at an offset of its own."""

    def _end(self, key: str, now_ns: int) -> int:
        offset_ns = key_offset_ns(self._limit, key)
        return now_ns - (now_ns - offset_ns) % self._period_ns + self._period_ns

    def reset_ns(self, key: str, now_ns: int) -> int:
        return self._end(key, now_ns)
