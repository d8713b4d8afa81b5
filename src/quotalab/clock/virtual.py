"""Virtual time for this process: gevent's timers, the clocks and the random generators.

::

    with install(start_ns, seed) as virtual:
        import locust.main
        ...

Sleeping takes no real time, computing takes no virtual time, and the same seed gives the same run. What
happens outside the process takes real time, so time must be held while something inside waits for it.
gevent's thread pool, waits for child processes (:mod:`quotalab.clock.children`) and questions to servers of
other processes (:mod:`quotalab.clock.peers`) hold it by themselves; anything else is put in
:meth:`VirtualTime.held`. A process forked without ``exec`` is not served.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType, TracebackType
from typing import Any, Self

import gevent
import gevent.monkey
from gevent._hub_local import get_hub_if_exists
from gevent.hub import Hub, get_hub, set_hub

from quotalab.clock.children import HoldingPopen
from quotalab.clock.frames import caller
from quotalab.clock.interfaces import Clock
from quotalab.clock.loop import Hold, VirtualLoop
from quotalab.clock.patched import PatchedClocks
from quotalab.clock.peers import OuterPeers
from quotalab.clock.polling import LatePolls
from quotalab.clock.randomness import SeededProcess
from quotalab.clock.running_loops import RunningLoops
from quotalab.clock.selecting import QuietSelectors
from quotalab.clock.sleeping import LeanSleeps
from quotalab.clock.sockets import PromptSockets
from quotalab.clock.timeline import LAST_NS, Timeline, written
from quotalab.clock.watchdog import WAKING, Watchdog, raise_in_thread
from quotalab.errors import BusyWaitError, InputError, StalledError

__all__ = ["Stalled", "Stats", "VirtualClock", "VirtualTime", "adopt", "held", "install"]

# A spinning loop that has swallowed this many errors gets one that ``except Exception`` does not catch.
_SWALLOWED = 3


class Stalled(BaseException):
    """Carries a :class:`~quotalab.errors.StalledError` out of code that catches every Exception.

    ``with install(...)`` turns it into the error itself, which is also :attr:`VirtualTime.fault`.
    """

    error: StalledError

    def __init__(self, *args: object) -> None:
        super().__init__(*(args or (str(self.error),)))


@dataclass(frozen=True)
class Stats:
    """What a stretch of virtual time consisted of.

    ``jumps`` times the clock moved, ``fired`` timers came due, time was held for ``held_s`` real seconds in
    all, ``unsent`` times a jump waited for bytes that had not left their socket, and ``let_go`` times a wait
    for a child process had held time for so long that it had to let go.
    """

    jumps: int
    fired: int
    held_s: float
    unsent: int
    let_go: int


class VirtualClock:
    """The clock of the virtual run; after :meth:`VirtualTime.restore` it stands still."""

    def __init__(self, timeline: Timeline, loop: VirtualLoop) -> None:
        self._timeline = timeline
        self._loop = loop
        self.now_ns = timeline.read_wall_ns
        self.monotonic_ns = timeline.read_monotonic_ns

    def sleep_ns(self, duration_ns: int) -> None:
        """Wait ``duration_ns`` virtual nanoseconds, exactly; 0 lets other greenlets run."""
        if duration_ns < 0:
            raise InputError(f"cannot sleep for {duration_ns} ns: a duration is 0 or more")
        hub = get_hub()
        if duration_ns and hub.loop is self._loop:
            self._loop.sleep_ns(hub, duration_ns)
        else:
            gevent.sleep(duration_ns / 1_000_000_000)

    def __repr__(self) -> str:
        since_s = (self._timeline.now_ns - self._timeline.start_ns) / 1_000_000_000
        return f"<VirtualClock {written(self._timeline.now_ns)}, {since_s:g} s after its start>"


class VirtualTime:
    """Virtual time in this process, from :func:`install` to :meth:`restore`."""

    def __init__(
        self,
        start_ns: int,
        seed: int,
        busy_limit: int,
        stall_s: float,
        hold_limit_s: float,
        last_words: Callable[[], str],
        hub: Hub | None = None,
    ) -> None:
        #: Why virtual time could not go on, or None.
        self.fault: StalledError | None = None
        self._busy_limit = busy_limit
        self._stall_s = stall_s
        self._spins = 0
        self._timeline = Timeline(start_ns, busy_limit, self._on_spinning)
        self._loop = VirtualLoop(self._timeline)
        self._hub = Hub(self._loop) if hub is None else hub
        self._hub.loop = self._loop
        # A stalled run ends the main greenlet like Ctrl-C does, whichever greenlet it was found in.
        self._hub.SYSTEM_ERROR = (*Hub.SYSTEM_ERROR, Stalled)
        # Not printed where it is raised: it arrives at the end of the block.
        self._hub.NOT_ERROR = (*Hub.NOT_ERROR, Stalled, StalledError)
        set_hub(self._hub)
        self._thrower: Any = None
        self.clock: Clock = VirtualClock(self._timeline, self._loop)
        self._clocks = PatchedClocks(self._timeline)
        gevent.monkey.patch_all()
        self._random = SeededProcess(seed)
        self._sleeps = LeanSleeps(self._loop)
        self._sockets = PromptSockets(self._loop)
        self._peers = OuterPeers(self._loop)
        self._popen = HoldingPopen(self._loop)
        self._running_loops = RunningLoops(self._loop)
        self._polls = LatePolls(self._loop)
        self._selectors = QuietSelectors()
        self._last_words = last_words
        self._waking = signal.getsignal(WAKING)
        if self._waking is signal.SIG_DFL:
            signal.signal(WAKING, _nothing)
        self._watchdog = Watchdog(self._loop, self._on_stalled, self._give_up, stall_s, hold_limit_s)
        self._restored = False

    @property
    def stats(self) -> Stats:
        """Figures so far."""
        loop = self._loop
        return Stats(loop.jumps, loop.fired, loop.held_s, self._sockets.stalls, self._watchdog.let_go)

    def hold(self, reason: str, *, patient: bool = False) -> Hold:
        """Let no virtual time pass until :meth:`release`, because of ``reason``: what is waited for.

        Timeouts cannot come true meanwhile. After ``hold_limit_s`` real seconds the run fails with
        :class:`~quotalab.errors.HeldTooLongError`, which names the reason and the caller, unless it is
        ``patient``: a person may be waited for without end.
        """
        self._main_thread_only("hold time")
        hold = self._loop.hold(reason, caller())
        hold.patient = patient
        return hold

    def release(self, hold: Hold | None = None) -> None:
        """Let time pass again, unless something else holds it; without ``hold``, the latest is released."""
        self._main_thread_only("release time")
        if hold is None and self._loop.holds:
            hold = self._loop.holds[-1]
        if hold is not None:
            self._loop.release(hold)

    @contextmanager
    def held(self, reason: str) -> Iterator[None]:
        """Hold time for a ``with`` block; see :meth:`hold`."""
        self._main_thread_only("hold time")
        hold = self._loop.hold(reason, _outside_contextlib())
        try:
            yield
        finally:
            self._loop.release(hold)

    def restore(self) -> None:
        """Give the process its real clocks, timers and randomness back.

        gevent's patches stay, and from now on keep real time. Greenlets asleep in virtual time never wake:
        nothing of the run goes on into what comes after it. :attr:`clock` stands still.
        """
        if self._restored:
            return
        self._restored = True
        self._watchdog.stop()
        signal.signal(WAKING, self._waking)
        if self._thrower is not None:
            self._thrower.stop()
        self._selectors.restore()
        self._polls.restore()
        self._running_loops.restore()
        self._popen.restore()
        self._peers.restore()
        self._sockets.restore()
        self._sleeps.restore()
        self._random.restore()
        self._clocks.restore()
        self._loop.become_real()
        self._timeline.looks_limit = sys.maxsize

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.restore()
        if self.fault is not None and error is not self.fault and not isinstance(error, KeyboardInterrupt):
            raise self.fault from (None if isinstance(error, Stalled) else error)

    def __repr__(self) -> str:
        state = "restored" if self._restored else f"{len(self._loop.holds)} holds"
        return f"<VirtualTime {written(self._timeline.now_ns)}, {state}>"

    def _main_thread_only(self, what: str) -> None:
        if get_hub_if_exists() is not self._hub:
            raise InputError(f"only the main thread can {what}")

    def _on_spinning(self, what: str) -> None:
        """Called in the code that looks at the time too often."""
        counted = self._timeline.looks_limit == self._busy_limit
        often = f"more than {self._busy_limit:,} times" if counted else f"for {self._stall_s:g} real seconds"
        error = BusyWaitError(
            f"{caller()} {what}, and did so with others {often} at one virtual instant "
            f"({written(self._timeline.now_ns)}): virtual time passes only while everything sleeps or waits; "
            f"sleep for more than 0 in the loop that spins"
        )
        stalled = self._fail(error)
        if gevent.getcurrent() is not self._hub.parent:
            self._throw_in_main(stalled)
        self._spins += 1
        if self._spins > _SWALLOWED:
            raise stalled
        raise error

    def _on_stalled(self, error: StalledError, yielding: bool) -> None:
        """Called in the watchdog's thread."""
        stalled = self._fail(error)
        if yielding:
            self._throw_in_main(stalled)
        else:
            raise_in_thread(self._hub.thread_ident, stalled)

    def _give_up(self, error: StalledError, where: str) -> None:
        """Called in the watchdog's thread when no error can end the run."""
        words = (
            f"quotalab: {error}; {where} goes on all the same, so the process was ended{self._last_words()}"
        )
        os.write(2, f"{words}\n".encode(errors="replace"))
        os._exit(error.exit_code)

    def _fail(self, error: StalledError) -> type[Stalled]:
        if self.fault is None:
            self.fault = error
        # Whoever handles the error may look at the time again.
        self._timeline.looks = 0
        self._timeline.looks_limit = self._busy_limit
        return type("Stalled", (Stalled,), {"error": error})

    def _throw_in_main(self, stalled: type[Stalled]) -> None:
        if self._thrower is not None and self._thrower.pending:
            return
        self._thrower = self._loop.run_callback_threadsafe(self._hub.handle_system_error, stalled, stalled())


