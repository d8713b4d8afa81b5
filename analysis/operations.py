"""Operations: what the limits, and the app's way with them, do to people."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from quotalab.frames import Frames
from quotalab.rules import MOST_FINDINGS, Finding, Judgement, rule, waits_ns
from quotalab.rules.meanings import RETRYABLE, calls_of, operation_places
from quotalab.rules.metrics import HOUR_NS, quantile_ns
from quotalab.rules.times import clock_time, count, duration, share

Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

_NOT_DONE = ("failed", "abandoned", "declined")
_ANSWERED = ("done", "stale")
_BROKEN = ("failed", "abandoned")
_GIVEN_UP = ("failed", "declined")
_UNKNOWN = "what people asked of the app is not known to a sandbox that stands alone"


@rule("QL501", "failed-operations", unit="share")
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
        seqs = frames.calls["seq"].to_numpy()[calls_of(frames, mine.index)[:50]]
        findings.append((-len(mine), Finding(message, busiest, tuple(seqs.tolist()))))
    findings.sort(key=lambda pair: pair[0])
    return Judgement(verdict, metric, most, tuple(finding for _, finding in findings), note=note)


@rule("QL502", "long-waits", unit="s")
def long_waits(frames: Frames) -> Judgement:
    """People waited too long for what they got.

    ## What it checks
    The waits of operations that were done or stale, from `planned` to `ended`: a late start is the person's
    wait too. One that was still waiting when the run ended, and had waited for longer than is tolerated,
    counts with as long as it had waited by then: who is queued for ever has no short wait. WARN when the 95th
    percentile (nearest rank) is above the profile's `[approval] wait_p95`, or when an operation was answered
    after its deadline; each of those is a finding.

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
    late_by_end = _still_waiting(frames, most_ns)
    answered = frames.operations.loc[waits.index]
    waits = pd.concat([waits, late_by_end])
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
        if len(late_by_end):
            message += f" {count(len(late_by_end), 'operation')} still waited when the run ended."
        findings.append(Finding(message, None))
    late_ns = (answered["ended"] - answered["deadline"]).to_numpy()
    late = answered[late_ns > 0].assign(late_ns=late_ns[late_ns > 0])
    told = late.iloc[np.argsort(-late["late_ns"].to_numpy(), kind="stable")[:MOST_FINDINGS]]
    rows = calls_of(frames, told.index)
    of, seq = frames.once(operation_places)[rows], frames.calls["seq"].to_numpy()[rows]
    for place, row in zip(told.index, told.to_dict("records"), strict=True):
        message = (
            f"'{row['name']}' of {row['person']}, planned for {clock_time(row['planned'])}, was answered "
            f"{duration(row['ended'] - row['planned'])} later, {duration(row['late_ns'])} after its deadline "
            f"(operation {row['operation']})."
        )
        findings.append(Finding(message, int(row["ended"]), tuple(seq[of == place][:50].tolist())))
    note = (
        f"{count(len(late), 'operation')} of {len(answered):,} answered after the deadline"
        if len(late)
        else None
    )
    verdict = "WARN" if findings else "PASS"
    untold = len(late) - len(told)
    return Judgement(verdict, p95_ns / 1e9, most_ns / 1e9, tuple(findings), note=note, untold=untold)


