"""A real thread that notices, in real time, that virtual time cannot go on.

It looks a few times a second. While time is held, it minds how long each hold lasts. While it is not, time
that stands still in a process that is busy means code that spins or computes: the thread takes samples of
where the main thread is, and names the place it found most often. A main thread that waits in libev's poll
is not busy, however long it waits.

An error raised in the main thread arrives at its next bytecode. A call into C that does not return never gets
there: it is interrupted by a signal, and where that does not help either, or code goes on whatever is raised
in it, the process is given up.
"""

from __future__ import annotations

import ctypes
import signal
import sys
from collections import Counter, deque
from collections.abc import Callable
from types import FrameType

from gevent.hub import Hub
from gevent.monkey import get_original

from quotalab.clock.frames import innermost, place
from quotalab.clock.loop import Hold, VirtualLoop
from quotalab.clock.real import monotonic_s
from quotalab.clock.timeline import written
from quotalab.errors import BusyWaitError, HeldTooLongError, StalledError

__all__ = ["WAKING", "Watchdog", "raise_in_thread", "wake_thread"]

_EVERY_S = 0.25
_LOOKS_PER_LIMIT = 8  # short limits are watched more often, for the samples to mean something
_GRACE_S = 5.0  # for a call into C to end once it has been interrupted
_MOST_REPORTS = 4  # of code that goes on whatever is raised in it
#: A signal that means nothing to anybody here: it ends system calls that wait.
WAKING = signal.SIGURG


def raise_in_thread(ident: int, error: type[BaseException] | None) -> None:
    """Raise ``error`` in a thread at its next bytecode; None takes an error back that is still on its way."""
    thread = ctypes.c_ulong(ident)
    ctypes.pythonapi.PyThreadState_SetAsyncExc(thread, None if error is None else ctypes.py_object(error))


def wake_thread(ident: int) -> None:
    """End the system call in which a thread waits, so that an error raised in it arrives."""
    # Without a handler of Python's own the call would be started again before anybody noticed.
    if callable(signal.getsignal(WAKING)):
        signal.pthread_kill(ident, WAKING)


def waited_for_processor_s(thread: int) -> float:
    """How long a thread has been ready to run and did not; 0 where the system does not tell.

    The second figure of ``schedstat`` (Linux: Documentation/scheduler/sched-stats.rst), nanoseconds.
    """
    try:
        with open(f"/proc/self/task/{thread}/schedstat", "rb") as file:
            return int(file.read().split()[1]) / 1e9
    except (OSError, ValueError, IndexError):
        return 0.0


