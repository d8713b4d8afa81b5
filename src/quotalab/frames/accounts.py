"""The accounts of limits that calls are charged to: windows, buckets, balances. Exact, and without loops.

Rows are calls in the order in which they were decided. A call adds to an account when it is decided, and it
may be settled when its answer has been given; a settlement at s is in force for calls decided at s or later.
All of it lies on one axis, key by key and in order of time: what was used before a call is a difference of
running sums, and where an account drains and never falls below 0 it is the distance from the running minimum
(the reflection of a random walk; Lindley 1952).

Sums stay below 2**62 or `InputError` is raised; what has to be scaled to whole numbers beyond that is counted
in Python's own integers. Nothing ever wraps.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from quotalab.errors import InputError
from quotalab.frames.asked import Calls
from quotalab.frames.calendar import NEVER, ClockWindows, PlainWindows, clock_windows
from quotalab.profiles.limits import Limit, key_offset_ns

__all__ = [
    "Axis",
    "Searched",
    "Uses",
    "arranged",
    "bucket_held",
    "bucket_levels",
    "metered_uses",
    "runs",
    "sums",
]

Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

_MOST = 2**62
_FEW_KEYS = 2048


@dataclass(frozen=True)
class Uses:
    """What a limit had counted when each call came; arrays aligned with the calls."""

    used: Ints
    """Before this call, rounded up."""
    wait_ns: Ints
    """0 where the call fits; `NEVER` where no wait helps; else how long until it would fit if nothing else
    happened meanwhile."""
    after: Ints
    """Used when the call had been decided, and charged if it was."""
    charge: Ints
    """What the call is charged in the end if it is admitted."""
    opened_ns: Ints
    """Of fixed windows and balances: the start of the call's window (its own time where none was open)."""


@dataclass(frozen=True)
class Axis:
    """Calls and what they bring about later, key by key, in the order in which it acts."""

    key: Ints
    at_ns: Ints
    delta: Ints
    source: Ints
    """The call that an entry comes from."""
    place: Ints
    """Where each call itself stands on the axis."""
    is_call: Bools

    @property
    def starts(self) -> Ints:
        """Where each key begins."""
        return runs(self.key)


def arranged(at_ns: Ints, key: Ints, at_once: Ints, source: Ints, later_ns: Ints, delta: Ints) -> Axis:
    """Calls with what they add `at_once`, and effects: `delta` at `later_ns`, of the call `source`.

    At one instant effects of earlier calls come before a call, and what a call brings about at its own
    instant comes right behind it. `at_ns` must not fall, `later_ns` not lie before the source's `at_ns`.
    """
    calls = np.arange(len(at_ns))
    if not len(source):
        order = _by_key_and_time(key, at_ns)
        place = np.empty(len(order), dtype=np.int64)
        place[order] = calls
        return Axis(key[order], at_ns[order], at_once[order], order, place, np.ones(len(order), dtype=bool))
    soon = later_ns == at_ns[source]
    late = np.flatnonzero(~soon)
    late = late[np.argsort(source[late], kind="stable")]
    soon = np.flatnonzero(soon)
    of = np.concatenate([source[late], calls, source[soon]])
    when = np.concatenate([later_ns[late], at_ns, later_ns[soon]])
    amount = np.concatenate([delta[late], at_once, delta[soon]])
    is_call = np.zeros(len(of), dtype=bool)
    is_call[len(late) : len(late) + len(calls)] = True
    if len(soon):
        turn = np.concatenate([np.full(len(late), -1), 2 * calls, 2 * source[soon] + 1])
        before = np.argsort(turn, kind="stable")
        of, when, amount, is_call = of[before], when[before], amount[before], is_call[before]
    order = _by_key_and_time(key[of], when)
    of, when, amount, is_call = of[order], when[order], amount[order], is_call[order]
    place = np.empty(len(calls), dtype=np.int64)
    place[of[is_call]] = np.flatnonzero(is_call)
    return Axis(key[of], when, amount, of, place, is_call)


