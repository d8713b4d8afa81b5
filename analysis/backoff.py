"""Backoff: whether the app waits as it was told to, and as it should where it was told nothing."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from quotalab.frames import Frames
from quotalab.frames.calendar import NEVER
from quotalab.rules import (
    MOST_FINDINGS,
    Finding,
    Judgement,
    early_after_failures,
    early_calls,
    promises_ns,
    repeats,
    retries,
    rule,
    unsafe,
    unsafe_retries,
)
from quotalab.rules.meanings import INFERRED, operation_places
from quotalab.rules.outages import (
    After,
    amplification_by_minute,
    end_of,
    number_between,
    outages,
    rate_before,
)
from quotalab.rules.times import clock_time, count, duration
from quotalab.rules.waits import (
    NO_WAIT_NS,
    alike,
    forms_of,
    in_words,
    room_ns,
    too_long,
    waits_by_kind,
)

Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

_SECOND_NS = 1_000_000_000
_MINUTE_NS = 60 * _SECOND_NS
_SHOWN_CALLS = 50  # of one finding; its message has the number of all


@rule("QL201", "retry-before-retry-after", unit="early calls")
def retry_before_retry_after(frames: Frames) -> Judgement:
    """The app called again before the time that Retry-After had promised.

    ## What it checks
    Calls to the same key of the refusing limit that arrive between a refusal and its promised end. From the
    refused operation itself: FAIL. From another operation or person: WARN, as the app did not share what it
    knew. A call that was sent before the refusal's answer was there: nothing. A call at the very instant of
    the promised end: nothing. A Retry-After on a failure, such as a 503 in an outage, is a promise as well:
    it binds the operation that was told. A Retry-After of zero promises nothing. Where the operation of a
    call is not known, calls are taken for the same operation's if person and route are the same, the finding
    says so, and on such a guess alone the verdict is REVIEW: an app that sends `traceparent` over sockets
    makes it sure. A finding is a refusal with all calls that came before its end.

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
    promise = frames.once(promises_ns)
    if not ((calls["kind"] == "api").to_numpy() & (promise > 0)).any():
        return Judgement("NA", note="no call was refused, or failed, with a Retry-After")
    early = frames.once(_all_early)
    same = early["same"].to_numpy(dtype=bool)
    seq, at_ns = calls["seq"].to_numpy(), calls["at"].to_numpy()
    ordered = early.iloc[np.argsort(~same, kind="stable")]  # the refused operations' own calls first
    places_of: dict[int, list[int]] = {}
    for place, first in enumerate(ordered["refusal"].tolist()):
        places_of.setdefault(first, []).append(place)
    findings = []
    for first, places in itertools.islice(places_of.items(), MOST_FINDINGS):
        link = ordered.iloc[places[0]].to_dict()
        again = int(link["row"])
        who = "the same operation" if link["linked_by"] == "operation" else "the same person and route"
        if not link["same"]:
            other = calls["person"].iloc[first] == calls["person"].iloc[again]
            who = "another operation" if other else "another person's operation"
        guess = ""
        if link["same"] and link["linked_by"] != "operation":
            guess = " The operation is not known: linked by person, route and time."
        more = ""
        if len(places) > 1:
            own = int(ordered["same"].iloc[places[1:]].sum())
            more = f" {count(len(places) - 1, 'more call')} came before that end, {own:,} of them its own."
        message = (
            f"Call {seq[first]} {_was(frames, first)} at {clock_time(at_ns[first])} "
            f"with Retry-After {promise[first] / 1e9:g} s; {who} called again "
            f"{duration(int(at_ns[again] - at_ns[first]))} later (call {seq[again]}), "
            f"{duration(int(link['early_ns']))} too early.{more}{guess}"
        )
        shown = ordered["row"].to_numpy()[places[: _SHOWN_CALLS - 1]]
        findings.append(Finding(message, int(at_ns[again]), _seqs(frames, np.append(first, shown))))
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
        untold=len(places_of) - len(findings),
        remedy=remedy,
        note=note,
    )


@rule("QL202", "retry-too-fast", unit="s")
def retry_too_fast(frames: Frames) -> Judgement:
    """The app retried without waiting, where the answer had not said how long.

    ## What it checks
    Retries of an answer that may be retried (429, 5xx, 408, or none at all) and that promised nothing. One
    that is sent sooner after the answer than the profile's `[approval] retry_wait` is too fast: WARN. Two in
    a row of the same call: FAIL, as that is an app without backoff. Retries after a promise are judged by
    QL201. A Retry-After of zero allows one retry at once; what follows is judged as if nothing had been said.
    Retries that are linked by person, target and time alone do not make a FAIL.

    ## Why it matters
    A provider in trouble is kept in trouble by clients that repeat at once, and one that counts errors sees
    each of them several times.

    ## Example
    A call is answered 503 at 09:12:00.000; the app repeats it at 09:12:00.040, and, answered 503 again, at
    09:12:00.080.

    ## What to do instead
    Wait before each retry, twice as long each time, with full jitter, and give up after a few.

    ## Source
    RFC 9110, section 15.6.4 (503) and section 10.2.3 (a Retry-After is at least zero seconds); Brooker,
    "Exponential Backoff And Jitter", AWS Architecture Blog, 2015.
    """
    calls = frames.calls
    least_ns = frames.provider.approval.retry_wait_ns
    links = frames.once(retries)
    attempt = links["attempt"].to_numpy()
    zero = (calls["retry_after_ns"] == 0).fillna(False).to_numpy(dtype=bool)[attempt]
    unpromised = (frames.once(promises_ns)[attempt] == 0) & ~(zero & (links["number"].to_numpy() == 1))
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
        message = (
            f"Call {seq[first]} {answer} at {clock_time(at_ns[first], decimals=3)} and was repeated "
            f"{duration(int(link['gap_ns']))} later (call {seq[second]}"
            f"{', again too soon' if in_a_row else ''}); at least {duration(least_ns)} are wanted."
            f"{_link(link['linked_by'])}"
        )
        findings.append(Finding(message, int(at_ns[second]), (int(seq[first]), int(seq[second]))))
    sure = again & ~fast["linked_by"].isin(INFERRED)
    verdict = "FAIL" if sure.any() else "WARN" if findings else "PASS"
    metric = float(links["gap_ns"].min()) / 1e9
    untold = len(fast) - len(findings)
    return Judgement(verdict, metric, least_ns / 1e9, tuple(findings), untold=untold)


