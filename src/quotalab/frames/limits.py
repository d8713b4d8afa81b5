"""What was asked of each limit, and where that came to its peak."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from quotalab.frames.loading import Frames
from quotalab.frames.windows import Uses, fixed_uses, largest_in_any_window, rolling_uses
from quotalab.profiles.provider import Limit

__all__ = ["Asked", "LimitUse", "asked", "key_code", "limit_uses", "window_rows"]

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Asked:
    """The calls that were asked of one limit, in the order in which they were decided: (at, seq)."""

    rows: Ints
    """Their positions in `Frames.calls`."""
    at_ns: Ints
    key: Ints
    """Codes of the categorical column `key:LIMIT`."""
    cost: Ints
    admitted: npt.NDArray[np.bool_]
    """By every limit: a call that one limit refused is charged to none."""
    uses: Uses


@dataclass(frozen=True)
class LimitUse:
    """How near one limit came to its end. Calls that were refused count as asked for."""

    limit: Limit
    keys: int
    """How many keys had calls."""
    worst_key: str | None
    """The key of the peak; None when nothing was asked."""
    peak_asked: int
    """The largest sum of costs in one window: any of a rolling limit, each of a fixed one."""
    from_ns: int | None
    """The peak's window is [from_ns, from_ns + period); a rolling one ends with the call of the peak."""
    peak_at_ns: int | None
    """The call that brought the use to its peak."""
    refused: int
    """Calls that this limit refused."""

    @property
    def utilisation(self) -> float:
        """The share of the limit that was asked for: above 1 it was overrun."""
        return self.peak_asked / self.limit.limit

    @property
    def headroom(self) -> float:
        """1 - utilisation, rounded once."""
        return (self.limit.limit - self.peak_asked) / self.limit.limit


def asked(frames: Frames) -> Mapping[str, Asked]:
    """By name of the profile's limits. Use as ``frames.once(asked)``."""
    calls = frames.calls
    order = np.argsort(calls["at"].to_numpy(), kind="stable")  # the table is in order of seq
    order = order[(calls["kind"] == "api").to_numpy()[order]]
    at_ns, cost = calls["at"].to_numpy()[order], calls["cost"].to_numpy()[order]
    admitted = calls["limit"].isna().to_numpy()[order]
    found = {}
    for limit in frames.provider.limits:
        codes = calls[f"key:{limit.name}"].cat.codes.to_numpy().astype(np.int64)[order]
        mine = codes >= 0
        columns = (at_ns[mine], codes[mine], cost[mine], admitted[mine])
        found[limit.name] = Asked(order[mine], *columns, _uses(limit, *columns))
    return found


def _uses(limit: Limit, at_ns: Ints, key: Ints, cost: Ints, admitted: npt.NDArray[np.bool_]) -> Uses:
    if limit.kind == "rolling_window":
        return rolling_uses(at_ns, key, cost, admitted, window_ns=limit.period_ns, limit=limit.limit)
    return fixed_uses(
        at_ns,
        key,
        cost,
        admitted,
        window_ns=limit.period_ns,
        limit=limit.limit,
        clock_aligned=limit.align == "clock",
    )


def limit_uses(frames: Frames) -> tuple[LimitUse, ...]:
    """One for each limit of the profile, in its order. Use as ``frames.once(limit_uses)``."""
    refused = frames.api_calls["limit"].value_counts()
    return tuple(
        _limit_use(frames, limit, frames.once(asked)[limit.name], int(refused.get(limit.name, 0)))
        for limit in frames.provider.limits
    )


def _limit_use(frames: Frames, limit: Limit, calls: Asked, refused: int) -> LimitUse:
    if not len(calls.rows):
        return LimitUse(limit, 0, None, 0, None, None, refused)
    if limit.kind == "rolling_window":
        peaks = largest_in_any_window(calls.at_ns, calls.key, limit.period_ns, calls.cost)
        keys, most = len(peaks.key), int(peaks.largest.max())
        fullest = np.flatnonzero(peaks.largest == most)
        worst = fullest[np.argmin(peaks.at_ns[fullest])]
        code, peak_ns = int(peaks.key[worst]), int(peaks.at_ns[worst])
        from_ns = peak_ns - limit.period_ns + 1
    else:
        windows = pd.DataFrame(
            {"key": calls.key, "from": calls.uses.opened_ns, "cost": calls.cost, "at": calls.at_ns}
        )
        each = windows.groupby(["key", "from"]).agg(asked=("cost", "sum"), last=("at", "max")).reset_index()
        keys, most = each["key"].nunique(), int(each["asked"].max())
        row = each[each["asked"] == most].sort_values(["from", "key"]).iloc[0]
        code, from_ns, peak_ns = int(row["key"]), int(row["from"]), int(row["last"])
    name = str(frames.calls[f"key:{limit.name}"].cat.categories[code])
    return LimitUse(limit, keys, name, most, from_ns, peak_ns, refused)


def window_rows(frames: Frames, use: LimitUse) -> pd.DataFrame:
    """The calls of the peak's window, of its key, in the order in which they were decided.

    Beside the columns of `Frames.calls`, `used` is what the limit had charged before each call.
    """
    calls = frames.once(asked)[use.limit.name]
    if use.from_ns is None or use.peak_at_ns is None:
        return frames.calls.iloc[:0].assign(used=0)
    inside = (
        (calls.key == key_code(frames, use)) & (calls.at_ns >= use.from_ns) & (calls.at_ns <= use.peak_at_ns)
    )
    rows: pd.DataFrame = frames.calls.iloc[calls.rows[inside]].assign(used=calls.uses.used[inside])
    return rows


def key_code(frames: Frames, use: LimitUse) -> int:
    """The code of the peak's key in `Asked.key`."""
    return frames.calls[f"key:{use.limit.name}"].cat.categories.to_list().index(use.worst_key)