def _by_key_and_time(key: Ints, at_ns: Ints) -> Ints:
    if len(key) and (key == key[0]).all():
        if (at_ns[1:] >= at_ns[:-1]).all():
            return np.arange(len(key))
        return np.argsort(at_ns, kind="stable")
    return np.lexsort((at_ns, key))


def runs(*columns: Ints) -> Ints:
    """Where a run of equal values begins."""
    if not len(columns[0]):
        return np.empty(0, dtype=np.int64)
    new = np.zeros(len(columns[0]), dtype=bool)
    new[0] = True
    for column in columns:
        new[1:] |= column[1:] != column[:-1]
    return np.flatnonzero(new)


def sums(delta: Ints) -> Ints:
    """Running sums with a 0 before them; refused where they could wrap."""
    if len(delta):
        most = max(abs(int(delta.max())), abs(int(delta.min())))
        if most * len(delta) >= _MOST and sum(map(abs, delta.tolist())) >= _MOST:
            raise InputError("costs that add up to 2**62 or more cannot be counted exactly")
    total = np.zeros(len(delta) + 1, dtype=np.int64)
    np.cumsum(delta, out=total[1:])
    return total


def _since(starts: Ints, values: Ints, length: int) -> Ints:
    """`values` at each run's start, spread over the run."""
    return np.repeat(values[starts], np.diff(starts, append=length))


def metered_uses(limit: Limit, calls: Calls, keys: list[str]) -> Uses:
    """Use of a metered limit before each call; `keys` are the texts of the codes in `Calls.key`."""
    kind = limit.counts or limit.kind
    if kind == "rolling_window":
        used, wait_ns = _rolling(limit.period_ns, calls)
        opened_ns = calls.at_ns
    elif kind == "token_bucket":
        used, wait_ns = _bucket(limit, calls)
        opened_ns = calls.at_ns
    elif kind == "balance":
        used, wait_ns, opened_ns = _balance(limit, calls)
    elif limit.align == "first_call":
        used, wait_ns, opened_ns = _first_call(limit.period_ns, calls)
    else:
        used, wait_ns, opened_ns = _fixed(limit, calls, keys)
    return Uses(used, wait_ns, used + calls.at_once, calls.final, opened_ns)


def _lacks(calls: Calls, used: Ints) -> tuple[Ints, Bools]:
    """Calls that do not fit although one day they may, and those that never will."""
    lacks = (calls.need > 0) & (used + calls.need > calls.number)
    never = lacks & (calls.need > calls.number)
    return np.flatnonzero(lacks & ~never), never


def _arranged(calls: Calls) -> Axis:
    settled = calls.settled
    source = np.flatnonzero(settled)
    return arranged(calls.at_ns, calls.key, calls.at_once, source, calls.answered_ns[source], settled[source])


class Searched:
    """An axis, in order of key and time, on which keys and instants are looked up by one binary search.

    The axis is key x (span + 3) + time; where that does not fit into 63 bits, times are taken as ranks.
    """

    def __init__(self, key: Ints, at_ns: Ints) -> None:
        starts = runs(key)
        self._keys = key[starts]
        code = np.repeat(np.arange(len(starts)), np.diff(starts, append=len(key)))
        self._first_ns = int(at_ns.min()) if len(at_ns) else 0
        self._span = int(at_ns.max()) - self._first_ns if len(at_ns) else 0
        self._instants = None
        if len(starts) * (self._span + 3) > 2 * _MOST:
            self._instants = np.sort(at_ns)
            self._instants = self._instants[runs(self._instants)]
            self._first_ns, self._span = 0, len(self._instants)
            at_ns = np.searchsorted(self._instants, at_ns)
        self._axis = code * (self._span + 3) + (at_ns - self._first_ns + 1)

    def find(self, key: Ints, at_ns: Ints, side: Any) -> Ints:
        """The first place of each key's at an instant of `at_ns` or later (``left``), or later (``right``).

        Keys that are not on the axis are looked for between those that are.
        """
        if self._instants is not None:
            at_ns = np.searchsorted(self._instants, at_ns, side)
            side = "left"
        code = np.searchsorted(self._keys, key)
        when = np.clip(at_ns - self._first_ns + 1, 0, self._span + 2)
        found: Ints = np.searchsorted(self._axis, code * (self._span + 3) + when, side)
        return found


