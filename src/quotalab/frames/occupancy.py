"""The limits that calls are not charged to: how many at once, how many different, and penalties."""

from __future__ import annotations

from bisect import bisect_right, insort

import numpy as np
import numpy.typing as npt

from quotalab.frames.accounts import Searched, Uses, arranged, runs, sums
from quotalab.frames.asked import Calls
from quotalab.frames.calendar import NEVER
from quotalab.profiles.limits import Limit

__all__ = ["Penalties", "cardinality_uses", "concurrency_uses", "distinct", "penalties"]

Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]


def concurrency_uses(limit: Limit, calls: Calls) -> Uses:
    """How many calls were under way, and old enough to count, when each call came."""
    counts_ns = calls.at_ns + limit.min_age_ns
    counted = calls.admitted & (counts_ns < calls.answered_ns)
    source = np.flatnonzero(counted)
    now = counted & (limit.min_age_ns == 0)
    aged = source if limit.min_age_ns else source[:0]
    axis = arranged(
        calls.at_ns,
        calls.key,
        now.astype(np.int64),
        np.concatenate([aged, source]),
        np.concatenate([counts_ns[aged], calls.answered_ns[source]]),
        np.concatenate([np.ones(len(aged), dtype=np.int64), np.full(len(source), -1)]),
    )
    total = sums(axis.delta)
    starts = axis.starts
    used = (total[:-1] - np.repeat(total[starts], np.diff(starts, append=len(axis.key))))[axis.place]
    wait_ns = np.zeros(len(used), dtype=np.int64)
    lacks = used + 1 > calls.number
    if lacks.any():
        for key in np.unique(calls.key[lacks]):
            mine = np.flatnonzero(calls.key == key)
            wait_ns[mine] = _waits(calls, mine, counts_ns, counted, lacks)
    ones = np.ones(len(used), dtype=np.int64)
    return Uses(used, wait_ns, used + now, ones, calls.at_ns)


def _waits(calls: Calls, mine: Ints, counts_ns: Ints, counted: Bools, lacks: Bools) -> Ints:
    """How long until one more fits, for the calls of one key, with what is under way at each."""
    waits = np.zeros(len(mine), dtype=np.int64)
    under_way: list[tuple[int, int]] = []  # (answered, counts from), those that end first at the front
    for i, row in enumerate(mine.tolist()):
        at_ns = int(calls.at_ns[row])
        del under_way[: bisect_right(under_way, (at_ns, NEVER))]
        if lacks[row]:
            waits[i] = _room_ns(under_way, at_ns, int(calls.number[row])) - at_ns
        if counted[row]:
            insort(under_way, (int(calls.answered_ns[row]), int(counts_ns[row])))
    return waits


def _room_ns(under_way: list[tuple[int, int]], at_ns: int, number: int) -> int:
    """The first instant at which fewer than `number` count; a limit's number is 1 or more."""
    counting = sum(begins <= at_ns for _, begins in under_way)
    ages = sorted(begins for _, begins in under_way if begins > at_ns)
    aged = 0
    for i, (ends, _) in enumerate(under_way, 1):
        while aged < len(ages) and ages[aged] <= ends:
            aged += 1
        # By then `i` have ended, all of which had come of age.
        if counting + aged - i < number and (i == len(under_way) or under_way[i][0] > ends):
            return ends
    return at_ns


def cardinality_uses(limit: Limit, calls: Calls, member: Ints) -> Uses:
    """How many different members there were when each call came; `member` are codes."""
    if limit.on_excess == "evict_oldest":
        return _evicting(calls, member)
    new, members = distinct(calls.key, member, calls.admitted)
    lacks = new & (members + 1 > calls.number)
    taken = (new & calls.admitted).astype(np.int64)
    wait_ns = np.where(lacks, NEVER, 0)
    return Uses(members, wait_ns, members + taken, new.astype(np.int64), calls.at_ns)


def distinct(key: Ints, member: Ints, enters: Bools) -> tuple[Bools, Ints]:
    """Whether each row's member is new to its key, and how many different ones have entered before."""
    pair = np.unique(key, return_inverse=True)[1] * (int(member.max(initial=0)) + 2) + member + 1
    rows = np.arange(len(key))
    codes = np.unique(pair, return_inverse=True)[1]
    first = np.full(int(codes.max(initial=-1)) + 1, len(key))
    np.minimum.at(first, codes[enters], rows[enters])
    new = first[codes] >= rows
    entered = (new & enters).astype(np.int64)
    order = np.argsort(key, kind="stable")
    total = sums(entered[order])
    starts = np.flatnonzero(np.append(True, np.diff(key[order]) != 0)) if len(key) else rows
    before = np.empty(len(key), dtype=np.int64)
    before[order] = total[:-1] - np.repeat(total[starts], np.diff(starts, append=len(key)))
    return new, before


