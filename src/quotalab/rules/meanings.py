"""Meanings that several rules share: what a retry is, and what a call before a promised end is.

Both link each call to at most one earlier call, by sorting and binary search: cost grows as n log n, however
many calls were refused. A call whose operation is not known (its context did not travel with it) is linked by
person, route or target, and time; `linked_by` says so.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd

from quotalab.frames import Frames

__all__ = ["RETRYABLE", "early_calls", "retries"]

Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

RETRYABLE = (0, 408, 425, 429, 500, 502, 503, 504)
"""Answers that may be retried (RFC 9110, 15.5.9 and 15.6; RFC 6585, 4; RFC 8470, 5.2); 0: none came."""
_LINK_NS = 600 * 1_000_000_000
_NEVER = -(2**63)


def early_calls(frames: Frames) -> pd.DataFrame:
    """Calls to a limit's key that arrived between a refusal and its promised end. Use with ``frames.once``.

    A row for each such call, in order of `seq`: `row` and `refusal` (positions in `frames.calls`), `same` (it
    came from the refused operation), `linked_by` ("operation", "person, route and time" or "limit"),
    `early_ns` (how long before the promised end it arrived). Where several refusals reached past a call, one
    of its own operation counts before another's, then the one that ends last.

    A call that was sent before the refusal's answer was with its sender was on its way already: not a row.
    Tolerance: none in virtual time; otherwise the lag that was measured on the refused call itself, from its
    decision until its answer was there.
    """
    calls = frames.calls
    operation = calls["operation"].cat.codes.to_numpy().astype(np.int64)
    who = _codes(calls, ["client_id", "person", "route"])
    who[calls["person"].isna().to_numpy()] = -1
    sent, at, done = (calls[name].to_numpy() for name in ("sent", "at", "done"))
    promise = calls["retry_after_ns"].to_numpy(dtype=np.int64, na_value=_NEVER)
    end = at + np.where(promise == _NEVER, 0, promise)
    if frames.run.clock != "virtual":
        end = end - (done - at)
    api = (calls["kind"] == "api").to_numpy()
    found = []
    for limit in frames.provider.limits:
        key = calls[f"key:{limit.name}"].cat.codes.to_numpy().astype(np.int64)
        callers = np.flatnonzero(api & (key >= 0))
        refusals = callers[((calls["limit"] == limit.name).to_numpy() & (promise > 0))[callers]]
        if not len(refusals):
            continue
        # From nearest to farthest link; the first that holds is the call's.
        known = operation >= 0
        links = (
            ("operation", True, _pair(key, operation), known, known),
            ("person, route and time", True, _pair(key, who), ~known, np.ones(len(calls), dtype=bool)),
            ("person, route and time", True, _pair(key, who), np.ones(len(calls), dtype=bool), ~known),
            ("limit", False, key, np.ones(len(calls), dtype=bool), np.ones(len(calls), dtype=bool)),
        )
        for rank, (linked_by, same, group, is_refusal, is_call) in enumerate(links):
            before = refusals[is_refusal[refusals] & (group[refusals] >= 0)]
            after = callers[is_call[callers] & (group[callers] >= 0)]
            last = _latest(group, before, done, end, after, sent)
            hit = (last >= 0) & (end[np.maximum(last, 0)] > at[after])
            found.append(
                pd.DataFrame(
                    {
                        "row": after[hit],
                        "refusal": last[hit],
                        "same": same,
                        "linked_by": linked_by,
                        "early_ns": end[last[hit]] - at[after[hit]],
                        "rank": rank,
                    }
                )
            )
    if not found:
        found = [
            pd.DataFrame({"row": [], "refusal": [], "same": [], "linked_by": [], "early_ns": [], "rank": []})
        ]
    every = pd.concat(found, ignore_index=True).sort_values(["row", "rank"], kind="stable")
    return every.drop_duplicates("row").drop(columns="rank").reset_index(drop=True)


def retries(frames: Frames) -> pd.DataFrame:
    """Retries, each with the attempt before it. Use with ``frames.once``.

    A row for each retry, in order of `seq`: `row` and `attempt` (positions in `frames.calls`), `linked_by`
    ("operation", "idempotency key" or "person, target and time"), `gap_ns` (from the attempt's answer until
    the retry was sent), `number` (1 for the first retry of a first attempt, 2 for the next, ...).

    A retry is a later call of the same client and person to the same target after an answer that may be
    retried, or none: in the same operation or with the same idempotency key where both calls' are known, else
    sent within ten minutes of the attempt, or twice the promised wait if that is longer. The attempt
    is the call whose answer was the latest that the retry's sender had.
    """
    calls = frames.calls
    sent, done = calls["sent"].to_numpy(), calls["done"].to_numpy()
    rows = np.flatnonzero((calls["actor"] == "app").to_numpy())
    who = _codes(calls, ["client_id", "person", "target"])
    operation = calls["operation"].cat.codes.to_numpy().astype(np.int64)
    idempotency = calls["idempotency_key"].cat.codes.to_numpy().astype(np.int64)
    promise = calls["retry_after_ns"].to_numpy(dtype=np.int64, na_value=0)
    within = np.maximum(_LINK_NS, 2 * promise)
    retryable = calls["limit"].notna().to_numpy() | calls["status"].isin(RETRYABLE).to_numpy()
    attempt = np.full(len(calls), -1, dtype=np.int64)
    linked_by = np.zeros(len(calls), dtype=np.int64)
    everyone = np.ones(len(calls), dtype=bool)
    known = operation >= 0
    links = (
        (_pair(who, operation), known, known),
        (_pair(who, idempotency), idempotency >= 0, idempotency >= 0),
        (who, ~known, everyone),
        (who, everyone, ~known),
    )
    for kind, (group, is_attempt, is_retry) in enumerate(links):
        # Only where something may be retried at all: in most runs that is a small part.
        mine = rows[group[rows] >= 0]
        mine = mine[np.isin(group[mine], np.unique(group[mine[retryable[mine]]]))]
        before, after = mine[is_attempt[mine]], mine[is_retry[mine]]
        last = _latest(group, before, done, done, after, sent)
        holds = (last >= 0) & retryable[np.maximum(last, 0)]
        if kind >= 2:  # by time alone
            holds &= sent[after] - done[np.maximum(last, 0)] <= within[np.maximum(last, 0)]
        holds &= attempt[after] < 0
        attempt[after[holds]] = last[holds]
        linked_by[after[holds]] = min(kind, 2)
    row = np.flatnonzero(attempt >= 0)
    names = np.array(["operation", "idempotency key", "person, target and time"], dtype=object)
    return pd.DataFrame(
        {
            "row": row,
            "attempt": attempt[row],
            "linked_by": names[linked_by[row]],
            "gap_ns": sent[row] - done[attempt[row]],
            "number": _depth(attempt)[row],
        }
    )


def _latest(group: Ints, before: Ints, done: Ints, value: Ints, after: Ints, sent: Ints) -> Ints:
    """For each of `after`, the one of `before` in its group with the largest `value` among those that were
    done when it was sent; -1 where there is none. A call never follows itself or what came after it.
    """
    count = len(before)
    rows = np.concatenate([before, after])
    when = np.concatenate([done[before], sent[after]])
    is_answer = np.arange(len(rows)) < count
    # At one instant an earlier row's answer comes before a call, and a call before its own answer.
    order = np.lexsort((is_answer, rows, when, group[rows]))
    is_before = order < count
    groups = group[rows[order]]
    # The running maximum within each group, as ranks of the values: small, so the groups' offset fits.
    ranks = np.zeros(len(order), dtype=np.int64)
    values = value[rows[order]]
    ranks[is_before] = np.unique(values[is_before], return_inverse=True)[1] + 1
    number = np.cumsum(np.append(0, groups[1:] != groups[:-1])) if len(groups) else groups
    height = count + 1
    lifted = number * height + ranks
    highest = np.maximum.accumulate(lifted) if len(lifted) else lifted
    is_new = is_before & (lifted == highest)
    position = np.maximum.accumulate(np.where(is_new, np.arange(len(order)), -1)) if len(order) else order
    found = np.full(len(after), -1, dtype=np.int64)
    asks = np.flatnonzero(~is_before)
    held = position[asks]
    good = (held >= 0) & (groups[np.maximum(held, 0)] == groups[asks])
    found[order[asks[good]] - count] = rows[order[held[good]]]
    return found


def _codes(calls: pd.DataFrame, columns: list[str]) -> Ints:
    """One code for each combination of categoricals; a missing value is a value of its own."""
    codes = calls[columns[0]].cat.codes.to_numpy().astype(np.int64) + 1
    for name in columns[1:]:
        more = calls[name].cat.codes.to_numpy().astype(np.int64) + 1
        codes = np.unique(codes, return_inverse=True)[1] * (int(more.max(initial=0)) + 1) + more
    return codes.astype(np.int64)


def _pair(one: Ints, other: Ints) -> Ints:
    """One code for each pair; -1 where either is."""
    pair = one * (int(other.max(initial=0)) + 1) + other
    return np.where((one < 0) | (other < 0), -1, pair)


def _depth(attempt: Ints) -> Ints:
    """How many attempts lie before each row. Links lead back in time only, so they end."""
    depth = (attempt >= 0).astype(np.int64)
    jump = attempt
    while (jump >= 0).any():  # each round looks twice as far back
        depth = depth + np.where(jump >= 0, depth[jump], 0)
        jump = np.where(jump >= 0, jump[jump], -1)
    return depth
