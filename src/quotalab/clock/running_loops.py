"""asyncio's running loop, kept by greenlet.

asyncio remembers the running loop once for each thread of the system. Where greenlets play the threads, the
loop of a greenlet that waits would seem to run in all others too: ``asyncio.run`` would refuse to start in
them, and libraries that ask which loop runs would be told a stranger's. Here the loop is taken along at each
switch of greenlets, from the first selector on that is made after asyncio was imported: every stock loop
begins with one, and a process without asyncio pays nothing.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import greenlet
from gevent.hub import get_hub
from gevent.selectors import GeventSelector

from quotalab.clock.loop import VirtualLoop

__all__ = ["RunningLoops"]


class RunningLoops:
    """Each greenlet of the thread of ``loop`` has its own running loop, until :meth:`restore`."""

    def __init__(self, loop: VirtualLoop) -> None:
        self._init = before = GeventSelector.__init__
        self._traced = False
        self._traced_before: Callable[..., object] | None = None

        def __init__(selector: Any, hub: Any = None) -> None:
            if not self._traced and "asyncio" in sys.modules and get_hub().loop is loop:
                self._traced = True
                self._traced_before = greenlet.settrace(_switcher())
            before(selector, hub)

        GeventSelector.__init__ = __init__

    def restore(self) -> None:
        """Leave asyncio's loop to the thread again."""
        GeventSelector.__init__ = self._init
        if self._traced:
            greenlet.settrace(self._traced_before)


def _switcher() -> Callable[[str, tuple[Any, Any]], None]:
    """What greenlet calls in the greenlet that was just switched to."""
    from asyncio import _get_running_loop, _set_running_loop

    waiting: dict[Any, Any] = {}

    def switched(_event: str, greenlets: tuple[Any, Any]) -> None:
        origin, target = greenlets
        left = _get_running_loop()
        if left is not None:
            waiting[origin] = left
        elif not waiting:
            return
        back = waiting.pop(target, None)
        if back is not left:
            _set_running_loop(back)

    return switched