def _evicting(calls: Calls, member: Ints) -> Uses:
    """Whoever is new enters, and whoever entered first leaves: one call after the other, as there are few."""
    inside: dict[int, dict[int, None]] = {}
    used, after = np.zeros((2, len(member)), dtype=np.int64)
    new = np.zeros(len(member), dtype=np.int64)
    for i, (key, one) in enumerate(zip(calls.key.tolist(), member.tolist(), strict=True)):
        members = inside.setdefault(key, {})
        used[i] = len(members)
        new[i] = one not in members
        if calls.admitted[i]:
            members.setdefault(one)
            if len(members) > calls.number[i]:
                del members[next(iter(members))]
        after[i] = len(members)
    return Uses(used, np.zeros(len(member), dtype=np.int64), after, new, calls.at_ns)


class Penalties:
    """A penalty's counts and blocks; arrays aligned with the calls."""

    def __init__(self, number: int) -> None:
        self.counted: Ints = np.zeros(number, dtype=np.int64)
        """Answers that counted within the window, before this call's own."""
        self.counts: Bools = np.zeros(number, dtype=bool)
        """Whether this call's answer counts."""
        self.begins: Bools = np.zeros(number, dtype=bool)
        """Whether a block begins with this call's answer."""
        self.wait_ns: Ints = np.zeros(number, dtype=np.int64)


def penalties(limit: Limit, calls: Calls, status: Ints, refused: Bools) -> Penalties:
    """Counted answers and blocks of each key; `refused`: whether the ledger names this limit as the refuser.

    A loop over blocks, of which there are few; in between, counting is a search.
    """
    found = Penalties(len(status))
    counting = np.isin(status, limit.statuses) & ~refused
    order = np.argsort(calls.key, kind="stable")
    key, at_ns, hits = calls.key[order], calls.at_ns[order], np.flatnonzero(counting[order])
    found.counts[:] = counting
    # As if there were no blocks, which most keys never see.
    before = np.searchsorted(hits, np.arange(len(order)))
    since = Searched(key[hits], at_ns[hits]).find(key, at_ns - limit.period_ns, "right")
    found.counted[order] = np.maximum(before - since, 0)
    many = found.counts & (found.counted + 1 > limit.limit)
    starts = runs(key)
    ends = np.append(starts[1:], len(key))
    for code in np.searchsorted(key[starts], np.unique(calls.key[many])):
        rows = order[starts[code] : ends[code]]
        _of_key(limit, rows, calls.at_ns[rows], counting[rows], found)
    return found


def _of_key(limit: Limit, rows: Ints, at_ns: Ints, counting: Bools, found: Penalties) -> None:
    threshold, window_ns = limit.limit, limit.period_ns
    hits = np.flatnonzero(counting)
    times = at_ns[hits]
    counts = counting.copy()
    # An answer is one too many when the one `threshold` before it is still in the window.
    many = np.arange(threshold, len(hits))
    many = many[times[many] - times[many - threshold] < window_ns]
    since = np.zeros(len(rows), dtype=np.int64)  # the first answer that a call's count may hold
    quiet: dict[int, Ints] = {}  # by length: the rows that no other follows within it
    first, nth, ended_ns = 0, 0, -NEVER
    while (place := int(np.searchsorted(many, first + threshold))) < len(many):
        row = int(hits[many[place]])
        begun_ns = int(at_ns[row])
        found.begins[rows[row]] = True
        if limit.action == "ban":
            end = len(rows)
            found.wait_ns[rows[row + 1 :]] = NEVER
        else:
            nth = nth + 1 if begun_ns - ended_ns < limit.forgive_ns else 1
            length_ns = _length_ns(limit, nth)
            if limit.action == "block":
                ended_ns = begun_ns + length_ns
                end = max(int(np.searchsorted(at_ns, ended_ns, "left")), row + 1)
                ends_ns = np.full(end - row - 1, ended_ns)
            else:
                if length_ns not in quiet:
                    quiet[length_ns] = np.append(np.flatnonzero(np.diff(at_ns) >= length_ns), len(rows) - 1)
                end = int(quiet[length_ns][np.searchsorted(quiet[length_ns], row)]) + 1
                ended_ns = int(at_ns[end - 1]) + length_ns
                ends_ns = at_ns[row + 1 : end] + length_ns  # each call begins it anew
            found.wait_ns[rows[row + 1 : end]] = ends_ns - at_ns[row + 1 : end]
        counts[row + 1 : end] = False
        first = int(np.searchsorted(hits, end))
        since[row + 1 :] = first
    found.counts[rows] = counts
    before = np.searchsorted(hits, np.arange(len(rows)))
    within = np.searchsorted(times, at_ns - window_ns, "right")
    found.counted[rows] = np.maximum(before - np.maximum(within, since), 0)


def _length_ns(limit: Limit, nth: int) -> int:
    """How long the nth block of a row of blocks lasts."""
    length_ns = limit.block_ns
    for _ in range(nth - 1):
        if limit.escalation == 1 or length_ns >= limit.longest_ns:
            break
        length_ns *= limit.escalation
    return min(length_ns, limit.longest_ns)