@rule("QL203", "retry-without-jitter", unit="share", same_share=0.5, least=8)
def retry_without_jitter(frames: Frames, *, same_share: float, least: float) -> Judgement:
    """The app's waits before retries are all the same.

    ## What it checks
    The waits before first retries, before second ones, and so on, where the answer promised nothing; and how
    long beyond a promise was waited, where promises to several callers ended within the same second. Waits
    that lie within 1 % of each other, or a millisecond, count as one (20 ms in real time). WARN when at least
    `same_share` of the waits of a kind are one; kinds with fewer than `least` are not judged. Retries without
    any wait are QL202's case. Where all of them are linked by person, target and time alone: REVIEW.

    ## Why it matters
    Calls that failed together are repeated together when all wait alike: the provider gets the same burst
    again after 1 s, after 2 s, after 4 s.

    ## Example
    Forty calls are answered 503 at 09:12:00. All forty are repeated at 09:12:01.000, and again at
    09:12:03.000.

    ## What to do instead
    Draw each wait at random between zero and the backoff ("full jitter"); after a promise, wait it out and
    add a random part.

    ## Source
    Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015; Google, "Site Reliability
    Engineering", chapter 22 (always use randomized exponential backoff when scheduling retries).
    """
    kinds = waits_by_kind(frames)
    kinds = [kind for kind in kinds if len(kind.waits_ns) >= max(least, 2)]
    if not kinds:
        note = f"there were fewer than {least:g} retries of one kind that waited"
        return Judgement("NA", threshold=same_share, note=note)
    close_ns = 1_000_000 if frames.run.clock == "virtual" else 20_000_000
    calls, worst, findings, sure = frames.calls, 0.0, [], False
    seq, at_ns = calls["seq"].to_numpy(), calls["at"].to_numpy()
    for kind in kinds:
        most = max((alike(waits, close_ns) for waits in kind.either), key=len)
        worst = max(worst, len(most) / len(kind.waits_ns))
        if len(most) < same_share * len(kind.waits_ns):
            continue
        links = kind.links.iloc[np.sort(most)]
        guessed = int(links["linked_by"].isin(INFERRED).sum())
        sure |= guessed < len(links)
        wait_ns = int(np.median(kind.waits_ns[most]))
        rows = links["row"].to_numpy()
        message = (
            f"{len(most):,} of {len(kind.waits_ns):,} {kind.name} waited {duration(wait_ns)}"
            f"{kind.beyond}, all within {duration(max(close_ns, wait_ns // 100))} of each other, the first "
            "of "
            f"them call {seq[rows[0]]}.{_links(len(links), guessed)}"
        )
        findings.append(Finding(message, int(at_ns[rows[0]]), _seqs(frames, rows)))
    verdict = "PASS" if not findings else "WARN" if sure else "REVIEW"
    return Judgement(verdict, worst, same_share, tuple(findings))