@rule("QL503", "error-shown-to-person", unit="share", errors=0.01)
def error_shown_to_person(frames: Frames, *, errors: float) -> Judgement:
    """People were shown an error that the app could have kept from them.

    ## What it checks
    Operations that failed although there was another way: the last answer was a passing trouble (a refusal,
    429, 5xx, or none at all), and what had been promised, or else the profile's `[approval] retry_wait`,
    ended before the operation's deadline; or all its calls were answered well, and the app failed by itself.
    Any such is WARN; more than `errors` (a share of the operations) FAIL. An error that waiting would not
    have mended, such as a 403 or a balance that is used up and never filled again, and an operation that was
    declined, are not counted. Which calls were an
    operation's is known where the app carries the context or `traceparent` along; others are left out.

    ## Why it matters
    A provider that says "in two seconds" has not failed. An app that passes its words on makes a failure of
    them, and people repeat what they asked for by hand, which costs more calls.

    ## Example
    'look' has 30 s. Its one call is refused at 09:12:00 with `Retry-After: 2`; the person sees "429 Too Many
    Requests" at 09:12:00.

    ## What to do instead
    Wait as long as was promised if the deadline allows, else show what was there before, else decline with
    the time at which it will work.

    ## Source
    RFC 9110, sections 10.2.3 (Retry-After) and 15.6.4 (503); RFC 6585, section 4.
    """
    ends = frames.once(_ends)
    operations, calls = frames.operations, frames.calls
    if not len(operations):
        return Judgement("NA", threshold=errors, note=_nothing_asked(frames))
    failed = (operations["outcome"] == "failed").to_numpy()
    known = failed & (ends.last >= 0)
    if failed.any() and not known.any():
        return Judgement("NA", threshold=errors, note=_UNLINKED)
    at_deadline = operations["deadline"].to_numpy()
    could_wait = known & ends.trouble & (ends.ready_ns < at_deadline)
    by_itself = known & ends.all_well
    shown = could_wait | by_itself
    metric = float(shown.mean())
    findings = []
    seq = calls["seq"].to_numpy()
    for place in np.flatnonzero(shown)[:MOST_FINDINGS]:
        row, last = operations.iloc[place], int(ends.last[place])
        whose = f"'{row['name']}' of {row['person']} failed at {clock_time(row['ended'])}"
        if by_itself[place]:
            what = f"though each of its calls was answered well ({row['error']})"
        else:
            left = duration(int(at_deadline[place] - ends.ready_ns[place]))
            what = (
                f"on {_trouble(calls, last)} (call {seq[last]}); it could have been asked again, with {left} "
                "left of its time"
            )
        findings.append(Finding(f"{whose} {what}.", int(row["ended"]), (int(seq[last]),)))
    verdict = "PASS" if not shown.any() else "FAIL" if metric > errors else "WARN"
    left_out = int(failed.sum() - known.sum())
    note = (
        f"{count(left_out, 'failed operation')} without a call that is known are left out"
        if left_out
        else None
    )
    return Judgement(
        verdict, metric, errors, tuple(findings), note=note, untold=int(shown.sum()) - len(findings)
    )


@rule("QL504", "lost-operations", unit="share", lost=0.01)
def lost_operations(frames: Frames, *, lost: float) -> Judgement:
    """What people asked for was given up on after a refusal or an error, and nobody took it up again.

    ## What it checks
    Operations that were begun, met a passing trouble with their last call (a refusal, 429, 5xx, no answer),
    and ended failed or declined. To give up at once on an hour-long Retry-After is no fault of
    backoff; the operation is lost all the same. One that is followed by an operation of the same name and
    person that was done, planned before the lost one's deadline, was taken up again. WARN when the share of
    the operations that were lost so is above `lost`. What the end of the run cut off was not given up.

    ## Why it matters
    Backoff is a means. A person whose entry was never saved does not care how politely it was dropped.

    ## Example
    'add' is refused with `Retry-After: 3600`, the app gives up, and nothing keeps the entry for later.

    ## What to do instead
    Put what may be done later into a queue that outlives the refusal; tell the person that it waits there.

    ## Source
    Our choice, no provider's requirement: a call that is given up on is somebody's work that is not done. RFC
    9110, section 10.2.3 (Retry-After), has when it could have been taken up.
    """
    ends = frames.once(_ends)
    operations, calls = frames.operations, frames.calls
    if not len(operations):
        return Judgement("NA", threshold=lost, note=_nothing_asked(frames))
    cut_off = _cut_off(frames)
    not_done = operations["outcome"].isin(_GIVEN_UP).to_numpy()
    if not_done.any() and not (ends.last >= 0).any():
        return Judgement("NA", threshold=lost, note=_UNLINKED)
    gone = not_done & (ends.last >= 0) & ends.trouble
    gone &= ~_taken_up(operations, gone)
    counted = int((~cut_off).sum())
    metric = int(gone.sum()) / counted if counted else 0.0
    verdict = "WARN" if metric > lost else "PASS"
    findings = []
    if verdict == "WARN":
        last = ends.last[gone]
        table = operations[gone].assign(
            by=_troubles(calls, last),
            in_time=(ends.ready_ns < operations["deadline"].to_numpy())[gone],
            call=calls["seq"].to_numpy()[last],
        )
        for (name, by), mine in table.groupby(["name", "by"], observed=True):
            in_time = int(mine["in_time"].sum())
            message = (
                f"{count(len(mine), 'operation')} '{name}' given up on after {by}; {in_time:,} of them could "
                "have been asked again before their deadline."
            )
            seqs = tuple(int(seq) for seq in mine["call"].iloc[:50])
            findings.append((-len(mine), Finding(message, int(mine["ended"].min()), seqs)))
        findings.sort(key=lambda pair: pair[0])
    told = tuple(finding for _, finding in findings[:MOST_FINDINGS])
    return Judgement(verdict, metric, lost, told, untold=len(findings) - len(told))


