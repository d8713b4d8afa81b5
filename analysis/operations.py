"""Operations: what the limits, and the app's way with them, do to people."""

from __future__ import annotations

import numpy as np

from quotalab.frames import Frames
from quotalab.rules import MOST_FINDINGS, Finding, Judgement, rule, waits_ns
from quotalab.rules.metrics import HOUR_NS, quantile_ns
from quotalab.rules.times import clock_time, count, duration

_NOT_DONE = ("failed", "abandoned", "declined")
_BROKEN = ("failed", "abandoned")
_UNKNOWN = "what people asked of the app is not known to a sandbox that stands alone"


@rule("QL501", "failed-operations")
def failed_operations(frames: Frames) -> Judgement:
    """People did not get what they asked for.

    ## What it checks
    The share of operations that failed, were abandoned or were declined, against the profile's `[approval]
    failed_operations`. FAIL when the failed and abandoned ones alone exceed it: something broke. WARN when
    they do so only together with the declined ones: the app protected its limit, but people got nothing
    either. An operation that was answered from an older copy (stale) was answered; one that the end of the
    run cut off before its deadline is not counted.

    ## Why it matters
    An app can stay inside any limit by doing nothing. A provider's reviewer, and people, try whether it
    works.

    ## Example
    Of 3,000 operations 200 are declined in the two busiest hours: 6.7 %, where 5 % are tolerated.

    ## What to do instead
    Fetch what many people need once and share it, serve older copies while the budget is spent, and put off
    what nobody waits for.

    ## Source
    The provider profile's `[approval] failed_operations`.
    """
    operations = frames.operations
    most = frames.provider.approval.failed_operations
    cut_off = (operations["outcome"] == "abandoned") & (operations["deadline"] >= frames.span_ns[1])
    operations = operations[~cut_off]
    if not len(operations):
        note = "there was no operation that could have ended"
        return Judgement("NA", threshold=most, note=_UNKNOWN if frames.run.app == "unknown" else note)
    lost = operations["outcome"].isin(_NOT_DONE)
    broken = operations["outcome"].isin(_BROKEN)
    metric = float(lost.mean())
    note = ", ".join(f"{int((operations['outcome'] == outcome).sum()):,} {outcome}" for outcome in _NOT_DONE)
    if cut_off.any():
        note += f"; {int(cut_off.sum()):,} still had time when the run ended, and are not counted"
    if not frames.complete:
        note += "; operations that were under way when the run was cut are not counted"
    if metric <= most:
        return Judgement("PASS", metric, most, note=note)
    verdict = "FAIL" if float(broken.mean()) > most else "WARN"
    findings = []
    for (name, outcome), mine in operations[lost].groupby(["name", "outcome"], observed=True):
        if not len(mine):
            continue
        of_name = int((operations["name"] == name).sum())
        errors = mine["error"].value_counts()
        why = f" (most often: {errors.index[0]!s})" if len(errors) and errors.iloc[0] else ""
        hours = (mine["planned"] // HOUR_NS).value_counts()
        busiest = int(hours.index[0]) * HOUR_NS
        message = (
            f"{len(mine):,} of {count(of_name, 'operation')} '{name}' {_was(str(outcome), len(mine))}{why}; "
            f"the most in one hour, {int(hours.iloc[0]):,}, from {clock_time(busiest)}."
        )
        calls = frames.calls[frames.calls["operation"].isin(mine["operation"])]
        findings.append(
            (-len(mine), Finding(message, busiest, tuple(int(seq) for seq in calls["seq"].iloc[:50])))
        )
    findings.sort(key=lambda pair: pair[0])
    return Judgement(verdict, metric, most, tuple(finding for _, finding in findings), note=note)


@rule("QL502", "long-waits")
def long_waits(frames: Frames) -> Judgement:
    """People waited too long for what they got.

    ## What it checks
    The waits of operations that were done or stale, from `planned` to `ended`: a late start is the person's
    wait too. WARN when the 95th percentile (nearest rank) is above the profile's `[approval] wait_p95`, or
    when an operation was answered after its deadline; each of those is a finding.

    ## Why it matters
    An app that queues for its limit breaks no rule of the provider's, and can still be useless.

    ## Example
    At 09:00 everybody's calendar is synced. With 100 calls an hour the last of 250 people waits past 11:00.

    ## What to do instead
    Decline early, with the time when it will work, whatever cannot be answered before its deadline, and move
    what nobody waits for into quiet hours.

    ## Source
    The provider profile's `[approval] wait_p95`.
    """
    most_ns = frames.provider.approval.wait_p95_ns
    waits = waits_ns(frames)
    if not len(waits):
        why = _UNKNOWN if frames.run.app == "unknown" else "no operation was done"
        return Judgement("NA", threshold=most_ns / 1e9, note=why)
    p95_ns = quantile_ns(waits, 0.95)
    findings = []
    if p95_ns > most_ns:
        message = (
            f"The 95th percentile of {count(len(waits), 'wait')} is {duration(p95_ns)}, where "
            f"{duration(most_ns)} is tolerated; the longest wait is {duration(int(waits.max()))}."
        )
        findings.append(Finding(message, None))
    answered = frames.operations.loc[waits.index]
    late_ns = (answered["ended"] - answered["deadline"]).to_numpy()
    late = answered[late_ns > 0].assign(late_ns=late_ns[late_ns > 0])
    told = late.iloc[np.argsort(-late["late_ns"].to_numpy(), kind="stable")[:MOST_FINDINGS]]
    calls = frames.calls[frames.calls["operation"].isin(told["operation"])]
    seqs = calls.groupby("operation", observed=True)["seq"].apply(list).to_dict() if len(told) else {}
    for row in told.to_dict("records"):
        message = (
            f"'{row['name']}' of {row['person']}, planned for {clock_time(row['planned'])}, was answered "
            f"{duration(row['ended'] - row['planned'])} later, {duration(row['late_ns'])} after its deadline "
            f"(operation {row['operation']})."
        )
        findings.append(Finding(message, int(row["ended"]), tuple(seqs.get(row["operation"], ())[:50])))
    note = (
        f"{count(len(late), 'operation')} of {len(waits):,} answered after the deadline"
        if len(late)
        else None
    )
    verdict = "WARN" if findings else "PASS"
    untold = len(late) - len(told)
    return Judgement(verdict, p95_ns / 1e9, most_ns / 1e9, tuple(findings), note=note, untold=untold)


def _was(outcome: str, number: int) -> str:
    return "failed" if outcome == "failed" else f"{'was' if number == 1 else 'were'} {outcome}"
