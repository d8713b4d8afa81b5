"""Tokens: whether the app handles the tokens it was given as it should."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pandas as pd

from quotalab.frames import Frames
from quotalab.profiles.oauth import NEVER_NS
from quotalab.rules import MOST_FINDINGS, Finding, Judgement, rule
from quotalab.rules.grants import (
    consents,
    details,
    holders,
    is_skewed,
    known_before,
    rejected_calls,
    rejections,
    renewals,
    skew,
)
from quotalab.rules.times import clock_time, count, duration

Ints = npt.NDArray[np.int64]

_SHOWN = 50  # calls of one finding; its message has the number of all
_SOON_NS = 5 * 10**9


@rule("QL301", "expired-token-reused", unit="calls")
def expired_token_reused(frames: Frames) -> Judgement:
    """The app presented an access token again that the API had rejected.

    ## What it checks
    Access tokens that an API call got a 401 for (or what the provider has in its place), and that are
    presented again in a call sent after that answer was there. One 401 as such is fine: tokens expire. A call
    that was on its way already is fine too. A 401 for want of a scope says nothing of the token.

    ## Why it matters
    A rejected token stays rejected. Each further call with it is wasted, fails for a person, and looks to the
    provider like somebody trying tokens.

    ## Example
    A token expires at 10:00:00. A call at 10:00:05 is answered 401, and the next three calls carry the same
    token.

    ## What to do instead
    After a 401, refresh the token once for all of the app's workers, and repeat the call with the new one.
    Ask the person to connect again if the refresh is rejected as well.

    ## Source
    RFC 6750, section 3.1 (invalid_token: "The client MAY request a new access token and retry"); RFC 6749,
    section 1.5, steps (F) to (H).
    """
    calls = frames.api_calls
    presented = calls[calls["token"].notna()]
    if not len(presented):
        return Judgement("NA", note="no token was presented to the API")
    rejected = presented[frames.once(rejected_calls)[presented.index]].sort_values("done", kind="stable")
    first = rejected.drop_duplicates("token")
    token = presented["token"].cat.codes.to_numpy().astype(np.int64)
    tokens = len(presented["token"].cat.categories)
    known_ns = np.full(tokens, np.iinfo(np.int64).max)
    by = np.full(tokens, -1, dtype=np.int64)
    codes = first["token"].cat.codes.to_numpy()
    known_ns[codes], by[codes] = first["done"].to_numpy(), first.index.to_numpy()
    row = presented.index.to_numpy()
    again = (by[token] >= 0) & (presented["sent"].to_numpy() >= known_ns[token]) & (row > by[token])
    reused = presented[again]
    findings = []
    reused_tokens = pd.unique(token[again])
    for code in reused_tokens[:MOST_FINDINGS]:
        mine = presented[again & (token == code)]
        rejection = calls.loc[by[code]]
        wait_ns = int(mine["sent"].iloc[0] - rejection["done"])
        seqs = tuple(int(seq) for seq in mine["seq"])
        message = (
            f"The token of {rejection['person'] if isinstance(rejection['person'], str) else 'a person'} was "
            f"rejected at {clock_time(int(rejection['at']))} (call {rejection['seq']}) and presented "
            f"{count(len(mine), 'more time')}, first {duration(wait_ns)} after that answer (call {seqs[0]})."
            f"{skew(frames, np.array([by[code]]))}"
        )
        findings.append(Finding(message, int(mine["at"].iloc[0]), (int(rejection["seq"]), *seqs[:50])))
    findings.sort(key=lambda finding: finding.calls[1])
    untold = len(reused_tokens) - len(findings)
    return Judgement("FAIL" if findings else "PASS", float(len(reused)), 0.0, tuple(findings), untold=untold)


@rule("QL302", "refresh-stampede", unit="renewals at once", within_s=5.0, stampede=3)
def refresh_stampede(frames: Frames, *, within_s: float, stampede: int) -> Judgement:
    """Several of the app's workers renewed one person's token at the same time.

    ## What it checks
    Renewals (refreshes and client credentials) for the same client and person that were sent while another
    was under way; and those sent within `within_s` seconds of one that had succeeded, where both followed
    calls that the API had answered 401: each worker renewed for itself what one had renewed already. One
    renewal for however many 401s is right. Two are WARN, `stampede` or more are FAIL. A renewal that failed
    and is tried again is none.

    ## Why it matters
    Where refresh tokens rotate, the second of two is the reuse of a spent one: the provider takes it for a
    theft and revokes the grant, and the person has to connect again. Elsewhere it is load on the token
    endpoint, which has limits of its own.

    ## Example
    Six calls are answered 401 within 80 ms, and each of the six workers refreshes.

    ## What to do instead
    Let one worker renew while the others wait for its result: a lock for each person (single-flight), and a
    second look at the token after the lock was got. Across processes the lock must be shared too.

    ## Source
    RFC 9700, section 4.14.2 (refresh token rotation and what the reuse of one does); RFC 6749, section 10.4.
    """
    made = frames.once(renewals)
    if not len(made):
        return Judgement("NA", threshold=1.0, note="no token was renewed")
    soon = (made["since_ns"] <= int(within_s * 1e9)) & _follows_rejection(frames, made, int(within_s * 1e9))
    extra = (made["together"] | soon).to_numpy()
    follows = np.append(False, (made["holder"].to_numpy()[1:] == made["holder"].to_numpy()[:-1]))
    burst = np.cumsum(~(extra & follows))
    sizes = np.bincount(burst)
    calls = frames.calls
    largest = int(sizes.max())
    found = np.flatnonzero(sizes > 1)
    found = found[np.argsort(-sizes[found], kind="stable")]
    findings = []
    for number in found[:MOST_FINDINGS]:
        mine = made[burst == number]
        rows = mine["row"].to_numpy()
        lost = int((~mine["ok"]).sum())
        vain = f", {lost:,} of them in vain" if lost else ""
        first_ns = int(mine["sent"].iloc[0])
        message = (
            f"{_whose(frames, rows[0])} token was renewed {len(mine):,} times within "
            f"{duration(int(mine['sent'].iloc[-1]) - first_ns)} from {clock_time(first_ns)} on{vain} "
            f"(calls {_seqs(frames, rows)}).{skew(frames, rows)}"
        )
        findings.append(Finding(message, first_ns, tuple(calls["seq"].iloc[rows[:_SHOWN]].tolist())))
    verdict = "PASS" if not findings else "FAIL" if largest >= stampede else "WARN"
    return Judgement(verdict, float(largest), 1.0, tuple(findings), untold=len(found) - len(findings))


@rule("QL303", "refresh-token-reused", unit="renewals")
def refresh_token_reused(frames: Frames) -> Judgement:
    """The app used a refresh token that had been replaced by another.

    ## What it checks
    Refresh tokens that were presented again after they had been exchanged for a new one. Where the provider
    refused that, or revoked the grant for it, FAIL, and the finding names what the revocation then cost;
    where it let it pass (a grace, or rotation without revocation) WARN. A provider that gives no new refresh
    token is asked with the old one for ever: nothing.

    ## Why it matters
    A provider cannot tell an app that has lost count from a thief with a stolen copy. By the security
    guidance for OAuth it revokes the grant: the person is logged out of the connection by the app's own slip.

    ## Example
    Worker A refreshes with R1 and gets R2. Worker B, which has read R1 before, refreshes with R1 as well.
    The provider revokes the grant; A's next refresh, with R2, is answered invalid_grant.

    ## What to do instead
    Store the new refresh token before the new access token is used, in one transaction, where all workers
    read it; renew under a lock; never keep a copy of a refresh token over a renewal.

    ## Source
    RFC 9700, section 4.14.2; RFC 6749, sections 6 and 10.4.
    """
    calls = frames.calls
    presented = calls["oauth:refresh_token"].notna() & (calls["oauth:grant_type"] == "refresh_token")
    rows = np.flatnonzero(presented.to_numpy())
    if not len(rows):
        return Judgement("NA", threshold=0.0, note="no refresh token was presented")
    token = calls["oauth:refresh_token"].cat.codes.to_numpy().astype(np.int64)
    old = calls["oauth:refresh_token"].iloc[rows].astype("str").to_numpy()
    new = calls["oauth:issued_refresh_token"].iloc[rows]
    rotated = rows[new.notna().to_numpy() & (new.astype("str").to_numpy() != old)]
    if not len(rotated):
        return Judgement("NA", threshold=0.0, note="no refresh token was replaced by another")
    at, done = calls["at"].to_numpy(), calls["done"].to_numpy()
    first = rotated[np.unique(token[rotated], return_index=True)[1]]
    spent = np.full(int(token.max()) + 1, -1, dtype=np.int64)
    spent[token[first]] = first
    by = spent[token[rows]]
    again = rows[(by >= 0) & (rows > by)]
    revoked = details(frames, "token-revoked", why="refresh token used twice")
    ended = set(zip(revoked["who"], revoked["at"], strict=True))
    findings = []
    refused = calls["status"].to_numpy()[again] != 200
    for code in dict.fromkeys(token[again].tolist()):
        mine = again[token[again] == code]
        one, two = int(spent[code]), int(mine[0])
        gap_ns = int(at[two] - done[one])
        when = f"{duration(gap_ns)} after that answer" if gap_ns >= 0 else "before that answer was there"
        person = calls["person"].iloc[one]
        message = (
            f"{_whose(frames, one)} refresh token was replaced at {clock_time(int(at[one]))} (call "
            f"{calls['seq'].iloc[one]}) and presented {count(len(mine), 'more time')}, first {when} (call "
            f"{calls['seq'].iloc[two]})."
        )
        kills = [int(row) for row in mine if (person, int(at[row])) in ended]
        if kills:
            message += _cost_of_revocation(frames, one, kills[0])
        elif (calls["status"].iloc[mine] == 200).all():
            message += " The provider let it pass."
        findings.append(
            Finding(
                message,
                int(at[two]),
                (int(calls["seq"].iloc[one]), *calls["seq"].iloc[mine[:_SHOWN]].tolist()),
            )
        )
        if len(findings) == MOST_FINDINGS:
            break
    verdict = "PASS" if not len(again) else "FAIL" if refused.any() else "WARN"
    return Judgement(
        verdict,
        float(len(again)),
        0.0,
        tuple(findings),
        untold=len(np.unique(token[again])) - len(findings),
    )


@rule("QL304", "ignored-invalid-grant", unit="renewals")
def ignored_invalid_grant(frames: Frames) -> Judgement:
    """The app went on refreshing after the provider had said that the grant is gone.

    ## What it checks
    Refreshes for a person that were sent after one of theirs had been answered invalid_grant. Each counts,
    until the person has given consent anew. One that was on its way already does not.

    ## Why it matters
    invalid_grant is final: the refresh token is expired, revoked or spent, and no repetition brings it back.
    The person, who alone could help, is not asked; and the provider sees a client that tries dead tokens.

    ## Example
    A person withdraws consent at 09:00. The refresh at 09:40 is answered invalid_grant, and the app repeats
    it every minute until midnight.

    ## What to do instead
    Delete the person's tokens on invalid_grant, stop all work on their behalf, and ask them to connect again.

    ## Source
    RFC 6749, section 5.2 (invalid_grant).
    """
    calls = frames.calls
    holder = frames.once(holders)
    sent, done = calls["sent"].to_numpy(), calls["done"].to_numpy()
    rows = np.flatnonzero((calls["oauth:grant_type"] == "refresh_token").to_numpy() & (holder >= 0))
    told = rows[(calls["error"] == "invalid_grant").to_numpy()[rows]]
    if not len(told):
        note = "no refresh was answered invalid_grant" if len(rows) else "no token was refreshed"
        return Judgement("NA", threshold=0.0, note=note)
    by = _still_told(frames, told, rows)
    again, by = rows[by >= 0], by[by >= 0]
    findings = []
    for whose in dict.fromkeys(holder[again].tolist()):
        mine = again[holder[again] == whose]
        # What was first said of the grant that these refreshes were for.
        since = told[(holder[told] == whose) & (told <= by[holder[again] == whose].min())]
        start = int(since[0]) if len(since) else int(mine[0])
        message = (
            f"{_whose(frames, int(mine[0]))} refresh was answered invalid_grant at "
            f"{clock_time(int(done[start]))} (call {calls['seq'].iloc[start]}); the app refreshed "
            f"{count(len(mine), 'more time')} without a new consent, last at "
            f"{clock_time(int(sent[mine[-1]]))}."
        )
        seqs = (int(calls["seq"].iloc[start]), *calls["seq"].iloc[mine[:_SHOWN]].tolist())
        findings.append(Finding(message, int(sent[mine[0]]), seqs))
        if len(findings) == MOST_FINDINGS:
            break
    untold = len(np.unique(holder[again])) - len(findings)
    return Judgement("FAIL" if findings else "PASS", float(len(again)), 0.0, tuple(findings), untold=untold)


@rule("QL305", "revoked-token-reused", unit="calls")
def revoked_token_reused(frames: Frames) -> Judgement:
    """A person had withdrawn, the app had been told so, and went on calling for them.

    ## What it checks
    Calls to the API with tokens that were revoked, sent after the app had learnt it: by a 401 on one of them,
    or by invalid_grant. The first such answer is how an app learns; each call after it counts, until the
    person has given consent anew. FAIL.

    ## Why it matters
    People withdraw because they do not want the app to act for them any more. An app that goes on trying
    keeps their tokens, which it should have deleted, and looks to the provider like an intruder.

    ## Example
    A person withdraws at 09:00; the 09:05 sync is answered 401, and so is every sync until midnight.

    ## What to do instead
    Treat a 401 that a refresh does not mend, and every invalid_grant, as the end of the grant: delete the
    tokens, cancel the person's jobs, and show them how to connect again.

    ## Source
    RFC 7009, section 1; RFC 6750, section 3.1 (invalid_token).
    """
    calls = frames.calls
    holder = frames.once(holders)
    rows = np.flatnonzero(calls["token_state"].eq("revoked").to_numpy() & (holder >= 0))
    ended = frames.events["what"].isin(("consent-withdrawn", "token-revoked")).any()
    if not len(rows):
        if not ended:
            return Judgement("NA", threshold=0.0, note="nobody withdrew, and no token was revoked")
        note = "tokens were revoked, and none of them was presented afterwards"
        return Judgement("PASS", 0.0, 0.0, note=note)
    refused = (calls["error"] == "invalid_grant") & (calls["oauth:grant_type"] == "refresh_token")
    told = np.union1d(rows[frames.once(rejected_calls)[rows]], np.flatnonzero(refused & (holder >= 0)))
    by = _still_told(frames, told, rows)
    again = rows[by >= 0]
    sent, done = calls["sent"].to_numpy(), calls["done"].to_numpy()
    findings = []
    for whose in dict.fromkeys(holder[again].tolist()):
        mine = again[holder[again] == whose]
        start = int(by[np.flatnonzero(rows == mine[0])[0]])
        how = f"a {calls['status'].iloc[start]}" if calls["kind"].iloc[start] == "api" else "invalid_grant"
        message = (
            f"{_whose(frames, int(mine[0]))} token was revoked, which {how} told the app at "
            f"{clock_time(int(done[start]))} (call {calls['seq'].iloc[start]}); it was presented "
            f"{count(len(mine), 'more time')}, last at {clock_time(int(sent[mine[-1]]))}."
        )
        seqs = (int(calls["seq"].iloc[start]), *calls["seq"].iloc[mine[:_SHOWN]].tolist())
        findings.append(Finding(message, int(sent[mine[0]]), seqs))
        if len(findings) == MOST_FINDINGS:
            break
    untold = len(np.unique(holder[again])) - len(findings)
    return Judgement("FAIL" if findings else "PASS", float(len(again)), 0.0, tuple(findings), untold=untold)


@rule("QL306", "token-per-call", unit="share", token_share=0.5, least_tokens=3, early_share=0.5)
def token_per_call(frames: Frames, *, token_share: float, least_tokens: int, early_share: float) -> Judgement:
    """The app asked for a new access token for each call.

    ## What it checks
    Renewals of a token that was still good (more than `early_share` of its life left, and not rejected) and
    had served one call at most. WARN when at least `least_tokens` of them are more than `token_share` of all
    renewals that were answered.

    ## Why it matters
    Each call costs two, and waits for two. Token endpoints have limits of their own, often far lower than
    the API's, and some providers keep only the latest few tokens alive.

    ## Example
    An hourly job asks for a token by client credentials before each of its 400 requests.

    ## What to do instead
    Keep the access token with its expiry (expires_in), use it until shortly before, and share it between
    workers.

    ## Source
    RFC 6749, section 1.4 and section 5.1 (expires_in).
    """
    made = frames.once(renewals)
    made = made[made["ok"]]
    if not len(made):
        return Judgement("NA", threshold=token_share, note="no token was renewed")
    needless = _needless(frames, made, early_share)
    mine = made[needless & (made["used"] <= 1)]
    metric = len(mine) / len(made)
    if len(mine) < least_tokens or metric <= token_share:
        return Judgement("PASS", metric, token_share)
    findings = _by_holder(
        frames,
        mine,
        lambda group: (
            f"{count(len(group), 'token')} of the {frames.provider.name} API that were good for "
            f"{_longer(group)} longer were replaced after one call at most"
        ),
    )
    note = f"{len(mine):,} of {count(len(made), 'renewal')} replaced a token that had served one call at most"
    untold = mine["holder"].nunique() - len(findings)
    return Judgement("WARN", metric, token_share, findings, note=note, untold=untold)


@rule("QL307", "refresh-too-early", unit="share", early_share=0.5, renewals_share=0.05)
def refresh_too_early(frames: Frames, *, early_share: float, renewals_share: float) -> Judgement:
    """The app renewed tokens that were good for a long time yet.

    ## What it checks
    Renewals of a token that had more than `early_share` of its life left, was not rejected by the API, and
    had served more than one call (else it is QL306). WARN when they are more than `renewals_share` of all
    renewals that were answered. Where the provider's clock and the app's differ, the finding says so.

    ## Why it matters
    Each renewal is a call to an endpoint with limits of its own, a moment in which a rotating refresh token
    can be lost, and a herd where all workers do it at once, as at every start or every full hour.

    ## Example
    Tokens last an hour; the app refreshes all of them every five minutes "to be safe".

    ## What to do instead
    Renew shortly before the end that expires_in told (some minutes, with jitter), when the token is needed.

    ## Source
    RFC 6749, section 5.1 (expires_in) and section 1.5.
    """
    made = frames.once(renewals)
    made = made[made["ok"]]
    if not len(made):
        return Judgement("NA", threshold=renewals_share, note="no token was renewed")
    mine = made[_needless(frames, made, early_share) & (made["used"] > 1)]
    metric = len(mine) / len(made)
    if metric <= renewals_share:
        return Judgement("PASS", metric, renewals_share)
    findings = _by_holder(
        frames,
        mine,
        lambda group: (
            f"{count(len(group), 'renewal')} came while the token was good for {_longer(group)} longer"
        ),
    )
    note = f"{len(mine):,} of {count(len(made), 'renewal')} came too early"
    untold = mine["holder"].nunique() - len(findings)
    return Judgement("WARN", metric, renewals_share, findings, note=note, untold=untold)


@rule("QL308", "refresh-after-rejection-only", unit="share", late_share=0.5, least_renewals=3)
def refresh_after_rejection_only(frames: Frames, *, late_share: float, least_renewals: int) -> Judgement:
    """The app renews tokens only after the API has rejected them.

    ## What it checks
    Renewals of tokens that had expired and that a call had presented all the same, to a 401. WARN when at
    least `least_renewals` of them are more than `late_share` of all renewals that were answered. Tokens that
    were revoked, or that a planted fault killed before their time, do not count: nobody could foresee it.
    Where the provider's clock is ahead of the app's, that is named as the cause.

    ## Why it matters
    expires_in says when a token ends. An app that does not look spends a call of its quota, and a moment of
    a person's wait, on each end of a token; and when many end at once, the 401s come as a herd.

    ## Example
    Tokens last an hour. At each full hour the first call of every person is answered 401, then refreshed.

    ## What to do instead
    Keep the expiry with the token, by the app's own clock from the moment of the answer, and renew some
    minutes before it: that also covers clocks that differ.

    ## Source
    RFC 6749, section 5.1 (expires_in); RFC 6750, section 3.1.
    """
    made = frames.once(renewals)
    made = made[made["ok"]]
    if not len(made):
        return Judgement("NA", threshold=late_share, note="no token was renewed")
    calls = frames.calls
    by = made["rejected"].to_numpy()
    row = np.maximum(by, 0)
    skewed = is_skewed(frames, row)
    expired = (calls["token_state"].iloc[row] == "expired").to_numpy()
    foreseen = calls["fault"].iloc[row].isna().to_numpy() | skewed
    mine = made[(by >= 0) & expired & foreseen]
    metric = len(mine) / len(made)
    if len(mine) < least_renewals or metric <= late_share:
        return Judgement("PASS", metric, late_share)

    def told(group: pd.DataFrame) -> str:
        return (
            f"{count(len(group), 'renewal')} came only after a call with the expired token was answered 401"
        )

    findings = _by_holder(frames, mine, told, also="rejected")
    note = f"{len(mine):,} of {count(len(made), 'renewal')} came only after a 401"
    untold = mine["holder"].nunique() - len(findings)
    return Judgement("WARN", metric, late_share, findings, note=note, untold=untold)


@rule("QL309", "token-in-url", unit="calls")
def token_in_url(frames: Frames) -> Judgement:
    """The app put a token into the address of a call.

    ## What it checks
    Calls to the API that carry an access or a refresh token in their query, whether the provider looks for
    it there or not. FAIL; WARN where the provider's own documentation has it (`token_at` of the profile).

    ## Why it matters
    Addresses are written into the logs of every server and proxy on the way, kept in histories and sent on
    as Referer. Whoever reads one of them has the token.

    ## Example
    `GET /v1/events?access_token=2YotnFZ...`

    ## What to do instead
    Send it in the Authorization header.

    ## Source
    RFC 9700, section 4.3.2 (clients must not pass access tokens in a URI query parameter); RFC 6750,
    sections 2.3 and 5.3.
    """
    calls = frames.api_calls
    known = calls[calls["token_at"].notna()]
    if not len(known):
        return Judgement(
            "NA", threshold=0.0, note="no call carried a token, or the ledger does not say where"
        )
    mine = known[known["token_at"].eq("query")]
    findings = []
    for (method, path), group in mine.groupby(["method", "path"], observed=True, sort=False):
        message = (
            f"{count(len(group), 'call')} of {method} {path} carried a token in the address, first at "
            f"{clock_time(int(group['at'].iloc[0]))} (call {group['seq'].iloc[0]})."
        )
        findings.append((-len(group), message, group))
    findings.sort(key=lambda one: one[0])
    told = tuple(
        Finding(message, int(group["at"].iloc[0]), tuple(group["seq"].iloc[:_SHOWN].tolist()))
        for _, message, group in findings[:MOST_FINDINGS]
    )
    documented = any(at.place == "query" for at in frames.provider.oauth.token_at)
    verdict = "PASS" if not told else "WARN" if documented else "FAIL"
    return Judgement(verdict, float(len(mine)), 0.0, told, untold=len(findings) - len(told))


@rule("QL310", "token-not-revoked", unit="tokens")
def token_not_revoked(frames: Frames) -> Judgement:
    """A person disconnected the app, or connected it anew, and the old tokens stayed alive.

    ## What it checks
    Where the provider has a revocation endpoint: after a person disconnected in the app (the event
    `disconnected`, which a scenario writes) the app must revoke what it holds of theirs before the run ends:
    else FAIL. A person who connected again while their former grant was alive and was never revoked leaves a
    second set of tokens behind: REVIEW, as the app may have kept both on purpose.

    ## Why it matters
    To forget a token is not to end it. It stays good at the provider, in backups and logs, for as long as it
    lasts, which for refresh tokens can be for ever, while the person believes that the connection is cut.

    ## Example
    A person presses "disconnect". The app deletes its row; the refresh token works for another year.

    ## What to do instead
    On disconnect, and before a new consent replaces an old one, send the refresh token to the revocation
    endpoint, then delete it.

    ## Source
    RFC 7009, sections 1 and 2.1.
    """
    if not frames.provider.oauth.revocation:
        return Judgement("NA", threshold=0.0, note="the provider has no revocation endpoint")
    calls = frames.calls
    person = calls["person"].astype(object).to_numpy()
    revoked = calls.loc[(calls["kind"] == "revoke") & (calls["status"] == 200), ["at", "person", "seq"]]
    gone = details(frames, "disconnected")
    ended = frames.events[frames.events["what"].isin(("consent-withdrawn", "token-revoked"))]
    given = frames.once(consents)
    again = given[given.duplicated("holder")]
    if not len(gone) and not len(again):
        return Judgement("NA", threshold=0.0, note="nobody disconnected in the app, or connected it twice")
    findings = []
    for one in gone.to_dict("records"):
        mine = revoked[(revoked["person"] == one["who"]) & (revoked["at"] >= one["at"])]
        dead = ended[(ended["who"] == one["who"]) & (ended["at"] <= one["at"])]
        had = calls.loc[
            (person == one["who"]) & calls["oauth:issued_token"].notna() & (calls["at"] <= one["at"]),
            ["seq", "at"],
        ]
        if len(mine) or not len(had) or (len(dead) and dead["at"].max() >= had["at"].max()):
            continue
        message = (
            f"{one['who']} disconnected the app at {clock_time(one['at'])}, and the app revoked nothing of "
            f"theirs (last token: call {had['seq'].iloc[-1]})."
        )
        findings.append(Finding(message, one["at"], (int(had["seq"].iloc[-1]),)))
    lost = len(findings)
    seq, at = calls["seq"].to_numpy(), calls["at"].to_numpy()
    for row, last in _left_behind(frames, again["row"].to_numpy()):
        message = (
            f"{person[row]} connected again at {clock_time(int(at[row]))} (call {seq[row]}) while the grant "
            f"before was alive (call {seq[last]}), and the app never revoked that one."
        )
        findings.append(Finding(message, int(at[row]), (int(seq[last]), int(seq[row]))))
    verdict = "FAIL" if lost else "REVIEW" if findings else "PASS"
    told = tuple(findings[:MOST_FINDINGS])
    return Judgement(verdict, float(len(findings)), 0.0, told, untold=len(findings) - len(told))


def _left_behind(frames: Frames, rows: Ints) -> list[tuple[int, int]]:
    """Of consents given anew, those beside a grant that was alive: with the last token that it had brought.

    A grant with a refresh token is taken to be alive until it is revoked, one without for as long as its
    last access token.
    """
    calls, holder = frames.calls, frames.once(holders)
    at, person = calls["at"].to_numpy(), calls["person"].cat.codes.to_numpy().astype(np.int64)
    given = np.flatnonzero(calls["oauth:issued_token"].notna().to_numpy() & (holder >= 0))
    place = known_before((holder[given], at[given], given), (holder[rows], at[rows], rows))
    rows, last = rows[place >= 0], given[place[place >= 0]]
    events = frames.events[frames.events["what"].isin(("consent-withdrawn", "token-revoked"))]
    codes = calls["person"].cat.categories.get_indexer(pd.Index(events["who"].astype(object)))
    revoked = np.flatnonzero((calls["kind"].eq("revoke") & calls["status"].eq(200)).to_numpy())
    whose = np.concatenate([codes.astype(np.int64), person[revoked]])
    when = np.concatenate([events["at"].to_numpy(dtype=np.int64), at[revoked]])
    place = known_before((whose, when, np.full(len(whose), -1)), (person[rows], at[rows], rows))
    is_over = (
        (place >= 0) & (when[np.maximum(place, 0)] >= at[last]) if len(when) else np.zeros(len(rows), bool)
    )
    lives = calls["oauth:issued_refresh_token"].notna().to_numpy()[last]
    lives |= at[last] + frames.provider.oauth.access_token_lifetime_ns > at[rows]
    left = lives & ~is_over
    return list(zip(rows[left].tolist(), last[left].tolist(), strict=True))


def _whose(frames: Frames, row: int) -> str:
    """``ann's``, or ``a person's`` of a call whose person is not known."""
    person = frames.calls["person"].iloc[row]
    return f"{person}'s" if isinstance(person, str) else "A person's"


def _seqs(frames: Frames, rows: Ints) -> str:
    """``17, 18, 19 ...``: the first calls by their `seq`."""
    shown = ", ".join(str(seq) for seq in frames.calls["seq"].iloc[rows[:6]])
    return f"{shown} ..." if len(rows) > 6 else shown


def _follows_rejection(frames: Frames, made: pd.DataFrame, within_ns: int) -> npt.NDArray[np.bool_]:
    """Whether the API had rejected a token of the holder's shortly before each renewal was sent."""
    calls = frames.calls
    first = frames.once(rejections)
    row = first["row"].to_numpy()
    of = frames.once(holders)[row]
    done = calls["done"].to_numpy()[row]
    asked = (made["holder"].to_numpy(), made["sent"].to_numpy(), made["row"].to_numpy())
    place = known_before((of, done, row), asked)
    since_ns = made["sent"].to_numpy() - (done[np.maximum(place, 0)] if len(done) else 0)
    return (place >= 0) & (since_ns <= 2 * within_ns)