@rule(
    "QL505", "starved-interactive", unit="share", interactive_s=900.0, lost_share=0.05, background_share=0.5
)
def starved_interactive(
    frames: Frames, *, interactive_s: float, lost_share: float, background_share: float
) -> Judgement:
    """People who waited got nothing while the app spent its calls on what nobody waited for.

    ## What it checks
    Operations whose deadline is at most `interactive_s` after the planned moment have somebody who waits;
    those with a longer one are background. Where more than `lost_share` of the first were not answered in
    time, the calls that the API admitted while they waited are looked at: WARN when `background_share` of
    them or more were background's. The calls' operations must be known. Whoever is declined at once has not
    waited, and is QL501's to find.

    ## Why it matters
    Background work has hours, a person has seconds, and both spend the same allowance.

    ## Example
    At 10:00 an export of everything begins to take the 100 calls of the hour; everybody who looks at a page
    while it runs waits in the queue behind it for 30 s, and is declined.

    ## What to do instead
    Keep part of the allowance for those who wait, spread background calls over their time, and let them
    give way.

    ## Source
    Our choice of thresholds; the idea is that of criticality: Beyer et al., "Site Reliability Engineering",
    chapter 21, "Handling Overload".
    """
    split = _split(frames, interactive_s)
    if isinstance(split, str):
        return Judgement("NA", threshold=background_share, note=split)
    waiting, missed = split
    short_missed = float(missed[waiting].mean())
    note = f"{share(short_missed)} of the operations that somebody waits for were not answered in time"
    if short_missed <= lost_share:
        return Judgement("PASS", None, background_share, note=note)
    calls, operations = frames.api_calls, frames.operations
    admitted = calls[calls["limit"].isna()]
    of = frames.once(operation_places)[admitted.index.to_numpy()]
    at = admitted["at"].to_numpy()
    background = np.sort(at[(of >= 0) & ~waiting[np.maximum(of, 0)]])
    every = np.sort(at)
    mine = operations[waiting & missed]
    start, end = mine["planned"].to_numpy(), mine[["ended", "deadline"]].min(axis=1).to_numpy() + 1
    theirs = np.searchsorted(background, end) - np.searchsorted(background, start)
    all_calls = np.searchsorted(every, end) - np.searchsorted(every, start)
    spent = int(theirs.sum()) / int(all_calls.sum()) if all_calls.sum() else 0.0
    if spent < background_share:
        return Judgement("PASS", spent, background_share, note=note)
    order = np.argsort(-theirs, kind="stable")[:MOST_FINDINGS]
    order = order[theirs[order] > 0]
    findings = tuple(
        Finding(
            f"'{mine['name'].iloc[i]}' of {mine['person'].iloc[i]}, planned for "
            f"{clock_time(int(start[i]))}, was {mine['outcome'].iloc[i]} while {theirs[i]:,} of "
            f"{all_calls[i]:,} admitted calls were background's.",
            int(start[i]),
        )
        for i in order
    )
    return Judgement(
        "WARN", spent, background_share, findings, note=note, untold=int((theirs > 0).sum()) - len(findings)
    )


@rule("QL506", "starved-background", unit="share", interactive_s=900.0, lost_share=0.5)
def starved_background(frames: Frames, *, interactive_s: float, lost_share: float) -> Judgement:
    """What nobody waited for was hardly ever done.

    ## What it checks
    Background operations (their deadline is more than `interactive_s` after the planned moment) that were
    not answered in time: WARN when their share is above `lost_share` and more than twice that of the
    operations that somebody waits for. Those that still had time when the run ended are not counted.

    ## Why it matters
    An allowance that people always use up leaves nothing for the night's work, and nobody sees it until the
    backup is needed.

    ## Example
    Of 80 exports with 12 h of time 70 are never done, because whoever looks at a page goes first.

    ## What to do instead
    Give background work a floor: a share of the allowance that is its own once it has waited long enough.

    ## Source
    Our choice, no provider's requirement.
    """
    split = _split(frames, interactive_s)
    if isinstance(split, str):
        return Judgement("NA", threshold=lost_share, note=split)
    waiting, missed = split
    counted = ~_cut_off(frames) & ~waiting
    if not counted.any():
        note = "every background operation still had time when the run ended"
        return Judgement("NA", threshold=lost_share, note=note)
    theirs, others = float(missed[counted].mean()), float(missed[waiting].mean())
    if theirs <= lost_share or theirs <= 2 * others:
        return Judgement("PASS", theirs, lost_share)
    lost = frames.operations[counted & missed]
    findings = [
        Finding(
            f"{count(len(mine), 'background operation')} '{name}' not answered in time, the first planned "
            f"for {clock_time(int(mine['planned'].min()))}; of what somebody waits for {share(others)} was "
            "not.",
            int(mine["planned"].min()),
        )
        for name, mine in lost.groupby("name", observed=True)
        if len(mine)
    ]
    return Judgement("WARN", theirs, lost_share, tuple(findings))


