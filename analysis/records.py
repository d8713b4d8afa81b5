"""Records: whether the app's own log tells of its calls, so that somebody can find out what happened."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from quotalab.frames import Frames
from quotalab.frames.app_log import Matches, app_log, matched
from quotalab.rules import MOST_FINDINGS, Finding, Judgement, rule
from quotalab.rules.meanings import RETRYABLE
from quotalab.rules.times import clock_time, count

_NOT_NAMED = "the app's log is not known: name it under [tool.quotalab.app] log"
_SHOWN = 50


@rule("QL701", "unlogged-call", unit="share", unlogged=0.01, tolerance_s=1.0)
def unlogged_call(frames: Frames, *, unlogged: float, tolerance_s: float) -> Judgement:
    """The app called the provider and its log says nothing of it.

    ## What it checks
    Calls to the API that no entry of the app's log tells of. An entry and a call are one by their request id
    where the log has it, else by method, path, status and time: between sending and answer, or at most
    `tolerance_s` outside; each entry stands for one call. Any unlogged call is WARN, more than `unlogged`, a
    share of the calls, is FAIL. Calls to OAuth endpoints need no entry. REVIEW where the log cannot be read,
    or was read to a part only.

    ## Why it matters
    When the provider asks what happened at 09:12, the log is all that the app has. Calls that a library
    makes by itself, retries above all, are those that are missing.

    ## Example
    The ledger has 4 calls for an operation that was refused three times; the log has the last one.

    ## What to do instead
    Log where the request leaves: in a hook or transport of the HTTP library, below its retries.

    ## Source
    OWASP Logging Cheat Sheet, "Which events to log": among others connectivity problems and error messages of
    third party services. That it is each call, and the share, is our choice.
    """
    log = frames.once(app_log)
    told = _told(frames)
    if told is None:
        return Judgement("NA", threshold=unlogged, note=_NOT_NAMED)
    if log is None:
        return Judgement("REVIEW", threshold=unlogged, note=_unreadable(told))
    calls = frames.calls
    api = ((calls["kind"] == "api") & (calls["actor"] == "app")).to_numpy()
    if not api.any():
        return Judgement("NA", threshold=unlogged, note="the API was not called")
    pairs = _pairs(frames, log, tolerance_s)
    missing = api.copy()
    missing[pairs.call] = False
    rows = np.flatnonzero(missing)
    metric = len(rows) / int(api.sum())
    verdict = "FAIL" if metric > unlogged else "WARN" if len(rows) else "PASS"
    if len(rows) and (told.get("cut") or told.get("broken")):
        verdict = "REVIEW"  # what was not read may have told of them
    table = pd.DataFrame(
        {
            "method": calls["method"].astype(object).to_numpy()[rows],
            "route": calls["route"].astype(object).fillna("no known route").to_numpy()[rows],
            "status": calls["status"].to_numpy()[rows],
            "row": rows,
        }
    )
    findings = []
    for (method, route, status), mine in table.groupby(["method", "route", "status"]):
        where = mine["row"].to_numpy()
        first = int(where[0])
        of = int((api & (calls["route"] == route).to_numpy() & (calls["status"] == status).to_numpy()).sum())
        message = (
            f"{count(len(mine), 'call')} {method} '{route}' answered {status} stand in no entry of the log, "
            f"of {max(of, len(mine)):,} such; the first at "
            f"{clock_time(int(calls['at'].iloc[first]), decimals=3)}."
        )
        seqs = tuple(int(seq) for seq in calls["seq"].to_numpy()[where[:_SHOWN]])
        findings.append((-len(mine), Finding(message, int(calls["at"].iloc[first]), seqs)))
    findings.sort(key=lambda pair: pair[0])
    return Judgement(
        verdict,
        metric,
        unlogged,
        tuple(finding for _, finding in findings[:MOST_FINDINGS]),
        note=_how(pairs, told, log),
        untold=max(0, len(findings) - MOST_FINDINGS),
    )


@rule("QL702", "log-without-metadata", unit="share", lacking=0.0, tolerance_s=1.0)
def log_without_metadata(frames: Frames, *, lacking: float, tolerance_s: float) -> Judgement:
    """Entries of the app's log lack what somebody needs who looks into a refusal.

    ## What it checks
    Of each entry: the time, for whom the call was (person or tenant), the route, the status. Of one that
    tells of a call that was refused or may be retried, also how long the app meant to wait; of one whose call
    had an id from the provider, that id. WARN when more than `lacking`, a share of the entries, lack
    something; a finding for each field. Entries that belong to no call are judged by the first four alone.

    ## Why it matters
    "429" alone tells nobody whose calls they were, what was asked, and whether the app waited. The provider's
    support finds a request by its id and by nothing else.

    ## Example
    `2026-01-05 09:12:00 WARNING rate limited, retrying`

    ## What to do instead
    One structured entry a call: time, person or tenant, method, route, status, wait, request id; never a
    token, a code or a query.

    ## Source
    OWASP Logging Cheat Sheet, "Event attributes": when, where, who, what. The list of fields is our choice.
    """
    log = frames.once(app_log)
    told = _told(frames)
    if told is None:
        return Judgement("NA", threshold=lacking, note=_NOT_NAMED)
    if log is None:
        return Judgement("REVIEW", threshold=lacking, note=_unreadable(told))
    if not len(log):
        return Judgement("NA", threshold=lacking, note="the log has no entry")
    pairs = _pairs(frames, log, tolerance_s)
    calls = frames.calls
    troubled = np.zeros(len(log), dtype=bool)
    with_id = np.zeros(len(log), dtype=bool)
    trouble = calls["limit"].notna().to_numpy() | calls["status"].isin(RETRYABLE).to_numpy()
    troubled[pairs.entry] = trouble[pairs.call]
    with_id[pairs.entry] = calls["request_id"].notna().to_numpy()[pairs.call]
    empty = {name: log[name].isna().to_numpy() for name in log.columns}
    lacks = {
        "the time": empty["at"],
        "for whom it was": empty["person"] & empty["tenant"],
        "the route": empty["route"],
        "the status": empty["status"],
        "how long was waited": empty["wait"] & troubled,
        "the request id": (empty["request_id"] | (log["request_id"] == "[unknown]").to_numpy()) & with_id,
    }
    wanted = {"how long was waited": troubled, "the request id": with_id}
    bad = np.logical_or.reduce(list(lacks.values()))
    metric = float(bad.mean())
    line = log["line"].to_numpy(dtype=np.int64)
    findings = []
    for what, where in lacks.items():
        if where.any():
            of = int(wanted[what].sum()) if what in wanted else len(log)
            lines = ", ".join(f"{one:,}" for one in line[where][:5])
            message = f"{int(where.sum()):,} of {of:,} entries do not say {what}: line {lines}"
            message += " ..." if int(where.sum()) > 5 else "."
            at = log["at"][where].dropna()
            findings.append(Finding(message, int(at.iloc[0]) if len(at) else None))
    verdict = "WARN" if metric > lacking else "PASS"
    if verdict == "PASS" and told.get("broken"):
        verdict = "REVIEW"
    if verdict == "PASS":
        findings = []
    return Judgement(verdict, metric, lacking, tuple(findings), note=_how(pairs, told, log))


@rule("QL703", "logged-call-that-never-was", unit="share", phantom=0.01, tolerance_s=1.0)
def logged_call_that_never_was(frames: Frames, *, phantom: float, tolerance_s: float) -> Judgement:
    """The app's log tells of calls that the provider never had.

    ## What it checks
    Entries to which no call belongs (QL701 has how they are matched), be it because there was none, because
    it is told twice, or with another status or time. Any is WARN, more than `phantom`, a share of the
    entries, is FAIL. Entries without time, method, path or status cannot be matched and are QL702's; those of
    calls to other hosts are left out; an entry with status 0 tells of a call that nobody answered, which may
    not have reached the provider.

    ## Why it matters
    A log that says more than happened is believed as little as one that says less: a refusal that was logged
    as a success hides what has to be explained.

    ## Example
    A call is answered 429, and the log has it with status 200, because it is written before the answer.

    ## What to do instead
    Write the entry when the answer is there, once, from the answer itself.

    ## Source
    OWASP Logging Cheat Sheet, "Verification". The share is our choice.
    """
    log = frames.once(app_log)
    told = _told(frames)
    if told is None:
        return Judgement("NA", threshold=phantom, note=_NOT_NAMED)
    if log is None:
        return Judgement("REVIEW", threshold=phantom, note=_unreadable(told))
    fit = log[["at", "method", "path", "status"]].notna().all(axis=1).to_numpy()
    fit = fit & (log["status"].fillna(-1) != 0).to_numpy()
    if not fit.any():
        return Judgement("NA", threshold=phantom, note="the log has no entry that could be matched to a call")
    pairs = _pairs(frames, log, tolerance_s)
    fit_number = int(fit.sum())
    alone = fit.copy()
    alone[pairs.entry] = False
    metric = int(alone.sum()) / fit_number
    verdict = "FAIL" if metric > phantom else "WARN" if alone.any() else "PASS"
    findings = [
        Finding(
            f"Line {row['line']:,} of the log tells of {row['method']} {row['path']} answered "
            f"{row['status']} at {clock_time(int(row['at']), decimals=3)}; there was no such call.",
            int(row["at"]),
        )
        for row in log[alone].iloc[:MOST_FINDINGS].to_dict("records")
    ]
    untold = int(alone.sum()) - len(findings)
    return Judgement(verdict, metric, phantom, tuple(findings), note=_how(pairs, told, log), untold=untold)


# ---- what these share


def _told(frames: Frames) -> Mapping[str, Any] | None:
    """What the run says of its reading of the app's log; None: there was none to read."""
    events = frames.events
    found = events["details"][(events["what"] == "app-log-read").to_numpy()]
    return json.loads(found.iloc[-1]) if len(found) else None


