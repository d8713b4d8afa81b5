"""Blocks for those whose calls are answered badly too often."""

from __future__ import annotations

from array import array
from bisect import bisect_right
from typing import NamedTuple

from quotalab.profiles.limits import Limit
from quotalab.quota.limiter import NEVER

__all__ = ["Penalty"]


class _Block(NamedTuple):
    end_ns: int
    duration_ns: int


class Penalty:
    """More than `number` answers of certain statuses within (t - window, t] block a key for a while.

    The count starts anew with each block. Each further block lasts longer, until the key has been without
    one for long enough.
    """

    def __init__(self, limit: Limit) -> None:
        self.number = limit.limit
        self._limit = limit
        self._statuses = frozenset(limit.statuses)
        self._window_ns = limit.period_ns
        self._counted: dict[str, array[int]] = {}
        self._blocks: dict[str, _Block] = {}
        """Of each key its last one, over or not."""

    def _blocked(self, key: str, now_ns: int) -> bool:
        block = self._blocks.get(key)
        return block is not None and now_ns < block.end_ns

    def _count(self, key: str, now_ns: int) -> int:
        counted = self._counted.get(key)
        if counted is None:
            return 0
        if counted[0] <= now_ns - self._window_ns:
            del counted[: bisect_right(counted, now_ns - self._window_ns)]
            if not counted:
                del self._counted[key]
        return len(counted)

    def room(self, key: str, now_ns: int, _what: int) -> int | None:
        return None if self._blocked(key, now_ns) else self.number - self._count(key, now_ns)

    def take(self, key: str, now_ns: int, what: int) -> None:
        """A call is not charged; its answer is counted."""

    def ask_blocked(self, key: str, now_ns: int) -> None:
        """Note a call that came while the key was blocked."""
        if self._limit.action == "extend":
            block = self._blocks[key]
            self._blocks[key] = block._replace(end_ns=now_ns + block.duration_ns)

    def answer(self, key: str, now_ns: int, status: int) -> None:
        """Count the answer to a call that no block of this limit refused."""
        if status not in self._statuses or self._blocked(key, now_ns):
            return
        count = self._count(key, now_ns) + 1
        if count > self.number:
            self._counted.pop(key, None)
            self._blocks[key] = self._block(self._blocks.get(key), now_ns)
        elif count == 1:
            self._counted[key] = array("q", (now_ns,))
        else:
            self._counted[key].append(now_ns)

    def _block(self, last: _Block | None, now_ns: int) -> _Block:
        limit = self._limit
        if limit.action == "ban":
            return _Block(NEVER, NEVER)
        duration_ns = limit.block_ns
        if last is not None and now_ns < last.end_ns + limit.forgive_ns:
            duration_ns = last.duration_ns * limit.escalation
        duration_ns = min(duration_ns, limit.longest_ns)
        return _Block(now_ns + duration_ns, duration_ns)

    def wait_ns(self, key: str, now_ns: int, _what: int) -> int:
        block = self._blocks[key]
        if self._limit.action == "extend":  # this very call begins the block anew
            return block.duration_ns
        return NEVER if block.end_ns == NEVER else block.end_ns - now_ns

    def left(self, key: str, now_ns: int) -> int:
        return self.number - self._count(key, now_ns)

    def reset_ns(self, key: str, now_ns: int) -> int:
        return self._blocks[key].end_ns if self._blocked(key, now_ns) else now_ns

    def sweep(self, now_ns: int) -> int:
        for key in list(self._counted):
            self._count(key, now_ns)
        self._counted = dict(self._counted)
        forgive_ns = self._limit.forgive_ns
        self._blocks = {key: one for key, one in self._blocks.items() if now_ns < one.end_ns + forgive_ns}
        return len(self._counted) + len(self._blocks)