@rule("QL204", "unbounded-retries", unit="retries in a row", most=8)
def unbounded_retries(frames: Frames, *, most: float) -> Judgement:
    """The app went on retrying one call without an end.

    ## What it checks
    How often one call is made again in a row. More than `most` retries: FAIL. A retry that is sent after its
    operation's deadline, when nobody waits for it any more: WARN. Waits that were promised and kept count as
    retries as well: an app that asks for ever asks for ever. On links by person, target and time alone, more
    than `most` are REVIEW.

    ## Why it matters
    Retries that never end pile up while the provider is down, and all of them are still there when it is
    back. What nobody waits for takes the room of what somebody does.

    ## Example
    A call is answered 503 at 02:00 and repeated every five minutes until 07:00, sixty times.

    ## What to do instead
    Give up after a few attempts or at the operation's deadline, whichever comes first, and say so; try again
    when somebody asks again, or as a new job later.

    ## Source
    Google, "Site Reliability Engineering", chapter 22 (limit retries per request); RFC 9110, section 9.2.2
    (a client should not retry a failed automatic retry).
    """
    links = frames.once(retries)
    if not len(links):
        return Judgement("NA", threshold=most, note="nothing was retried")
    calls, operations = frames.calls, frames.operations
    seq, at_ns, sent = (calls[name].to_numpy() for name in ("seq", "at", "sent"))
    chains = links.assign(guess=links["linked_by"].isin(INFERRED)).groupby("first", sort=True)
    chain = chains.agg(
        number=("number", "max"), guess=("guess", "sum"), last=("row", "max"), links=("row", "size")
    )
    over = chain[chain["number"] > most].sort_values("number", ascending=False, kind="stable")
    findings = []
    for first, link in zip(over.index[:MOST_FINDINGS], over.to_dict("records"), strict=False):
        rows = links["row"].to_numpy()[(links["first"] == first).to_numpy()]
        message = (
            f"Call {seq[first]} {_was(frames, first)} at {clock_time(at_ns[first])} and was made again "
            f"{count(int(link['number']), 'time')} until {clock_time(at_ns[rows[-1]])} (call "
            f"{seq[rows[-1]]}); "
            f"at most {most:g} retries are wanted.{_links(int(link['links']), int(link['guess']))}"
        )
        findings.append(Finding(message, int(at_ns[first]), _seqs(frames, np.append(first, rows))))
    deadline = _by_operation(frames, operations["deadline"].to_numpy(), NEVER)
    late = links[sent[links["row"].to_numpy()] > deadline[links["row"].to_numpy()]]
    room = max(MOST_FINDINGS - len(findings), 0)
    for link in late.iloc[:room].to_dict("records"):
        first, again = int(link["attempt"]), int(link["row"])
        message = (
            f"Call {seq[again]} repeats call {seq[first]} {duration(int(sent[again] - deadline[again]))} "
            "after "
            f"the deadline of its operation: nobody waits for it any more.{_link(link['linked_by'])}"
        )
        findings.append(Finding(message, int(at_ns[again]), (int(seq[first]), int(seq[again]))))
    sure = bool((over["guess"] < over["links"]).any())
    verdict = "FAIL" if sure else "WARN" if len(late) else "REVIEW" if len(over) else "PASS"
    untold = len(over) + len(late) - len(findings)
    note = f"{count(len(late), 'retry', 'retries')} after the operation's deadline" if len(late) else None
    return Judgement(verdict, float(chain["number"].max()), most, tuple(findings), untold=untold, note=note)


@rule("QL205", "retry-of-permanent-error", unit="repeats")
def retry_of_permanent_error(frames: Frames) -> Judgement:
    """The app repeated a call whose answer no waiting changes.

    ## What it checks
    Calls to the API that are made again after an answer such as 400, 403, 404, 410 or 422 that no limit gave,
    and are not answered with success then: by the same operation, or with the same idempotency key: FAIL;
    else by the same person for the same target within a minute: REVIEW. A 403 for want of a permission is no
    rate limit. A 403 that a limit gave, as some providers do, may be retried; so may a 403 with another
    token. What a provider says in the body of a 200 counts in the same way. Two people, or two operations,
    that meet the same error are two mistakes and no retry.

    ## Why it matters
    The answer stays what it is. Each repetition spends the limit, delays the person who waits, and looks to
    the provider like somebody trying doors; providers that count errors block for it.

    ## Example
    A person has not granted the scope for writing. The call is answered 403 insufficient_scope and repeated
    after 1 s, 2 s and 4 s, each time with the same answer.

    ## What to do instead
    Repeat only what says that it may be repeated: refusals by a limit, 5xx, and dropped connections. After a
    403 read what it says, and ask the person for the missing scope.

    ## Source
    RFC 9110, section 15.5 (client errors) and section 15.5.4 (403: "the client SHOULD NOT automatically
    repeat the request with the same credentials"); RFC 6750, section 3.1 (insufficient_scope); Google, "Site
    Reliability Engineering", chapter 22 (permanent errors are not retried).
    """
    calls = frames.calls
    links = frames.once(repeats)
    api = frames.api_calls
    wrong = ((api["status"] >= 400) | api["error"].notna()) & api["limit"].isna() & (api["status"] < 500)
    if not wrong.any():
        return Judgement("NA", threshold=0.0, note="no call was answered with an error that stays")
    seq, at_ns = calls["seq"].to_numpy(), calls["at"].to_numpy()
    findings = []
    for link in links.iloc[:MOST_FINDINGS].to_dict("records"):
        first, again = int(link["attempt"]), int(link["row"])
        message = (
            f"Call {seq[first]} {_was(frames, first)} at {clock_time(at_ns[first])}, which no waiting "
            "changes, "
            f"and was made again {duration(int(link['gap_ns']))} later (call {seq[again]}, which "
            f"{_was(frames, again)}).{_link(link['linked_by'])}"
        )
        findings.append(Finding(message, int(at_ns[again]), (int(seq[first]), int(seq[again]))))
    verdict = _sure_or_review(links) if findings else "PASS"
    untold = len(links) - len(findings)
    return Judgement(verdict, float(len(links)), 0.0, tuple(findings), untold=untold)


