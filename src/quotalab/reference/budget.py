"""A request budget: the app's own account of what it may still ask of the provider, shared by all it does.

It never lets more than its share go in any period, keeps a margin, keeps room for what people are waiting
for, and spreads background work evenly, so that an hour's calls are not gone after ten minutes.
"""

from __future__ import annotations

import threading
from bisect import bisect_right, insort

from quotalab.clock import Clock
from quotalab.profiles import policy
from quotalab.reference.errors import Declined

__all__ = ["Budget"]


class Budget:
    """Call `acquire` before each call to the provider and `settle` after it.

    A call counts from when it is let go until one period after its answer came: the provider counted it
    somewhere in between, so however long the network took, no two counts can disagree.
    Safe for threads and greenlets.
    """

    def __init__(self, settings: policy.Budget, clock: Clock) -> None:
        self._clock = clock
        self._period_ns = settings.period_ns
        self._most = max(1, int(settings.calls * (1 - settings.margin)))
        self._most_background = max(1, int(self._most * (1 - settings.reserve)))
        self._interval_ns = settings.period_ns // self._most_background
        self._burst_ns = (settings.burst - 1) * self._interval_ns
        self._lock = threading.Lock()
        self._in_flight = 0
        self._leaves_ns: list[int] = []
        """When each settled call leaves the account, ascending."""
        self._spread_ns = 0
        """When the next background call would be due if all before it had been spread evenly."""
        self._closed_until_ns = 0
        self._waiting: list[tuple[bool, int]] = []
        """Who waits, interactive first, then first come: (is background, ticket)."""
        self._tickets = 0

    def acquire(self, *, interactive: bool, deadline_ns: int) -> None:
        """Wait for room for one call, at most until `deadline_ns` (by the clock's `now_ns`).

        Raises `Declined` at once when there will be no room by then.
        """
        with self._lock:
            self._tickets += 1
            ticket = (not interactive, self._tickets)
            insort(self._waiting, ticket)
        try:
            while True:
                with self._lock:
                    now_ns = self._clock.now_ns()
                    wait_ns = self._wait_ns(ticket, now_ns)
                    if wait_ns == 0:
                        self._take(now_ns, interactive=interactive)
                        return
                    if now_ns + wait_ns > deadline_ns:
                        raise Declined("the budget has no call left before the deadline")
                self._clock.sleep_ns(wait_ns)
        finally:
            with self._lock:
                self._waiting.remove(ticket)

    def settle(self) -> None:
        """A call that was let go has been answered, or has failed: it may have been counted all the same."""
        with self._lock:
            self._in_flight -= 1
            insort(self._leaves_ns, self._clock.now_ns() + self._period_ns)

    def close(self, duration_ns: int) -> None:
        """The provider said to wait: nothing goes before that has passed."""
        with self._lock:
            self._closed_until_ns = max(self._closed_until_ns, self._clock.now_ns() + duration_ns)

    def _take(self, now_ns: int, *, interactive: bool) -> None:
        self._in_flight += 1
        if not interactive:
            self._spread_ns = max(self._spread_ns, now_ns) + self._interval_ns

    def _wait_ns(self, ticket: tuple[bool, int], now_ns: int) -> int:
        """0 when the call may go now, else how long until it is worth asking again."""
        leaves_ns = self._leaves_ns
        del leaves_ns[: bisect_right(leaves_ns, now_ns)]
        background = ticket[0]
        ready_ns = max(now_ns, self._closed_until_ns)
        if background:
            ready_ns = max(ready_ns, self._spread_ns - self._burst_ns)
        most = self._most_background if background else self._most
        ahead = bisect_right(self._waiting, ticket) - 1
        # Whoever waits ahead takes the room that comes free first.
        too_many = len(leaves_ns) + self._in_flight + ahead + 1 - most
        if too_many > 0:
            if too_many <= len(leaves_ns):
                ready_ns = max(ready_ns, leaves_ns[too_many - 1])
            else:  # the room that is needed belongs to calls not answered yet
                ready_ns = max(ready_ns, now_ns + self._period_ns)
        return ready_ns - now_ns
