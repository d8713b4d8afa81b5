"""The second witness: every decision of the sandbox worked out again, from the calls alone.

For each call that was asked of the limits: does it fit, by the calls that were admitted before it? If not,
which limit refuses it (of several, the one with the longest wait; of equal ones, the profile's first), what
had to be promised, and what is left? Whatever differs is a fault of quotalab's own, never of the app.

Each decision is worked out from the decisions recorded before it, so one wrong decision is reported once and
does not taint those that follow.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from quotalab.frames.limits import Asked, asked
from quotalab.frames.loading import Frames
from quotalab.profiles.provider import Limit

__all__ = ["Disagreement", "disagreements"]

Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

_SECOND_NS = 1_000_000_000
_NONE = -(2**63)  # stands for a value that is missing, where arrays are compared
# What a limit counts a call under, from the call's own columns.
_KEY_COLUMNS = {"app": "client_id", "person": "person", "token": "token", "ip": "ip", "route": "route"}
_UNKNOWN_ROUTE = "unknown"


class Disagreement(NamedTuple):
    """One call on which the sandbox and the judges differ."""

    seq: int
    message: str


def disagreements(frames: Frames) -> list[Disagreement]:
    """All of them, in order of `seq`; none is how it must be."""
    return sorted(_all(frames))


def _all(frames: Frames) -> Iterator[Disagreement]:
    calls = frames.calls
    seq = calls["seq"].to_numpy()
    names = {limit.name for limit in frames.provider.limits}
    is_api = (calls["kind"] == "api").to_numpy()
    was_asked = np.zeros(len(calls), dtype=bool)
    for name in frames.limit_names:
        has_key = calls[f"key:{name}"].notna().to_numpy() & is_api
        was_asked |= has_key
        if name not in names:
            for row in np.flatnonzero(has_key):
                yield Disagreement(
                    int(seq[row]), f"was counted under the limit {name!r}, which the profile does not have"
                )
    for row in np.flatnonzero(is_api & ~was_asked & calls["limit"].notna().to_numpy()):
        yield Disagreement(
            int(seq[row]), f"was refused by {calls['limit'].iloc[row]!r} without having been asked of it"
        )
    waits = np.zeros((len(frames.provider.limits), len(calls)), dtype=np.int64)
    for i, limit in enumerate(frames.provider.limits):
        mine = frames.once(asked)[limit.name]
        waits[i, mine.rows] = mine.uses.wait_ns
        missed = was_asked & calls[f"key:{limit.name}"].isna().to_numpy()
        for row in np.flatnonzero(missed):
            yield Disagreement(int(seq[row]), f"was decided without asking the limit {limit.name!r}")
        yield from _accounts(frames, limit, mine)
        yield from _keys(frames, limit, mine)
    yield from _decisions(frames, waits, was_asked)


def _decisions(frames: Frames, waits: Ints, was_asked: Bools) -> Iterator[Disagreement]:
    """Whether each call had to be admitted, by whom it had to be refused, and with what promise."""
    calls, limits = frames.calls, frames.provider.limits
    seq, at_ns = calls["seq"].to_numpy(), calls["at"].to_numpy()
    refused = calls["limit"].notna().to_numpy()
    codes = pd.Categorical(calls["limit"], categories=[limit.name for limit in limits]).codes
    recorded = np.where(refused & (codes < 0), -2, codes)
    wait_ns = waits.max(axis=0)
    expected = np.where(wait_ns > 0, waits.argmax(axis=0), -1)
    for row in np.flatnonzero(was_asked & (recorded != expected)):
        fits = "all limits had room for it"
        if expected[row] >= 0:
            limit = limits[expected[row]]
            used = _used(frames, limit, int(row))
            fits = f"{limit.name!r} had to refuse it: {used} of {limit.limit} were used already"
        said = "was admitted"
        if recorded[row] != -1:
            said = f"was refused by {calls['limit'].iloc[row]!r}"
        yield Disagreement(int(seq[row]), f"{said}, but by the judges' account {fits}, at {at_ns[row]} ns")
    agreed = was_asked & (recorded == expected) & (expected >= 0)
    promised = _plain(calls["retry_after_ns"])
    due = np.full(len(calls), _NONE, dtype=np.int64)
    if frames.provider.refusal.retry_after == "seconds":
        due = -(-wait_ns // _SECOND_NS) * _SECOND_NS
    for row in np.flatnonzero(agreed & (promised != due)):
        yield Disagreement(
            int(seq[row]),
            f"was promised {_shown_ns(promised[row])}, but its wait of {wait_ns[row]} ns "
            f"makes {_shown_ns(due[row])}",
        )


def _accounts(frames: Frames, limit: Limit, mine: Asked) -> Iterator[Disagreement]:
    """Whether what was charged and what was left are what they had to be."""
    seq = frames.calls["seq"].to_numpy()[mine.rows]
    taken = np.where(mine.admitted, mine.cost, 0)
    charged = _plain(frames.calls[f"charge:{limit.name}"])[mine.rows]
    due = np.where(mine.admitted, mine.cost, _NONE)
    for row in np.flatnonzero(charged != due):
        yield Disagreement(
            int(seq[row]),
            f"was charged {_shown(charged[row])} to {limit.name!r}, but had to be charged {_shown(due[row])}",
        )
    left = _plain(frames.calls[f"remaining:{limit.name}"])[mine.rows]
    account: Ints = limit.limit - mine.uses.used - taken
    for row in np.flatnonzero(left != account):
        yield Disagreement(
            int(seq[row]),
            f"left {_shown(left[row])} of {limit.name!r} by the sandbox's account, "
            f"{account[row]} by the judges'",
        )


def _keys(frames: Frames, limit: Limit, mine: Asked) -> Iterator[Disagreement]:
    """Whether a limit counted each call under what the call's own columns say."""
    calls = frames.calls.iloc[mine.rows]
    columns = [calls[_KEY_COLUMNS[part]].astype("str") for part in limit.key]
    parts = [
        column.fillna(_UNKNOWN_ROUTE) if part == "route" else column
        for part, column in zip(limit.key, columns, strict=True)
    ]
    key = parts[0]
    for part in parts[1:]:
        key = key + "|" + part
    recorded = calls[f"key:{limit.name}"].astype("str")
    for row in np.flatnonzero((recorded != key).to_numpy() & key.notna().to_numpy()):
        yield Disagreement(
            int(calls["seq"].iloc[row]),
            f"was counted by {limit.name!r} under {recorded.iloc[row]!r}, but is of {key.iloc[row]!r}",
        )


def _used(frames: Frames, limit: Limit, row: int) -> int:
    mine = frames.once(asked)[limit.name]
    return int(mine.uses.used[np.flatnonzero(mine.rows == row)[0]])


def _plain(column: pd.Series[int]) -> Ints:
    values: Ints = np.asarray(column.to_numpy(dtype=np.int64, na_value=_NONE))
    return values


def _missing_as(show: Callable[[int], str]) -> Callable[[np.int64], str]:
    return lambda value: "nothing" if value == _NONE else show(int(value))


_shown = _missing_as(str)
_shown_ns = _missing_as(lambda value: f"{value} ns")