@rule("QL206", "unsafe-retry", unit="retries")
def unsafe_retry(frames: Frames) -> Judgement:
    """The app repeated a request that may have been carried out already.

    ## What it checks
    Requests of a method that is not idempotent (POST, PATCH), to no route that only reads, of which nobody
    knows whether they were carried out: the connection was dropped, or the answer was 500, 502, 503 or 504,
    or could not be read. Repeated without an Idempotency-Key, or with another one: FAIL; on links by person,
    target and time alone: REVIEW. With the same Idempotency-Key it is safe. After a clean refusal by a limit
    the work was not done, and repeating it does no harm. Only requests of the very same content are linked:
    an app that puts a new time or number into each attempt is not found.

    ## Why it matters
    The event is in the calendar twice, the message sent twice, the card charged twice.

    ## Example
    A POST that creates an event is carried out, and the connection is dropped before the answer is there. The
    app repeats the POST: two events.

    ## What to do instead
    Send an Idempotency-Key where the provider takes one, the same with each attempt. Else look first whether
    it is there, or tell the person that it is not known.

    ## Source
    RFC 9110, section 9.2.2 (a client should not automatically retry a request with a non-idempotent method
    unless it knows that the request was never applied); IETF draft "The Idempotency-Key HTTP Header Field".
    """
    calls = frames.calls
    unsure, every = frames.once(unsafe_retries)
    if not unsure.any():
        why = "no request that must not be made twice was left in doubt"
        return Judgement("NA", threshold=0.0, note=why)
    links = every[~every["keyed"]]
    seq, at_ns = calls["seq"].to_numpy(), calls["at"].to_numpy()
    had_key = calls["idempotency_key"].notna().to_numpy()
    findings = []
    for link in links.iloc[:MOST_FINDINGS].to_dict("records"):
        first, again = int(link["attempt"]), int(link["row"])
        key = "without an Idempotency-Key"
        if had_key[first] or had_key[again]:
            key = (
                "with another Idempotency-Key"
                if had_key[first] and had_key[again]
                else "and one lacks its Idempotency-Key"
            )
        message = (
            f"Call {seq[first]} ({calls['method'].iloc[first]}) {_was(frames, first)} at "
            f"{clock_time(at_ns[first])}, so that nobody knows whether it was carried out, and was made "
            "again "
            f"{duration(int(link['gap_ns']))} later (call {seq[again]}) {key}.{_link(link['linked_by'])}"
        )
        findings.append(Finding(message, int(at_ns[again]), (int(seq[first]), int(seq[again]))))
    verdict = _sure_or_review(links) if findings else "PASS"
    note = None
    if every["keyed"].any():
        safe = count(int(every["keyed"].sum()), "retry", "retries")
        note = f"{safe} with the same Idempotency-Key, which did no harm"
    untold = len(links) - len(findings)
    return Judgement(verdict, float(len(links)), 0.0, tuple(findings), untold=untold, note=note)


@rule("QL207", "retry-storm", unit="attempts for each call wanted", warn=4.0, fail=8.0, least=10)
def retry_storm(frames: Frames, *, warn: float, fail: float, least: float) -> Judgement:
    """The app's retries multiplied its load while the provider was in trouble.

    ## What it checks
    For the first attempts of each minute, how many calls became of them: the amplification. Above `warn`:
    WARN, above `fail`: FAIL, in minutes with at least `least` retries. Retries whose attempts began in
    another minute count for that one, so that the figure does not depend on how long the app waits. Minutes
    in which all retries are linked by person, target and time alone: REVIEW.

    ## Why it matters
    A provider that is short of room gets several times the load at the worst moment, and stays down for
    longer. Layers that each retry multiply: three times three attempts are nine calls.

    ## Example
    An HTTP library retries three times, and so does the job that uses it. In an outage of ten minutes each
    look at the calendar costs sixteen calls.

    ## What to do instead
    Retry in one layer only, at most three times, and keep a retry budget for the whole app: stop retrying
    when more than a tenth of its calls are retries.

    ## Source
    Google, "Site Reliability Engineering", chapter 22 (retries that amplify an overload) and chapter 21
    (retry budgets a request and a client); Brooker, "Timeouts, retries, and backoff with jitter", Amazon
    Builders' Library. The thresholds are our choice.
    """
    links = frames.once(retries)
    if not len(links):
        return Judgement("NA", threshold=warn, note="nothing was retried")
    calls = frames.calls
    minutes = amplification_by_minute(frames, links)
    judged = minutes[minutes["retries"] >= least]
    worst = float(minutes["amplification"].max())
    over = judged[judged["amplification"] > warn].sort_values("amplification", ascending=False, kind="stable")
    findings = []
    root_minute = calls["at"].to_numpy()[links["first"].to_numpy()] // _MINUTE_NS
    for minute, told in zip(over.index[:MOST_FINDINGS], over.to_dict("records"), strict=False):
        rows = links["row"].to_numpy()[root_minute == minute]
        message = (
            f"The {count(int(told['firsts']), 'call')} that the app began in the minute from "
            f"{clock_time(int(minute) * _MINUTE_NS)} became {int(told['firsts'] + told['retries']):,}: "
            f"{told['amplification']:.3g} times as many, where {warn:g} are tolerated."
            f"{_links(int(told['retries']), int(told['guess']))}"
        )
        findings.append(Finding(message, int(minute) * _MINUTE_NS, _seqs(frames, rows)))
    sure = over[over["guess"] < over["retries"]]
    verdict = "FAIL" if (sure["amplification"] > fail).any() else "WARN" if len(sure) else "REVIEW"
    verdict = verdict if len(over) else "PASS"
    metric = float(judged["amplification"].max()) if len(judged) else worst
    note = None if len(judged) else f"no minute had {least:g} retries"
    return Judgement(verdict, metric, warn, tuple(findings), untold=len(over) - len(findings), note=note)


