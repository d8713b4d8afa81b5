"""What was asked of each limit, and where that came to its peak."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import numpy.typing as npt
import pandas as pd

from quotalab.frames.accounts import Searched, Uses, arranged, bucket_levels, metered_uses, runs, sums
from quotalab.frames.asked import Calls, asked_calls, member_column
from quotalab.frames.loading import Frames
from quotalab.frames.occupancy import Penalties, cardinality_uses, concurrency_uses, distinct, penalties
from quotalab.profiles.limits import METERED, Limit

__all__ = ["Asked", "LimitUse", "asked", "key_code", "limit_uses", "window_rows"]

Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Asked(Calls):
    """The calls that were asked of one limit, with what it had counted when each came."""

    uses: Uses
    member: Ints | None = None
    """Of a cardinality limit: codes of what is distinct."""
    answers: Penalties | None = None
    """Of a penalty."""


@dataclass(frozen=True)
class LimitUse:
    """How near one limit came to its end. Calls that were refused count as asked for."""

    limit: Limit
    keys: int
    """How many keys had calls."""
    worst_key: str | None
    """The key of the peak; None when nothing was asked."""
    peak_asked: int
    """The most that was asked for: in one window, of a balance in its period, what a bucket's meter would
    have stood at, at once, different members, counted answers."""
    from_ns: int | None
    """Where what made the peak began: its window, or when the meter was last empty."""
    peak_at_ns: int | None
    """The call that brought the use to its peak."""
    refused: int
    """Calls that this limit refused, of whatever kind."""
    number: int
    """The limit's number at the peak, where a timetable changes it."""

    @property
    def utilisation(self) -> float:
        """The share of the limit that was asked for: above 1 it was overrun."""
        return self.peak_asked / self.number

    @property
    def headroom(self) -> float:
        """1 - utilisation, rounded once."""
        return (self.number - self.peak_asked) / self.number

    @property
    def is_for_filling(self) -> bool:
        """Whether the limit is there to be used up: seats that are taken, mistakes that are forgiven."""
        return self.limit.kind in ("cardinality", "penalty")


def asked(frames: Frames) -> Mapping[str, Asked]:
    """By name of the profile's limits. Use as ``frames.once(asked)``."""
    plain = frames.once(asked_calls)
    return {limit.name: _asked(frames, limit, plain[limit.name]) for limit in frames.provider.limits}


def _asked(frames: Frames, limit: Limit, calls: Calls) -> Asked:
    none = np.zeros(len(calls.rows), dtype=np.int64)
    if not len(none):
        return Asked(**vars(calls), uses=Uses(none, none, none, none, none))
    if limit.kind in METERED:
        keys = frames.calls[f"key:{limit.name}"].cat.categories.to_list()
        return Asked(**vars(calls), uses=metered_uses(limit, calls, keys))
    if limit.kind == "concurrency":
        return Asked(**vars(calls), uses=concurrency_uses(limit, calls))
    if limit.kind == "cardinality":
        member = member_column(frames, limit).cat.codes.to_numpy().astype(np.int64)[calls.rows]
        return Asked(**vars(calls), uses=cardinality_uses(limit, calls, member), member=member)
    status = frames.calls["status"].to_numpy()[calls.rows]
    refused = (frames.calls["limit"] == limit.name).to_numpy()[calls.rows]
    found = penalties(limit, calls, status, refused)
    uses = Uses(found.counted, found.wait_ns, found.counted, none, calls.at_ns)
    return Asked(**vars(calls), uses=uses, answers=found)


def limit_uses(frames: Frames) -> tuple[LimitUse, ...]:
    """One for each limit of the profile, in its order. Use as ``frames.once(limit_uses)``."""
    refused = frames.calls["limit"].value_counts()
    return tuple(
        _limit_use(frames, limit, frames.once(asked)[limit.name], int(refused.get(limit.name, 0)))
        for limit in frames.provider.limits
    )


