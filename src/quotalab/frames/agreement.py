"""The second witness: every decision of the sandbox worked out again, from the calls alone.

For each call: which limits had to be asked about it? Does it fit, by the calls that were admitted before it?
If not, which limit refuses it (of several, the one with the longest wait; of equal ones the profile's first),
what had to be promised, to which limits was it charged all the same, and what is left? Whatever differs is a
fault of quotalab's own, never of the app.

Each decision is worked out from the decisions recorded before it, so one wrong decision is reported once and
does not taint those that follow.

The profile's planted faults are no disagreement: a call that one answers before the limits are asked must
have been asked of none, a promise that one changed is not compared, and instants are by the provider's own
clock.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from quotalab.frames.asked import KEY_COLUMNS, UNKNOWN_ROUTE, expected, struck
from quotalab.frames.calendar import NEVER
from quotalab.frames.limits import Asked, asked
from quotalab.frames.loading import Frames
from quotalab.profiles.faults import Fault
from quotalab.profiles.limits import METERED, Limit

__all__ = ["Disagreement", "disagreements", "skew_ns"]

Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

_SECOND_NS = 1_000_000_000
_TENTH_NS = _SECOND_NS // 10
_FAR_NS = 2**62
_NONE = -(2**63)  # stands for a value that is missing, where arrays are compared


class Disagreement(NamedTuple):
    """One call on which the sandbox and the judges differ; with a `seq` of -1, a thing about the run."""

    seq: int
    message: str


def disagreements(frames: Frames) -> list[Disagreement]:
    """All of them, in order of `seq`; none is how it must be."""
    return sorted(_all(frames))


def _all(frames: Frames) -> Iterator[Disagreement]:
    if (frames.events["what"] == "state-shared").any():
        return  # the folder lacks the calls of the other processes, so nothing can be worked out
    calls = frames.calls
    limits = [limit for limit in frames.provider.limits if limit.name not in frames.undrawn]
    for name in frames.undrawn:
        yield Disagreement(-1, f"has no event that tells what was drawn for the limit {name!r}")
    for limit in limits:
        if limit.kind == "opaque" and not limit.floor <= limit.limit <= limit.ceiling:
            yield Disagreement(
                -1,
                f"has {limit.limit} drawn for the limit {limit.name!r}, which lies between {limit.floor} and "
                f"{limit.ceiling}",
            )
    yield from _askings(frames)
    waits = np.zeros((len(limits), len(calls)), dtype=np.int64)
    for i, limit in enumerate(limits):
        mine = frames.once(asked)[limit.name]
        waits[i, mine.rows] = mine.uses.wait_ns
        yield from _keys(frames, limit, mine)
    for limit in limits:
        yield from _accounts(frames, limit, limits, waits)
    yield from _decisions(frames, limits, waits)
    yield from _costs(frames)


def _askings(frames: Frames) -> Iterator[Disagreement]:
    """Whether each limit was asked about the calls that it is for, and about no others."""
    calls = frames.calls
    seq = calls["seq"].to_numpy()
    names = {limit.name for limit in frames.provider.limits}
    was_asked = np.zeros(len(calls), dtype=bool)
    for name in frames.limit_names:
        has_key = calls[f"key:{name}"].notna().to_numpy()
        was_asked |= has_key
        if name not in names:
            for row in np.flatnonzero(has_key):
                yield Disagreement(
                    int(seq[row]), f"was counted under the limit {name!r}, which the profile does not have"
                )
            continue
        due = frames.once(expected)[name]
        for row in np.flatnonzero(due & ~has_key):
            yield Disagreement(int(seq[row]), f"was decided without asking the limit {name!r}")
        for row in np.flatnonzero(has_key & ~due):
            yield Disagreement(int(seq[row]), f"was asked of the limit {name!r}, which is not for such calls")
    for row in np.flatnonzero(~was_asked & calls["limit"].notna().to_numpy()):
        yield Disagreement(
            int(seq[row]), f"was refused by {calls['limit'].iloc[row]!r} without having been asked of it"
        )


def _decisions(frames: Frames, limits: list[Limit], waits: Ints) -> Iterator[Disagreement]:
    """Whether each call had to be admitted, by whom it had to be refused, and with what promise."""
    calls = frames.calls
    if not limits:
        return
    seq, at_ns = calls["seq"].to_numpy(), calls["at"].to_numpy()
    was_asked = np.zeros(len(calls), dtype=bool)
    for limit in limits:
        was_asked[frames.once(asked)[limit.name].rows] = True
    refused = calls["limit"].notna().to_numpy()
    judged = was_asked & ~calls["limit"].isin(frames.undrawn).to_numpy()
    codes = pd.Categorical(calls["limit"], categories=[limit.name for limit in limits]).codes
    recorded = np.where(refused & (codes < 0), -2, codes)
    wait_ns = waits.max(axis=0)
    due = np.where(wait_ns > 0, waits.argmax(axis=0), -1)
    for row in np.flatnonzero(judged & (recorded != due)):
        fits = "all limits had room for it"
        if due[row] >= 0:
            fits = _had_to_refuse(frames, limits[due[row]], int(row))
        said = "was admitted"
        if recorded[row] != -1:
            said = f"was refused by {calls['limit'].iloc[row]!r}"
        yield Disagreement(int(seq[row]), f"{said}, but by the judges' account {fits}, at {at_ns[row]} ns")
    agreed = judged & (recorded == due) & (due >= 0) & ~struck(frames, _changes_promises)
    clock_ns = at_ns + skew_ns(frames, at_ns)
    promised = _plain(calls["retry_after_ns"])
    for code in np.unique(due[agreed]):
        form = frames.provider.dialect.refusal(limits[code].name).retry_after
        rows = np.flatnonzero(agreed & (due == code))
        kept = _promises(form, clock_ns[rows], wait_ns[rows])
        for row, promise in zip(rows, kept, strict=True):
            if promised[row] != promise:
                made = f"its wait of {wait_ns[row]} ns makes"
                if wait_ns[row] == NEVER:
                    made = "no wait helps it, which makes"
                yield Disagreement(
                    int(seq[row]),
                    f"was promised {_shown_ns(promised[row])}, but {made} {_shown_ns(promise)}",
                )


def _changes_promises(fault: Fault) -> bool:
    return (
        fault.kind == "retry_after"
        or (fault.kind, fault.how) == ("headers", "missing")
        or ((fault.kind, fault.when) == ("drop", "after"))
    )


def skew_ns(frames: Frames, at_ns: Ints) -> Ints:
    """How far the provider's own clock was ahead, by the faults of its profile."""
    skew_ns = np.zeros(len(at_ns), dtype=np.int64)
    after_ns = at_ns - frames.run.start_ns
    for fault in frames.provider.faults:
        if fault.kind == "clock_skew":
            is_on = after_ns >= fault.from_ns
            if fault.until_ns is not None:
                is_on &= after_ns < fault.until_ns
            skew_ns += np.where(is_on, fault.by_ns, 0)
    return skew_ns