@rule("QL208", "gave-up-early", unit="operations", longest_s=60.0, slack_s=10.0)
def gave_up_early(frames: Frames, *, longest_s: float, slack_s: float) -> Judgement:
    """The app gave up at the first trouble, although there was time to try again.

    ## What it checks
    Operations that failed where their last call got an answer that may be retried, was never retried, and
    could have been: what Retry-After promised (else the profile's `[approval] retry_wait`) is at most
    `longest_s`, it ends at least `slack_s` before the operation's deadline, and the request may be repeated:
    it is idempotent, it bore an Idempotency-Key, or a limit refused it cleanly. Each is WARN. Giving up at
    once when an hour is promised is no fault of backoff; that the operation was lost is QL501's matter. Nor
    is it one when the app declines and says so.

    ## Why it matters
    Most troubles of a provider pass within seconds. An app without retries hands each of them on to people.

    ## Example
    A person opens an event and has half a minute. The call is answered 503, and the app shows an error
    50 ms later.

    ## What to do instead
    Retry what may be repeated, with backoff, until a few attempts are made or the deadline is near.

    ## Source
    RFC 9110, section 15.6.4 (503 is a temporary condition) and section 9.2.2 (what may be retried).
    """
    calls, operations = frames.calls, frames.operations
    api = (calls["kind"] == "api").to_numpy() & calls["operation"].notna().to_numpy()
    status = calls["status"].to_numpy()
    clean = calls["limit"].notna().to_numpy() & (status != 0)
    trouble = api & (clean | np.isin(status, (0, 500, 502, 503, 504)))
    of = frames.once(operation_places)
    met = np.zeros(len(operations), dtype=bool)
    met[of[trouble & (of >= 0)]] = True
    if not met.any():
        note = "no operation met an answer that may be retried"
        if trouble.size and not api.any() and len(frames.api_calls):
            note = "which operation a call belongs to is not known"
        return Judgement("NA", threshold=0.0, note=note)
    rows = np.flatnonzero(api & (of >= 0))
    last = np.full(len(operations), -1, dtype=np.int64)
    last[of[rows]] = rows  # of several the last one stays
    mine = operations[(operations["outcome"] == "failed") & met]
    row = last[mine.index.to_numpy()]
    may = clean | ~frames.once(unsafe) | calls["idempotency_key"].notna().to_numpy()
    again = np.zeros(len(calls), dtype=bool)
    again[frames.once(retries)["row"].to_numpy()] = True
    promise = frames.once(promises_ns)
    wait = np.where(promise > 0, promise, frames.provider.approval.retry_wait_ns)
    until = calls["done"].to_numpy() + wait + round(slack_s * _SECOND_NS)
    gave_up = trouble[row] & may[row] & ~again[row] & (wait[row] <= longest_s * 1e9)
    gave_up &= until[row] <= mine["deadline"].to_numpy()
    lost, row = mine[gave_up], row[gave_up]
    order = np.argsort(row, kind="stable")
    seq = calls["seq"].to_numpy()
    findings = []
    for operation, at in zip(
        lost.iloc[order[:MOST_FINDINGS]].to_dict("records"), row[order].tolist(), strict=False
    ):
        told = f"promised {duration(int(promise[at]))}" if promise[at] else "promised no wait"
        message = (
            f"'{operation['name']}' of {operation['person']} failed "
            f"{duration(operation['ended'] - operation['planned'])} "
            f"after it was asked for: call {seq[at]} {_was(frames, at)}, which {told}, and was not tried "
            "again, "
            f"with {duration(operation['deadline'] - operation['ended'])} left (operation "
            f"{operation['operation']})."
        )
        findings.append(Finding(message, int(operation["ended"]), (int(seq[at]),)))
    verdict = "WARN" if findings else "PASS"
    return Judgement(verdict, float(len(lost)), 0.0, tuple(findings), untold=len(lost) - len(findings))


