"""Limits: whether more was asked for than the provider allows, and how near it came."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd

from quotalab.frames import Frames, LimitUse, largest_in_any_window, limit_uses, window_rows
from quotalab.frames.accounts import Searched
from quotalab.frames.agreement import skew_ns
from quotalab.frames.limits import Asked, asked
from quotalab.profiles.limits import Cost, Limit
from quotalab.rules import MOST_FINDINGS, Finding, Judgement, early_calls, retries, rule
from quotalab.rules.crowds import crowd, shares
from quotalab.rules.spent import is_told, refused_when_spent
from quotalab.rules.times import clock_time, count, duration, share
from quotalab.rules.words import allowed, lasts_ns, made_up

_DAY_NS = 86_400 * 1_000_000_000
_SECOND_NS = 1_000_000_000
_SHOWN_CALLS = 50  # of one finding; its message has the number of all
_INSTANTS = ("http_date", "iso", "epoch")  # forms of Retry-After that speak of the provider's own clock
_OWN = ("person", "token")  # a limit that is kept for each of these is nobody else's


@rule("QL101", "quota-overrun", unit="refused calls")
def quota_overrun(frames: Frames) -> Judgement:
    """The app asked for more calls than a limit allows.

    ## What it checks
    Calls to the API that a limit refused, of whatever kind the limit is. The sandbox lets no more than the
    limit through, so an overrun shows as refused calls. People who may not connect, and tokens that are not
    issued, are no calls to the API and do not count here. What is tolerated is the provider's `[approval]
    refusals`: with `never` any refused call is FAIL; with `share:0.05` a UTC day in which more than that
    share of the API calls was refused; with `if-obeyed` refused calls are fine as long as no refused
    operation calls again before its promised end (QL201). Where the provider's clock is behind the app's, and
    refused calls came early by that, it is named as the cause. Of recorded traffic, which no sandbox has held
    back, calls that the provider let through beyond the limit count too: FAIL with `never`, else REVIEW, for
    the profile may not be of the app's own plan.

    ## Why it matters
    During temporary access a provider counts overruns before it decides on approval, and an app that runs
    into its limit is slow or broken for people at that very moment.

    ## Example
    A limit of 100 calls an hour; 130 people open the app between 09:00 and 09:30, and each opening costs a
    call. Thirty calls are refused.

    ## What to do instead
    Keep a request budget in the app that is shared by all its processes and stays below the limit. Answer
    from what is stored, or tell people when it will work, once the budget is spent.

    ## Source
    The provider profile's limits, each with its own source; RFC 6585, section 4 (429 Too Many Requests).
    """
    api = frames.api_calls
    approval = frames.provider.approval
    if not len(api):
        return Judgement("NA", note="there was no call to the API")
    refused = api[api["limit"].notna()]
    remedy = (_skewed(frames) or _spread(frames)) if len(refused) else None
    if frames.is_recorded and not len(refused):
        stray = int((api["status"] == 429).sum())
        if stray:
            strange = f"{count(stray, 'call')} answered 429, and the profile has no limit for them"
            return Judgement("REVIEW", float(stray), 0.0, note=strange)
        if all(use.peak_at_ns is None for use in frames.once(limit_uses)):
            return Judgement("NA", note="the recording does not tell what any limit of the profile counts by")
    beyond = _let_through(frames)
    if beyond and not (approval.refusals == "never" and len(refused)):
        verdict = "FAIL" if approval.refusals == "never" else "REVIEW"
        return Judgement(verdict, float(len(refused)), 0.0, beyond, remedy)
    if approval.refusals == "share":
        return _by_day(api, approval.refusals_share, remedy)
    findings = _episodes(frames, refused)
    if frames.is_recorded and len(refused) and not findings:
        told = "and the recording does not tell what the limit counted them under"
        message = f"{count(len(refused), 'call')} {'was' if len(refused) == 1 else 'were'} refused, {told}."
        findings = (
            Finding(message, int(refused["at"].iloc[0]), tuple(refused["seq"].tolist()[:_SHOWN_CALLS])),
        )
    if approval.refusals == "never":
        verdict = "FAIL" if findings else "PASS"
        return Judgement(verdict, float(len(refused)), 0.0, findings, remedy)
    early = frames.once(early_calls)
    disobeyed = int(early["same"].sum())
    if disobeyed:
        sure = (early["same"] & (early["linked_by"] == "operation")).any()
        return Judgement(
            "FAIL" if sure else "REVIEW", float(disobeyed), 0.0, findings, remedy, unit="early calls"
        )
    note = f"{count(len(refused), 'call')} refused, and each promise kept" if len(refused) else None
    return Judgement("PASS", 0.0, 0.0, note=note)


def _let_through(frames: Frames) -> tuple[Finding, ...]:
    """Of recorded traffic: limits of which more was admitted than they allow."""
    if not frames.is_recorded:
        return ()
    findings = []
    for use in frames.once(limit_uses):
        if use.is_for_filling or use.peak_asked <= use.number or use.peak_at_ns is None:
            continue
        rows = window_rows(frames, use)
        admitted = rows[rows["limit"].isna()]
        if len(admitted) and int(admitted["used"].max()) >= use.number:
            message = (
                f"{use.peak_asked:,} were asked of '{use.limit.name}' ({allowed(use.limit, use.number)} for "
                f"{use.worst_key}), and the provider let calls beyond it through. The profile may not be of "
                "the app's own plan."
            )
            seqs = tuple(int(seq) for seq in admitted["seq"].to_numpy()[-_SHOWN_CALLS:])
            findings.append(Finding(message, use.peak_at_ns, seqs))
    return tuple(findings[:MOST_FINDINGS])


@rule("QL102", "no-headroom", unit="share")
def no_headroom(frames: Frames) -> Judgement:
    """The app came closer to a limit than is wise.

    ## What it checks
    For each limit, headroom: 1 - the largest share of it that was asked for, refused calls included: in one
    window, at once, of a balance in its period, of a bucket in what had not drained away. WARN when it is
    below the profile's `[approval] headroom`. An overrun leaves headroom below zero. Limits on how many
    people, tokens or objects there may be are there to be filled, and penalties begin where mistakes add up:
    neither is judged here. Nor is a limit that a single call fills, such as one of one call a second: it has
    no room to keep.

    ## Why it matters
    A run is one day with one seed. A day with a few more people, or the same people a little closer together,
    asks for more.

    ## Example
    A limit of 100 calls an hour, and 99 calls asked for between 09:12 and 10:12: headroom is 1 %, less than
    the 2 % that the profile wants.

    ## What to do instead
    Set the app's request budget a few percent below the limit, and fetch less: once for several people, or
    only what has changed.

    ## Source
    The provider profile's `[approval] headroom`.
    """
    least = frames.provider.approval.headroom
    uses = [use for use in frames.once(limit_uses) if use.keys and not use.is_for_filling]
    if not uses:
        return Judgement("NA", note="no call was asked of a limit that needs headroom")
    tight = [use for use in uses if use.headroom < least]
    tight = [use for use in tight if use.headroom < 0 or len(window_rows(frames, use)) > 1]
    findings = tuple(_headroom(frames, use) for use in tight)
    verdict = "WARN" if findings else "PASS"
    return Judgement(verdict, min(use.headroom for use in uses), least, findings)


@rule("QL103", "window-edge-burst", unit="share")
def window_edge_burst(frames: Frames) -> Judgement:
    """The app used two windows' worth of a fixed limit around their edge.

    ## What it checks
    For each limit that counts in fixed windows, the largest sum of what was charged to admitted calls in any
    stretch as long as its period, as a share of the limit. WARN when it is above the profile's `[approval]
    edge_burst`: the provider says that it counts so, and admits it. A rolling limit admits no such burst:
    FAIL where one refused calls although no period of the clock had more than the limit, as the app then
    counts in windows that this provider does not have. Other kinds of limit have no edges: NA when there are
    no others.

    ## Why it matters
    A fixed window of 100 an hour admits 100 calls at 09:59 and 100 more at 10:00. Providers that count in
    fixed windows often guard themselves with a second, undisclosed limit, and may read such a burst as abuse.

    ## Example
    An app that waits for the reset sends all its stored-up calls in the first seconds of the new window,
    right after the last calls of the old one.

    ## What to do instead
    Spread what has waited over the new window, with jitter, in place of sending it all at the reset.

    ## Source
    RFC 6585, section 4, leaves it open how a provider counts; draft-ietf-httpapi-ratelimit-headers, "Resource
    exhaustion": many clients may come back at the very moment that a reset or a Retry-After names.
    """
    most = frames.provider.approval.edge_burst
    worst = 0.0
    findings = []
    judged = fails = False
    for limit in frames.provider.limits:
        calls = frames.once(asked)[limit.name]
        across = _counts_by_the_clock(frames, limit, calls)
        if across is not None:
            judged, fails = True, True
            worst = max(worst, across[0])
            findings.append(across[1])
        inside = calls.admitted
        if (limit.counts or limit.kind) != "fixed_window" or not inside.any():
            continue
        judged = True
        at_ns, key, charged = calls.at_ns[inside], calls.key[inside], calls.final[inside]
        # Where a timetable changes the number, two windows' worth may be of the larger one.
        number = int(calls.number.max())
        peaks = largest_in_any_window(at_ns, key, limit.period_ns, charged)
        worst = max(worst, int(peaks.largest.max()) / number)
        for i in np.flatnonzero(peaks.largest / number > most):
            end_ns, largest = int(peaks.at_ns[i]), int(peaks.largest[i])
            rows = calls.rows[inside][
                (key == peaks.key[i]) & (at_ns > end_ns - limit.period_ns) & (at_ns <= end_ns)
            ]
            who = frames.calls[f"key:{limit.name}"].cat.categories[int(peaks.key[i])]
            message = (
                f"{largest:,} were admitted by '{limit.name}' for {who} within {duration(limit.period_ns)} "
                f"up to {clock_time(end_ns)}, across the edge of a window: "
                f"{share(largest / number)} of its {number:,}."
            )
            findings.append(Finding(message, end_ns, _seqs(frames, rows)))
    if not judged:
        return Judgement("NA", note="no call was asked of a limit with fixed windows")
    verdict = "FAIL" if fails else "WARN" if findings else "PASS"
    return Judgement(verdict, worst, most, tuple(findings))


@rule("QL104", "concurrency-overrun", unit="refused calls")
def concurrency_overrun(frames: Frames) -> Judgement:
    """The app had more calls under way at once than the provider allows.

    ## What it checks
    For each limit on how many calls may be under way at once: calls that it refused, and the worst moment of
    each key, from the calls' own beginnings and ends. FAIL when one was refused and the profile's `[approval]
    refusals` is `never`; WARN where refusals are tolerated. NA where no such limit was asked.

    ## Why it matters
    Such a limit is hit by fast machines and slow answers, hardly ever on a developer's own: an app that
    starts a worker for each person passes every test with three people. What it costs is quick to mend and
    easy to blame on the provider.

    ## Example
    A limit of 5 calls at once. At 09:00:00 a job sends 20 exports side by side; 15 are refused.

    ## What to do instead
    Hold a semaphore of the limit's size around every call, shared by all workers. Where workers are
    processes, keep it where all of them reach it.

    ## Source
    The provider profile's limits of kind `concurrency`, each with its own source.
    """
    limits = [limit for limit in frames.provider.limits if (limit.counts or limit.kind) == "concurrency"]
    uses = {use.limit.name: use for use in frames.once(limit_uses)}
    limits = [limit for limit in limits if uses[limit.name].keys]
    if not limits:
        return Judgement("NA", note="no call was asked of a limit on how many may be under way at once")
    findings = []
    refused = 0
    names = frames.calls["limit"]
    for limit in limits:
        calls = frames.once(asked)[limit.name]
        hit = (names == limit.name).to_numpy()[calls.rows]
        refused += int(hit.sum())
        for key in np.unique(calls.key[hit]):
            mine = np.flatnonzero(hit & (calls.key == key))
            when = calls.at_ns[mine]
            # Refused calls have no time under way: at one instant they stand beside each other.
            together = np.searchsorted(when, when, "right") - np.searchsorted(when, when, "left")
            wanted = calls.uses.used[mine] + together
            worst = mine[int(np.argmax(wanted - calls.number[mine]))]
            at_ns = int(calls.at_ns[worst])
            who = frames.calls[f"key:{limit.name}"].cat.categories[int(key)]
            message = (
                f"{count(len(mine), 'call')} of {who} {'was' if len(mine) == 1 else 'were'} refused by "
                f"'{limit.name}', which allows {allowed(limit, int(calls.number[worst]))}: at "
                f"{clock_time(at_ns, decimals=3)} {int(wanted.max()):,} were wanted at once."
            )
            under_way = calls.admitted & (calls.key == key) & (calls.at_ns <= at_ns)
            under_way &= calls.answered_ns > at_ns
            rows = np.concatenate([calls.rows[under_way], calls.rows[mine][calls.at_ns[mine] == at_ns]])
            findings.append(Finding(message, at_ns, _seqs(frames, np.sort(rows))))
    findings.sort(key=lambda finding: (finding.at_ns or 0, finding.calls))
    broken = "FAIL" if frames.provider.approval.refusals == "never" else "WARN"
    told = tuple(findings[:MOST_FINDINGS])
    remedy = None
    if findings:
        most = min(limit.limit for limit in limits if uses[limit.name].refused)
        remedy = f"hold a semaphore of {most:,} around every call, shared by all workers"
    verdict = broken if findings else "PASS"
    return Judgement(verdict, float(refused), 0.0, told, remedy, untold=len(findings) - len(told))


@rule("QL105", "herd-at-reset", unit="callers at once", people=5, herd_share=0.1, within_s=1.0)
def herd_at_reset(frames: Frames, *, people: int, herd_share: float, within_s: float) -> Judgement:
    """Many people's calls came at the same instant, after a limit had made them wait.

    ## What it checks
    For each limit that people share: calls that had waited for it (retries of refused calls, and calls within
    `within_s` after a refusal's promised end), and of them the most different people in any stretch of
    `within_s`. WARN when those are at least `people`, and at least `herd_share` of the limit's number. That
    each of them kept the wait it was promised is no excuse: they were promised the same moment. NA where
    nothing was refused.

    ## Why it matters
    Whoever waits for a reset together is refused together again, all but the first few, and to the provider
    it looks like an attack that begins on the hour. The people who were refused first are no nearer to an
    answer than those who came last.

    ## Example
    A limit of 100 an hour is spent at 09:40. Sixty people's calls are told to come back at 10:00:00, and all
    sixty do, within 200 ms.

    ## What to do instead
    Add jitter on top of the promised wait, from a stretch that grows with how many wait, or let a queue that
    the whole app shares send one call after the other.

    ## Source
    RFC 6585, section 4, and RFC 9110, section 10.2.3, promise a time and no place in a queue;
    draft-ietf-httpapi-ratelimit-headers, "Resource exhaustion": many clients may come back at the very moment
    that a reset or a Retry-After names.
    """
    within_ns = round(within_s * _SECOND_NS)
    calls = frames.calls
    again = frames.once(retries)
    who = calls["person"].cat.codes.to_numpy().astype(np.int64)
    at_ns = calls["at"].to_numpy()
    promise = calls["retry_after_ns"].to_numpy(dtype=np.int64, na_value=0)
    api = (calls["kind"] == "api").to_numpy() & (who >= 0)
    names = calls["limit"]
    findings = []
    worst = 0
    waited_for = False
    for limit in frames.provider.limits:
        if set(limit.key) & set(_OWN) or limit.kind in ("cardinality", "penalty"):
            continue
        mine = frames.once(asked)[limit.name]
        refused = (names == limit.name).to_numpy()
        if not refused.any():
            continue
        key = calls[f"key:{limit.name}"].cat.codes.to_numpy().astype(np.int64)
        waited = np.zeros(len(calls), dtype=bool)
        waited[again["row"].to_numpy()[refused[again["attempt"].to_numpy()]]] = True
        told = np.flatnonzero(refused & (promise > 0))
        told = told[np.lexsort((at_ns[told] + promise[told], key[told]))]
        rows = mine.rows
        if len(told):
            ends_ns = at_ns[told] + promise[told]
            last = Searched(key[told], ends_ns).find(key[rows], at_ns[rows], "right") - 1
            held = np.maximum(last, 0)
            after = (last >= 0) & (key[told][held] == key[rows]) & (at_ns[rows] - ends_ns[held] < within_ns)
            waited[rows[after]] = True
        place = np.flatnonzero(waited[rows] & api[rows])
        rows = rows[place]
        if not len(rows):
            continue
        waited_for = True
        standing = crowd(key[rows], who[rows], at_ns[rows], within_ns)
        worst = max(worst, int(standing.max()))
        least = np.maximum(people, np.ceil(herd_share * mine.number[place]).astype(np.int64))
        findings += _herds(frames, limit, rows, standing, standing >= least, mine.number[place], within_ns)
    if not waited_for:
        return Judgement("NA", note="nobody had to wait for a limit that people share")
    findings.sort(key=lambda finding: (finding.at_ns or 0, finding.calls))
    told_findings = tuple(findings[:MOST_FINDINGS])
    return Judgement(
        "WARN" if findings else "PASS",
        float(worst),
        float(people),
        told_findings,
        untold=len(findings) - len(told_findings),
    )


@rule("QL106", "unfair-share", unit="of 1 (Jain's index)", jain=0.8, least=3, chance=0.001, together_s=600.0)
def unfair_share(frames: Frames, *, jain: float, least: int, chance: float, together_s: float) -> Judgement:
    """Some people got far less of a shared limit than others who asked for the same at the same time.

    ## What it checks
    Where a limit is shared: how many of a person's operations were done, as a share of what could be expected
    at the rate of everybody who asked for the same within the same `together_s`; of people who could expect
    at least `least`. What was answered from an older copy took nothing of the limit and is left out. WARN
    when Jain's index of these shares, without the spread that chance alone makes, is below `jain` (1 is even,
    1/n is all for one of n); or when a person got nothing where that had less than `chance` to happen. Where
    operations are not known it is calls to the API, and whether they were admitted.
    What is interactive against what is background is QL505's and QL506's.

    ## Why it matters
    A shared limit is spent by whoever asks most. The app decides who that is: without a decision it is the
    one with the tightest loop, and one person's export is everybody's outage.

    ## Example
    A limit of 100 an hour; two of fifty people have a sync that asks every 30 s. Between 09:00 and 10:00 they
    get 80 calls, and seven people get nothing.

    ## What to do instead
    Share the budget among people before it is spent: a queue for each person, served in turn, so that whoever
    asks much waits for those who ask little.

    ## Source
    Jain, Chiu, Hawe, "A Quantitative Measure of Fairness and Discrimination for Resource Allocation in Shared
    Computer Systems", DEC-TR-301 (1984); fair queueing: Nagle, RFC 970.
    """
    shared = [
        limit.name
        for limit in frames.provider.limits
        if not set(limit.key) & set(_OWN) and limit.kind not in ("cardinality", "penalty")
    ]
    if not any(use.keys for use in frames.once(limit_uses) if use.limit.name in shared):
        return Judgement("NA", note="no call was asked of a limit that people share")
    operations = frames.operations
    if len(operations):
        unit, verb = "operation", "done"
        lost = (operations["outcome"] == "abandoned") & (operations["deadline"] >= frames.span_ns[1])
        table = operations[~lost & (operations["outcome"] != "stale")]
        got = (table["outcome"] == "done").to_numpy()
        what, when = table["name"], table["planned"].to_numpy()
    else:
        unit, verb = "call", "admitted"
        table = frames.api_calls
        got = table["limit"].isna().to_numpy()
        what, when = table["route"], table["at"].to_numpy()
    known = table["person"].notna().to_numpy()
    who = table["person"].cat.codes.to_numpy().astype(np.int64)[known]
    stretch = (when[known] - frames.span_ns[0]) // max(1, round(together_s * _SECOND_NS))
    code = (what.cat.codes.to_numpy().astype(np.int64)[known] + 1) * (int(stretch.max(initial=0)) + 1)
    code += stretch
    stratum = np.unique(code, return_inverse=True)[1]
    found = shares(who, stratum, got[known], least)
    if found is None:
        return Judgement("NA", note=f"fewer than two people could expect {count(least, unit)} to be {verb}")
    people = table["person"].cat.categories
    starved = np.flatnonzero(found.unlucky < chance)
    findings = []
    if found.jain < jain:
        share_of = found.got / found.expected
        most, fewest = int(np.argmax(share_of)), int(np.argmin(share_of))
        message = (
            f"What {len(found.who):,} people got of what they could expect has a Jain index of "
            f"{found.jain:.3g}, where {jain:.3g} is wanted. {people[found.who[most]]} had "
            f"{found.got[most]:,} of {count(int(found.asked[most]), unit)} {verb}, where "
            f"{found.expected[most]:.1f} were to be expected; {people[found.who[fewest]]} had "
            f"{found.got[fewest]:,} of {found.asked[fewest]:,}, where {found.expected[fewest]:.1f} were."
        )
        findings.append(Finding(message, None))
    order = starved[np.argsort(-found.expected[starved], kind="stable")]
    for place in order[:MOST_FINDINGS]:
        code_of = int(found.who[place])
        mine = frames.api_calls[frames.api_calls["person"] == people[code_of]]
        message = (
            f"{people[code_of]} had none of {count(int(found.asked[place]), unit)} {verb}, where "
            f"{found.expected[place]:.1f} were to be expected of people who asked for the same then."
        )
        seqs = tuple(int(seq) for seq in mine["seq"].iloc[:_SHOWN_CALLS])
        findings.append(Finding(message, int(mine["at"].iloc[0]) if len(mine) else None, seqs))
    untold = max(0, len(starved) - MOST_FINDINGS)
    note = f"{count(len(found.who), 'person', 'people')} compared, by the {unit}s that were {verb}"
    return Judgement(
        "WARN" if findings else "PASS", found.jain, jain, tuple(findings), note=note, untold=untold
    )


@rule("QL107", "penalty-triggered", unit="share", near=0.5)
def penalty_triggered(frames: Frames, *, near: float) -> Judgement:
    """The app made so many mistakes that the provider blocked it, or nearly did.

    ## What it checks
    For each limit of kind `penalty`: answers that it counts (such as 401, 403, 429) within its window. FAIL
    when they became one too many and a block began, whoever was blocked; WARN when they came to more than
    `near` of what is forgiven. NA where the profile has no penalty, or nothing was asked.

    ## Why it matters
    A block falls on everything under its key, also on what was no mistake, and some last for days or until
    somebody at the provider lifts them. It is what a provider does to an app that does not listen.

    ## Example
    A provider bans an address for an hour after 10,000 answers 401, 403 or 429 in ten minutes. A worker with
    a revoked token retries without a pause, and all people of the app are shut out.

    ## What to do instead
    Stop at the first answer that will not change: forget a token that was rejected, do not ask again for what
    is forbidden or missing, and count such answers in the app, so that it stops before the provider does.

    ## Source
    The provider profile's limits of kind `penalty`, each with its own source.
    """
    findings = []
    judged, worst, blocked = False, 0.0, False
    for limit in frames.provider.limits:
        mine = frames.once(asked)[limit.name]
        if mine.answers is None or not len(mine.rows):
            continue
        judged = True
        counted = mine.answers.counted + mine.answers.counts
        worst = max(worst, float((counted / mine.number).max()))
        begins = np.flatnonzero(mine.answers.begins)
        blocked = blocked or len(begins) > 0
        shut = (frames.calls["limit"] == limit.name).to_numpy()[mine.rows]
        for place in begins.tolist():
            key = int(mine.key[place])
            later = begins[(mine.key[begins] == key) & (begins > place)]
            until = int(later[0]) if len(later) else len(mine.rows)
            lost = int((shut & (mine.key == key))[place:until].sum())
            told = f"and began a block: it refused {count(lost, 'call')}"
            findings.append(_penalty(frames, limit, mine, place, told))
        close = np.flatnonzero(counted > near * mine.number)
        for key in np.setdiff1d(mine.key[close], mine.key[begins]).tolist():
            of_key = close[mine.key[close] == key]
            place = int(of_key[np.argmax(counted[of_key])])
            findings.append(_penalty(frames, limit, mine, place, "and no block began yet"))
    if not judged:
        return Judgement("NA", note="no call was asked of a limit that punishes mistakes")
    findings.sort(key=lambda finding: (finding.at_ns or 0, finding.calls))
    shown = tuple(findings[:MOST_FINDINGS])
    verdict = "FAIL" if blocked else "WARN" if findings else "PASS"
    return Judgement(verdict, worst, near, shown, untold=len(findings) - len(shown))


@rule("QL108", "overshoot-in-flight", unit="calls at once")
def overshoot_in_flight(frames: Frames) -> Judgement:
    """Calls were on their way already when the app learned that a limit was spent.

    ## What it checks
    Calls that a limit refused and that were sent before the first answer that told of it was with the app: a
    refusal, or an answer whose headers say that nothing is left. For each such stretch WARN with its size.
    Calls sent after such an answer are no overshoot: they are QL109's and QL201's. NA where nothing was
    refused: then nothing overshot, and nothing shows that it could not.

    ## Why it matters
    An app that learns a limit from answers is always one round trip late. With ten workers that is up to ten
    refused calls each time, which is fine where a provider tolerates refusals, and not where it counts them.

    ## Example
    Twelve workers; the answer to the 100th call says `X-RateLimit-Remaining: 0`, while four more calls are
    under way. All four are refused.

    ## What to do instead
    Count calls when they are sent, not when they are answered, and stop as many calls early as there can be
    under way; fewer workers overshoot less.

    ## Source
    RFC 6585, section 4, tells of a limit only in an answer; draft-ietf-httpapi-ratelimit-headers,
    "Remaining quota units are not granted requests".
    """
    table = frames.once(refused_when_spent)
    if not len(table):
        return Judgement("NA", note="no limit that is spent by calls refused any")
    late = table[table["in_flight"]]
    findings = []
    sizes = late.groupby("stretch", sort=False).size()
    for stretch in sizes.index[:MOST_FINDINGS]:
        mine = late[late["stretch"] == stretch]
        rows = mine["row"].to_numpy()
        limit = frames.provider.limits[int(mine["limit"].iloc[0])]
        first_ns = int(frames.calls["at"].iloc[rows[0]])
        key = frames.calls[f"key:{limit.name}"].iloc[rows[0]]
        message = (
            f"{count(len(mine), 'call')} to '{limit.name}' ({allowed(limit)} for {key}) "
            f"{'was' if len(mine) == 1 else 'were'} under way already at {clock_time(first_ns)} when the app "
            f"learned that it was spent, and refused."
        )
        findings.append(Finding(message, first_ns, _seqs(frames, rows)))
    findings.sort(key=lambda finding: (finding.at_ns or 0, finding.calls))
    most = float(sizes.max()) if len(sizes) else 0.0
    note = f"{count(len(late), 'call')} of {len(table):,} refused"
    untold = len(sizes) - len(findings)
    return Judgement("WARN" if findings else "PASS", most, 0.0, tuple(findings), note=note, untold=untold)


@rule("QL109", "ignored-limit-headers", unit="ignored answers")
def ignored_limit_headers(frames: Frames) -> Judgement:
    """The app was told that nothing was left of a limit, and asked all the same.

    ## What it checks
    Where the provider's headers say how much of a limit is left: calls that the limit refused, and that were
    sent when an answer of the same key, saying that nothing was left, was with the app already; none was
    admitted in between. WARN with each such stretch. NA where no header tells, or none ever said so.

    ## Why it matters
    The refusal could have been known, so it is a wasted round trip for a person who waits, and a mark against
    the app at a provider that counts refusals. An app that stays under what headers tell needs no figures of
    its own, and goes on working when the provider changes them.

    ## Example
    `X-RateLimit-Remaining: 0` comes with the 100th answer at 09:40. The next call goes at 09:40:10, and is
    refused.

    ## What to do instead
    Keep what the headers say for each key, in one place for all workers, and hold calls back until the reset
    once nothing is left.

    ## Source
    The provider profile's `[dialect] headers`, with their source; draft-ietf-httpapi-ratelimit-headers,
    "Remaining quota units are not granted requests": what is left is no promise, and none left is a warning.
    """
    told = [limit for limit in frames.provider.limits if is_told(frames, limit)]
    calls = frames.calls
    empty = np.zeros(len(calls), dtype=bool)
    for limit in told:
        left = calls[f"remaining:{limit.name}"].to_numpy(dtype=np.int64, na_value=1)
        empty |= (left <= 0) & calls["limit"].isna().to_numpy()
    if not empty.any():
        return Judgement("NA", note="no answer ever said that nothing was left of a limit")
    table = frames.once(refused_when_spent)
    ignored = table[table["header"] >= 0]
    findings: list[Finding] = []
    groups = ignored.groupby("stretch", sort=False)
    for _, mine in groups:
        if len(findings) == MOST_FINDINGS:
            break
        rows, head = mine["row"].to_numpy(), int(mine["header"].iloc[0])
        limit = frames.provider.limits[int(mine["limit"].iloc[0])]
        seq, when = int(calls["seq"].iloc[head]), clock_time(int(calls["at"].iloc[head]))
        message = (
            f"The answer to call {seq} at {when} said that nothing is left "
            f"of '{limit.name}'; {count(len(mine), 'call')} followed all the same, the first "
            f"{duration(int(calls['sent'].iloc[rows[0]] - calls['done'].iloc[head]))} later, and "
            f"{'was' if len(mine) == 1 else 'were'} refused."
        )
        findings.append(Finding(message, int(calls["at"].iloc[rows[0]]), (seq, *_seqs(frames, rows))))
    findings.sort(key=lambda finding: (finding.at_ns or 0, finding.calls))
    untold = groups.ngroups - len(findings)
    verdict = "WARN" if findings else "PASS"
    return Judgement(verdict, float(len(ignored)), 0.0, tuple(findings), untold=untold)


def _counts_by_the_clock(frames: Frames, limit: Limit, calls: Asked) -> tuple[float, Finding] | None:
    """The share of a rolling limit that was asked for across an edge of the clock's windows, and the finding.

    None unless calls were refused by it while no window of the clock had more than the limit.
    """
    if (limit.counts or limit.kind) != "rolling_window" or limit.kind == "opaque":
        return None
    refused = (frames.calls["limit"] == limit.name).to_numpy()[calls.rows]
    if not refused.any():
        return None
    window = calls.at_ns // limit.period_ns
    stretch = np.unique(calls.key * (int(window.max()) + 1) + window, return_inverse=True)[1]
    number = int(calls.number.min())
    if int(np.bincount(stretch, weights=calls.asked).max()) > number:
        return None
    peaks = largest_in_any_window(calls.at_ns, calls.key, limit.period_ns, calls.asked)
    worst = int(np.argmax(peaks.largest))
    end_ns, largest = int(peaks.at_ns[worst]), int(peaks.largest[worst])
    who = frames.calls[f"key:{limit.name}"].cat.categories[int(peaks.key[worst])]
    span = duration(limit.period_ns)
    rows = calls.rows[refused & (calls.key == peaks.key[worst])]
    message = (
        f"The app kept within {number:,} in each {span} of the clock, but '{limit.name}' counts any {span}: "
        f"{largest:,} were asked for by {who} within {span} up to {clock_time(end_ns)}, "
        f"{share(largest / number)} of it."
    )
    return largest / number, Finding(message, end_ns, _seqs(frames, rows))


def _herds(
    frames: Frames,
    limit: Limit,
    rows: npt.NDArray[np.int64],
    standing: npt.NDArray[np.int64],
    many: npt.NDArray[np.bool_],
    number: npt.NDArray[np.int64],
    within_ns: int,
) -> list[Finding]:
    """A finding for each herd: rows with `many` people standing that follow each other within the stretch."""
    hits = np.flatnonzero(many)
    if not len(hits):
        return []
    calls = frames.calls
    key = calls[f"key:{limit.name}"].cat.codes.to_numpy().astype(np.int64)[rows]
    at_ns = calls["at"].to_numpy()[rows]
    order = hits[np.lexsort((at_ns[hits], key[hits]))]
    new = (np.diff(key[order]) != 0) | (np.diff(at_ns[order]) >= within_ns)
    again, early = frames.once(retries), frames.once(early_calls)
    disobeyed = early["row"][early["same"].astype(bool)].to_numpy()
    findings = []
    for herd in np.split(order, np.flatnonzero(new) + 1)[: MOST_FINDINGS + 1]:
        peak = int(herd[np.argmax(standing[herd])])
        mine = rows[(key == key[peak]) & (at_ns > at_ns[peak] - within_ns) & (at_ns <= at_ns[peak])]
        tried = again[again["row"].isin(mine)]
        how = ""
        if len(tried):
            kept = int((~tried["row"].isin(disobeyed)).sum())
            by = " and ".join(sorted(set(tried["linked_by"])))
            how = (
                f"; {len(tried):,} were retries (linked by {by}), and {kept:,} of them kept the promised wait"
            )
        message = (
            f"{standing[peak]:,} people called within {duration(within_ns)} up to "
            f"{clock_time(int(at_ns[peak]), decimals=3)}, after '{limit.name}' for "
            f"{calls[f'key:{limit.name}'].iloc[rows[peak]]} had made them wait: "
            f"{share(standing[peak] / number[peak])} of its {number[peak]:,} at once{how}."
        )
        findings.append(Finding(message, int(at_ns[peak]), _seqs(frames, mine)))
    return findings


def _penalty(frames: Frames, limit: Limit, calls: Asked, place: int, what: str) -> Finding:
    at_ns = int(calls.at_ns[place])
    assert calls.answers is not None, "a penalty has counted answers"
    inside = calls.answers.counts & (calls.key == calls.key[place]) & (calls.at_ns > at_ns - limit.period_ns)
    inside &= calls.at_ns <= at_ns
    who = frames.calls[f"key:{limit.name}"].cat.categories[int(calls.key[place])]
    number = int(calls.answers.counted[place] + calls.answers.counts[place])
    message = (
        f"{number:,} of {calls.number[place]:,} answers that '{limit.name}' forgives ({allowed(limit)}) had "
        f"come to {who} by {clock_time(at_ns)}, {what}."
    )
    return Finding(message, at_ns, _seqs(frames, calls.rows[inside][-_SHOWN_CALLS:]))


def _skewed(frames: Frames) -> str | None:
    """The cause, where refused calls came early by what the provider's clock is behind the app's."""
    if not any(fault.kind == "clock_skew" for fault in frames.provider.faults):
        return None
    early = frames.once(early_calls)
    calls = frames.calls
    refusal = early["refusal"].to_numpy()
    behind_ns = -skew_ns(frames, calls["at"].to_numpy()[refusal])
    forms = {
        limit.name: frames.provider.dialect.refusal(limit.name).retry_after
        for limit in frames.provider.limits
    }
    instants = calls["limit"].astype("object").map(forms).isin(_INSTANTS).to_numpy()[refusal]
    early_ns = early["early_ns"].to_numpy()
    # The instant is told in whole seconds, and jitter may add to a wait.
    hit = instants & (behind_ns > 0) & (early_ns > 0) & (early_ns <= behind_ns)
    hit &= calls["limit"].notna().to_numpy()[early["row"].to_numpy()]
    if not hit.any():
        return None
    return (
        f"count waits from the answer's own Date header: the provider's clock is "
        f"{duration(int(behind_ns[hit].max()))} behind the app's, and "
        f"{count(int(hit.sum()), 'refused call')} came early by no more than that"
    )


def _episodes(frames: Frames, refused: pd.DataFrame) -> tuple[Finding, ...]:
    """Refused calls of one limit and key that follow each other within its period, or what is like one."""
    findings = []
    for limit in frames.provider.limits:
        mine = refused[refused["limit"] == limit.name].sort_values("at", kind="stable")
        calls = frames.once(asked)[limit.name]
        numbers = dict(zip(calls.at_ns.tolist(), calls.number.tolist(), strict=True)) if len(mine) else {}
        for key, group in mine.groupby(f"key:{limit.name}", observed=True, sort=False):
            at_ns = group["at"].to_numpy()
            number = np.cumsum(np.append(0, np.diff(at_ns) > lasts_ns(limit)))
            for _, episode in group.groupby(number):
                first_ns, last_ns = int(episode["at"].iloc[0]), int(episode["at"].iloc[-1])
                when = f"at {clock_time(first_ns)}"
                if last_ns > first_ns:
                    when = f"between {clock_time(first_ns)} and {clock_time(last_ns, day=False)}"
                    if last_ns - first_ns >= _DAY_NS:
                        when = f"between {clock_time(first_ns)} and {clock_time(last_ns)}"
                people = episode["person"].nunique()
                seqs = tuple(int(seq) for seq in episode["seq"].iloc[:_SHOWN_CALLS])
                message = (
                    f"{count(len(episode), 'call')} of {count(people, 'person', 'people')} "
                    f"{'was' if len(episode) == 1 else 'were'} refused by "
                    f"'{limit.name}' ({allowed(limit, numbers[first_ns])} for {key}) {when}, "
                    f"the first of them call {seqs[0]}."
                )
                findings.append(Finding(message, first_ns, seqs))
    return tuple(sorted(findings, key=lambda finding: finding.calls))


def _by_day(api: pd.DataFrame, most: float, remedy: str | None) -> Judgement:
    """Refused calls as a share of each UTC day's."""
    day = (api["at"] // _DAY_NS).to_numpy()
    days = pd.DataFrame({"day": day, "refused": api["limit"].notna().to_numpy()}).groupby("day")["refused"]
    shares = days.mean()
    findings = []
    for over in shares.index[shares > most]:
        of_day = api[day == over]
        refused = of_day[of_day["limit"].notna()]
        message = (
            f"{len(refused):,} of {count(len(of_day), 'call')} were refused on "
            f"{clock_time(int(over) * _DAY_NS)[:-9]}: {share(float(shares[over]))}, "
            f"where {share(most)} are tolerated."
        )
        seqs = tuple(int(seq) for seq in refused["seq"].iloc[:_SHOWN_CALLS])
        findings.append(Finding(message, int(refused["at"].iloc[0]), seqs))
    verdict = "FAIL" if findings else "PASS"
    return Judgement(verdict, float(shares.max()), most, tuple(findings), remedy, unit="share")


def _headroom(frames: Frames, use: LimitUse) -> Finding:
    limit = use.limit
    assert use.peak_at_ns is not None, "a limit that was asked has a peak"
    rows = window_rows(frames, use)
    first, last = int(rows["seq"].iloc[0]), int(rows["seq"].iloc[-1])
    left = f"headroom {share(use.headroom)}"
    if use.headroom < 0:
        left = f"{use.peak_asked - use.number:,} more than there are"
    message = (
        f"{use.peak_asked:,} were asked of '{limit.name}' ({allowed(limit, use.number)} "
        f"for {use.worst_key}) up to {clock_time(use.peak_at_ns)} (calls {first} to {last}): {left}."
    )
    return Finding(message, use.peak_at_ns, (first, last) if last != first else (first,))


def _spread(frames: Frames) -> str | None:
    """What to do about an overrun, with what took most of the worst window."""
    names = set(frames.api_calls["limit"].dropna())
    over = [use for use in frames.once(limit_uses) if use.limit.name in names]
    if not over:
        return None
    use = min(over, key=lambda one: one.headroom)
    rows = window_rows(frames, use)
    if not len(rows):
        return None
    routes = rows["route"].astype("str").fillna("unknown routes").value_counts()
    return (
        f"keep a request budget below {_budget(use)} that all of the app shares, and begin with "
        f"{routes.index[0]}, which made {routes.iloc[0]:,} of the {len(rows):,} calls of {made_up(use.limit)}"
    )


def _budget(use: LimitUse) -> str:
    kind = use.limit.counts or use.limit.kind
    if kind in ("rolling_window", "fixed_window") and use.limit.cost == Cost() and not use.limit.calendar:
        return f"{use.number:,} calls in {duration(use.limit.period_ns)}"
    return f"what '{use.limit.name}' allows ({allowed(use.limit, use.number)})"


def _seqs(frames: Frames, rows: npt.NDArray[np.int64]) -> tuple[int, ...]:
    return tuple(int(seq) for seq in frames.calls["seq"].to_numpy()[rows][:_SHOWN_CALLS])