def _rolling(period_ns: int, calls: Calls) -> tuple[Ints, Ints]:
    if calls.when == "refund":
        return _rolling_with_refunds(period_ns, calls)
    axis = _arranged(calls)
    total = sums(axis.delta)
    searched = Searched(axis.key, axis.at_ns)
    oldest = searched.find(calls.key, calls.at_ns - period_ns, "right")
    used = total[axis.place] - total[oldest]
    lacks, never = _lacks(calls, used)
    wait_ns = np.where(never, NEVER, 0)
    if len(lacks):
        excess = used[lacks] + calls.need[lacks] - calls.number[lacks]
        leaver = np.searchsorted(total, total[oldest[lacks]] + excess, "left") - 1
        wait_ns[lacks] = axis.at_ns[leaver] + period_ns - calls.at_ns[lacks]
    return used, wait_ns


def _rolling_with_refunds(period_ns: int, calls: Calls) -> tuple[Ints, Ints]:
    """A refund makes its own charge smaller: what leaves the window later is the rest of it."""
    back = -calls.settled
    ends_ns = calls.at_ns + period_ns
    returned = (back != 0) & (calls.answered_ns < ends_ns)
    source = np.flatnonzero(returned)
    leaving = np.flatnonzero(calls.at_once)
    axis = arranged(
        calls.at_ns,
        calls.key,
        calls.at_once,
        np.concatenate([source, leaving]),
        np.concatenate([calls.answered_ns[source], ends_ns[leaving]]),
        np.concatenate([-back[source], np.where(returned, back, 0)[leaving] - calls.at_once[leaving]]),
    )
    total = sums(axis.delta)
    starts = axis.starts
    used = (total[:-1] - _since(starts, total, len(axis.key)))[axis.place]
    lacks, never = _lacks(calls, used)
    wait_ns = np.where(never, NEVER, 0)
    if len(lacks):
        order = np.argsort(calls.key, kind="stable")
        searched = Searched(calls.key[order], calls.at_ns[order])
        own = np.empty(len(order), dtype=np.int64)
        own[order] = np.arange(len(order))
        oldest = searched.find(calls.key, calls.at_ns - period_ns, "right")
        charged, back, answered_ns = calls.at_once[order], back[order], calls.answered_ns[order]
        for row in lacks.tolist():  # what has come back depends on the instant that one looks from
            window = slice(oldest[row], own[row])
            rest = charged[window] - np.where(answered_ns[window] <= calls.at_ns[row], back[window], 0)
            excess = used[row] + calls.need[row] - calls.number[row]
            leaver = int(np.searchsorted(np.cumsum(rest), excess))
            wait_ns[row] = calls.at_ns[order[oldest[row] + leaver]] + period_ns - calls.at_ns[row]
    return used, wait_ns


def _fixed(limit: Limit, calls: Calls, keys: list[str]) -> tuple[Ints, Ints, Ints]:
    offset = np.zeros(len(calls.rows), dtype=np.int64)
    windows: ClockWindows
    if limit.align == "offset":
        codes, of = np.unique(calls.key, return_inverse=True)
        offsets = [key_offset_ns(limit, keys[code]) for code in codes]
        offset = np.array(offsets, dtype=np.int64)[of]
        windows = PlainWindows(limit.period_ns)
    else:
        windows = clock_windows(limit, np.concatenate([calls.at_ns, calls.answered_ns]))
    settled = calls.settled
    window = windows.index(calls.at_ns - offset)
    if calls.when == "refund":  # nothing comes back once the window has ended
        settled = np.where(windows.index(calls.answered_ns - offset) == window, settled, 0)
    source = np.flatnonzero(settled)
    axis = arranged(calls.at_ns, calls.key, calls.at_once, source, calls.answered_ns[source], settled[source])
    total = sums(axis.delta)
    starts = runs(axis.key, windows.index(axis.at_ns - offset[axis.source]))
    used = (total[:-1] - _since(starts, total, len(axis.key)))[axis.place]
    lacks, never = _lacks(calls, used)
    wait_ns = np.where(never, NEVER, 0)
    wait_ns[lacks] = windows.start_ns(window[lacks] + 1) + offset[lacks] - calls.at_ns[lacks]
    return used, wait_ns, windows.start_ns(window) + offset