@rule(
    "QL209",
    "slow-recovery",
    unit="s",
    above=1.5,
    below=0.5,
    within_s=600.0,
    failures=10,
    apart_s=300.0,
    least=20,
)
def slow_recovery(
    frames: Frames,
    *,
    above: float,
    below: float,
    within_s: float,
    failures: float,
    apart_s: float,
    least: float,
) -> Judgement:
    """After an outage the app's load did not return to what it was.

    ## What it checks
    An outage is a stretch of at least `failures` calls that failed (5xx, or no answer), none more than
    `apart_s` after the one before, which are at least half of the calls in it. The calls of each minute after
    it are held against what the time before would have taken: the calls of an operation then, times the
    operations that are planned now; the calls of a minute then, where operations are not known. The load has
    returned with the last minute of a row (with gaps of less than five) that is above `above` times that, and
    above what chance explains (three standard deviations). WARN when that takes longer than `within_s`; FAIL
    when it does and has not come to an end when the run ends, or the next outage begins; FAIL as well when
    from `within_s` on the load stays below `below` of it: the app did not come back. Where fewer than `least`
    calls are known from before, or expected after, it is not judged. What the outage was, by how much retries
    multiplied the load in it, and when the load was back stand in the note. Without known operations: REVIEW.

    ## Why it matters
    A provider that has just come back is taken down again by apps that make up for everything at once, and
    an app that never notices that it is back is down for longer than the provider was.

    ## Example
    The API is down from 09:00 to 09:20. Every job that failed is queued, and from 09:20 the app calls ten
    times as often as before, until 11:40.

    ## What to do instead
    Drop what nobody waits for any more, spread the rest over the time after, and let a circuit breaker try
    with single calls whether the provider is back.

    ## Source
    Google, "Site Reliability Engineering", chapter 22: an overload may outlast its cause until retries stop
    ("Retries"), and load is to come back slowly ("Slow Startup and Cold Caching"); Brooker, "Timeouts,
    retries, and backoff with jitter", Amazon Builders' Library.
    """
    found = outages(frames, int(failures), round(apart_s * 1e9))
    if not found:
        return Judgement("NA", threshold=within_s, note="there was no outage")
    calls = frames.api_calls
    at_ns = np.sort(calls["at"].to_numpy())
    planned_ns = np.sort(frames.operations["planned"].to_numpy())
    known = bool(len(planned_ns))
    start_ns, end_ns = frames.span_ns
    notes, findings, verdicts, slowest = [], [], [], None
    for i, outage in enumerate(found):
        from_ns = max(outage.from_ns - max(3600 * _SECOND_NS, outage.until_ns - outage.from_ns), start_ns)
        if i:
            from_ns = max(from_ns, found[i - 1].until_ns + round(within_s * 1e9))
        to_ns = found[i + 1].from_ns if i + 1 < len(found) else end_ns
        before = number_between(at_ns, from_ns, outage.from_ns)
        what = f"outage from {clock_time(outage.from_ns)} to {clock_time(outage.until_ns, day=False)}"
        what += f", calls multiplied by {outage.amplification:.3g} in it"
        rate = rate_before(planned_ns, from_ns, outage.from_ns, before, known)
        if before < least or rate is None:
            notes.append(f"{what}: too few calls before it to tell what the load was")
            continue
        after = After(at_ns, planned_ns if known else None, rate, outage.until_ns, to_ns)
        back_ns, ended = after.above(above)
        slowest = max(slowest or 0.0, back_ns / 1e9)
        if not ended and back_ns > within_s * 1e9:
            verdicts.append("FAIL")
            text = f"was still more than {above:g} times as high {duration(back_ns)} after it, when "
            text += end_of(to_ns, end_ns)
        elif back_ns > within_s * 1e9:
            verdicts.append("WARN")
            text = f"returned to what it was only {duration(back_ns)} after it, where "
            text += f"{duration(round(within_s * 1e9))} are tolerated"
        else:
            verdicts.append("PASS")
            text = ""
        notes.append(
            f"{what}; load back {f'{duration(back_ns)} after it' if back_ns else 'at once'}"
            if ended or not back_ns
            else what
        )
        if not text:
            made, wanted = after.rest(round(within_s * 1e9))
            if wanted >= least and made < below * wanted:
                verdicts[-1] = "FAIL"
                text = (
                    f"did not come back: {made:,} calls from {duration(round(within_s * 1e9))} after it "
                    "until "
                    f"{end_of(to_ns, end_ns)}, where {wanted:,.0f} were to be expected"
                )
                notes[-1] = what
        if text:
            message = (
                f"The API was down from {clock_time(outage.from_ns)} to "
                f"{clock_time(outage.until_ns, day=False)} "
                f"(calls {outage.first} to {outage.last}, {outage.failures:,} failed); the app's load "
                f"{text}. "
                f"In the outage {count(outage.calls, 'call')} came of {outage.firsts:,} "
                f"({outage.amplification:.3g} times as many)."
            )
            findings.append(Finding(message, outage.until_ns, (outage.first, outage.last)))
    if not verdicts:
        return Judgement("NA", threshold=within_s, note="; ".join(notes[:5]))
    verdict = min(verdicts, key=("FAIL", "WARN", "PASS").index)
    if findings and not known:
        verdict = "REVIEW"
        notes.append("what people asked for is not known, so that the load may have risen by itself")
    return Judgement(verdict, slowest, within_s, tuple(findings), note="; ".join(notes[:5]))


@rule("QL210", "wait-cut-short", unit="waits", least_share=0.5, edge_s=1.0)
def wait_cut_short(frames: Frames, *, least_share: float, edge_s: float) -> Judgement:
    """The app waited after a refusal, but not long enough.

    ## What it checks
    Retries that were told how long to wait, waited at least `least_share` of it, and came before its end: a
    wait that is capped, rounded down, or counted from the wrong moment: FAIL; REVIEW where the operation is
    not known. Whoever does not wait at all is QL201's case alone. Where a limit refuses without a
    Retry-After, what there was to wait for is worked out from the calls: a retry that waited at least
    `least_share` of that, was refused again, and came at most `edge_s` before there was room again woke too
    early: WARN. In virtual time to the nanosecond; in real time the measured lag of the refusal is forgiven.

    ## Why it matters
    All the waiting was for nothing: the call is refused again, at some providers with a longer wait, and the
    app believes that it obeys.

    ## Example
    A limit counts by the hour and tells no Retry-After. The app works out from its own clock that the hour
    ends at 10:00:00, rounds down, and calls at 09:59:59.6.

    ## What to do instead
    Wait what was promised in full, whatever the longest backoff is; round up; count from when the answer
    came; and add a little where the end is worked out and not told.

    ## Source
    RFC 9110, section 10.2.3 (Retry-After: how long the client ought to wait); RFC 6585, section 4.
    """
    calls = frames.calls
    promise = frames.once(promises_ns)
    seq, at_ns = calls["seq"].to_numpy(), calls["at"].to_numpy()
    links = frames.once(retries)
    first, again = links["attempt"].to_numpy(), links["row"].to_numpy()
    told = promise[first] > 0
    room = room_ns(frames)
    untold = ~told & (room[first] > 0)
    if not told.any() and not untold.any():
        return Judgement("NA", threshold=0.0, note="nothing was retried that there was something to wait for")
    findings: list[Finding] = []
    early = frames.once(_all_early)
    early = early[early["same"].to_numpy(dtype=bool)]
    refusal, row = early["refusal"].to_numpy(dtype=np.int64), early["row"].to_numpy(dtype=np.int64)
    waited = at_ns[row] - at_ns[refusal]
    cut = early[waited >= least_share * promise[refusal]]
    for link in cut.iloc[:MOST_FINDINGS].to_dict("records"):
        before, after = int(link["refusal"]), int(link["row"])
        message = (
            f"Call {seq[before]} {_was(frames, before)} at {clock_time(at_ns[before])} with Retry-After "
            f"{promise[before] / 1e9:g} s, and call {seq[after]} came after "
            f"{duration(int(at_ns[after] - at_ns[before]))}: "
            f"the wait was cut short by {duration(int(link['early_ns']))}.{_link(link['linked_by'])}"
        )
        findings.append(Finding(message, int(at_ns[after]), (int(seq[before]), int(seq[after]))))
    lag = np.zeros(len(calls), dtype=np.int64)
    if frames.run.clock != "virtual":
        lag = calls["done"].to_numpy() - at_ns
    short_ns = at_ns[first] + room[first] - lag[first] - at_ns[again]
    limit = calls["limit"].cat.codes.to_numpy()
    woke = untold & (short_ns > 0) & (short_ns <= edge_s * 1e9) & (limit[first] == limit[again])
    woke &= at_ns[again] - at_ns[first] >= least_share * room[first]
    woken = links[woke].assign(short_ns=short_ns[woke])
    for link in woken.iloc[: max(MOST_FINDINGS - len(findings), 0)].to_dict("records"):
        before, after = int(link["attempt"]), int(link["row"])
        message = (
            f"Call {seq[before]} {_was(frames, before)} at {clock_time(at_ns[before])} without a "
            "Retry-After. There "
            f"was room again {duration(int(room[before]))} later; call {seq[after]} came "
            f"{duration(int(link['short_ns']))} before that and was refused again.{_link(link['linked_by'])}"
        )
        findings.append(Finding(message, int(at_ns[after]), (int(seq[before]), int(seq[after]))))
    found = len(cut) + len(woken)
    if (cut["linked_by"] == "operation").any():
        verdict = "FAIL"
    else:
        verdict = "WARN" if len(woken) else "REVIEW" if found else "PASS"
    return Judgement(verdict, float(found), 0.0, tuple(findings), untold=found - len(findings))


