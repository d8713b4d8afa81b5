"""A gevent loop whose timers are virtual: when every greenlet waits, time jumps to the next timer.

It is the stock libev loop with its timers taken away. Input and output, callbacks, signals, children and
``run()`` stay libev's. The timers are in a heap, and one idle watcher of the lowest priority does the jump:
libev calls such a watcher only after a poll without waiting has found nothing to do at any priority, and
that is exactly "every greenlet waits". While the watcher is active libev never blocks; while it is stopped,
because there is no timer or because time is held, libev blocks in its poll as usual.

What a timer sets going comes to rest before the next fires: in an iteration fires one, and then others of the
same instant for as long as nothing was set going. Equal instants are ordered by priority, then by who asked
first. gevent gives its timeouts a low priority, so that what happens at the very instant of a timeout wins.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from heapq import heapify, heappop, heappush
from typing import Any, Self

from gevent import getcurrent
from gevent.exceptions import InvalidSwitchError
from gevent.hub import Hub
from gevent.libev import corecext

from quotalab.clock.frames import caller
from quotalab.clock.real import monotonic_s
from quotalab.clock.timeline import LAST_NS, Timeline

__all__ = ["Hold", "VirtualLoop", "VirtualTimer"]

_COMPACT_ABOVE = 1024
# An entry's order is its number, moved by its priority: the lower that is, the later it fires at its instant.
_PRIORITY_SHIFT = 60
_LATE = 1 << (_PRIORITY_SHIFT - 1)
_LAST_S = LAST_NS / 1_000_000_000


class Hold:
    """A reason for time to stand still, since real instant ``since_s``; ``patient``: for however long."""

    __slots__ = ("patient", "reason", "since_s", "where", "yields")

    def __init__(self, reason: str, where: str, *, yields: bool) -> None:
        self.reason = reason
        self.where = where
        self.yields = yields
        self.patient = False
        self.since_s: float = monotonic_s()

    def __repr__(self) -> str:
        return f"<Hold {self.reason}, from {self.where}>"


class VirtualTimer:
    """What ``loop.timer()`` gives: gevent's timer watcher, in virtual time.

    ``start`` on an active timer changes its callback and not its instant, ``again`` counts its period from
    now; both as in libev. ``at`` is the wall instant in nanoseconds at which it is due.
    """

    # Shared until set: a timer is made for every timeout, and most of these are never written.
    callback: Callable[..., object] | None = None
    args: tuple[Any, ...] | None = None
    at = 0
    _order = 0  # of its entry in the loop's heap; 0 when it is in none

    def __init__(self, loop: VirtualLoop, after_ns: int, repeat_ns: int, ref: bool, priority: int) -> None:
        self.loop = loop
        self.priority = priority
        self._after_ns = after_ns
        self._repeat_ns = repeat_ns
        self._ref = ref

    @property
    def active(self) -> bool:
        """Whether it is going to fire."""
        return self._order != 0

    @property
    def pending(self) -> bool:
        """Never: it fires at the moment it is found due."""
        return False

    @property
    def ref(self) -> bool:
        """Whether it keeps the loop running while it is active."""
        return self._ref

    @ref.setter
    def ref(self, value: bool) -> None:
        if self._order and value != self._ref:
            if value:
                self.loop._loose -= 1
                self.loop._keep()
            else:
                self.loop._loose += 1
                self.loop._let_go()
        self._ref = bool(value)

    def start(self, callback: Callable[..., object], *args: Any, **_update: bool | None) -> None:
        """Call ``callback(*args)`` when it is due; ``update`` means nothing here."""
        if not callable(callback):
            raise TypeError(f"Expected callable, not {callback!r}")
        self.callback = callback
        self.args = args
        if not self._order:
            self.loop._add(self, self._after_ns)

    def again(self, callback: Callable[..., object], *args: Any, **_update: bool | None) -> None:
        """Start over with the period as the delay; without a period, stop."""
        self.stop()
        if self._repeat_ns:
            self.callback = callback
            self.args = args
            self.loop._add(self, self._repeat_ns)

    def stop(self) -> None:
        """Do not fire."""
        if self._order:
            self.loop._drop(self)
        self.callback = self.args = None

    close = stop

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        if self._order:
            self.stop()

    def __repr__(self) -> str:
        state = f"due at {self.at} ns" if self._order else "stopped"
        return f"<VirtualTimer {state} callback={self.callback!r}>"


class _Sleeper:
    """A greenlet asleep: in the heap like a timer, of which it has no more than it takes to wake it."""

    __slots__ = ("_order", "switch")
    _order: int
    switch: Callable[[object], object]


class _HoldingAsync(corecext.async_):  # type: ignore[misc]
    """Another thread owes this loop a wake-up while it is active: time is held."""

    def __init__(self, loop: VirtualLoop, ref: bool, priority: int | None) -> None:
        super().__init__(loop, ref, priority)
        self._hold: Hold | None = None

    def start(self, callback: Callable[..., object], *args: Any) -> None:
        if self._hold is None:
            self._hold = self.loop.hold("another thread's answer", caller())
        super().start(callback, *args)

    def stop(self) -> None:
        super().stop()
        if self._hold is not None:
            self.loop.release(self._hold)
            self._hold = None

    close = stop

    def __exit__(self, *exc_info: object) -> None:
        self.stop()


class VirtualLoop(corecext.loop):  # type: ignore[misc]
    """The main thread's loop; see the module's docstring. Other threads keep the stock loop."""

    # Read at every sleep, and found faster here than in a dictionary.
    __slots__ = (
        "_heap", "_held_since_s", "_holds", "_idle", "_idling", "_keeping", "_loose", "_real", "_sequence",
        "fired", "held_s", "jumps", "settled", "timeline", "written",
    )  # fmt: skip

    def __new__(cls, timeline: Timeline) -> Self:  # noqa: ARG004 - what follows is for libev's own part
        loop: Self = super().__new__(cls, None, True)
        return loop

    def __init__(self, timeline: Timeline) -> None:
        super().__init__(None, True)
        self.timeline = timeline
        self.jumps = 0
        self.fired = 0
        self.held_s = 0.0
        #: Sockets written to since time last moved, by number.
        self.written: set[int] = set()
        #: Called before time moves when there are any; whether what was written has left them.
        self.settled: Callable[[], bool] = lambda: True
        self._real = False
        self._heap: list[tuple[int, int, VirtualTimer | _Sleeper]] = []
        self._sequence = 0
        self._keeping = 0
        self._loose = 0  # active timers that do not keep the loop running
        self._holds: dict[int, Hold] = {}
        self._held_since_s = 0.0
        self._idle = corecext.idle(self, ref=False, priority=self.MINPRI)
        self._idling = False

    # -- what gevent asks of a loop

    def timer(self, after: float, repeat: float = 0.0, ref: bool = True, priority: int | None = None) -> Any:
        """A timer due in ``after`` virtual seconds, and then every ``repeat`` seconds."""
        if self._real:
            return corecext.timer(self, after, repeat, ref, priority)
        if repeat < 0:
            raise ValueError(f"repeat must be positive or zero: {repeat!r}")
        # A period below a nanosecond would fire for ever at one instant.
        repeat_ns = max(_nanoseconds(repeat), 1) if repeat else 0
        return VirtualTimer(self, _nanoseconds(after), repeat_ns, ref, priority or 0)

    def sleep_ns(self, hub: Hub, after_ns: int) -> None:
        """Put the current greenlet to sleep for ``after_ns`` virtual nanoseconds; `hub` is this loop's.

        What ``gevent.sleep`` does, without a timer's and a waiter's cost: most of what waits sleeps.
        """
        sleeper = _Sleeper()
        sleeper.switch = getcurrent().switch
        sleeper._order = 0
        if not self._real:
            self._sequence = sleeper._order = order = self._sequence + 1
            due_ns = self.timeline.now_ns + after_ns
            heappush(self._heap, (due_ns if due_ns < LAST_NS else LAST_NS, order, sleeper))
            self._keeping += 1
            if self._keeping == 1:
                self.ref()
            if not self._idling and not self._holds:
                self._idle_start()
        try:
            woken_by = hub.switch()
            if woken_by is not sleeper:
                raise InvalidSwitchError(f"Invalid switch into a sleep: got {woken_by!r}")
        finally:
            if sleeper._order:
                sleeper._order = 0
                self._let_go()
                self._compact()

    def now(self) -> float:
        """Virtual seconds since 1970."""
        return float(super().now()) if self._real else self.timeline.now_ns / 1_000_000_000

    def run_callback(self, func: Callable[..., object], *args: Any) -> Any:
        """Call ``func(*args)`` in this iteration; counted, for ``sleep(0)`` comes here."""
        timeline = self.timeline
        timeline.looks += 1
        if timeline.looks > timeline.looks_limit:
            timeline.on_too_many("yields without sleeping")
        return corecext.loop.run_callback(self, func, *args)

    def async_(self, ref: bool = True, priority: int | None = None) -> Any:
        """A wake-up from another thread. One that keeps the loop running holds time too."""
        if ref and not self._real:
            return _HoldingAsync(self, ref, priority)
        return corecext.async_(self, ref, priority)

    # -- holding

    def hold(self, reason: str, where: str, *, yields: bool = False) -> Hold:
        """Stop time until the hold is released, or too old where it ``yields``."""
        hold = Hold(reason, where, yields=yields)
        if self._real:
            return hold
        if not self._holds:
            self._held_since_s = hold.since_s
            self._idle_stop()
        self._holds[id(hold)] = hold
        return hold

    def release(self, hold: Hold) -> None:
        """Take back one hold; nothing happens when it is released already."""
        if self._holds.pop(id(hold), None) is not None and not self._holds:
            self.held_s += monotonic_s() - self._held_since_s
            if self._keeping or self._loose:
                self._idle_start()

    @property
    def holds(self) -> list[Hold]:
        """What holds time now, oldest first."""
        return list(self._holds.values())

    # -- the heap

    def _add(self, timer: VirtualTimer, after_ns: int) -> None:
        if self._real:  # a timer made before the clocks became real again: it does not fire
            return
        due_ns = self.timeline.now_ns + after_ns
        if due_ns > LAST_NS:
            due_ns = LAST_NS
        self._sequence = sequence = self._sequence + 1
        timer._order = order = sequence - (timer.priority << _PRIORITY_SHIFT)
        timer.at = due_ns
        heappush(self._heap, (due_ns, order, timer))
        if timer._ref:
            self._keep()
        else:
            self._loose += 1
        if not self._idling and not self._holds:
            self._idle_start()

    def _drop(self, timer: VirtualTimer) -> None:
        timer._order = 0
        if timer._ref:
            self._let_go()
        else:
            self._loose -= 1
        self._compact()

    def _compact(self) -> None:
        """Who is dropped leaves its entry in the heap until it comes up or the dead outnumber the living."""
        heap = self._heap
        if len(heap) > _COMPACT_ABOVE and len(heap) > 4 * (self._keeping + self._loose):
            heap[:] = [entry for entry in heap if entry[2]._order == entry[1]]
            heapify(heap)

    def _keep(self) -> None:
        """One more timer keeps the loop running; libev is told of the first."""
        self._keeping += 1
        if self._keeping == 1:
            self.ref()

    def _let_go(self) -> None:
        self._keeping -= 1
        if not self._keeping:
            self.unref()

    def _idle_start(self) -> None:
        self._idling = True
        self._idle.start(self._jump)

    def _idle_stop(self) -> None:
        if self._idling:
            self._idling = False
            self._idle.stop()

    def _jump(self) -> None:
        """Fire the next timer: nothing else is left to do at this instant."""
        if self._callbacks:
            return
        # libev asks whether anything keeps it running only at the end of an iteration: here it may be that
        # nothing does, and then the timers that are left must not fire.
        if not self.activecnt:
            return
        if self.written and not self.settled():
            return
        heap = self._heap
        while heap:
            due_ns, order, timer = heappop(heap)
            if timer._order == order:
                break
        else:
            self._idle_stop()
            return
        timeline = self.timeline
        if due_ns > timeline.now_ns:
            timeline.now_ns = due_ns
            timeline.looks = 0
            self.jumps += 1
        callbacks, written = self._callbacks, self.written
        while True:
            self.fired += 1
            if isinstance(timer, _Sleeper):
                timer._order = 0
                try:
                    timer.switch(timer)
                except BaseException:
                    self.handle_error(timer, *sys.exc_info())
                # Not before: mostly it sleeps again, and libev need not be told.
                self._keeping -= 1
                if not self._keeping:
                    self.unref()
            else:
                self._fire(timer)
            # Others of the same instant, for as long as all has come to rest without a turn of the loop.
            while True:
                if not heap or callbacks:
                    return
                next_ns, order, timer = heap[0]
                if next_ns != due_ns:
                    return
                if timer._order == order:
                    break
                heappop(heap)
            if not 0 < order < _LATE or written or not self._idling or not self.activecnt:
                return
            heappop(heap)

    def _fire(self, timer: VirtualTimer) -> None:
        callback, args = timer.callback, timer.args
        timer._order = 0
        if timer._ref:
            self._let_go()
        else:
            self._loose -= 1
        if timer._repeat_ns:
            self._add(timer, timer._repeat_ns)
        try:
            callback(*args)  # type: ignore[misc]
        except BaseException:  # as libev's caller does: the hub knows which errors end what
            self.handle_error(timer, *sys.exc_info())
        if not timer._order:
            timer.callback = timer.args = None

    # -- afterwards

    def become_real(self) -> None:
        """From now on timers are libev's own. Those that wait are dropped: they never fire."""
        self._real = True
        self._idle_stop()
        for _, order, timer in self._heap:
            if timer._order == order:
                timer._order = 0
                if isinstance(timer, _Sleeper) or timer._ref:
                    self._let_go()
        self._heap.clear()
        self._loose = 0
        self._holds.clear()
        self.update_now()


def _nanoseconds(seconds: float) -> int:
    if seconds <= 0:
        return 0
    if seconds >= _LAST_S:  # also infinity
        return LAST_NS
    # At least one: code that waits for what is left, less than time can tell, would come back for ever.
    return int(seconds * 1_000_000_000 + 0.5) or 1
