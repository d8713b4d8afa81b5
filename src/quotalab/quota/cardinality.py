"""How many distinct people, tenants, tokens, addresses or objects there may be."""

from __future__ import annotations

from quotalab.profiles.limits import Limit
from quotalab.quota.limiter import NEVER

__all__ = ["Cardinality"]

_FEW = 8


class Cardinality:
    """At most `number` distinct members of a key, for ever; a new one is refused, or replaces the oldest.

    A few members are held in a tuple, which is small; more in a dict. Both keep the order of entry.
    """

    def __init__(self, limit: Limit) -> None:
        self.number = limit.limit
        self._evicts = limit.on_excess == "evict_oldest"
        self._members: dict[str, tuple[str, ...] | dict[str, None]] = {}

    def has(self, key: str, member: str) -> bool:
        """Whether this is a member already."""
        return member in self._members.get(key, ())

    def room(self, key: str, _now_ns: int, what: str) -> int | None:
        members = self._members.get(key, ())
        left = self.number - len(members)
        if what in members:
            return left
        if left > 0:
            return left - 1
        return left if self._evicts else None

    def take(self, key: str, _now_ns: int, what: str) -> str | None:
        """Let in a member; the one that had to leave for it, if any."""
        members = self._members.get(key, ())
        if what in members:
            return None
        evicted = next(iter(members)) if self._evicts and len(members) >= self.number else None
        if isinstance(members, dict):
            members[what] = None
            if evicted is not None:
                del members[evicted]
        else:
            grown = (*(members if evicted is None else members[1:]), what)
            self._members[key] = grown if len(grown) <= _FEW else dict.fromkeys(grown)
        return evicted

    def wait_ns(self, _key: str, _now_ns: int, _what: str) -> int:
        return NEVER

    def left(self, key: str, _now_ns: int) -> int:
        return self.number - len(self._members.get(key, ()))

    def reset_ns(self, _key: str, now_ns: int) -> int:
        return now_ns

    def sweep(self, _now_ns: int) -> int:
        """Members stay for ever."""
        return len(self._members)