@rule("QL211", "retry-after-misread", unit="share", least=3, kept_share=0.5)
def retry_after_misread(frames: Frames, *, least: float, kept_share: float) -> Judgement:
    """The app does not understand a form in which Retry-After is written, or takes it for something else.

    ## What it checks
    Promises are taken by the form in which they were written: whole seconds, seconds with decimals (`2.0`),
    an HTTP date, an ISO 8601 date, seconds since 1970. Of each form with at least `least` retries, how many
    of them waited for the promised end. Less than `kept_share` in one form and not in another: FAIL, as the
    app can wait and does not read that form. Less than that in the only form there is, and it is not whole
    seconds: REVIEW, as it may be misread or ignored. An app that ignores whole seconds is QL201's case alone.
    Waits that are kept but a thousand times as long, or, after a date, longer by whole half hours: WARN, as
    milliseconds and time zones go wrong like this. A Retry-After that is absent, or zero, promises nothing,
    and there is nothing to misread. Without known operations: REVIEW.

    ## Why it matters
    Retry-After is a number of seconds or a date, and providers write further forms. A parser that meets one
    it does not know mostly takes it for none, and the app hammers on exactly where it was told not to.

    ## Example
    The API says `Retry-After: Mon, 05 Jan 2026 09:13:00 GMT`. The app tries `int()` on it, fails, and falls
    back to a wait of one second.

    ## What to do instead
    Read whole seconds and HTTP dates always, and the form of the provider's documentation; take a date by the
    provider's own Date header; take what cannot be read for a long wait, not for none.

    ## Source
    RFC 9110, section 10.2.3 (Retry-After = HTTP-date / delay-seconds) and section 5.6.7 (dates).
    """
    calls, links = frames.calls, frames.once(retries)
    promise = frames.once(promises_ns)
    links = links[promise[links["attempt"].to_numpy()] > 0]
    if not len(links):
        return Judgement("NA", threshold=kept_share, note="nothing was retried after a Retry-After")
    attempt, row = links["attempt"].to_numpy(), links["row"].to_numpy()
    at_ns = calls["at"].to_numpy()
    early = frames.once(_all_early)
    broken = np.isin(row, early["row"].to_numpy(dtype=np.int64)[early["same"].to_numpy(dtype=bool)])
    form = forms_of(frames, attempt)
    waited = at_ns[row] - at_ns[attempt]
    guess = links["linked_by"].isin(INFERRED).to_numpy()
    shares = {
        name: float((~broken[form == name]).mean())
        for name in np.unique(form).tolist()
        if int((form == name).sum()) >= least
    }
    if not shares:
        why = f"no form of Retry-After was met by {least:g} retries"
        return Judgement("NA", threshold=kept_share, note=why)
    reads = [name for name, kept in shares.items() if kept >= kept_share]
    findings, verdicts, ignored = [], [], False
    for name, kept in shares.items():
        mine = form == name
        if kept < kept_share and not reads and name == "seconds":
            ignored = True
            continue
        if kept < kept_share:
            verdicts.append("FAIL" if reads and not guess[mine & broken].all() else "REVIEW")
            shorter = np.median(waited[mine & broken] / promise[attempt[mine & broken]])
            why = (
                f"while {in_words(reads[0])} is kept"
                if reads
                else "whether it is misread or ignored cannot be told"
            )
            if abs(shorter * 1000 - 1) < 0.05:
                why += "; a thousandth is waited, as if it were milliseconds"
            text = f"{int((mine & broken).sum()):,} of {int(mine.sum()):,} retries came before the end that "
            text += f"{in_words(name)} promised, {why}"
            shown = mine & broken
        else:
            shown, text = too_long(name, mine & ~broken, waited, promise[attempt], least)
            if not text:
                continue
            verdicts.append("REVIEW" if guess[shown].all() else "WARN")
        rows = np.column_stack([attempt[shown], row[shown]]).ravel()
        message = f"{text[0].upper()}{text[1:]}.{_links(int(shown.sum()), int((guess & shown).sum()))}"
        findings.append(Finding(message, int(at_ns[rows[0]]), _seqs(frames, rows)))
    verdict = min(verdicts, key=("FAIL", "WARN", "REVIEW").index) if verdicts else "NA" if ignored else "PASS"
    note = "Retry-After in seconds was not waited for at all: see QL201" if ignored else None
    return Judgement(verdict, min(shares.values()), kept_share, tuple(findings), note=note)


