"""Economy: whether the app asks the provider for no more than it needs."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from quotalab.frames import Frames, limit_uses
from quotalab.frames.accounts import Searched, runs
from quotalab.frames.headers import header_names
from quotalab.rules import MOST_FINDINGS, Finding, Judgement, rule
from quotalab.rules.meanings import calls_of, grouped, operation_places
from quotalab.rules.times import clock_time, count, duration, share
from quotalab.rules.words import asked_for

Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

_READS = ("GET", "HEAD")
_SHOWN_CALLS = 50
_SAMPLE = 200  # reads whose headers are looked at
_SECOND_NS = 1_000_000_000


@rule("QL601", "polling", unit="pollers", repeats=10, every_s=900.0, regular=0.25)
def polling(frames: Frames, *, repeats: int, every_s: float, regular: float) -> Judgement:
    """The app asked for the same thing again and again, at regular times, and it had not changed.

    ## What it checks
    Series of at least `repeats` good reads (GET, HEAD) of one target by one app for one person that follow
    each other within `every_s`, at gaps whose standard deviation is at most `regular` times their mean, each
    answered with as many bytes as the one before. A write by the same person on the way (any other method,
    answered 2xx) ends a series: reading after one's own writing is no polling. WARN for any such series. The
    bodies are not kept, so that "unchanged" means: of the same status and length.

    ## Why it matters
    Polling spends the allowance on learning nothing. It grows with the number of people, not with what
    happens, and providers that offer events say so to whoever asks for more calls.

    ## Example
    `GET /events` for one person at 09:00, 09:05, 09:10, ... all day, each answered with the same 2,113 bytes.

    ## What to do instead
    Subscribe to the provider's events (webhooks, watches); where there are none, ask with `If-None-Match`,
    less often while nothing changes, and with jitter.

    ## Source
    GitHub, "Best practices for using the REST API", section "Avoid polling" (subscribe to webhook events
    instead); Google, "The Google Calendar API has changed how we manage API usage", Google Developers Blog,
    2021 (push notifications instead of polling, randomized times). RFC 9110, section 13.1.2 (If-None-Match).
    The thresholds are our choice.
    """
    reads = frames.once(_reads)
    if not len(reads.row):
        return Judgement("NA", threshold=0.0, note="nothing was read with a good answer")
    calls = frames.calls
    at, size, status = (calls[name].to_numpy()[reads.row] for name in ("at", "bytes", "status"))
    gap = np.diff(at)
    follows = (np.diff(reads.group) == 0) & (np.diff(reads.writes) == 0) & (np.diff(size) == 0)
    follows &= (np.diff(status) == 0) & (gap <= int(every_s * 1e9)) & (gap > 0)
    series = np.cumsum(np.append(True, ~follows)) - 1
    number = np.bincount(series)
    starts = np.flatnonzero(np.append(True, ~follows))
    long = np.flatnonzero(number >= max(repeats, 2))
    findings, wasted = [], 0
    for one in long:  # few: each has `repeats` calls
        begin, end = int(starts[one]), int(starts[one] + number[one])
        gaps = gap[begin : end - 1].astype(np.float64)
        if gaps.std() > regular * gaps.mean():
            continue
        wasted += int(number[one]) - 1
        rows = reads.row[begin:end]
        first = int(rows[0])
        message = (
            f"{_what(calls, first)} was asked {number[one]:,} times from {clock_time(int(at[begin]))}, every "
            f"{duration(int(gaps.mean()))}, and each answer had the same {size[begin]:,} bytes."
        )
        findings.append((-int(number[one]), _finding(message, calls, rows)))
    findings.sort(key=lambda pair: pair[0])
    told = tuple(finding for _, finding in findings[:MOST_FINDINGS])
    note = None
    if wasted:
        note = (
            f"{count(wasted, 'call')} of {len(frames.api_calls):,} told the app nothing that it did not know"
        )
    verdict = "WARN" if findings else "PASS"
    return Judgement(verdict, float(len(findings)), 0.0, told, note=note, untold=len(findings) - len(told))


@rule("QL602", "unconditional-reads", unit="reads", reads=10)
def unconditional_reads(frames: Frames, *, reads: int) -> Judgement:
    """The provider offers an ETag, and the app asked again without If-None-Match.

    ## What it checks
    Good reads of a target that the same app had read for the same person before: where the answer before
    carried an `ETag` and the request has no `If-None-Match` (nor `If-Modified-Since`), the app had the means
    to be told "304 Not Modified", and did not use it. Looked at are the first few hundred such reads; WARN
    from `reads` of them on. NA where no answer that was looked at carries an ETag.

    ## Why it matters
    A 304 has no body, and with some providers costs nothing: GitHub does not count it against the primary
    limit of a request that is authorized.

    ## Example
    `GET /issues` is answered 200 with `ETag: "a1"`, and ten minutes later again 200 with `ETag: "a1"`: the
    second request had no `If-None-Match: "a1"`.

    ## What to do instead
    Keep the ETag beside what was read and send it as `If-None-Match`; take 304 for "as before".

    ## Source
    RFC 9110, sections 8.8.3 (ETag) and 13.1.2 (If-None-Match); GitHub, "Best practices for using the REST
    API": use conditional requests.
    """
    known = frames.once(_reads)
    again = np.flatnonzero(np.append(False, np.diff(known.group) == 0)) if len(known.row) else known.row
    if not len(again):
        return Judgement("NA", threshold=float(reads), note="nothing was read twice")
    again = again[np.argsort(known.row[again], kind="stable")][:_SAMPLE]
    before, now = known.row[again - 1], known.row[again]
    told = header_names(frames, "response_headers", before)
    sent = header_names(frames, "request_headers", now)
    if told is None or sent is None:
        return Judgement("NA", threshold=float(reads), note="the calls' headers are not known")
    offered = np.array(["etag" in names for names in told])
    used = np.array([bool(names & {"if-none-match", "if-modified-since"}) for names in sent])
    if not offered.any():
        return Judgement("NA", threshold=float(reads), note="the provider's answers carry no ETag")
    unused = np.flatnonzero(offered & ~used)
    calls = frames.calls
    verdict = "WARN" if len(unused) >= max(reads, 1) else "PASS"
    findings = []
    if verdict == "WARN":
        seq, at = calls["seq"].to_numpy(), calls["at"].to_numpy()
        for i in unused[:MOST_FINDINGS]:
            message = (
                f"{_what(calls, int(now[i]))} was asked for at {clock_time(int(at[now[i]]))} without "
                f"If-None-Match (call {seq[now[i]]}), though the answer before had an ETag (call "
                f"{seq[before[i]]})."
            )
            pair = (int(seq[before[i]]), int(seq[now[i]]))
            findings.append(Finding(message, int(at[now[i]]), pair))
    looked_at = count(len(again), "repeated read")
    note = f"of {looked_at} looked at {int(offered.sum()):,} could have been conditional"
    return Judgement(verdict, float(len(unused)), float(reads), tuple(findings), note=note)


@rule("QL603", "repeated-reads", unit="share", within_s=5.0, repeated=0.02)
def repeated_reads(frames: Frames, *, within_s: float, repeated: float) -> Judgement:
    """The app read the same thing for the same person again within seconds.

    ## What it checks
    Good reads of a target that the same app had asked for, for the same person, at most `within_s` before
    (from sending to sending), with a good answer, and no write of that person's between. Two that were under
    way at once count too. WARN when more than `repeated`, a share of the good reads, are such. A retry of a
    call that was not answered well is none.

    ## Why it matters
    What a person reads twice in a page load is paid for twice. It is the cheapest thing to save: nothing has
    to be kept for longer than seconds.

    ## Example
    Opening a page makes three widgets each fetch `GET /me` with the person's token within 200 ms.

    ## What to do instead
    Let one request at a time be under way for a target, and hand its answer to all who ask (single-flight);
    keep it for some seconds.

    ## Source
    Shopify, "Shopify API limits", asks for techniques of caching results (shopify.dev/docs/api/usage/limits).
    The thresholds are our choice.
    """
    reads = frames.once(_reads)
    if len(reads.row) < 2:
        return Judgement("NA", threshold=repeated, note="fewer than two good reads")
    sent = frames.calls["sent"].to_numpy()[reads.row]
    near = (np.diff(reads.group) == 0) & (np.diff(reads.writes) == 0)
    near &= np.abs(np.diff(sent)) <= int(within_s * 1e9)
    again = np.flatnonzero(near) + 1
    metric = len(again) / len(reads.row)
    if metric <= repeated:
        return Judgement("PASS", metric, repeated)
    calls = frames.calls
    # Told by route: one habit of the app's code makes all of them.
    routes = calls["route"].cat.codes.to_numpy()[reads.row[again]]
    findings = []
    for code in np.unique(routes):
        mine = again[routes == code]
        order = mine[np.argsort(reads.row[mine], kind="stable")]
        example = order[0]
        message = (
            f"{count(len(mine), 'read')} of {_route(calls, int(reads.row[example]))} came within "
            f"{duration(int(within_s * 1e9))} of the same read for the same person; the first "
            f"{duration(abs(int(sent[example] - sent[example - 1])))} after it."
        )
        rows = np.stack([reads.row[order - 1], reads.row[order]], axis=1).ravel()[:_SHOWN_CALLS]
        findings.append((-len(mine), _finding(message, calls, rows)))
    findings.sort(key=lambda pair: pair[0])
    note = f"{count(len(again), 'read')} of {len(reads.row):,} could have been answered from the one before"
    return Judgement("WARN", metric, repeated, tuple(finding for _, finding in findings), note=note)


@rule("QL604", "calls-per-operation", unit="calls an operation", most=10, waste=1.5)
def calls_per_operation(frames: Frames, *, most: float, waste: float) -> Judgement:
    """What a person asks costs more calls than it should.

    ## What it checks
    For each name of an operation, the mean number of calls to the API that the provider admitted for those
    that were done: WARN above `most`. An export of many pages takes as many calls as it has pages, so pages
    of lists beyond the first count only as QL607 has it, not here. Also WARN where calls of one operation to
    the very same target make `waste` times as many calls as it has targets. The calls' operations must be
    known.

    ## Why it matters
    The calls that one operation takes decide how many people fit under a limit.

    ## Example
    Opening the start page takes 24 calls, one for each widget, where three would tell all.

    ## What to do instead
    Fetch lists instead of single objects, ask for the fields that are needed in one call, keep what does not
    change.

    ## Source
    Strava, "Our Developer Program" (communityhub.strava.com): among what a review looks at is operating
    within the necessary rate limits. The profile's `[approval.rules.QL604]`; by default our choice.
    """
    calls, operations = frames.calls, frames.operations
    if not len(operations):
        return Judgement("NA", threshold=float(most), note=_nothing_asked(frames))
    counts = ((calls["kind"] == "api") & calls["limit"].isna() & calls["operation"].notna()).to_numpy()
    if not counts.any():
        return Judgement("NA", threshold=float(most), note="it is not known which calls were an operation's")
    of = frames.once(operation_places)
    made = np.flatnonzero(counts & ~frames.once(_further_pages) & (of >= 0))
    of = of[made]
    number = np.bincount(of, minlength=len(operations))
    each = len(calls["target"].cat.categories) + 1
    pairs = np.sort(of * each + calls["target"].cat.codes.to_numpy()[made])
    targets = np.bincount((pairs[runs(pairs)] + 1) // each, minlength=len(operations))
    done = operations[operations["outcome"] == "done"]
    if not len(done):
        return Judgement("NA", threshold=float(most), note="no operation was done")
    place = done.index.to_numpy()
    table = done[["name"]].assign(calls=number[place], targets=targets[place])
    worst, findings = 0.0, []
    for name, mine in table.groupby("name", observed=True):
        mean = float(mine["calls"].mean())
        worst = max(worst, mean)
        targets_of = float(mine["targets"].sum())
        twice = targets_of > 0 and float(mine["calls"].sum()) >= waste * targets_of
        if mean <= most and not twice:
            continue
        costliest = int(np.argmax(mine["calls"].to_numpy()))
        rows = calls_of(frames, mine.index[costliest])
        message = (
            f"'{name}' takes {mean:.3g} calls, the mean of {count(len(mine), 'operation')} that were done"
            + (f", where {most:g} are tolerated" if mean > most else "")
            + (f"; they have {mine['targets'].mean():.3g} different targets" if twice else "")
            + f". The costliest took {int(mine['calls'].iloc[costliest]):,}."
        )
        findings.append((-mean, _finding(message, frames.calls, rows)))
    findings.sort(key=lambda pair: pair[0])
    verdict = "WARN" if findings else "PASS"
    return Judgement(verdict, worst, float(most), tuple(finding for _, finding in findings))


@rule("QL605", "limit-filled-by-few", unit="calls a person", near=0.8, calls_each=50)
def limit_filled_by_few(frames: Frames, *, near: float, calls_each: float) -> Judgement:
    """A limit of the whole app is nearly used up, and few people use it.

    ## What it checks
    Limits of windows that are kept for the app alone and whose use came to `near` of what they allow: the
    calls that made the peak, for each person in them. WARN where that is more than `calls_each`. Unknown
    persons (calls without a valid token) are not counted, and neither are their calls.

    ## Why it matters
    A provider that is asked for more calls looks at how many people they are for. Much use by few says that
    the app is wasteful, not that it has grown.

    ## Example
    The 1,000 reads of a Strava day are used up by six athletes: 166 calls each.

    ## What to do instead
    Find which calls each person's come from (QL601, QL603, QL606, QL607), before asking for a higher limit.

    ## Source
    Strava, "Rate Limits" (communityhub.strava.com): limits are raised only for apps that approach them, and
    with fewer than 100 users the cause is most likely inefficient use. The default numbers are our choice;
    `[approval.rules.QL605]` has the provider's.
    """
    findings, worst, judged = [], 0.0, False
    calls = frames.calls
    for use in frames.once(limit_uses):
        limit = use.limit
        if limit.key != ("app",) or use.peak_at_ns is None or not limit.period_ns or use.is_for_filling:
            continue
        judged = True
        if use.utilisation < near:
            continue
        column, at = calls[f"key:{limit.name}"], calls["at"]
        mine = ((column == use.worst_key) & (at >= use.from_ns) & (at <= use.peak_at_ns)).to_numpy()
        mine = mine & calls["person"].notna().to_numpy()
        people = int(calls["person"][mine].nunique())
        if not people:
            continue
        each = int(mine.sum()) / people
        worst = max(worst, each)
        if each > calls_each:
            message = (
                f"'{limit.name}' came to {share(use.utilisation)}: {asked_for(use)}, for "
                f"{count(people, 'person', 'people')}, {each:,.3g} calls each; {calls_each:g} are tolerated."
            )
            findings.append(_finding(message, calls, np.flatnonzero(mine)))
    if not judged:
        return Judgement("NA", threshold=float(calls_each), note="no limit of a window is the whole app's")
    verdict = "WARN" if findings else "PASS"
    return Judgement(verdict, worst, float(calls_each), tuple(findings))


@rule("QL606", "no-bulk", unit="calls for different things", least=10, within_s=60.0)
def no_bulk(frames: Frames, *, least: int, within_s: float) -> Judgement:
    """Objects were read one by one where the API gives them as a list.

    ## What it checks
    Good reads of different objects of one collection, for one person and within one operation (where it is
    not known: each at most `within_s` after the one before), through a route that reads one, where the
    profile has a route that lists the same collection. WARN from `least` objects on.

    ## Why it matters
    A hundred reads of one object each cost a hundred calls; a list of a hundred costs one or two.

    ## Example
    After `GET /events` the app calls `GET /events/1`, `GET /events/2`, ... `GET /events/40`.

    ## What to do instead
    Take what the list already says; ask for the fields that are missing; use the batch endpoint where there
    is one.

    ## Source
    Google, "The Google Calendar API has changed how we manage API usage", Google Developers Blog, 2021
    (incremental synchronization, larger pages). The number is our choice.
    """
    routes = frames.provider.routes
    lists = {route.collection: route for route in routes if route.answer == "list"}
    single = {
        route.name: lists[route.collection]
        for route in routes
        if route.answer == "read" and route.collection in lists
    }
    if not single:
        note = "the profile has no collection that can both be read one by one and listed"
        return Judgement("NA", threshold=float(least), note=note)
    calls = frames.calls
    good = (calls["kind"] == "api") & calls["route"].isin(list(single)) & calls["status"].between(200, 299)
    rows = np.flatnonzero(good.to_numpy())
    if not len(rows):
        return Judgement("NA", threshold=float(least), note="nothing was read one by one")
    group = grouped(calls, ("client_id", "person", "operation", "route"), rows)
    at = calls["at"].to_numpy()[rows]
    order = np.lexsort((at, group))
    rows, group, at = rows[order], group[order], at[order]
    unknown = (calls["operation"].cat.codes.to_numpy() < 0)[rows]
    starts = np.append(True, (np.diff(group) != 0) | (unknown[1:] & (np.diff(at) > int(within_s * 1e9))))
    series = np.cumsum(starts) - 1
    pairs = np.unique(np.stack([series, calls["target"].cat.codes.to_numpy()[rows].astype(np.int64)]), axis=1)
    different = np.bincount(pairs[0], minlength=int(series[-1]) + 1)
    begins = np.append(np.flatnonzero(starts), len(rows))
    found = np.flatnonzero(different >= max(least, 1))
    findings = []
    for one in found[np.argsort(-different[found], kind="stable")][:MOST_FINDINGS]:
        mine = rows[begins[one] : begins[one + 1]]
        first = int(mine[0])
        better = single[str(calls["route"].iloc[first])]
        most = f", up to {better.page.most:,} a call" if better.page is not None else ""
        where = "in one operation" if not unknown[begins[one]] else "within seconds of each other"
        message = (
            f"{count(int(different[one]), 'object')} read one by one {where} by "
            f"'{calls['route'].iloc[first]}' for {calls['person'].iloc[first]} from "
            f"{clock_time(int(calls['at'].iloc[first]))}; "
            f"'{better.name}' lists them{most}."
        )
        findings.append(_finding(message, calls, mine))
    verdict = "WARN" if findings else "PASS"
    metric = float(different.max())
    return Judgement(verdict, metric, float(least), tuple(findings), untold=len(found) - len(findings))


@rule("QL607", "page-size-too-small", unit="share", saved=0.05)
def page_size_too_small(frames: Frames, *, saved: float) -> Judgement:
    """Lists were fetched in smaller pages than the API gives.

    ## What it checks
    Lists that were followed over several pages for one person, within one operation (where it is not known:
    within a minute), in pages smaller than the largest that the profile's route gives. Counted are the calls
    that pages of that size would have saved, at the least: n pages of s objects need no more than
    n * s / most. WARN when they are more than `saved`, a share of the calls to the API.

    ## Why it matters
    Most providers count calls, not objects, and their default page is a small one.

    ## Example
    240 activities are fetched in nine calls of 30 each; with `per_page=200` two would do.

    ## What to do instead
    Ask for the largest page wherever all of a list is wanted; leave the small one for what is only looked at.

    ## Source
    The providers' documentation of the parameter, as the profile has it: Strava `per_page` up to 200, GitHub
    `per_page` up to 100, Google `maxResults`. The share is our choice.
    """
    routes = {
        route.name: route
        for route in frames.provider.routes
        if route.page is not None and route.page.size_at is not None
    }
    if not routes:
        return Judgement("NA", threshold=saved, note="no list of this API has a page size to ask for")
    lists = frames.once(_followed_lists)
    calls = frames.calls
    most = {name: route.page.most for name, route in routes.items() if route.page is not None}
    largest = np.array(
        [most.get(str(name), 0) for name in calls["route"].cat.categories] + [0], dtype=np.int64
    )
    route = calls["route"].cat.codes.to_numpy()[lists.first]
    size, can = lists.size, largest[route]
    known = (can > 0) & (size > 0)
    if not known.any():
        return Judgement("NA", threshold=saved, note="no list was followed over several pages")
    needed = -(-(lists.pages * size) // np.maximum(can, 1))
    spared = np.where(known & (size < can), np.maximum(lists.pages - needed, 0), 0)
    metric = int(spared.sum()) / max(len(frames.api_calls), 1)
    if metric <= saved:
        return Judgement("PASS", metric, saved)
    findings = []
    for code in np.unique(route[spared > 0]):
        mine = np.flatnonzero((route == code) & (spared > 0))
        worst = mine[np.argmax(spared[mine])]
        name = str(calls["route"].cat.categories[code])
        page = routes[name].page
        assert page is not None, "chosen above"
        assert page.size_at is not None
        message = (
            f"{count(len(mine), 'list')} by '{name}' in pages of {_sizes(size[mine])} where "
            f"{page.most:,} can be asked for ({page.size_at.place} parameter {page.size_at.name}): "
            f"{count(int(spared[mine].sum()), 'call')} too many."
        )
        findings.append((-int(spared[mine].sum()), _finding(message, calls, lists.rows_of(int(worst)))))
    findings.sort(key=lambda pair: pair[0])
    return Judgement("WARN", metric, saved, tuple(finding for _, finding in findings))


# ---- what several of these share


class _Reads(NamedTuple):
    """Good reads, ordered by who read what, then by time; a value each."""

    row: Ints
    """Position in `frames.calls`."""
    group: Ints
    """App, person and target."""
    writes: Ints
    """How many writes of the app for that person, and those before, had been answered when the read was
    decided."""


def _reads(frames: Frames) -> _Reads:
    calls = frames.calls
    api = (calls["kind"] == "api").to_numpy()
    status, at = calls["status"].to_numpy(), calls["at"].to_numpy()
    good = api & calls["limit"].isna().to_numpy() & calls["person"].notna().to_numpy()
    good &= ((status >= 200) & (status < 300)) | (status == 304)
    is_read = calls["method"].isin(_READS).to_numpy()
    who = grouped(calls, ("client_id", "person"))
    rows = np.flatnonzero(good & is_read)
    group = grouped(calls, ("client_id", "person", "target"), rows)
    order = np.lexsort((at[rows], group))
    rows, group = rows[order], group[order]
    # Writes before each read: by rank among the writes of the same person.
    wrote = np.flatnonzero(good & ~is_read)
    answered = calls["answered"].to_numpy()
    wrote = wrote[np.lexsort((answered[wrote], who[wrote]))]
    writes = Searched(who[wrote], answered[wrote]).find(who[rows], at[rows], "right")
    return _Reads(rows, group, writes)


class _Lists(NamedTuple):
    """Lists that were followed over at least two pages; a value each."""

    first: Ints
    """Position in `frames.calls` of the first page."""
    pages: Ints
    size: Ints
    """The page size that was asked for, of the first."""
    rows: Ints
    begins: Ints

    def rows_of(self, one: int) -> Ints:
        return self.rows[self.begins[one] : self.begins[one] + self.pages[one]]


def _followed_lists(frames: Frames) -> _Lists:
    """Pages of one list: of different targets, by one route, of one person and operation, or near in time."""
    calls = frames.calls
    names = [route.name for route in frames.provider.routes if route.page is not None]
    good = (calls["kind"] == "api") & calls["route"].isin(names) & calls["status"].between(200, 299)
    rows = np.flatnonzero(good.to_numpy())
    none = np.zeros(0, dtype=np.int64)
    if not len(rows):
        return _Lists(none, none, none, none, none)
    group = grouped(calls, ("client_id", "person", "tenant", "operation", "route"), rows)
    at = calls["at"].to_numpy()[rows]
    order = np.lexsort((at, group))
    rows, group, at = rows[order], group[order], at[order]
    target = calls["target"].cat.codes.to_numpy()[rows]
    unknown = (calls["operation"].cat.codes.to_numpy() < 0)[rows]
    apart = (np.diff(group) != 0) | (np.diff(target) == 0)
    apart |= unknown[1:] & (np.diff(at) > 60 * _SECOND_NS)
    begins = np.flatnonzero(np.append(True, apart))
    pages = np.diff(np.append(begins, len(rows)))
    several = pages > 1
    begins, pages = begins[several], pages[several]
    size = calls["objects_asked"].to_numpy()[rows[begins]]
    return _Lists(rows[begins], pages, size, rows, begins)


def _further_pages(frames: Frames) -> Bools:
    """Which calls are pages of a followed list, but the first."""
    lists = frames.once(_followed_lists)
    further = np.zeros(len(frames.calls), dtype=bool)
    if len(lists.first):
        which = np.repeat(lists.begins, lists.pages)
        place = np.arange(len(which)) - np.repeat(np.cumsum(lists.pages) - lists.pages, lists.pages)
        further[lists.rows[(which + place)[place > 0]]] = True
    return further


def _finding(message: str, calls: pd.DataFrame, rows: Ints) -> Finding:
    seq, at = calls["seq"].to_numpy(), calls["at"].to_numpy()
    return Finding(message, int(at[rows[0]]), tuple(int(one) for one in seq[rows[:_SHOWN_CALLS]]))


def _route(calls: pd.DataFrame, row: int) -> str:
    route = calls["route"].iloc[row]
    return (
        f"'{route}'" if isinstance(route, str) else f"{calls['method'].iloc[row]} {calls['path'].iloc[row]}"
    )


def _what(calls: pd.DataFrame, row: int) -> str:
    return f"{_route(calls, row)} of {calls['person'].iloc[row]}"


def _sizes(sizes: Ints) -> str:
    low, high = int(sizes.min()), int(sizes.max())
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"


def _nothing_asked(frames: Frames) -> str:
    if frames.run.app == "unknown":
        return "what people asked of the app is not known to a sandbox that stands alone"
    return "there was no operation"