@rule("QL507", "stale-answers", unit="share", stale_share=0.5, oldest_s=86400.0)
def stale_answers(frames: Frames, *, stale_share: float, oldest_s: float) -> Judgement:
    """People were shown old copies more often, or older ones, than is fit.

    ## What it checks
    Of the operations that were answered, the share that was stale: WARN above `stale_share`. And the age of
    each stale answer, counted from the end of the last operation of the same name and person that was done:
    WARN where it is more than `oldest_s`. The copy may have come by another operation and be younger; the
    finding says what it was counted from.

    ## Why it matters
    An older copy is better than none, until people act on what is no longer so.

    ## Example
    The calendar that is shown on Wednesday is Monday's.

    ## What to do instead
    Say how old a copy is, spend the first calls of a new window on the oldest copies, and decline what is
    too old to be of use.

    ## Source
    RFC 9111, section 4.2.4 (Serving Stale Responses); RFC 5861 (stale-while-revalidate, stale-if-error). The
    thresholds are our choice.
    """
    operations = frames.operations
    answered = operations[operations["outcome"].isin(_ANSWERED)]
    if not len(answered):
        note = _UNKNOWN if frames.run.app == "unknown" else "no operation was answered"
        return Judgement("NA", threshold=stale_share, note=note)
    stale = (answered["outcome"] == "stale").to_numpy()
    metric = float(stale.mean())
    age_ns = _ages_ns(answered, stale)
    old = np.flatnonzero(age_ns > int(oldest_s * 1e9))
    findings = []
    if metric > stale_share:
        message = (
            f"{int(stale.sum()):,} of {count(len(answered), 'answer')} were old copies: {share(metric)}, "
            f"where {share(stale_share)} is fit."
        )
        findings.append(Finding(message, None))
    told = old[np.argsort(-age_ns[old], kind="stable")][: MOST_FINDINGS - 1]
    for row, age in zip(answered.iloc[told].to_dict("records"), age_ns[told], strict=True):
        message = (
            f"'{row['name']}' of {row['person']} was answered at {clock_time(row['ended'])} from an old "
            f"copy; the last time it was done anew was {duration(int(age))} before."
        )
        findings.append(Finding(message, int(row["ended"])))
    verdict = "WARN" if findings else "PASS"
    return Judgement(verdict, metric, stale_share, tuple(findings), untold=len(old) - len(told))


# ---- what several of these share

_UNLINKED = "it is not known which calls were an operation's: the app carries neither context nor traceparent"


class _Ends(NamedTuple):
    """How operations ended, as far as their calls tell; arrays by position in `operations`."""

    last: Ints
    """Position in `calls` of the app's call whose answer came last; -1: none is known."""
    trouble: Bools
    """That answer was a refusal, or one that may be retried."""
    ready_ns: Ints
    """When it could have been asked again: what was promised, else `[approval] retry_wait` after it."""
    all_well: Bools
    """Each of its calls was answered 2xx or 3xx."""


def _ends(frames: Frames) -> _Ends:
    calls, operations = frames.calls, frames.operations
    of = frames.once(operation_places)
    status, done = calls["status"].to_numpy(), calls["done"].to_numpy()
    refused = calls["limit"].notna().to_numpy()
    rows = np.flatnonzero((of >= 0) & (calls["actor"] == "app").to_numpy())
    rows = rows[np.argsort(done[rows], kind="stable")]
    last = np.full(len(operations), -1, dtype=np.int64)
    last[of[rows]] = rows  # of equal places the last one stays
    bad = np.zeros(len(operations), dtype=bool)
    good = (status >= 200) & (status < 400) & ~refused
    bad[of[rows[~good[rows]]]] = True
    has = np.maximum(last, 0)
    if not len(calls):
        none = np.zeros(len(operations), dtype=bool)
        return _Ends(last, none, last, none)
    trouble = (last >= 0) & (refused | np.isin(status, RETRYABLE))[has]
    promise = calls["retry_after_ns"].to_numpy(dtype=np.int64, na_value=-1)[has]
    at, done = calls["at"].to_numpy()[has], done[has]
    wait_ns = frames.provider.approval.retry_wait_ns
    ready = np.where(promise >= 0, np.maximum(at + promise, done), done + wait_ns)
    for_good = [
        limit.name for limit in frames.provider.limits if limit.kind == "balance" and not limit.period_ns
    ]
    ready[calls["limit"].isin(for_good).to_numpy()[has]] = np.iinfo(np.int64).max
    return _Ends(last, trouble, ready, (last >= 0) & ~bad)