@rule("QL212", "backoff-without-growth", unit="times as long", growth=1.2, least=8)
def backoff_without_growth(frames: Frames, *, growth: float, least: float) -> Judgement:
    """The app's waits do not grow from one retry of a call to the next.

    ## What it checks
    The waits before third and later retries against those before first ones, where the answer promised
    nothing: the median of the later ones must be at least `growth` times that of the first. Else: WARN.
    Judged only where there are at least `least` of each, and first retries wait at all; one without a wait is
    QL202's case. On links by person, target and time alone: REVIEW.

    ## Why it matters
    What has failed three times will hardly work a second later. Waits that grow take load off a provider in
    proportion to how long its trouble lasts; waits that stay the same never do.

    ## Example
    Each call that is answered 503 is repeated after 1 s, again after 1 s, and so on, for the whole outage.

    ## What to do instead
    Double the longest wait with each attempt, up to a cap of some minutes, and draw the wait below it at
    random.

    ## Source
    Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015; Google, "Site Reliability
    Engineering", chapter 22 (randomized exponential backoff).
    """
    calls, links = frames.calls, frames.once(retries)
    links = links[frames.once(promises_ns)[links["attempt"].to_numpy()] == 0]
    number, gap = links["number"].to_numpy(), links["gap_ns"].to_numpy()
    firsts, later = number == 1, number >= 3
    if min(int(firsts.sum()), int(later.sum())) < least or float(np.median(gap[firsts])) < NO_WAIT_NS:
        note = f"there were fewer than {least:g} first retries that waited, or third ones"
        return Judgement("NA", threshold=growth, note=note)
    early_ns, late_ns = int(np.median(gap[firsts])), int(np.median(gap[later]))
    metric = late_ns / early_ns
    if metric >= growth:
        return Judgement("PASS", metric, growth)
    rows = links["row"].to_numpy()[later]
    guess = links["linked_by"].isin(INFERRED).to_numpy()[firsts | later]
    message = (
        f"The median wait is {duration(early_ns)} before "
        f"{count(int(firsts.sum()), 'first retry', 'first retries')} and "
        f"{duration(late_ns)} before {count(len(rows), 'third or later one')}: "
        f"{metric:.3g} times as long, where {growth:g} are wanted.{_links(len(guess), int(guess.sum()))}"
    )
    finding = Finding(message, int(calls["at"].to_numpy()[rows[0]]), _seqs(frames, rows))
    return Judgement("REVIEW" if guess.all() else "WARN", metric, growth, (finding,))


# ---- what calls were answered, and how they were linked


def _all_early(frames: Frames) -> pd.DataFrame:
    """Calls before the promised end of a refusal or a failure; of a call that is both, the refusal's."""
    both = pd.concat([frames.once(early_calls), frames.once(early_after_failures)], ignore_index=True)
    both = both.sort_values("row", kind="stable")
    return both.drop_duplicates("row").reset_index(drop=True)


def _was(frames: Frames, row: int) -> str:
    """What became of a call, in a clause."""
    call: list[Any] = [frames.calls.at[row, name] for name in ("limit", "status", "error")]
    limit, status, error = call
    if isinstance(limit, str) and status:
        return f"was refused by '{limit}'"
    if not status:
        return "got no answer"
    return f"was answered {status}" + (f" ({error})" if isinstance(error, str) else "")


def _link(linked_by: str) -> str:
    """How two calls were linked, and what it would take to be sure."""
    if linked_by in INFERRED:
        sure = "`traceparent` or an Idempotency-Key on each call would make it sure"
        return f" Linked by {linked_by} alone: {sure}."
    return f" Linked by {linked_by}."


def _links(number: int, guessed: int) -> str:
    """The same of many."""
    if not guessed:
        return " Linked by operation or idempotency key."
    how = "Linked" if guessed == number else f"{guessed:,} of them linked"
    return (
        f" {how} by person, target and time alone: `traceparent` or an Idempotency-Key on each call would "
        "make it sure."
    )


def _sure_or_review(links: pd.DataFrame) -> str:
    return "REVIEW" if links["linked_by"].isin(INFERRED).all() else "FAIL"


def _seqs(frames: Frames, rows: Ints) -> tuple[int, ...]:
    return tuple(int(seq) for seq in frames.calls["seq"].to_numpy()[rows[:_SHOWN_CALLS]])


def _by_operation(frames: Frames, values: Ints, missing: int) -> Ints:
    """For each call, its operation's value; `missing` where the operation is not known."""
    return np.append(values, missing)[frames.once(operation_places)]
