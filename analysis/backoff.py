"""Backoff: whether the app waits as it was told to, and as it should where it was told nothing."""

from __future__ import annotations

import numpy as np

from quotalab.frames import Frames
from quotalab.rules import MOST_FINDINGS, Finding, Judgement, early_calls, retries, rule
from quotalab.rules.times import clock_time, count, duration


@rule("QL201", "retry-before-retry-after")
def retry_before_retry_after(frames: Frames) -> Judgement:
    """The app called again before the time that Retry-After had promised.

    ## What it checks
    Calls to the same key of the refusing limit that arrive between a refusal and its promised end. From the
    refused operation itself: FAIL. From another operation or person: WARN, as the app did not share what it
    knew. A call that was sent before the refusal's answer was there: nothing. A call at the very instant of
    the promised end: nothing. Where the operation of a call is not known, calls are taken for the same
    operation's if person and route are the same, the finding says so, and on such a guess alone the verdict
    is REVIEW: an app that sends `traceparent` over sockets makes it sure.

    ## Why it matters
    Retry-After is an instruction. A provider that sees it ignored sees an app that hammers on when it is in
    trouble, and many lengthen the wait or block the app.

    ## Example
    Call 17 is refused at 09:12:00 with `Retry-After: 60`. The same operation calls again at 09:12:02.

    ## What to do instead
    Wait until the promised end, plus some jitter, and keep it where all of the app's workers see it before
    they call.

    ## Source
    RFC 9110, section 10.2.3 (Retry-After); RFC 6585, section 4.
    """
    calls = frames.calls
    promised = (calls["kind"] == "api") & calls["limit"].notna() & calls["retry_after_ns"].notna()
    if not promised.any():
        return Judgement("NA", note="no call was refused with a Retry-After")
    early = frames.once(early_calls)
    same = early["same"].to_numpy(dtype=bool)
    seq, at_ns = calls["seq"].to_numpy(), calls["at"].to_numpy()
    findings = []
    ordered = early.iloc[np.argsort(~same, kind="stable")]  # the refused operations' own calls first
    for link in ordered.iloc[:MOST_FINDINGS].to_dict("records"):
        first, again = int(link["refusal"]), int(link["row"])
        promise_ns = int(calls["retry_after_ns"].iloc[first])
        who = "the same operation" if link["linked_by"] == "operation" else "the same person and route"
        if not link["same"]:
            other = calls["person"].iloc[first] == calls["person"].iloc[again]
            who = "another operation" if other else "another person's operation"
        guess = ""
        if link["same"] and link["linked_by"] != "operation":
            guess = " The operation is not known: linked by person, route and time."
        message = (
            f"Call {seq[first]} was refused by '{calls['limit'].iloc[first]}' at {clock_time(at_ns[first])} "
            f"with Retry-After {promise_ns / 1e9:g} s; {who} called again "
            f"{duration(int(at_ns[again] - at_ns[first]))} later (call {seq[again]}), "
            f"{duration(int(link['early_ns']))} too early.{guess}"
        )
        findings.append(Finding(message, int(at_ns[again]), (int(seq[first]), int(seq[again]))))
    sure = same & (early["linked_by"].to_numpy() == "operation")
    if sure.any():
        verdict = "FAIL"
    elif not same.all():
        verdict = "WARN"
    else:
        verdict = "REVIEW" if len(early) else "PASS"
    note = None
    if len(early):
        note = (
            f"{count(int(same.sum()), 'early call')} by refused operations themselves, "
            f"{int((~same).sum()):,} by others"
        )
    remedy = "wait until the promised end of Retry-After before calling again, in every worker of the app"
    return Judgement(
        verdict,
        float(len(early)),
        0.0,
        tuple(findings),
        untold=len(early) - len(findings),
        remedy=remedy,
        note=note,
    )


@rule("QL202", "retry-too-fast")
def retry_too_fast(frames: Frames) -> Judgement:
    """The app retried without waiting, where the answer had not said how long.

    ## What it checks
    Retries of an answer that may be retried (429, 5xx, 408, or none at all) and that promised nothing. One
    that is sent sooner after the answer than the profile's `[approval] retry_wait` is too fast: WARN. Two in
    a row of the same call: FAIL, as that is an app without backoff. Retries after a promise are judged by
    QL201.

    ## Why it matters
    A provider in trouble is kept in trouble by clients that repeat at once, and one that counts errors sees
    each of them several times.

    ## Example
    A call is answered 503 at 09:12:00.000; the app repeats it at 09:12:00.040, and, answered 503 again, at
    09:12:00.080.

    ## What to do instead
    Wait before each retry, twice as long each time, with full jitter, and give up after a few.

    ## Source
    RFC 9110, section 15.6.4 (503); Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015.
    """
    calls = frames.calls
    least_ns = frames.provider.approval.retry_wait_ns
    links = frames.once(retries)
    unpromised = calls["retry_after_ns"].isna().to_numpy()[links["attempt"].to_numpy()]
    links = links[unpromised]
    if not len(links):
        return Judgement("NA", threshold=least_ns / 1e9, note="nothing was retried without a Retry-After")
    fast = links[links["gap_ns"] < least_ns]
    again = fast["attempt"].isin(fast["row"])
    seq, at_ns, status = (calls[name].to_numpy() for name in ("seq", "at", "status"))
    findings = []
    for link, in_a_row in zip(fast.iloc[:MOST_FINDINGS].to_dict("records"), again, strict=False):
        first, second = int(link["attempt"]), int(link["row"])
        answer = f"was answered {status[first]}" if status[first] else "got no answer"
        guess = (
            "" if link["linked_by"] != "person, target and time" else " Linked by person, target and time."
        )
        message = (
            f"Call {seq[first]} {answer} at {clock_time(at_ns[first], decimals=3)} and was repeated "
            f"{duration(int(link['gap_ns']))} later (call {seq[second]}"
            f"{', again too soon' if in_a_row else ''}); at least {duration(least_ns)} are wanted.{guess}"
        )
        findings.append(Finding(message, int(at_ns[second]), (int(seq[first]), int(seq[second]))))
    verdict = "FAIL" if again.any() else "WARN" if findings else "PASS"
    metric = float(links["gap_ns"].min()) / 1e9
    untold = len(fast) - len(findings)
    return Judgement(verdict, metric, least_ns / 1e9, tuple(findings), untold=untold)
