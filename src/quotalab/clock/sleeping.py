"""gevent's sleep, without the watcher and the waiter that it makes for every one."""

from __future__ import annotations

import time
from types import ModuleType
from typing import Any

import gevent
import gevent.hub
from gevent.hub import get_hub

from quotalab.clock.loop import VirtualLoop
from quotalab.clock.timeline import LAST_NS

__all__ = ["LeanSleeps"]

_LAST_S = LAST_NS / 1_000_000_000
_HOLDERS: tuple[ModuleType, ...] = (gevent, gevent.hub, time)


class LeanSleeps:
    """``gevent.sleep`` and ``time.sleep`` of the thread of ``loop``, until :meth:`restore`.

    Whoever took the stock function before keeps it, and it does the same at a higher price.
    """

    def __init__(self, loop: VirtualLoop) -> None:
        self._stock = stock = gevent.hub.sleep

        def sleep(seconds: Any = 0, ref: bool = True) -> None:
            hub = get_hub()
            if hub.loop is loop and 0 < seconds < _LAST_S and ref:
                loop.sleep_ns(hub, int(seconds * 1_000_000_000 + 0.5) or 1)
            else:
                stock(seconds, ref)

        sleep.__doc__ = stock.__doc__
        self._put(sleep)

    def restore(self) -> None:
        """Put the stock function back."""
        self._put(self._stock)

    def _put(self, sleep: Any) -> None:
        for holder in _HOLDERS:
            holder.sleep = sleep  # type: ignore[attr-defined]
