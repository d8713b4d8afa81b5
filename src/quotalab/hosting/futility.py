"""Runs in which nothing goes: the app raises whatever it is asked, and asks the provider for nothing."""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import Any

from quotalab.clock import Clock

__all__ = ["Futility"]

_FEWEST = 100
_EACH = 10
_AT_ONCE = 10
_SPAN_NS = 60 * 10**9


class Futility:
    """Tells when going on would prove nothing, because Locust would repeat it to the end.

    Every operation up to then has failed, or its task raised outside of any; and the latest of them cost not
    one call: ten for each person (100 at least) over a minute of the run's time, or a hundred for each in
    less. An operation that is done, stale or declined ends the watch: something goes, and the rules judge it.
    `calls` is how many calls there have been, of the app's or of people whom it sent to the provider; `tell`
    is told, once, how many failures there were, how many of them cost no call, and the last one.
    """

    def __init__(
        self,
        clock: Clock,
        users: int,
        calls: Callable[[], int],
        tell: Callable[[int, int, BaseException, TracebackType | None], None],
    ) -> None:
        self._clock = clock
        self._heard = calls
        self._tell = tell
        self._enough = max(_FEWEST, _EACH * users)
        self._in_row = 0
        self._failed = 0
        self._calls = 0
        self._since_ns = 0
        self._told: BaseException | None = None
        self._watches = True

    def listen_to(self, events: Any) -> None:
        """Locust's `user_error` and `request`, on which each operation's end is told."""
        events.user_error.add_listener(self._raised)
        events.request.add_listener(self._ended)

    def _raised(self, exception: BaseException, tb: TracebackType | None, **_: Any) -> None:
        if self._watches:
            self._told = exception  # the end of its operation, if it has one, is told at once
            self._count(exception, tb)

    def _ended(self, request_type: str, exception: BaseException | None, **_: Any) -> None:
        if not self._watches or request_type != "operation":
            return
        if exception is None:
            self._watches = False
        elif exception is not self._told:
            self._count(exception, exception.__traceback__)
        self._told = None

    def _count(self, exception: BaseException, tb: TracebackType | None) -> None:
        now_ns = self._clock.now_ns()
        calls = self._heard()
        if calls != self._calls or not self._in_row:
            self._calls, self._in_row, self._since_ns = calls, 0, now_ns
        self._in_row += 1
        self._failed += 1
        enough = self._enough if now_ns - self._since_ns >= _SPAN_NS else self._enough * _AT_ONCE
        if self._in_row < enough:
            return
        self._watches = False
        self._tell(self._failed, self._in_row, exception, tb)
