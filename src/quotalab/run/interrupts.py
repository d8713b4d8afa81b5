"""Ctrl-C ends a run wherever its code is: at once where greenlets take turns, by force where one does not.

The main greenlet is told in the loop. Code that never yields keeps the loop from running; after a second the
interrupt is raised in that code, and where it goes on all the same, or is in a call into C that does not
return, the process ends. What the ledger holds by then can be read.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

import gevent
from gevent.hub import Hub, get_hub
from gevent.monkey import get_original

from quotalab.clock.frames import innermost, place
from quotalab.clock.watchdog import raise_in_thread, wake_thread

__all__ = ["Interrupts"]

_PATIENCE_S = 1.0
_GRACE_S = 3.0
_EXIT = 130


class _Forced(KeyboardInterrupt):
    """Raised in code that never yields; not printed where it is."""


class Interrupts:
    """Ctrl-C raises `KeyboardInterrupt` in the greenlet that made this, until `restore`.

    To be made in the main thread. ``last_words()`` are told where the process has to be ended, and begin with
    a semicolon.
    """

    def __init__(self, last_words: Callable[[], str]) -> None:
        self._last_words = last_words
        self._greenlet = gevent.getcurrent()
        self._hub: Hub = get_hub()
        self._callback: Any = None
        self._hub.NOT_ERROR = (*self._hub.NOT_ERROR, _Forced)
        self._thread: int = get_original("_thread", "get_ident")()
        self._arrived = get_original("_thread", "allocate_lock")()
        self._arrived.acquire()
        self._reading, self._writing = os.pipe()
        os.set_blocking(self._writing, False)
        # Written to in C at once, also while Python's own handler waits for a bytecode to come.
        self._woken = signal.set_wakeup_fd(self._writing, warn_on_full_buffer=False)
        self._handler = signal.signal(signal.SIGINT, self._interrupt)
        get_original("_thread", "start_new_thread")(self._mind, ())

    def restore(self) -> None:
        """Leave Ctrl-C as it was."""
        self._arrived.release()
        if self._callback is not None:
            self._callback.stop()
        signal.signal(signal.SIGINT, self._handler)
        signal.set_wakeup_fd(self._woken)
        os.close(self._writing)  # which ends the thread
        raise_in_thread(self._thread, None)

    def _interrupt(self, _number: int, _frame: FrameType | None) -> None:
        if gevent.getcurrent() is self._greenlet:
            raise KeyboardInterrupt
        self._callback = self._hub.loop.run_callback(self._greenlet.throw, KeyboardInterrupt)

    def _mind(self) -> None:
        """In a thread of its own: see to it that an interrupt arrives."""
        other = True
        while other:
            came = os.read(self._reading, 1)
            other = came not in (b"", bytes([signal.SIGINT]))
        if came and not self._arrived.acquire(timeout=_PATIENCE_S):
            raise_in_thread(self._thread, _Forced)
            wake_thread(self._thread)
            if not self._arrived.acquire(timeout=_GRACE_S):
                self._end()
        os.close(self._reading)

    def _end(self) -> None:
        where = place(innermost(sys._current_frames().get(self._thread)))
        words = f"quotalab: interrupted in {where}, which goes on all the same{self._last_words()}"
        os.write(2, f"{words}\n".encode(errors="replace"))
        os._exit(_EXIT)