def _unreadable(told: Mapping[str, Any]) -> str:
    return (
        f"the app's log {told.get('file')}: {told.get('missing') or 'has left no entries in the run folder'}"
    )


def _pairs(frames: Frames, log: pd.DataFrame, tolerance_s: float) -> Matches:
    tolerance_ns = round(tolerance_s * 1e9)
    if tolerance_ns == 10**9:
        return frames.once(_default_pairs)
    return matched(frames, log, tolerance_ns)


def _default_pairs(frames: Frames) -> Matches:
    log = frames.once(app_log)
    assert log is not None, "asked only where there is a log"
    return matched(frames, log, 10**9)


def _how(pairs: Matches, told: Mapping[str, Any], log: pd.DataFrame) -> str:
    """How entries and calls were brought together, and what was not read."""
    by_time = len(pairs.entry) - pairs.by_id
    parts = [
        f"{count(len(log), 'entry', 'entries')}: {pairs.by_id:,} matched by request id, {by_time:,} by "
        "method, path, status and time"
    ]
    if by_time:
        parts[0] += " (logging the provider's request id would make them sure)"
    if told.get("foreign"):
        parts.append(f"{told['foreign']:,} of calls to other hosts left out")
    if told.get("broken"):
        first = ", ".join(f"{one['line']:,} {one['why']}" for one in told["first_broken"][:3])
        parts.append(f"{count(told['broken'], 'line')} could not be read: line {first}")
    if told.get("cut"):
        parts.append("the log is longer than is read")
    return "; ".join(parts)
