"""What limiters for each source would refuse of a trace: open loop, a refused request costs nothing.

Requests are taken rank by rank: the first of every source at once, then the second of every source, and so
on. No source knows of another, so this is exact, and the work is numpy's.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from quotalab.errors import InputError

__all__ = ["FixedWindow", "Limiter", "SlidingLog", "TokenBucket", "refused"]

Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

_LONG_AGO = -(2**62)


@dataclass(frozen=True)
class TokenBucket:
    """A token each `interval_ns`, at most `burst` of them; full at the start."""

    interval_ns: int
    burst: int


@dataclass(frozen=True)
class SlidingLog:
    """At most `limit` accepted requests in any (t - window, t]."""

    limit: int
    window_ns: int


@dataclass(frozen=True)
class FixedWindow:
    """At most `limit` requests in each whole window since 1970 UTC."""

    limit: int
    window_ns: int


Limiter = TokenBucket | SlidingLog | FixedWindow


def refused(at_ns: Ints, source: Ints, limiter: Limiter) -> Bools:
    """Which requests the limiter refuses, row by row, when each source has one of its own.

    Rows in any order; equal times of a source are taken in the order of the rows. Raises `InputError` where
    the times do not fit exact arithmetic.
    """
    order = np.lexsort((at_ns, source))
    at, who = at_ns[order], source[order]
    if len(at) and not -(2**61) < at.min() <= at.max() < 2**61:
        raise InputError("times before 1897 or after 2043 cannot be counted exactly")
    if isinstance(limiter, FixedWindow):
        sorted_refused = _fixed(at, who, limiter)
    else:
        sorted_refused = _by_rank(at, who, limiter)
    found = np.empty(len(at), dtype=bool)
    found[order] = sorted_refused
    return found


def _fixed(at: Ints, who: Ints, limiter: FixedWindow) -> Bools:
    window = at // limiter.window_ns
    new = np.ones(len(at), dtype=bool)
    new[1:] = (window[1:] != window[:-1]) | (who[1:] != who[:-1])
    first = np.flatnonzero(new)
    place = np.arange(len(at)) - np.repeat(first, np.diff(first, append=len(at)))
    return place >= limiter.limit


def _by_rank(at: Ints, who: Ints, limiter: TokenBucket | SlidingLog) -> Bools:
    new = np.ones(len(at), dtype=bool)
    new[1:] = who[1:] != who[:-1]
    first = np.flatnonzero(new)
    count = np.diff(first, append=len(at))
    enough = _may_refuse(at, who, first, limiter)
    first, count = first[enough], count[enough]
    by_count = np.argsort(-count, kind="stable")
    first, count = first[by_count], count[by_count]
    # How many sources have a request of each rank: they are the first so many.
    active = np.searchsorted(-count, -np.arange(int(count.max(initial=0))), "left")
    found = np.zeros(len(at), dtype=bool)
    if isinstance(limiter, TokenBucket):
        due = np.full(len(first), _LONG_AGO)  # when the bucket would be full again
        slack = (limiter.burst - 1) * limiter.interval_ns
        for rank, n in enumerate(active.tolist()):
            rows = first[:n] + rank
            t = at[rows]
            passes = due[:n] - slack <= t
            due[:n] = np.where(passes, np.maximum(due[:n], t) + limiter.interval_ns, due[:n])
            found[rows] = ~passes
        return found
    log = np.full((len(first), limiter.limit), _LONG_AGO)
    place = np.zeros(len(first), dtype=np.int64)
    for rank, n in enumerate(active.tolist()):
        rows = first[:n] + rank
        t = at[rows]
        passes = log[np.arange(n), place[:n]] <= t - limiter.window_ns
        through = np.flatnonzero(passes)
        log[through, place[through]] = t[through]
        place[through] = (place[through] + 1) % limiter.limit
        found[rows] = ~passes
    return found


def _may_refuse(at: Ints, who: Ints, first: Ints, limiter: TokenBucket | SlidingLog) -> Bools:
    """Sources of which something could be refused at all: a necessary condition, found at once."""
    if isinstance(limiter, TokenBucket):
        most, window_ns = limiter.burst, limiter.burst * limiter.interval_ns
    else:
        most, window_ns = limiter.limit, limiter.window_ns
    crowded = np.zeros(len(at), dtype=bool)
    if len(at) > most:
        crowded[most:] = (who[most:] == who[:-most]) & (at[most:] - at[:-most] < window_ns)
    return np.logical_or.reduceat(crowded, first) if len(first) else np.empty(0, dtype=bool)