def _cut_off(frames: Frames) -> Bools:
    """Operations that the end of the run cut off while they still had time."""
    operations = frames.operations
    late = operations["deadline"] >= frames.span_ns[1]
    return ((operations["outcome"] == "abandoned") & late).to_numpy()


def _still_waiting(frames: Frames, most_ns: int) -> pd.Series:
    """How long those had waited whom the end of the run cut off after more than `most_ns`, in ns."""
    operations = frames.operations
    waits = operations["ended"] - operations["planned"]
    return waits[(operations["outcome"] == "abandoned") & (waits > most_ns)].rename("wait_ns")


def _taken_up(operations: pd.DataFrame, gone: Bools) -> Bools:
    """Which of `gone` were followed before their deadline by one of that person and name that was done."""
    again = np.zeros(len(operations), dtype=bool)
    keys = operations[["person", "name", "planned"]].assign(place=np.arange(len(operations)))
    done = keys[(operations["outcome"] == "done").to_numpy()].assign(next=lambda table: table["planned"])
    lost = keys[gone].assign(deadline=operations["deadline"][gone])
    if not len(done) or not len(lost):
        return again
    met = pd.merge_asof(
        lost.sort_values("planned", kind="stable"),
        done.drop(columns="place").sort_values("planned", kind="stable"),
        on="planned",
        by=["person", "name"],
        direction="forward",
        allow_exact_matches=False,
    )
    again[met["place"][met["next"] < met["deadline"]].to_numpy()] = True
    return again


def _split(frames: Frames, interactive_s: float) -> tuple[Bools, Bools] | str:
    """By operation: whether somebody waits for it, and whether it was not answered in time; or why there is
    nothing to compare."""
    operations = frames.operations
    if not len(operations):
        return _nothing_asked(frames)
    waiting = (operations["deadline"] - operations["planned"]).to_numpy() <= int(interactive_s * 1e9)
    if waiting.all() or not waiting.any():
        return "all operations were of one kind: there was no background beside what people wait for"
    if not (frames.once(operation_places)[frames.api_calls.index.to_numpy()] >= 0).any():
        return _UNLINKED
    answered = operations["outcome"].isin(_ANSWERED).to_numpy()
    missed = ~answered | (operations["ended"] > operations["deadline"]).to_numpy()
    return waiting, missed


def _ages_ns(answered: pd.DataFrame, stale: Bools) -> Ints:
    """For each answered operation: if stale, the time since the last of its name and person was done; else,
    and where none was, -1."""
    names = max(len(answered["name"].cat.categories), 1)
    group = answered["person"].cat.codes.to_numpy().astype(np.int64) * names
    group += answered["name"].cat.codes.to_numpy()
    ended = answered["ended"].to_numpy()
    order = np.lexsort((stale, ended, group))
    fresh = np.maximum.accumulate(np.where(~stale[order], np.arange(len(order)), -1))
    before = order[np.maximum(fresh, 0)]
    known = stale[order] & (fresh >= 0) & (group[before] == group[order])
    ages = np.full(len(answered), -1, dtype=np.int64)
    ages[order[known]] = (ended[order] - ended[before])[known]
    return ages


def _trouble(calls: pd.DataFrame, row: int) -> str:
    """What was answered: ``a refusal by 'hourly'``, ``an answer 503``, ``no answer``."""
    if isinstance(calls["limit"].iloc[row], str):
        return f"a refusal by '{calls['limit'].iloc[row]}'"
    status = int(calls["status"].iloc[row])
    return f"an answer {status}" if status else "no answer"


def _troubles(calls: pd.DataFrame, rows: Ints) -> npt.NDArray[Any]:
    """The same of many, of which few differ."""
    limit = calls["limit"].cat.codes.to_numpy()[rows].astype(np.int64)
    kinds, first, kind = np.unique(
        limit * 1000 + calls["status"].to_numpy()[rows], return_index=True, return_inverse=True
    )
    told: npt.NDArray[Any] = np.empty(len(kinds), dtype=object)
    told[:] = [_trouble(calls, int(rows[one])) for one in first]
    return told[kind]


def _nothing_asked(frames: Frames) -> str:
    return _UNKNOWN if frames.run.app == "unknown" else "there was no operation"


def _was(outcome: str, number: int) -> str:
    return "failed" if outcome == "failed" else f"{'was' if number == 1 else 'were'} {outcome}"