def _first_call(period_ns: int, calls: Calls) -> tuple[Ints, Ints, Ints]:
    axis = _arranged(calls)
    opens = np.flatnonzero(axis.delta > 0)
    key, at_ns = axis.key[opens], axis.at_ns[opens]
    heads = opens
    if len(opens):
        heads = opens[_chain(Searched(key, at_ns).find(key, at_ns + period_ns, "left"))]
    every = np.arange(len(axis.key))
    # The latest window that was opened before each entry, and whether it is still open.
    place = np.searchsorted(heads, every) - 1
    head = heads[np.maximum(place, 0)] if len(heads) else np.zeros(len(every), dtype=np.int64)
    is_open = (place >= 0) & (axis.key[head] == axis.key) & (axis.at_ns < axis.at_ns[head] + period_ns)
    delta = axis.delta
    if calls.when == "refund":
        # The window of the charge: the one that it opened, or found open.
        of = axis.place[axis.source]
        opened = np.where(np.isin(of, heads), of, head[of])
        delta = np.where(axis.is_call | (is_open & (head == opened)), delta, 0)
    total = sums(delta)
    used = np.where(is_open, total[:-1] - total[head], 0)[axis.place]
    opened_ns = np.where(is_open, axis.at_ns[head], axis.at_ns)[axis.place]
    lacks, never = _lacks(calls, used)
    wait_ns = np.where(never, NEVER, 0)
    wait_ns[lacks] = opened_ns[lacks] + period_ns - calls.at_ns[lacks]
    return used, wait_ns, opened_ns


def _chain(following: Ints) -> Ints:
    """0, following[0], following[following[0]], ... until the end: the entries that open a window."""
    steps = following.tolist()
    heads = []
    entry = 0
    while entry < len(steps):
        heads.append(entry)
        entry = steps[entry]
    return np.array(heads, dtype=np.int64)


