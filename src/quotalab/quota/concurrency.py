"""How many calls may be under way at once."""

from __future__ import annotations

from array import array
from bisect import bisect_right, insort

from quotalab.profiles.limits import Limit

__all__ = ["Concurrency"]


class Concurrency:
    """At most `number` calls of a key under way; a call counts once it has been so for `min_age_ns`.

    A call counts from its arrival and that age on until it is answered, that instant excluded. For each key
    one array holds the ends of the calls under way that count or will, in order; a second one, where there is
    a least age, the instants at which the younger of them will begin to count.
    """

    def __init__(self, limit: Limit) -> None:
        self.number = limit.limit
        self._min_age_ns = limit.min_age_ns
        self._ends: dict[str, array[int]] = {}
        self._young: dict[str, array[int]] = {}

    def _count(self, key: str, now_ns: int) -> int:
        ends = self._ends.get(key)
        if ends is None:
            return 0
        if ends[0] <= now_ns:
            ended = bisect_right(ends, now_ns)
            if ended == len(ends):
                del self._ends[key]
                self._young.pop(key, None)
                return 0
            del ends[:ended]
        young = self._young.get(key)
        if young is None:
            return len(ends)
        if young[0] <= now_ns:
            del young[: bisect_right(young, now_ns)]
            if not young:
                del self._young[key]
        return len(ends) - len(young)

    def room(self, key: str, now_ns: int, what: int) -> int | None:
        left = self.number - self._count(key, now_ns)
        if left <= 0:
            return None
        return left - 1 if not self._min_age_ns and what > now_ns else left

    def take(self, key: str, now_ns: int, what: int) -> None:
        """Note a call that will have been answered at `what`."""
        start_ns = now_ns + self._min_age_ns
        if what <= start_ns:
            return
        ends = self._ends.get(key)
        if ends is None:
            self._ends[key] = array("q", (what,))
        else:
            insort(ends, what)
        if self._min_age_ns:
            young = self._young.get(key)
            if young is None:
                self._young[key] = array("q", (start_ns,))
            else:
                young.append(start_ns)

    def wait_ns(self, key: str, now_ns: int, _what: int) -> int:
        count = self._count(key, now_ns)
        young = self._young.get(key, ())
        begun = 0
        for ended, end_ns in enumerate(self._ends[key], 1):
            while begun < len(young) and young[begun] <= end_ns:
                begun += 1
            if count + begun - ended < self.number:
                return end_ns - now_ns
        raise AssertionError("once all calls have ended there is room")

    def left(self, key: str, now_ns: int) -> int:
        return self.number - self._count(key, now_ns)

    def reset_ns(self, _key: str, now_ns: int) -> int:
        return now_ns

    def sweep(self, now_ns: int) -> int:
        for key in list(self._ends):
            self._count(key, now_ns)
        self._ends, self._young = dict(self._ends), dict(self._young)
        return len(self._ends)
