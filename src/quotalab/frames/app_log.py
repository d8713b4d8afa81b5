"""The app's own log of its calls, and which of the ledger's calls each of its entries tells of."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from quotalab.errors import RunFolderError
from quotalab.frames.loading import Frames
from quotalab.ledger.schema import APP_LOG

__all__ = ["Matches", "app_log", "matched"]

Ints = npt.NDArray[np.int64]


def app_log(frames: Frames) -> pd.DataFrame | None:
    """The entries, in the log's order; None where no log was read. Use with ``frames.once``.

    Columns: those of `quotalab.ledger.schema.APP_LOG`; `at` is Int64 ns, `status` Int32, texts are objects.
    """
    path = frames.folder / "applog.parquet" if frames.folder is not None else None
    if path is None or not path.exists():
        return None
    try:
        table = pq.read_table(path).select(APP_LOG.names).cast(APP_LOG)
    except (pa.ArrowException, KeyError, ValueError, OSError) as error:
        raise RunFolderError(f"{path}: is no app's log: {str(error).splitlines()[0]}") from error
    columns = {}
    for name in APP_LOG.names:
        array = table.column(name).combine_chunks()
        if pa.types.is_timestamp(array.type):
            array = array.view(pa.int64())
        if pa.types.is_integer(array.type):
            missing = array.is_null().to_numpy(zero_copy_only=False)
            values = array.fill_null(0).to_numpy(zero_copy_only=False)
            columns[name] = pd.array(values, dtype="Int64")
            columns[name][missing] = pd.NA
        else:
            columns[name] = array.to_numpy(zero_copy_only=False)
    return pd.DataFrame(columns)


class Matches(NamedTuple):
    """Which entry tells of which call; positions, in pairs."""

    entry: Ints
    call: Ints
    """In `frames.calls`."""
    by_id: int
    """How many pairs share a request id; the others share method, path, status and time."""


def matched(frames: Frames, log: pd.DataFrame, tolerance_ns: int) -> Matches:
    """Pair entries with the app's calls, each with one at most.

    First by request id, where both have it. Then by method, path (with or without the API's own prefix) and
    status, where the entry's time lies between the call's sending and its answer, or no more than
    `tolerance_ns` outside; in order of time, so that as many as possible find one.
    """
    calls = frames.calls
    rows = np.flatnonzero((calls["actor"] == "app").to_numpy())
    entries = np.arange(len(log))
    ids = calls["request_id"].astype(object).to_numpy()[rows]
    known = pd.DataFrame({"id": ids, "call": rows})
    known = known[known["id"].notna()]
    told = pd.DataFrame({"id": log["request_id"].to_numpy(), "entry": entries})
    told = told[told["id"].notna()]
    known["number"], told["number"] = known.groupby("id").cumcount(), told.groupby("id").cumcount()
    same = told.merge(known, on=["id", "number"])
    entry, call = [same["entry"].to_numpy(dtype=np.int64)], [same["call"].to_numpy(dtype=np.int64)]
    rows = np.setdiff1d(rows, call[0])
    entries = np.setdiff1d(entries, entry[0])
    for prefix in ("", frames.provider.api_path):
        if prefix == "" or frames.provider.api_path:
            more = _by_time(frames, log, rows, entries, prefix, tolerance_ns)
            entry.append(more[0])
            call.append(more[1])
            rows, entries = np.setdiff1d(rows, more[1]), np.setdiff1d(entries, more[0])
    return Matches(np.concatenate(entry), np.concatenate(call), len(same))


def _by_time(
    frames: Frames, log: pd.DataFrame, rows: Ints, entries: Ints, prefix: str, tolerance_ns: int
) -> tuple[Ints, Ints]:
    calls = frames.calls
    told = log.iloc[entries]
    whole = told[["at", "method", "path", "status"]].notna().all(axis=1).to_numpy()
    entries, told = entries[whole], told[whole]
    none = np.zeros(0, dtype=np.int64)
    if not len(entries) or not len(rows):
        return none, none
    # One code for each method, path and status, over both.
    ours = calls[["method", "path", "status"]].iloc[rows]
    both = pd.DataFrame(
        {
            "method": np.concatenate([ours["method"].astype(object), told["method"].to_numpy()]),
            "path": np.concatenate([ours["path"].astype(object), prefix + told["path"].to_numpy()]),
            "status": np.concatenate([ours["status"], told["status"].to_numpy(dtype=np.int64)]),
        }
    )
    code = both.groupby(["method", "path", "status"], sort=False).ngroup().to_numpy()
    base = int(calls["sent"].min())
    at = told["at"].to_numpy(dtype=np.int64) - base
    begin = np.concatenate([calls["sent"].to_numpy()[rows] - base - tolerance_ns, at])
    end = np.concatenate([calls["done"].to_numpy()[rows] - base + tolerance_ns, at])
    is_call = np.arange(len(code)) < len(rows)
    order = np.lexsort((begin, code))
    # A cluster: what hangs together by overlapping spans. Nothing outside of it can be a partner.
    reach = pd.Series(end[order]).groupby(code[order]).cummax().to_numpy()
    apart = np.append(True, (np.diff(code[order]) != 0) | (begin[order][1:] > reach[:-1]))
    cluster = np.empty(len(code), dtype=np.int64)
    cluster[order] = np.cumsum(apart) - 1
    size = int(apart.sum())
    n_calls = np.bincount(cluster[is_call], minlength=size)
    n_entries = np.bincount(cluster[~is_call], minlength=size)
    mine, theirs = np.flatnonzero(is_call), np.flatnonzero(~is_call)
    mine = mine[np.lexsort((begin[mine], end[mine], cluster[mine]))]
    theirs = theirs[np.lexsort((theirs, at[theirs - len(rows)], cluster[theirs]))]
    # Where a cluster has as many of one as of the other, in order of time is the way, if all fit.
    even = n_calls == n_entries
    left, right = mine[even[cluster[mine]]], theirs[even[cluster[theirs]]]
    fits = (begin[right] >= begin[left]) & (begin[right] <= end[left])
    bad = np.unique(cluster[left[~fits]])
    even[bad] = False
    keep = even[cluster[left]]
    pairs = [(right[keep], left[keep])]
    uneven = (~even & (n_calls > 0) & (n_entries > 0))[cluster]
    pairs += [_one_by_one(mine[uneven[mine]], theirs[uneven[theirs]], begin, end, cluster)]
    found = [np.concatenate(part).astype(np.int64) for part in zip(*pairs, strict=True)]
    return entries[found[0] - len(rows)], rows[found[1]]


def _one_by_one(mine: Ints, theirs: Ints, begin: Ints, end: Ints, cluster: Ints) -> tuple[Ints, Ints]:
    """The few that are not plain: an entry, in order of time, takes the call that ends first."""
    entries, calls = [], []
    waiting: list[int] = []
    by_begin = mine[np.lexsort((end[mine], begin[mine], cluster[mine]))].tolist()
    place = 0
    for one in theirs.tolist():
        group, at = cluster[one], begin[one]
        while place < len(by_begin) and (
            cluster[by_begin[place]] < group
            or (cluster[by_begin[place]] == group and begin[by_begin[place]] <= at)
        ):
            waiting.append(by_begin[place])
            place += 1
        waiting = [call for call in waiting if cluster[call] == group and end[call] >= at]
        if waiting:
            best = min(waiting, key=lambda call: (end[call], call))
            waiting.remove(best)
            entries.append(one)
            calls.append(best)
    return np.array(entries, dtype=np.int64), np.array(calls, dtype=np.int64)