def _limit_use(frames: Frames, limit: Limit, calls: Asked, refused: int) -> LimitUse:
    if not len(calls.rows):
        return LimitUse(limit, 0, None, 0, None, None, refused, limit.limit)
    level, from_ns = levels(limit, calls)
    worst, share = 0, Fraction(-1)
    for number in np.unique(calls.number):  # few: the timetable's
        mine = np.flatnonzero(calls.number == number)
        row = int(mine[np.argmax(level[mine])])
        own = Fraction(int(level[row]), int(number))
        if (own, -row) > (share, -worst):
            worst, share = row, own
    name = str(frames.calls[f"key:{limit.name}"].cat.categories[calls.key[worst]])
    return LimitUse(
        limit=limit,
        keys=len(np.unique(calls.key)),
        worst_key=name,
        peak_asked=int(level[worst]),
        from_ns=int(from_ns[worst]),
        peak_at_ns=int(calls.at_ns[worst]),
        refused=refused,
        number=int(calls.number[worst]),
    )


def levels(limit: Limit, calls: Asked) -> tuple[Ints, Ints]:
    """What each call brought the use to if refused calls count, and where what made that up began."""
    kind = limit.counts or limit.kind
    at_ns, key = calls.at_ns, calls.key
    if kind == "concurrency":
        return calls.uses.used + 1, at_ns
    if kind == "penalty":
        assert calls.answers is not None, "a penalty has counted answers"
        return calls.answers.counted + calls.answers.counts, at_ns - limit.period_ns + 1
    if kind == "token_bucket":
        level, empty = bucket_levels(limit, at_ns, key, calls.asked)
    elif kind == "cardinality":
        assert calls.member is not None, "a cardinality limit has members"
        everyone = np.ones(len(key), dtype=bool)
        new, before = distinct(key, calls.member, everyone)
        level, empty = before + new, np.zeros(len(key), dtype=bool)
    none = np.empty(0, dtype=np.int64)
    axis = arranged(at_ns, key, calls.asked, none, none, none)
    order = axis.source
    if kind in ("token_bucket", "cardinality"):
        begins = empty[order]
        begins[axis.starts] = True
        last = np.maximum.accumulate(np.where(begins, np.arange(len(order)), 0))
        return level, axis.at_ns[last][axis.place]
    total = sums(axis.delta)
    if kind == "rolling_window":
        oldest = Searched(axis.key, axis.at_ns).find(key, at_ns - limit.period_ns, "right")
        return total[axis.place + 1] - total[oldest], at_ns - limit.period_ns + 1
    starts = runs(axis.key, calls.uses.opened_ns[order])
    within = total[1:] - np.repeat(total[starts], np.diff(starts, append=len(order)))
    return within[axis.place], calls.uses.opened_ns


def window_rows(frames: Frames, use: LimitUse) -> pd.DataFrame:
    """The calls that made up the peak, of its key, in the order in which they were decided.

    Beside the columns of `Frames.calls`, `used` is what the limit had counted before each call.
    """
    limit, calls = use.limit, frames.once(asked)[use.limit.name]
    if use.from_ns is None or use.peak_at_ns is None:
        return frames.calls.iloc[:0].assign(used=0)
    inside = (calls.key == key_code(frames, use)) & (calls.at_ns <= use.peak_at_ns)
    if limit.kind == "concurrency":
        counts = calls.admitted & (calls.at_ns + limit.min_age_ns <= use.peak_at_ns)
        inside &= (counts & (calls.answered_ns > use.peak_at_ns)) | (calls.at_ns == use.peak_at_ns)
    else:
        inside &= calls.at_ns >= use.from_ns
    if calls.answers is not None:
        inside &= calls.answers.counts
    if calls.member is not None:
        mine = np.flatnonzero(inside)
        inside[mine] = distinct(calls.key[mine], calls.member[mine], np.ones(len(mine), dtype=bool))[0]
    rows: pd.DataFrame = frames.calls.iloc[calls.rows[inside]].assign(used=calls.uses.used[inside])
    return rows


def key_code(frames: Frames, use: LimitUse) -> int:
    """The code of the peak's key in `Calls.key`."""
    return frames.calls[f"key:{use.limit.name}"].cat.categories.to_list().index(use.worst_key)
