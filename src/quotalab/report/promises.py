"""What was promised after each refusal, and what was kept: how long until the next call to the same key.

The next call is the first that was sent when the refusal's answer was there, whoever made it: what was on its
way already breaks no promise. Whether it was the refused operation's own is told beside.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd

from quotalab.frames import Frames
from quotalab.rules import promises_ns
from quotalab.rules.times import count, duration, share

__all__ = ["kept_promises", "promises_in_words"]

Ints = npt.NDArray[np.int64]


def kept_promises(frames: Frames) -> pd.DataFrame:
    """A row for each refusal with a promised wait, in order of the ledger. Use with ``frames.once``.

    `row` (position in `frames.calls`), `promised_ns`, `next` (position of the next call to the same key of
    the refusing limit, -1: there was none), `kept_ns` (from the refusal until it arrived; -1), `late_ns`
    (after the promised end; negative: before it, too early), `same` (of the refused operation itself).
    """
    calls = frames.calls
    promise = frames.once(promises_ns)
    sent, at, done = (calls[name].to_numpy() for name in ("sent", "at", "done"))
    operation = calls["operation"].cat.codes.to_numpy()
    is_api = (calls["kind"] == "api").to_numpy()
    rows, nexts = [np.zeros(0, dtype=np.int64)], [np.zeros(0, dtype=np.int64)]
    for limit in frames.provider.limits:
        key = calls[f"key:{limit.name}"].cat.codes.to_numpy().astype(np.int64)
        callers = np.flatnonzero(is_api & (key >= 0))
        refused = callers[(calls["limit"] == limit.name).to_numpy()[callers] & (promise[callers] > 0)]
        if len(refused):
            rows.append(refused)
            nexts.append(_next(key, callers, sent, refused, done))
    row, following = np.concatenate(rows), np.concatenate(nexts)
    order = np.argsort(row, kind="stable")
    row, following = row[order], following[order]
    known = following >= 0
    kept_ns = np.where(known, at[following] - at[row], -1)
    return pd.DataFrame(
        {
            "row": row,
            "promised_ns": promise[row],
            "next": following,
            "kept_ns": kept_ns,
            "late_ns": np.where(known, kept_ns - promise[row], 0),
            "same": known & (operation[row] >= 0) & (operation[row] == operation[following]),
        }
    )


def _next(key: Ints, callers: Ints, sent: Ints, refused: Ints, done: Ints) -> Ints:
    """For each of `refused`, the first of `callers` under its key that was sent from its `done` on.

    At one instant only a later row follows, so that a call never follows itself.
    """
    rows = np.concatenate([callers, refused])
    when = np.concatenate([sent[callers], done[refused]])
    asks = np.arange(len(rows)) >= len(callers)
    order = np.lexsort((asks, rows, when, key[rows]))
    place = np.where(asks[order], len(order), np.arange(len(order)))
    following = np.minimum.accumulate(place[::-1])[::-1]  # the next caller at or after each place
    held = following[np.flatnonzero(asks[order])]
    mine = order[asks[order]]
    found = rows[order[np.minimum(held, len(order) - 1)]]
    good = (held < len(order)) & (key[found] == key[rows[mine]])
    result = np.full(len(refused), -1, dtype=np.int64)
    result[mine - len(callers)] = np.where(good, found, -1)
    return result


def promises_in_words(table: pd.DataFrame) -> list[tuple[str, str]]:
    """What the table comes to, as pairs of a name and a figure; of a run with at least one promise."""
    asked = table[table["next"] >= 0]
    early, kept = asked[asked["late_ns"] < 0], asked[asked["late_ns"] >= 0]
    words = [
        ("refusals with a promised wait", f"{len(table):,}"),
        ("next call too early", f"{len(early):,} ({share(len(early) / len(table))})"),
        ("next call at the promised end or later", f"{len(kept):,}"),
        ("not called again", f"{len(table) - len(asked):,}"),
    ]
    if len(early):
        by = -early["late_ns"].to_numpy()
        own = count(int(early["same"].sum()), "time")
        words.append(("too early by", f"median {_median(by)}, at most {duration(int(by.max()))}"))
        words.append(("of the refused operation itself", f"{own} of these"))
    if len(kept):
        by = kept["late_ns"].to_numpy()
        words.append(("later than promised by", f"median {_median(by)}, at most {duration(int(by.max()))}"))
    return words


def _median(values: Ints) -> str:
    return duration(int(np.quantile(values, 0.5, method="inverted_cdf")))
