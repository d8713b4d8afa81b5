"""Limits: whether more was asked for than the provider allows, and how near it came."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd

from quotalab.frames import Frames, LimitUse, largest_in_any_window, limit_uses, window_rows
from quotalab.frames.limits import asked
from quotalab.profiles.limits import Cost
from quotalab.rules import Finding, Judgement, early_calls, rule
from quotalab.rules.times import clock_time, count, duration, share
from quotalab.rules.words import allowed, lasts_ns, made_up

_DAY_NS = 86_400 * 1_000_000_000
_SHOWN_CALLS = 50  # of one finding; its message has the number of all


@rule("QL101", "quota-overrun")
def quota_overrun(frames: Frames) -> Judgement:
    """The app asked for more calls than a limit allows.

    ## What it checks
    Calls to the API that a limit refused, of whatever kind the limit is. The sandbox lets no more than the
    limit through, so an overrun shows as refused calls. People who may not connect, and tokens that are not
    issued, are no calls to the API and do not count here. What is tolerated is the provider's `[approval]
    refusals`: with `never` any refused call is FAIL; with `share:0.05` a UTC day in which more than that
    share of the API calls was refused; with `if-obeyed` refused calls are fine as long as no refused
    operation calls again before its promised end (QL201).

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
    remedy = _spread(frames) if len(refused) else None
    if approval.refusals == "share":
        return _by_day(api, approval.refusals_share, remedy)
    findings = _episodes(frames, refused)
    if approval.refusals == "never":
        verdict = "FAIL" if findings else "PASS"
        return Judgement(verdict, float(len(refused)), 0.0, findings, remedy)
    early = frames.once(early_calls)
    disobeyed = int(early["same"].sum())
    if disobeyed:
        sure = (early["same"] & (early["linked_by"] == "operation")).any()
        return Judgement("FAIL" if sure else "REVIEW", float(disobeyed), 0.0, findings, remedy)
    note = f"{count(len(refused), 'call')} refused, and each promise kept" if len(refused) else None
    return Judgement("PASS", 0.0, 0.0, note=note)


@rule("QL102", "no-headroom")
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


@rule("QL103", "window-edge-burst")
def window_edge_burst(frames: Frames) -> Judgement:
    """The app used two windows' worth of a fixed limit around their edge.

    ## What it checks
    For each limit that counts in fixed windows, the largest sum of what was charged to admitted calls in any
    stretch as long as its period, as a share of the limit. WARN when it is above the profile's `[approval]
    edge_burst`. Other kinds of limit admit no such burst: NA when there are no others.

    ## Why it matters
    A fixed window of 100 an hour admits 100 calls at 09:59 and 100 more at 10:00. Providers that count in
    fixed windows often guard themselves with a second, undisclosed limit, and may read such a burst as abuse.

    ## Example
    An app that waits for the reset sends all its stored-up calls in the first seconds of the new window,
    right after the last calls of the old one.

    ## What to do instead
    Spread what has waited over the new window, with jitter, in place of sending it all at the reset.

    ## Source
    RFC 6585, section 4, leaves it open how a provider counts; draft-ietf-httpapi-ratelimit-headers, security
    considerations, on resets and thundering herds.
    """
    most = frames.provider.approval.edge_burst
    worst = 0.0
    findings = []
    judged = False
    for limit in frames.provider.limits:
        calls = frames.once(asked)[limit.name]
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
    return Judgement("WARN" if findings else "PASS", worst, most, tuple(findings))


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
    return Judgement(verdict, float(shares.max()), most, tuple(findings), remedy)


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