def _had_to_refuse(frames: Frames, limit: Limit, row: int) -> str:
    mine = frames.once(asked)[limit.name]
    place = int(np.flatnonzero(mine.rows == row)[0])
    if limit.kind == "penalty":
        return f"{limit.name!r} had to refuse it: its key was blocked"
    used, number = mine.uses.used[place], mine.number[place]
    return f"{limit.name!r} had to refuse it: {used} of {number} were used already"


def _promises(form: str, at_ns: Ints, wait_ns: Ints) -> Ints:
    """What a refusal promises for a wait, counted from `at_ns`; `_NONE` where it promises nothing."""
    if form == "none":
        return np.full(len(wait_ns), _NONE)
    if (wait_ns > _FAR_NS).any():
        far = [
            _NONE if wait == NEVER else min(_promise(form, at, wait), NEVER)
            for at, wait in zip(at_ns.tolist(), wait_ns.tolist(), strict=True)
        ]
        return np.array(far, dtype=np.int64)
    return np.asarray(_promise(form, at_ns, wait_ns))


def _promise(form: str, at_ns: Any, wait_ns: Any) -> Any:
    if form == "seconds":
        return -(-wait_ns // _SECOND_NS) * _SECOND_NS
    if form == "decimal":
        return -(-wait_ns // _TENTH_NS) * _TENTH_NS
    return -(-(at_ns + wait_ns) // _SECOND_NS) * _SECOND_NS - at_ns  # an instant, in whole seconds


def _accounts(frames: Frames, limit: Limit, limits: list[Limit], waits: Ints) -> Iterator[Disagreement]:
    """Whether what was charged and what was left are what they had to be."""
    mine = frames.once(asked)[limit.name]
    seq = frames.calls["seq"].to_numpy()[mine.rows]
    charged = _plain(frames.calls[f"charge:{limit.name}"])[mine.rows]
    due = np.where(mine.admitted, mine.uses.charge, _NONE)
    if limit.kind in METERED:
        owed = ~mine.admitted & _is_charged(limit, limits, waits)[mine.rows]
        due = np.where(owed, mine.need, due)
    for row in np.flatnonzero(charged != due):
        yield Disagreement(
            int(seq[row]),
            f"was charged {_shown(charged[row])} to {limit.name!r}, but had to be charged {_shown(due[row])}",
        )
    left = _plain(frames.calls[f"remaining:{limit.name}"])[mine.rows]
    account: Ints = mine.number - mine.uses.after
    for row in np.flatnonzero(left != account):
        yield Disagreement(
            int(seq[row]),
            f"left {_shown(left[row])} of {limit.name!r} by the sandbox's account, "
            f"{account[row]} by the judges'",
        )


def _is_charged(limit: Limit, limits: list[Limit], waits: Ints) -> Bools:
    """Which calls would be charged to a limit although they are refused, by what each refusing limit says."""
    charged = np.zeros(waits.shape[1], dtype=bool)
    for refusing, wait_ns in zip(limits, waits, strict=True):
        mode = refusing.refused_calls
        mine = mode == "all" or (mode == "this" and refusing.name == limit.name)
        if mode == "longer" and refusing.length_ns is not None:
            mine = limit.length_ns is None or limit.length_ns > refusing.length_ns
        if mine:
            charged |= wait_ns > 0
    return charged


def _costs(frames: Frames) -> Iterator[Disagreement]:
    """Whether the cost of each call is the largest that a limit was asked for."""
    due = np.zeros(len(frames.calls), dtype=np.int64)
    for mine in frames.once(asked).values():
        due[mine.rows] = np.maximum(due[mine.rows], mine.need)
    cost, seq = frames.calls["cost"].to_numpy(), frames.calls["seq"].to_numpy()
    for row in np.flatnonzero(cost != due):
        yield Disagreement(int(seq[row]), f"was said to cost {cost[row]}, but costs {due[row]}")


def _keys(frames: Frames, limit: Limit, mine: Asked) -> Iterator[Disagreement]:
    """Whether a limit counted each call under what the call's own columns say."""
    calls = frames.calls
    own = calls.iloc[mine.rows][[f"key:{limit.name}", *(KEY_COLUMNS[part] for part in limit.key)]]
    # Texts are slow to compare, and few of them differ: each combination is looked at once.
    different = own.drop_duplicates()
    if not _miscounted(limit, different, _keys_due(limit, different)).any():
        return
    key = _keys_due(limit, own)
    for row in np.flatnonzero(_miscounted(limit, own, key)):
        yield Disagreement(
            int(calls["seq"].iloc[mine.rows[row]]),
            f"was counted by {limit.name!r} under {own[f'key:{limit.name}'].iloc[row]!r}, but is of "
            f"{key.iloc[row]!r}",
        )


def _keys_due(limit: Limit, calls: pd.DataFrame) -> pd.Series[str]:
    """What the calls' own columns make of the key."""
    columns = [calls[KEY_COLUMNS[part]].astype("str") for part in limit.key]
    parts = [
        column.fillna(UNKNOWN_ROUTE) if part == "route" else column
        for part, column in zip(limit.key, columns, strict=True)
    ]
    key = parts[0]
    for part in parts[1:]:
        key = key + "|" + part
    return key


def _miscounted(limit: Limit, calls: pd.DataFrame, key: pd.Series[str]) -> Bools:
    recorded = calls[f"key:{limit.name}"].astype("str")
    found: Bools = (recorded != key).to_numpy() & key.notna().to_numpy()
    return found


def _plain(column: pd.Series[int]) -> Ints:
    values: Ints = np.asarray(column.to_numpy(dtype=np.int64, na_value=_NONE))
    return values


def _missing_as(show: Callable[[int], str]) -> Callable[[np.int64], str]:
    return lambda value: "nothing" if value == _NONE else show(int(value))


_shown = _missing_as(str)
_shown_ns = _missing_as(lambda value: f"{value} ns")
