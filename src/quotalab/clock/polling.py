"""Polls that end in vain end after their deadline, as they do in real time.

Code that polls until a deadline often goes on ``while deadline - now >= 0``, :mod:`multiprocessing` among it.
Where a timeout ends at its very instant, the next poll has 0 seconds left and the one after it too, for ever.
So ``select.select`` and ``poll`` with nothing to tell come back a nanosecond late, and so does a ``poll``
object that is asked for the second time at one instant to look without waiting. What is found costs nothing.
"""

from __future__ import annotations

import select
from typing import Any

import gevent.select
from gevent.hub import get_hub

from quotalab.clock.loop import VirtualLoop

__all__ = ["LatePolls"]


class LatePolls:
    """``select`` and ``poll`` past their deadlines, until :meth:`restore`."""

    def __init__(self, loop: VirtualLoop) -> None:
        self._poll = in_time = gevent.select.poll.poll
        self._select = selected = select.select

        def past() -> None:
            hub = get_hub()
            if hub.loop is loop:
                loop.sleep_ns(hub, 1)

        def poll(self: Any, timeout: float | None = None) -> list[tuple[int, int]]:
            found: list[tuple[int, int]] = in_time(self, timeout)
            if found or timeout is None or timeout < 0:
                return found
            now_ns = loop.timeline.now_ns
            if timeout or self.__dict__.get("_in_vain_at") == now_ns:
                past()
            self._in_vain_at = now_ns
            return found

        def select_(rlist: Any, wlist: Any, xlist: Any, timeout: float | None = None) -> Any:
            found = selected(rlist, wlist, xlist, timeout)
            if timeout and not any(found):
                past()
            return found

        gevent.select.poll.poll = poll
        select.select = select_

    def restore(self) -> None:
        """Leave both as gevent makes them."""
        gevent.select.poll.poll = self._poll
        select.select = self._select