def _bucket(limit: Limit, calls: Calls) -> tuple[Ints, Ints]:
    """Tokens drain all the time; what is held is tokens x the rate's denominator."""
    axis = _arranged(calls)
    gained, scale = limit.rate.numerator, limit.rate.denominator
    largest = int((calls.need + calls.number).max()) if len(calls.rows) else 0
    held = _reflected(axis, axis.at_ns, gained, scale, largest)[axis.place]
    used = _whole(-(-held // scale))
    excess = held + _exactly(calls.need - calls.number, scale, held.dtype)
    lacks = (calls.need > 0) & np.asarray(excess > 0, dtype=bool)
    never = lacks & (calls.need > calls.number)
    wait_ns = np.where(never, NEVER, 0)
    lacks &= ~never
    wait_ns[lacks] = _whole(-(-excess[lacks] // gained))
    return used, wait_ns


def bucket_levels(limit: Limit, at_ns: Ints, key: Ints, amount: Ints) -> tuple[Ints, Bools]:
    """What a meter that is charged every amount stands at after each, rounded up, and whether it was empty
    before. In order of time; for any number of keys.
    """
    none = np.empty(0, dtype=np.int64)
    axis = arranged(at_ns, key, amount, none, none, none)
    held = _reflected(axis, axis.at_ns, limit.rate.numerator, limit.rate.denominator)[axis.place]
    level = _whole(-(-held // limit.rate.denominator)) + amount
    return level, np.asarray(held == 0, dtype=bool)


def bucket_held(limit: Limit, at_ns: Ints, amount: Ints) -> npt.NDArray[np.float64]:
    """What a single meter stands at before each charge, in tokens."""
    none = np.empty(0, dtype=np.int64)
    axis = arranged(at_ns, np.zeros(len(at_ns), dtype=np.int64), amount, none, none, none)
    held = _reflected(axis, axis.at_ns, limit.rate.numerator, limit.rate.denominator)
    return np.asarray(held / limit.rate.denominator, dtype=np.float64)


def _balance(limit: Limit, calls: Calls) -> tuple[Ints, Ints, Ints]:
    axis = _arranged(calls)
    if not limit.period_ns:
        used = _whole(_reflected(axis, np.zeros(len(axis.key), dtype=np.int64), 0, 1))[axis.place]
        lacks = (calls.need > 0) & _overspent(limit, calls, used)
        first = int(calls.at_ns.min()) if len(calls.at_ns) else 0
        return used, np.where(lacks, NEVER, 0), np.full(len(used), first, dtype=np.int64)
    windows = clock_windows(limit, np.concatenate([calls.at_ns, calls.answered_ns]))
    index = windows.index(axis.at_ns)
    used = _whole(_reflected(axis, index, limit.limit, 1))[axis.place]
    window = windows.index(calls.at_ns)
    lacks = (calls.need > 0) & _overspent(limit, calls, used)
    never = lacks & (calls.need > limit.limit) & (not limit.may_go_negative)
    wait_ns = np.where(never, NEVER, 0)
    waits = np.flatnonzero(lacks & ~never)
    short = used[waits]
    if not limit.may_go_negative:
        short = short + calls.need[waits] - 1
    starts_ns = windows.start_ns(window[waits] + short // limit.limit)
    wait_ns[waits] = np.where(starts_ns == NEVER, NEVER, starts_ns - calls.at_ns[waits])
    return used, wait_ns, windows.start_ns(window)


def _overspent(limit: Limit, calls: Calls, used: Ints) -> Bools:
    if limit.may_go_negative:
        return np.asarray(used >= calls.number)
    return np.asarray(used + calls.need > calls.number)


def _reflected(axis: Axis, passed: Ints, drained: int, scale: int, largest: int = 0) -> Any:
    """What an account held before each entry, times `scale`, if it drains by `drained` for each unit of
    `passed` and never falls below 0: int64 where that is exact, `largest` added, else Python's integers.
    """
    total, starts = sums(axis.delta), axis.starts
    base = _since(starts, total, len(axis.key))
    before, after = total[:-1] - base, total[1:] - base
    drain = passed - _since(starts, passed, len(axis.key))
    most = [int(np.abs(values).max()) if len(values) else 0 for values in (before, after, drain)]
    exact = (largest + most[0] + most[1]) * scale + most[2] * drained < _MOST
    dtype: Any = np.int64 if exact else object
    drain = _exactly(drain, drained, dtype)
    before, after = _exactly(before, scale, dtype) - drain, _exactly(after, scale, dtype) - drain
    lowest = _running_least(np.minimum(before, after), starts)
    least = before.copy()
    inside = np.ones(len(before), dtype=bool)
    inside[starts] = False
    inside = np.flatnonzero(inside)
    least[inside] = np.minimum(before[inside], lowest[inside - 1])
    return before - least


def _exactly(values: Ints, factor: int, dtype: Any) -> Any:
    return values.astype(dtype) * factor


def _running_least(values: Any, starts: Ints) -> Any:
    """The running minimum within each run."""
    lowest = values.copy()
    if not len(starts):
        return lowest
    ends = np.append(starts[1:], len(values))
    if len(starts) <= _FEW_KEYS:
        for start, end in zip(starts.tolist(), ends.tolist(), strict=True):
            np.minimum.accumulate(values[start:end], out=lowest[start:end])
        return lowest
    begin = np.repeat(starts, ends - starts)
    longest, reach = int((ends - starts).max()), 1
    while reach < longest:  # each round sees twice as far back
        inside = np.flatnonzero(np.arange(len(values)) - reach >= begin)
        lowest[inside] = np.minimum(lowest[inside], lowest[inside - reach])
        reach *= 2
    return lowest


def _whole(values: Any) -> Ints:
    if values.dtype == object:
        return np.array([min(value, NEVER) for value in values], dtype=np.int64)
    whole: Ints = values
    return whole
