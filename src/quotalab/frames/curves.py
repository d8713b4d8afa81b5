"""The use of a limit over time, to be drawn: what was asked of its worst key, and what was admitted."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from quotalab.frames.accounts import bucket_held
from quotalab.frames.asked import Calls
from quotalab.frames.calendar import NEVER, clock_windows
from quotalab.frames.limits import Asked, LimitUse, asked, key_code
from quotalab.frames.loading import Frames
from quotalab.frames.occupancy import distinct
from quotalab.frames.windows import use_curve
from quotalab.profiles.limits import Limit

__all__ = ["Curve", "use_curves"]

Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Curve:
    """Levels at rising times; where `slopes` is false, each holds until the next."""

    name: str
    """``asked`` or ``admitted``."""
    at_ns: Ints
    level: npt.NDArray[np.number]
    slopes: bool = False


def use_curves(frames: Frames, use: LimitUse) -> list[Curve]:
    """What was asked of the limit's worst key, and what was admitted; one curve where that is the same."""
    limit, calls = use.limit, frames.once(asked)[use.limit.name]
    mine = np.flatnonzero(calls.key == key_code(frames, use))
    if limit.kind == "penalty":
        return [_counted(limit, calls, mine)]
    inside = mine[calls.admitted[mine]]
    if len(inside) == len(mine):
        return [_curve(limit, calls, mine, "admitted")]
    return [_curve(limit, calls, mine, "asked"), _curve(limit, calls, inside, "admitted")]


def _curve(limit: Limit, calls: Asked, rows: Ints, name: str) -> Curve:
    kind = limit.counts or limit.kind
    at_ns, amount = calls.at_ns[rows], calls.asked[rows]
    if kind == "token_bucket":
        return Curve(name, *bucket_curve(limit, at_ns, amount), slopes=True)
    if kind == "concurrency":
        return Curve(name, *_under_way(limit, calls, rows))
    if kind == "cardinality":
        assert calls.member is not None, "a cardinality limit has members"
        new, before = distinct(calls.key[rows], calls.member[rows], np.ones(len(rows), dtype=bool))
        level = before + new
        if limit.on_excess == "evict_oldest" and name == "admitted":
            level = calls.uses.after[rows]
        return Curve(name, at_ns, level)
    if kind == "rolling_window":
        return Curve(name, *use_curve(at_ns, amount, limit.period_ns))
    opened_ns = calls.uses.opened_ns[rows]
    return Curve(name, *_saw(at_ns, amount, opened_ns, _ends_ns(limit, opened_ns)))


def _ends_ns(limit: Limit, opened_ns: Ints) -> Ints:
    if not limit.period_ns:
        return np.full(len(opened_ns), NEVER)
    if limit.align != "clock":
        return opened_ns + limit.period_ns
    windows = clock_windows(limit, opened_ns)
    return windows.start_ns(windows.index(opened_ns) + 1)


def _saw(at_ns: Ints, amount: Ints, opened_ns: Ints, ends_ns: Ints) -> tuple[Ints, Ints]:
    """Use of fixed windows as steps: it grows within a window and falls to 0 at its end."""
    if not len(at_ns):
        return at_ns, amount
    new = np.append(True, opened_ns[1:] != opened_ns[:-1])
    total = np.cumsum(amount)
    before = (total - amount)[new]
    within = total - np.repeat(before, np.diff(np.flatnonzero(new), append=len(at_ns)))
    ends = ends_ns[new]
    times = np.concatenate([at_ns, ends])
    level = np.concatenate([within, np.zeros(len(ends), dtype=np.int64)])
    # A call at the very end of a window is of the next one, and comes after the fall.
    order = np.lexsort((np.append(np.ones(len(at_ns)), np.zeros(len(ends))), times))
    return times[order], level[order]


def bucket_curve(limit: Limit, at_ns: Ints, amount: Ints) -> tuple[Ints, npt.NDArray[np.float64]]:
    """A meter's corners: before and after each call, and where it has drained."""
    before = bucket_held(limit, at_ns, amount)
    after = before + amount
    # Up to the next call, or to when nothing is left.
    empty_ns = at_ns + np.minimum(np.ceil(after / float(limit.rate)), 2.0**60).astype(np.int64)
    drained = np.append(empty_ns[:-1] < at_ns[1:], True) if len(at_ns) else np.zeros(0, dtype=bool)
    times = np.concatenate([at_ns, at_ns, empty_ns[drained]])
    level = np.concatenate([before, after, np.zeros(int(drained.sum()))])
    turn = np.repeat([0, 1, 2], [len(at_ns), len(at_ns), int(drained.sum())])
    row = np.concatenate([np.arange(len(at_ns)), np.arange(len(at_ns)), np.flatnonzero(drained)])
    order = np.lexsort((turn, row))
    return times[order], level[order]


def _under_way(limit: Limit, calls: Calls, rows: Ints) -> tuple[Ints, Ints]:
    """How many calls counted at each moment; one that was refused counts for that instant alone."""
    begins = calls.at_ns[rows] + limit.min_age_ns
    admitted = calls.admitted[rows]
    counted = admitted & (begins < calls.answered_ns[rows])
    refused_ns = calls.at_ns[rows][~admitted]
    # What ends at an instant ends before what begins; a refused call goes last.
    events = (
        (calls.answered_ns[rows][counted], -1, 0),
        (begins[counted], 1, 1),
        (refused_ns, 1, 2),
        (refused_ns, -1, 3),
    )
    times = np.concatenate([when for when, _, _ in events])
    delta = np.repeat([by for _, by, _ in events], [len(when) for when, _, _ in events])
    turn = np.repeat([rank for _, _, rank in events], [len(when) for when, _, _ in events])
    # Each refused call rises and falls by itself.
    row = np.concatenate([np.zeros(2 * int(counted.sum()), dtype=np.int64), *2 * [np.flatnonzero(~admitted)]])
    order = np.lexsort((turn, row, times))
    return times[order], np.cumsum(delta[order])


def _counted(limit: Limit, calls: Asked, mine: Ints) -> Curve:
    """Counted answers: each counts for a window's length, or until a block begins."""
    answers = calls.answers
    assert answers is not None, "a penalty has counted answers"
    rows = mine[answers.counts[mine]]
    begins = mine[answers.begins[mine]]
    leaves_ns = calls.at_ns[rows] + limit.period_ns
    if len(begins):
        next_block = np.searchsorted(begins, rows)
        block_ns = np.append(calls.at_ns[begins], NEVER)[next_block]
        cleared = block_ns <= leaves_ns
        leaves_ns = np.where(cleared, block_ns, leaves_ns)
    else:
        cleared = np.zeros(len(rows), dtype=bool)
    times = np.concatenate([calls.at_ns[rows], leaves_ns])
    delta = np.repeat([1, -1], [len(rows), len(rows)])
    turn = np.concatenate([np.ones(len(rows), dtype=np.int64), np.where(cleared, 2, 0)])
    order = np.lexsort((turn, times))
    return Curve("asked", times[order], np.cumsum(delta[order]))
