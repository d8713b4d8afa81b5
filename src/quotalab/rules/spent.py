"""What the app could know of a limit that was spent: refused calls, before and after it was told."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd

from quotalab.frames import Frames
from quotalab.frames.limits import asked
from quotalab.profiles.limits import Limit

__all__ = ["is_told", "refused_when_spent"]

Ints = npt.NDArray[np.int64]

_NEVER = np.iinfo(np.int64).max


def is_told(frames: Frames, limit: Limit) -> bool:
    """Whether a header of the provider's says how much of the limit is left."""
    return not limit.hidden and any(
        field.name == "remaining" and field.subject in (limit.name, "tightest")
        for header in frames.provider.dialect.headers
        for field in header.value.fields
    )


def refused_when_spent(frames: Frames) -> pd.DataFrame:
    """Each call that a limit refused, with what its sender could know. Use with ``frames.once``.

    Between two calls that a key of a limit admitted lies a stretch in which it was spent. A row for each call
    refused there: `row` (its position in `frames.calls`), `limit` (its place in the profile), `stretch` (one
    code each), `blind` (nothing had told yet, whenever it was sent: the first), `in_flight` (it was sent
    before the first answer that told was with the app), `header` (position of the admitted call whose answer
    said that nothing was left, and was there when this one was sent; -1: none was). What is neither blind nor
    in flight was sent although the app had been told, if not by a header then by a refusal.
    """
    calls = frames.calls
    sent, done = calls["sent"].to_numpy(), calls["done"].to_numpy()
    found = []
    stretches = 0
    for place, limit in enumerate(frames.provider.limits):
        if limit.kind in ("cardinality", "penalty"):
            continue
        mine = frames.once(asked)[limit.name]
        refused = (calls["limit"] == limit.name).to_numpy()[mine.rows]
        if not refused.any():
            continue
        kept = np.flatnonzero(refused | mine.admitted)
        kept = kept[np.argsort(mine.key[kept], kind="stable")]
        rows, key, is_refused = mine.rows[kept], mine.key[kept], refused[kept]
        heads = ~is_refused
        heads[0] = True
        heads[1:] |= key[1:] != key[:-1]
        stretch = np.cumsum(heads) - 1
        empty = np.zeros(len(rows), dtype=bool)
        if is_told(frames, limit):
            left = calls[f"remaining:{limit.name}"].to_numpy(dtype=np.int64, na_value=1)[rows]
            empty = ~is_refused & (left <= 0)
        told_ns = np.where(is_refused | empty, done[rows], _NEVER)
        # The earliest that an answer before this call, of the same stretch, was with the app.
        least = pd.Series(told_ns).groupby(stretch).cummin().to_numpy()
        before = np.append(_NEVER, least[:-1])
        before[heads] = _NEVER
        head = np.flatnonzero(heads)[stretch]
        by_header = empty[head] & (sent[rows] >= done[rows[head]]) & is_refused
        out = np.flatnonzero(is_refused)
        found.append(
            pd.DataFrame(
                {
                    "row": rows[out],
                    "limit": place,
                    "stretch": stretch[out] + stretches,
                    "blind": before[out] == _NEVER,
                    "in_flight": (before[out] != _NEVER) & (sent[rows[out]] < before[out]),
                    "header": np.where(by_header, rows[head], -1)[out],
                }
            )
        )
        stretches += int(stretch[-1]) + 1
    if not found:
        names = ("row", "limit", "stretch", "header")
        return pd.DataFrame(
            {name: np.empty(0, dtype=np.int64) for name in names}
            | {name: np.empty(0, dtype=bool) for name in ("blind", "in_flight")}
        )
    return pd.concat(found, ignore_index=True)
