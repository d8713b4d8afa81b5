"""Meanings that several rules share: what a retry is, what may be repeated, and what a call too early is.

Both link each call to at most one earlier call, by sorting and binary search: cost grows as n log n, however
many calls were refused. A call whose operation is not known (its context did not travel with it) is linked by
person, route or target, and time; `linked_by` says so.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa

from quotalab.frames import Frames

__all__ = [
    "INFERRED",
    "PERMANENT",
    "RETRYABLE",
    "calls_of",
    "early_after_failures",
    "early_calls",
    "grouped",
    "operation_places",
    "promises_ns",
    "repeats",
    "retries",
    "unsafe",
    "unsafe_retries",
]

Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

RETRYABLE = (0, 408, 425, 429, 500, 502, 503, 504)
"""Answers that may be retried (RFC 9110, 15.5.9 and 15.6; RFC 6585, 4; RFC 8470, 5.2); 0: none came."""
PERMANENT = (400, 402, 403, 404, 405, 406, 410, 411, 413, 414, 415, 422, 426, 428, 431, 451, 501, 505)
"""Answers that the same request gets again, however long one waits (RFC 9110, 15.5 and 15.6; RFC 6585).

Left out: 401 (a new token may help), 409, 412, 421, 423 and 424 (something else may change)."""
IDEMPOTENT = ("GET", "HEAD", "PUT", "DELETE", "OPTIONS", "TRACE")
"""Methods whose request may be made twice (RFC 9110, 9.2.2)."""
_AMBIGUOUS = (0, 500, 502, 503, 504)
_UNREADABLE = ("not_json", "truncated")
_PERMANENT_ERRORS = (
    *("insufficient_scope", "foreign_tenant", "no_tenant", "unknown_route", "not_found"),
    *("bad_request", "too_large"),
)
_LINK_NS = 600 * 1_000_000_000
_REPEAT_NS = 60 * 1_000_000_000
_LINKS = ("operation", "idempotency key", "person, target and time")
INFERRED = ("person, target and time", "person, route and time")
"""Links that are guesses, where neither operation nor idempotency key is known."""


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
    promise = frames.once(promises_ns)
    found = []
    for limit in frames.provider.limits:
        key = calls[f"key:{limit.name}"].cat.codes.to_numpy().astype(np.int64)
        refused = (calls["limit"] == limit.name).to_numpy() & (promise > 0) & (key >= 0)
        found.append(_early(frames, key, refused, of_others=True))
    return _first_of_each(found)


def early_after_failures(frames: Frames) -> pd.DataFrame:
    """Calls of an operation to the API before the end that a failure had promised it, no limit's refusal.

    A Retry-After on a 503 says how long the service is expected to be unavailable to the client (RFC 9110,
    10.2.3). It binds the operation that was told; that it holds for all of the app is not said of every
    failure. Columns as of `early_calls`, where `same` is always true. Use with ``frames.once``.
    """
    calls = frames.calls
    client = calls["client_id"].cat.codes.to_numpy().astype(np.int64) + 1
    told = calls["limit"].isna().to_numpy() & (frames.once(promises_ns) > 0)
    return _first_of_each([_early(frames, client, told, of_others=False)])


def operation_places(frames: Frames) -> Ints:
    """For each call the position of its operation in `frames.operations`; -1: it has none, or none that is
    there. Use with ``frames.once``."""
    ours, theirs = frames.operations["operation"].cat, frames.calls["operation"].cat
    texts = [pa.array(one.categories, pa.large_string()) for one in (theirs, ours)]
    code = pa.compute.index_in(texts[0], value_set=texts[1]).fill_null(-1).to_numpy(zero_copy_only=False)
    row = np.full(len(texts[1]) + 1, -1, dtype=np.int64)
    codes = ours.codes.to_numpy()[::-1]
    row[codes[codes >= 0]] = np.flatnonzero(codes[::-1] >= 0)[::-1]  # the first of several
    found: Ints = np.append(row[code], -1)[theirs.codes.to_numpy()]
    return found


def calls_of(frames: Frames, places: npt.ArrayLike) -> Ints:
    """The rows of the calls of some operations, these by their positions in `frames.operations`."""
    return np.flatnonzero(np.isin(frames.once(operation_places), places))


def promises_ns(frames: Frames) -> Ints:
    """What each call's Retry-After promised, in ns from `at`; 0: nothing, or no wait.

    Use with ``frames.once``.
    """
    return frames.calls["retry_after_ns"].to_numpy(dtype=np.int64, na_value=0)


def _early(frames: Frames, key: Ints, told: Bools, *, of_others: bool) -> pd.DataFrame:
    """Calls under a `key` before the end of what the calls `told` had promised under the same."""
    calls = frames.calls
    api = (calls["kind"] == "api").to_numpy()
    callers = np.flatnonzero(api & (key >= 0))
    refusals = callers[told[callers]]
    if not len(refusals):
        return _no_early()
    sent, at, done = (calls[name].to_numpy() for name in ("sent", "at", "done"))
    end = at + frames.once(promises_ns)
    if frames.run.clock != "virtual":
        end = end - (done - at)
    # A call that came after the end of every promise, to whomever, is not looked at any further.
    told_first = refusals[np.argsort(done[refusals], kind="stable")]
    open_until = np.append(np.iinfo(np.int64).min, np.maximum.accumulate(end[told_first]))
    callers = callers[open_until[np.searchsorted(done[told_first], sent[callers], "right")] >= at[callers]]
    rows = np.union1d(refusals, callers)
    refusals, callers = np.searchsorted(rows, refusals), np.searchsorted(rows, callers)
    key, sent, at, done, end = (one[rows] for one in (key, sent, at, done, end))
    operation = calls["operation"].cat.codes.to_numpy()[rows].astype(np.int64)
    who = grouped(calls, ("client_id", "person", "route"), rows)
    who[calls["person"].isna().to_numpy()[rows]] = -1
    # From nearest to farthest link; the first that holds is the call's.
    known, everyone = operation >= 0, np.ones(len(rows), dtype=bool)
    links = [
        ("operation", True, _pair(key, operation), known, known),
        ("person, route and time", True, _pair(key, who), ~known, everyone),
        ("person, route and time", True, _pair(key, who), everyone, ~known),
    ]
    if of_others:
        links.append(("limit", False, key, everyone, everyone))
    found = [_no_early()]
    for rank, (linked_by, same, group, is_refusal, is_call) in enumerate(links):
        before = refusals[is_refusal[refusals] & (group[refusals] >= 0)]
        after = callers[is_call[callers] & (group[callers] >= 0)]
        last = _latest(group, before, done, end, after, sent)
        hit = (last >= 0) & (end[np.maximum(last, 0)] > at[after])
        columns = {"row": rows[after[hit]], "refusal": rows[last[hit]], "same": same, "linked_by": linked_by}
        columns |= {"early_ns": end[last[hit]] - at[after[hit]], "rank": rank}
        found.append(pd.DataFrame(columns))
    return pd.concat([one for one in found if len(one)] or found[:1], ignore_index=True)


def _no_early() -> pd.DataFrame:
    whole = ("row", "refusal", "early_ns", "rank")
    columns = ("row", "refusal", "same", "linked_by", "early_ns", "rank")
    kinds = {name: np.int64 if name in whole else bool if name == "same" else object for name in columns}
    return pd.DataFrame({name: np.empty(0, dtype=kind) for name, kind in kinds.items()})


def _first_of_each(found: list[pd.DataFrame]) -> pd.DataFrame:
    """The nearest link of each call."""
    every = pd.concat([one for one in found if len(one)] or [_no_early()], ignore_index=True)
    every = every.sort_values(["row", "rank"], kind="stable")
    return every.drop_duplicates("row").drop(columns="rank").reset_index(drop=True)


def retries(frames: Frames) -> pd.DataFrame:
    """Retries, each with the attempt before it. Use with ``frames.once``.

    A row for each retry, in order of `seq`: `row` and `attempt` (positions in `frames.calls`), `linked_by`
    ("operation", "idempotency key" or "person, target and time"), `gap_ns` (from the attempt's answer until
    the retry was sent), `number` (1 for the first retry of a first attempt, 2 for the next, ...), `first`
    (the position of the first attempt).

    A retry is a later call of the same client and person to the same target after an answer that may be
    retried, or none: in the same operation or with the same idempotency key where both calls' are known, else
    sent within ten minutes of the attempt, or twice the promised wait if that is longer. The attempt
    is the call whose answer was the latest that the retry's sender had.
    """
    calls = frames.calls
    retryable = calls["limit"].notna().to_numpy() | calls["status"].isin(RETRYABLE).to_numpy()
    return _linked(frames, retryable, np.maximum(_LINK_NS, 2 * frames.once(promises_ns)))


def repeats(frames: Frames) -> pd.DataFrame:
    """Calls to the API made again after an answer that no waiting changes, and without success then.

    Columns as of `retries`; by time alone a minute counts. After a 403 only a call with the same token
    counts: another may be allowed more. Use with ``frames.once``.
    """
    calls = frames.calls
    codes = {name: answer.code for name, answer in frames.provider.dialect.errors.items()}
    passing = {code for name, code in codes.items() if name not in _PERMANENT_ERRORS}
    lasting = {codes[name] for name in _PERMANENT_ERRORS} - passing
    status = calls["status"].to_numpy()
    permanent = np.isin(status, PERMANENT) | ((status < 300) & calls["error"].isin(lasting).to_numpy())
    permanent &= calls["limit"].isna().to_numpy() & (calls["kind"] == "api").to_numpy()
    links = _linked(frames, permanent, np.full(len(calls), _REPEAT_NS))
    row, attempt = links["row"].to_numpy(), links["attempt"].to_numpy()
    token = calls["token"].cat.codes.to_numpy()
    failed = (status >= 400) | (status == 0) | calls["error"].notna().to_numpy()
    counts = failed[row] & ((status[attempt] != 403) | (token[row] == token[attempt]))
    found: pd.DataFrame = links[counts].reset_index(drop=True)
    return found


def unsafe(frames: Frames) -> Bools:
    """Calls to the API that may not be made twice: of no idempotent method, and of no route that only reads.

    Use with ``frames.once``.
    """
    calls = frames.calls
    reading = [route.name for route in frames.provider.routes if route.answer in ("list", "read")]
    changes = ~calls["method"].isin(IDEMPOTENT) & ~calls["route"].isin(reading) & (calls["kind"] == "api")
    found: Bools = changes.to_numpy()
    return found


def unsafe_retries(frames: Frames) -> tuple[Bools, pd.DataFrame]:
    """Unsafe calls whose work may have been done or not, and their retries. Use with ``frames.once``.

    Nobody knows after a dropped connection, a 500, 502, 503 or 504, or an answer that could not be read; what
    a limit refused, with an answer that came, was not done. Columns as of `retries`, with `keyed`: the retry
    bore the attempt's idempotency key.
    """
    calls = frames.calls
    status = calls["status"].to_numpy()
    unsure = np.isin(status, _AMBIGUOUS) | ((status < 300) & calls["error"].isin(_UNREADABLE).to_numpy())
    unsure &= frames.once(unsafe) & (calls["limit"].isna().to_numpy() | (status == 0))
    links = _linked(frames, unsure, np.full(len(calls), _LINK_NS))
    key = calls["idempotency_key"].cat.codes.to_numpy()
    row, attempt = links["row"].to_numpy(), links["attempt"].to_numpy()
    return unsure, links.assign(keyed=(key[row] >= 0) & (key[row] == key[attempt]))


def _linked(frames: Frames, again: Bools, within_ns: Ints) -> pd.DataFrame:
    """Calls that came after one of `again`, each with it: see `retries`. `within_ns`: by time alone."""
    calls = frames.calls
    sent, done = calls["sent"].to_numpy(), calls["done"].to_numpy()
    attempt = np.full(len(calls), -1, dtype=np.int64)
    linked_by = np.zeros(len(calls), dtype=np.int64)
    if again.any():
        rows = np.flatnonzero((calls["actor"] == "app").to_numpy())
        who = frames.once(_who)
        operation = calls["operation"].cat.codes.to_numpy().astype(np.int64)
        idempotency = calls["idempotency_key"].cat.codes.to_numpy().astype(np.int64)
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
            mine = mine[pd.Series(group[mine]).isin(group[mine[again[mine]]]).to_numpy()]
            before, after = mine[is_attempt[mine]], mine[is_retry[mine]]
            last = _latest(group, before, done, done, after, sent)
            holds = (last >= 0) & again[np.maximum(last, 0)]
            if kind >= 2:  # by time alone
                holds &= sent[after] - done[np.maximum(last, 0)] <= within_ns[np.maximum(last, 0)]
            holds &= attempt[after] < 0
            attempt[after[holds]] = last[holds]
            linked_by[after[holds]] = min(kind, 2)
    row = np.flatnonzero(attempt >= 0)
    names = np.array(_LINKS, dtype=object)
    number, first = _chains(attempt)
    return pd.DataFrame(
        {
            "row": row,
            "attempt": attempt[row],
            "linked_by": names[linked_by[row]],
            "gap_ns": sent[row] - done[attempt[row]],
            "number": number[row],
            "first": first[row],
        }
    )


def _who(frames: Frames) -> Ints:
    return grouped(frames.calls, ("client_id", "person", "target"))


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


def grouped(calls: pd.DataFrame, columns: Sequence[str], rows: Ints | slice = slice(None)) -> Ints:
    """One code for each combination of the categoricals' values, of `rows`; a missing value is one of its
    own. Codes are of 0 or more, and small: at most 2**31, or below the number of rows."""
    codes = np.zeros(len(calls["seq"].to_numpy()[rows]), dtype=np.int64)
    for name in columns:
        codes = codes * (len(calls[name].cat.categories) + 1) + calls[name].cat.codes.to_numpy()[rows] + 1
        if len(codes) and int(codes.max()) > 2**31:  # keep the product of the next one small enough
            codes = np.unique(codes, return_inverse=True)[1].astype(np.int64)
    return codes


def _pair(one: Ints, other: Ints) -> Ints:
    """One code for each pair; -1 where either is."""
    pair = one * (int(other.max(initial=0)) + 1) + other
    return np.where((one < 0) | (other < 0), -1, pair)


def _chains(attempt: Ints) -> tuple[Ints, Ints]:
    """How many attempts lie before each row, and the first of them.

    Links lead back in time only, so they end.
    """
    depth = (attempt >= 0).astype(np.int64)
    first = np.where(attempt >= 0, attempt, np.arange(len(attempt)))
    jump = attempt
    while (jump >= 0).any():  # each round looks twice as far back
        depth = depth + np.where(jump >= 0, depth[jump], 0)
        first = first[first]
        jump = np.where(jump >= 0, jump[jump], -1)
    return depth, first