def _still_told(frames: Frames, told: Ints, rows: Ints) -> Ints:
    """For each of `rows` the answer among `told` that the app had when it sent it, -1 where it had none, or
    where the holder has given consent anew since."""
    holder = frames.once(holders)
    sent, done = frames.calls["sent"].to_numpy(), frames.calls["done"].to_numpy()
    asked = (holder[rows], sent[rows], rows)
    place = known_before((holder[told], done[told], told), asked)
    by = np.where(place >= 0, told[np.maximum(place, 0)] if len(told) else -1, -1)
    given = frames.once(consents)
    when, of = given["done"].to_numpy(), given["row"].to_numpy()
    new = known_before((given["holder"].to_numpy(), when, of), asked)
    is_new = (new >= 0) & (of[np.maximum(new, 0)] > by) if len(of) else np.zeros(len(rows), dtype=bool)
    return np.where(is_new, -1, by)


def _cost_of_revocation(frames: Frames, first: int, second: int) -> str:
    """What the revocation that a reuse brought about then cost."""
    calls = frames.calls
    holder = frames.once(holders)
    mine = np.flatnonzero(holder == holder[first])
    new = frames.once(consents)
    until = new.loc[(new["holder"] == holder[first]) & (new["row"] > second), "row"]
    mine = mine[(mine > second) & (mine < (until.min() if len(until) else len(calls)))]
    states, errors = calls["token_state"].iloc[mine], calls["error"].iloc[mine]
    dead = int((states == "revoked").sum()) + int((errors == "invalid_grant").sum())
    text = f" For this the provider revoked the grant (call {calls['seq'].iloc[second]})"
    return (
        f"{text}: {count(dead, 'later call')} of theirs {'was' if dead == 1 else 'were'} refused."
        if dead
        else f"{text}."
    )