class Watchdog:
    """Watches ``loop`` from the moment it is made, in the loop's thread, until :meth:`stop`.

    ``report(error, yielding)`` is called in the watchdog's thread; ``yielding`` tells whether the loop runs,
    so that a callback of it will be called. ``give_up(error, where)`` is called there when that was in vain.
    """

    def __init__(
        self,
        loop: VirtualLoop,
        report: Callable[[StalledError, bool], None],
        give_up: Callable[[StalledError, str], None],
        stall_s: float,
        hold_limit_s: float,
    ) -> None:
        self.let_go = 0
        self._loop = loop
        self._tell = report
        self._give_up = give_up
        self._reports = 0
        self._left: tuple[StalledError, tuple[object, ...], float] | None = None
        self._stall_s = stall_s
        self._hold_limit_s = hold_limit_s
        # The system's own number of the thread: threading's is a greenlet's, once patched.
        self._main: int = get_original("_thread", "get_ident")()
        self._native: int = get_original("_thread", "get_native_id")()
        self._last_waited_s = waited_for_processor_s(self._native)
        self._every_s = min(_EVERY_S, stall_s / _LOOKS_PER_LIMIT, hold_limit_s / _LOOKS_PER_LIMIT)
        self._last_look_s: float = monotonic_s()
        self._iteration = self._now_ns = -1
        self._busy_s = 0.0
        # The latest only: what computed for a while and has ended since is not what goes on.
        self._samples: deque[tuple[str, str]] = deque(maxlen=max(int(stall_s / self._every_s / 2), 4))
        self._places: dict[tuple[str, str], str] = {}
        self._asked = False
        self._looks_limit = loop.timeline.looks_limit
        self._held_reported: set[int] = set()
        self._running = get_original("_thread", "allocate_lock")()
        self._ended = get_original("_thread", "allocate_lock")()
        self._running.acquire()
        self._ended.acquire()
        get_original("_thread", "start_new_thread")(self._watch, ())

    def stop(self) -> None:
        """End the thread; no error of its arrives afterwards."""
        self._running.release()
        self._ended.acquire()
        raise_in_thread(self._main, None)

    def _watch(self) -> None:
        try:
            # A lock's timeout is counted in C, by the real clock.
            while not self._running.acquire(timeout=self._every_s):
                self._look()
        finally:
            self._ended.release()

    def _look(self) -> None:
        now_s = monotonic_s()
        # Nobody ran while the whole process was stopped, or the main thread waited for a processor that
        # others had: that time counts for nothing.
        waited_s = waited_for_processor_s(self._native)
        elapsed_s = now_s - self._last_look_s - (waited_s - self._last_waited_s)
        elapsed_s = max(min(elapsed_s, 4 * self._every_s), 0.0)
        self._last_look_s = now_s
        self._last_waited_s = waited_s
        self._look_at_what_was_told(now_s)
        holds = self._loop.holds
        if not holds:
            self._held_reported.clear()
            self._look_at_main(elapsed_s)
            return
        self._forget()
        for hold in holds:
            if now_s - hold.since_s > self._hold_limit_s and not hold.patient:
                self._held_too_long(hold)

    def _held_too_long(self, hold: Hold) -> None:
        if hold.yields:
            self.let_go += 1
            self._loop.run_callback_threadsafe(self._loop.release, hold)
        elif id(hold) not in self._held_reported:
            self._held_reported.add(id(hold))
            self._report(
                HeldTooLongError(
                    f"virtual time has been held for {self._hold_limit_s:g} real seconds by {hold.where}, "
                    f"which waits for {hold.reason}; let that end, or allow more (--stall)"
                ),
                self._in_loop(self._frame()),
            )

    def _report(self, error: StalledError, yielding: bool) -> None:
        self._reports += 1
        if self._reports > _MOST_REPORTS:
            self._give_up(error, place(innermost(self._frame())))
        self._tell(error, yielding)
        if not yielding:
            self._left = (error, self._position(), monotonic_s())
            wake_thread(self._main)

    def _look_at_what_was_told(self, now_s: float) -> None:
        """Whether the main thread has moved at all since an error was raised in it."""
        if self._left is None:
            return
        error, position, since_s = self._left
        if position != self._position():
            self._left = None
        elif now_s - since_s > _GRACE_S:
            self._give_up(error, place(innermost(self._frame())))

    def _position(self) -> tuple[object, ...]:
        frame = self._frame()
        return (id(frame), frame.f_lasti if frame is not None else -1, self._loop.iteration)

    def _frame(self) -> FrameType | None:
        """Where the main thread is; None while it begins a greenlet and at the very end of the process."""
        return sys._current_frames().get(self._main)

    @staticmethod
    def _in_loop(frame: FrameType | None) -> bool:
        return frame is not None and frame.f_code is Hub.run.__code__

    def _look_at_main(self, elapsed_s: float) -> None:
        frame = self._frame()
        in_loop = self._in_loop(frame)
        iteration, now_ns = self._loop.iteration, self._loop.timeline.now_ns
        turning = iteration != self._iteration
        moved = now_ns != self._now_ns
        self._iteration, self._now_ns = iteration, now_ns
        if moved or (in_loop and not turning):
            self._forget()
            return
        self._busy_s += elapsed_s
        if not in_loop:
            named = innermost(frame)
            if named is not None:
                key = (named.f_code.co_filename, named.f_code.co_qualname)
                self._samples.append(key)
                self._places[key] = place(named)
        if self._busy_s >= self._stall_s:
            found = Counter(self._samples).most_common(1)
            if not found and not self._asked:
                # The loop turns, and lets this thread run only between its callbacks, where nobody is to be
                # seen. Who looks at the time next is asked for its name.
                self._asked = True
                self._loop.timeline.looks_limit = -1
                return
            where = self._places[found[0][0]] if found else place(None)
            error = BusyWaitError(
                f"{where} kept the process busy for {self._stall_s:g} real seconds at one virtual instant "
                f"({written(now_ns)}): virtual time passes only while everything sleeps or waits; "
                f"sleep in the loop that spins, or allow long computing (--stall)"
            )
            self._forget()
            self._report(error, turning)

    def _forget(self) -> None:
        self._busy_s = 0.0
        self._samples.clear()
        self._places.clear()
        if self._asked:
            self._asked = False
            self._loop.timeline.looks_limit = self._looks_limit
