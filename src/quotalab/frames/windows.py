"""Counting in windows: numpy over int64 nanoseconds, exact, ties and boundaries included.

Windows are half-open, [x, x + W). Counted backwards from a call at t, those are the calls in (t - W, t].

Everything lies on one composite axis: value = key x (span + W) + (t - t0), so that a single sort and a single
binary search serve all keys at once, and no window reaches from one key into the next. Where that axis would
not fit into 63 bits the keys are taken in parts; where even one key does not fit, `InputError` is raised.
Nothing ever wraps.

Arguments that all functions share: `at_ns` int64 (n,), ns since 1970; `key` integer codes of 0 or more (n,);
`cost` int64 (n,) of 0 or more. What limits had counted call by call is in `quotalab.frames.accounts`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from quotalab.errors import InputError

__all__ = ["Peaks", "largest_in_any_window", "use_curve"]

Ints = npt.NDArray[np.int64]

_MOST = 2**63 - 1


@dataclass(frozen=True)
class Peaks:
    """The fullest window of each key that occurs; int64 arrays of one length, in order of `key`."""

    key: Ints
    largest: Ints
    """The number of rows, or the sum of their costs."""
    at_ns: Ints
    """When that was reached first: the window is (at_ns - W, at_ns]."""


def largest_in_any_window(at_ns: Ints, key: Ints, window_ns: int, cost: Ints | None = None) -> Peaks:
    """The most rows, or the largest sum of `cost`, in any half-open window of each key; in any order of rows.

    Raises `InputError` when times, keys or costs are too large for exact arithmetic.
    """
    parts = []
    for rows, unsorted, stride, first_key in _parts(at_ns, key, window_ns):
        if cost is None:
            axis = np.sort(unsorted)
            sums = np.arange(1, len(axis) + 1) - np.searchsorted(axis, axis - window_ns, "right")
        else:
            order = np.argsort(unsorted, kind="stable")
            axis = unsorted[order]
            total = _running(cost[rows][order])
            sums = total[1:] - total[np.searchsorted(axis, axis - window_ns, "right")]
        starts, codes = _starts(axis, stride)
        largest = np.maximum.reduceat(sums, starts)
        best = np.flatnonzero(sums == np.repeat(largest, np.diff(starts, append=len(axis))))
        first = best[np.searchsorted(best, starts)]
        parts.append((codes + first_key, largest, axis[first] - codes * stride + int(at_ns.min())))
    if not parts:
        none = np.empty(0, dtype=np.int64)
        return Peaks(none, none, none)
    keys, largests, times = zip(*parts, strict=True)
    return Peaks(np.concatenate(keys), np.concatenate(largests), np.concatenate(times))


def use_curve(at_ns: Ints, cost: Ints, window_ns: int) -> tuple[Ints, Ints]:
    """The rolling use of one key as steps: (times, use from that time on), times strictly rising.

    A call at t counts in [t, t + W): at t + W it has left already. The highest step is what
    `largest_in_any_window` finds.
    """
    times = np.concatenate([at_ns, at_ns + window_ns])
    deltas = np.concatenate([cost, -cost])
    order = np.argsort(times, kind="stable")
    times, use = times[order], np.cumsum(deltas[order])
    if not len(times):
        return times, use
    last = np.append(times[1:] != times[:-1], True)
    return times[last], use[last]


def _parts(at_ns: Ints, key: Ints, window_ns: int) -> Iterator[tuple[slice | Ints, Ints, int, int]]:
    """(rows, their composite axis, its stride, the code of the axis' first key), as few as can be."""
    if not len(at_ns):
        return
    start_ns, least, most = int(at_ns.min()), int(key.min()), int(key.max())
    if least < 0:
        raise InputError("a row without a key cannot be counted under one")
    stride = int(at_ns.max()) - start_ns + window_ns
    if stride > _MOST:
        raise InputError(f"times that lie {stride} ns apart, a window included, do not fit into 63 bits")
    # The end of the last key's last window must fit as well.
    together = _MOST // stride
    if most - least < together:
        yield slice(None), (key.astype(np.int64) - least) * stride + (at_ns - start_ns), stride, least
        return
    order = np.argsort(key, kind="stable")
    codes, first = np.unique(key[order], return_index=True)
    begin = 0
    while begin < len(codes):
        end = int(np.searchsorted(codes, min(int(codes[begin]) + together, _MOST), "left"))
        rows = order[first[begin] : first[end] if end < len(codes) else len(order)]
        base = int(codes[begin])
        yield rows, (key[rows].astype(np.int64) - base) * stride + (at_ns[rows] - start_ns), stride, base
        begin = end


def _running(cost: Ints) -> Ints:
    """Running sums of `cost` with a 0 before them, refused where they could wrap."""
    if len(cost):
        if int(cost.min()) < 0:
            raise InputError("a cost below 0 cannot be counted")
        if int(cost.max()) * len(cost) > _MOST // 2 and sum(cost.tolist()) > _MOST // 2:
            raise InputError("costs that add up to 2**62 or more cannot be counted exactly")
    total = np.zeros(len(cost) + 1, dtype=np.int64)
    np.cumsum(cost, out=total[1:])
    return total


def _starts(axis: Ints, stride: int) -> tuple[Ints, Ints]:
    """Where each key that has rows begins on the sorted axis, and the keys' codes."""
    keys = int(axis[-1]) // stride + 1
    if keys <= 2 * len(axis):
        starts = np.searchsorted(axis, np.arange(keys) * stride)
        has = np.diff(starts, append=len(axis)) > 0
        return starts[has], np.flatnonzero(has)
    codes = axis // stride  # few rows under far-apart codes
    starts = np.flatnonzero(np.append(True, codes[1:] != codes[:-1]))
    return starts, codes[starts]