def _needless(frames: Frames, made: pd.DataFrame, early_share: float) -> npt.NDArray[np.bool_]:
    """Renewals of a token that was good for long yet; those that came together are QL302's."""
    life_ns = frames.provider.oauth.access_token_lifetime_ns
    early = made["left_ns"] > early_share * life_ns if life_ns < NEVER_NS else made["left_ns"] > 0
    good = early & (made["former"] >= 0) & (made["rejected"] < 0) & ~made["together"]
    soon = (made["since_ns"] <= _SOON_NS) & _follows_rejection(frames, made, _SOON_NS)
    return (good & ~soon).to_numpy(dtype=bool)


def _longer(group: pd.DataFrame) -> str:
    left_ns = int(group["left_ns"].median())
    return "ever" if left_ns >= NEVER_NS // 2 else duration(left_ns)


def _by_holder(
    frames: Frames, mine: pd.DataFrame, tell: Callable[[pd.DataFrame], str], also: str = "row"
) -> tuple[Finding, ...]:
    """A finding for each holder, those with the most renewals first."""
    calls = frames.calls
    sizes = mine["holder"].value_counts(sort=True)
    findings = []
    for whose in sizes.index[:MOST_FINDINGS]:
        group = mine[mine["holder"] == whose]
        rows = group["row"].to_numpy()
        shown = np.unique(np.concatenate([rows[:_SHOWN], group[also].to_numpy()[:_SHOWN]]))
        message = (
            f"{_whose(frames, int(rows[0]))} token: {tell(group)}, first at "
            f"{clock_time(int(group['sent'].iloc[0]))} (call {calls['seq'].iloc[rows[0]]})."
            f"{skew(frames, np.unique(np.concatenate([rows, group[also].to_numpy()])))}"
        )
        seqs = tuple(calls["seq"].iloc[shown].tolist())
        findings.append(Finding(message, int(group["sent"].iloc[0]), seqs))
    return tuple(findings)