def _nothing(_number: int, _frame: FrameType | None) -> None:
    """A handler that lets Python notice that a signal has come."""


def _outside_contextlib() -> str:
    import contextlib

    from quotalab.clock.frames import innermost, place

    frame = innermost(sys._getframe(1))
    while frame is not None and frame.f_code.co_filename == contextlib.__file__:
        frame = innermost(frame.f_back)
    return place(frame)


@contextmanager
def held(reason: str) -> Iterator[None]:
    """Hold time for a ``with`` block wherever time is virtual; anywhere else the block just runs.

    For apps and scenarios that wait for something that this process cannot see; see :meth:`VirtualTime.hold`.
    """
    loop = get_hub().loop
    if not isinstance(loop, VirtualLoop):
        yield
        return
    hold = loop.hold(reason, _outside_contextlib())
    try:
        yield
    finally:
        loop.release(hold)


def install(
    start_ns: int,
    seed: int,
    *,
    busy_limit: int = 1_000_000,
    stall_s: float = 60.0,
    hold_limit_s: float = 60.0,
    last_words: Callable[[], str] = str,
) -> VirtualTime:
    """Make time virtual in this process, from ``start_ns`` (wall nanoseconds since 1970 UTC) on.

    To be called once, in the main thread, before anything uses gevent and before Locust is imported. The
    process is monkey-patched by gevent, its random generators follow from ``seed``, DNS look-ups block.

    A run that cannot go on ends the main greenlet with :class:`Stalled`; as a context manager, what this
    returns raises the error itself. It is a :class:`~quotalab.errors.BusyWaitError` when the clock is read
    or the loop yielded to more than ``busy_limit`` times at one virtual instant, or when the process is busy
    at one instant for ``stall_s`` real seconds; a :class:`~quotalab.errors.HeldTooLongError` when a hold
    lasts longer than ``hold_limit_s`` real seconds. Code that no error can end, such as a call into C that
    does not return, ends the process with the message and ``last_words()``, which begin with a semicolon.

    Raises :class:`~quotalab.errors.InputError` when it is called in another place or with a start that no
    clock can tell.
    """
    if threading.current_thread() is not threading.main_thread():
        raise InputError("virtual time must be installed in the main thread")
    if "locust" in sys.modules:
        raise InputError("virtual time must be installed before locust is imported")
    if get_hub_if_exists() is not None:
        raise InputError("virtual time must be installed, once, before anything in the process uses gevent")
    _check_start(start_ns)
    gevent.config.resolver = "block"
    return VirtualTime(start_ns, seed, busy_limit, stall_s, hold_limit_s, last_words)


def adopt(
    hub: Hub,
    start_ns: int,
    seed: int,
    *,
    busy_limit: int = 1_000_000,
    stall_s: float = 60.0,
    hold_limit_s: float = 60.0,
    last_words: Callable[[], str] = str,
) -> VirtualTime:
    """As :func:`install`, on the main thread's hub while gevent is making it and it has no loop yet.

    For programs that quotalab does not start: see :mod:`quotalab.clock.plugged`.
    """
    _check_start(start_ns)
    gevent.config.resolver = "block"
    return VirtualTime(start_ns, seed, busy_limit, stall_s, hold_limit_s, last_words, hub)


def _check_start(start_ns: int) -> None:
    if not 0 <= start_ns < LAST_NS:
        raise InputError(f"virtual time cannot start at {start_ns} ns: a start is from 1970 to 9999")
