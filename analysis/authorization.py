"""Authorization: whether the app asks people for consent, and takes their answers, as OAuth wants it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial

import numpy as np
import numpy.typing as npt
import pandas as pd

from quotalab.frames import Frames
from quotalab.rules import MOST_FINDINGS, Finding, Judgement, rule
from quotalab.rules.grants import AUTHORIZE, details, holders, known_before, scopes_of
from quotalab.rules.times import clock_time, count, duration, share

Ints = npt.NDArray[np.int64]

_SHOWN = 50  # calls of one finding; its message has the number of all
_BITS_A_CHARACTER = 6  # at most: a state is of the 66 unreserved characters of a URI, mostly of 64
_NO_REQUEST = "no authorization request was answered"
_NO_REDEMPTION = "no authorization code was sent to the token endpoint"


@rule("QL401", "missing-pkce", unit="requests")
def missing_pkce(frames: Frames) -> Judgement:
    """The app asked for consent without PKCE.

    ## What it checks
    Authorization requests that were answered, with a code or an error, and held no `code_challenge`. FAIL
    where the provider requires it or takes clients without a secret; else WARN.

    ## Why it matters
    A code that is stolen on its way back (by another app on the device, a log, a Referer) can be redeemed by
    the thief, or be slipped into somebody else's session. With PKCE it is worthless to anybody but the one
    who asked for it.

    ## Example
    `GET /oauth/authorize?response_type=code&client_id=app-1&state=...`, and no `code_challenge`.

    ## What to do instead
    Make a fresh verifier for each request, send its S256 challenge, and keep the verifier in the session.
    Every OAuth library has it.

    ## Source
    RFC 9700, section 2.1.1 (public clients must, others are recommended to); RFC 7636, section 4.
    """
    asked = frames.once(_answered)
    if not len(asked):
        return Judgement("NA", threshold=0.0, note=_NO_REQUEST)
    bare = asked[asked["oauth:code_challenge"].isna() & asked["oauth:pkce_method"].isna()]
    oauth = frames.provider.oauth
    must = oauth.pkce == "required" or "none" in oauth.client_authentication
    findings = _by_client(
        bare, lambda group: f"sent {count(len(group), 'authorization request')} without a code_challenge"
    )
    note = None
    if findings and not must:
        note = "the provider does not ask for PKCE of clients with a secret; it is recommended all the same"
    verdict = "PASS" if not findings else "FAIL" if must else "WARN"
    return Judgement(verdict, float(len(bare)), 0.0, findings, note=note)


@rule("QL402", "plain-pkce", unit="requests")
def plain_pkce(frames: Frames) -> Judgement:
    """The app used PKCE with the challenge in the clear.

    ## What it checks
    Authorization requests whose `code_challenge_method` is `plain`, or is left out, which means the same.

    ## Why it matters
    With `plain` the challenge is the verifier. Whoever sees the request can redeem the code: PKCE is then a
    ceremony that protects nothing.

    ## Example
    `code_challenge=Qk...&code_challenge_method=plain`

    ## What to do instead
    Send `code_challenge_method=S256` and the SHA-256 of the verifier.

    ## Source
    RFC 7636, section 4.2 (a client that can use S256 must); RFC 9700, section 2.1.1.
    """
    asked = frames.once(_answered)
    used = asked[asked["oauth:code_challenge"].notna() | asked["oauth:pkce_method"].notna()]
    if not len(used):
        note = "no authorization request used PKCE" if len(asked) else _NO_REQUEST
        return Judgement("NA", threshold=0.0, note=note)
    plain = used[used["oauth:pkce_method"].ne("S256") | used["oauth:pkce_method"].isna()]
    findings = _by_client(
        plain,
        lambda group: f"sent {count(len(group), 'authorization request')} whose challenge is the verifier",
    )
    return Judgement("FAIL" if findings else "PASS", float(len(plain)), 0.0, findings)


@rule("QL403", "reused-challenge", unit="requests alike")
def reused_challenge(frames: Frames) -> Judgement:
    """The app used one PKCE verifier for several requests.

    ## What it checks
    Challenges that brought more than one authorization code. The ledger holds hashes of them: equal ones are
    seen to be equal, whatever they are.

    ## Why it matters
    The verifier binds a code to the one request that asked for it. One that is built into the app, or kept
    for all of a person's requests, binds nothing: a code of another request fits it as well.

    ## Example
    The verifier is a constant in the app's settings; 40 people's requests have the same challenge.

    ## What to do instead
    Draw a new verifier, of at least 32 random bytes, for every authorization request.

    ## Source
    RFC 7636, sections 4.1 and 7.1; RFC 9700, section 2.1.1 (the challenge must be specific to the
    transaction).
    """
    asked = frames.once(_answered)
    coded = asked[asked["oauth:code"].notna() & asked["oauth:code_challenge"].notna()]
    if not len(coded):
        note = "no request with a code challenge brought a code"
        return Judgement("NA", threshold=1.0, note=note)
    return _repeated(coded, "oauth:code_challenge", "PKCE challenge", "FAIL")


@rule("QL404", "weak-state", unit="weak states", least_bits=128)
def weak_state(frames: Frames, *, least_bits: int) -> Judgement:
    """The app's `state` is missing, repeated, or too short to be a secret.

    ## What it checks
    Authorization requests that ended with a code or with access_denied. FAIL: there was no `state`, or the
    same one in two of them. WARN: it was so short that, at six bits a character, it cannot hold `least_bits`.
    The ledger has only hashes and lengths: that a long state is guessable (a name, a counter in a long text)
    cannot be seen there.

    ## Why it matters
    `state` is how an app knows that a callback belongs to a request of this very browser. Without it, or
    with one that can be guessed, an attacker makes a victim's session take up the attacker's code: the
    victim then works in the attacker's account.

    ## Example
    `state=login` in every request; or `state=1767571200`.

    ## What to do instead
    Draw at least 128 random bits for each request, keep them in the browser's session, compare them when the
    callback comes, and forget them.

    ## Source
    RFC 6749, sections 10.10 and 10.12; RFC 9700, section 4.7.
    """
    asked = frames.once(_answered)
    ended = asked[asked["oauth:code"].notna() | asked["error"].eq("access_denied")]
    if not len(ended):
        return Judgement("NA", threshold=0.0, note="no authorization request came to an end")
    absent = ended[ended["oauth:state"].isna()]
    findings = list(
        _by_client(absent, lambda group: f"sent {count(len(group), 'authorization request')} without a state")
    )
    repeated = _repeated(ended[ended["oauth:state"].notna()], "oauth:state", "state", "FAIL")
    findings += repeated.findings
    length = ended["oauth:state_length"]
    short = ended[(length.notna() & (length * _BITS_A_CHARACTER < least_bits)).to_numpy(dtype=bool)]

    def too_short(group: pd.DataFrame) -> str:
        least = int(group["oauth:state_length"].min())
        return (
            f"sent {count(len(group), 'state')} of as few as {count(least, 'character')}: at most "
            f"{least * _BITS_A_CHARACTER} bits, where {least_bits} are wanted"
        )

    verdict = "FAIL" if findings else "WARN" if len(short) else "PASS"
    findings += _by_client(short, too_short)
    weak = set(absent["seq"]) | set(short["seq"]) | {seq for one in repeated.findings for seq in one.calls}
    told = tuple(findings[:MOST_FINDINGS])
    untold = repeated.untold + len(findings) - len(told)
    return Judgement(verdict, float(len(weak)), 0.0, told, untold=untold)


@rule("QL405", "redirect-mismatch", unit="requests")
def redirect_mismatch(frames: Frames) -> Judgement:
    """The app used a redirect URI that is not registered, or not the same in both steps.

    ## What it checks
    Authorization requests without a redirect URI, or with one that is not registered; and codes that were
    redeemed with another URI than they had been asked for with, or without it.

    ## Why it matters
    Providers compare these texts exactly, as a code sent to a wrong address is a code given away. The person
    sees an error page of the provider's, and no way back to the app.

    ## Example
    `app.test/oauth/callback` is registered; the app asks with `app.test/oauth/callback/`.

    ## What to do instead
    Keep the URI in one setting, register exactly that, and send it in both steps.

    ## Source
    RFC 6749, sections 3.1.2.3 and 4.1.3; RFC 9700, section 2.1 (exact string matching).
    """
    asked = frames.once(_answered)
    redeemed = _redeemed(frames)
    if not len(asked) and not len(redeemed):
        return Judgement("NA", threshold=0.0, note=_NO_REQUEST)
    uri = asked["oauth:redirect_uri"]
    wrong = asked[uri.isna() | uri.eq("[not registered]")]
    findings = list(
        _by_client(
            wrong,
            lambda group: (
                f"sent {count(len(group), 'authorization request')} with a redirect URI that is "
                "missing or not registered"
            ),
        )
    )
    coded = asked[asked["oauth:code"].notna()]
    first = dict(
        zip(coded["oauth:code"].astype("str"), coded["oauth:redirect_uri"].astype("str"), strict=True)
    )
    then = redeemed["oauth:code"].astype("str").map(first)
    other = redeemed[
        (then.notna() & (redeemed["oauth:redirect_uri"].astype("str") != then)).to_numpy(dtype=bool)
    ]
    findings += _by_client(
        other,
        lambda group: (
            f"redeemed {count(len(group), 'code')} with another redirect URI than it was asked with"
        ),
    )
    metric = float(len(wrong) + len(other))
    return Judgement("FAIL" if findings else "PASS", metric, 0.0, tuple(findings))


@rule("QL406", "over-scoped", unit="scopes", least_calls=100, least_kinds=4)
def over_scoped(frames: Frames, *, least_calls: int, least_kinds: int) -> Judgement:
    """The app asked for scopes that nothing it did had need of.

    ## What it checks
    Scopes that were asked for in authorization requests and that routes of the profile need, of which no
    route was called with success. The verdict is REVIEW, as a run may not have used all of the app; it is NA
    below `least_calls` successful calls, and where people asked for fewer than `least_kinds` different
    operations: such a run tries a part of the app. Scopes that no route of the profile needs (openid, offline
    access) cannot be judged. The note has what was asked, granted and used.

    ## Why it matters
    Each scope is a question to a person, and one more thing that a stolen token can do. Reviewers of
    providers ask for the use of each, and refuse apps that cannot name it.

    ## Example
    A calendar viewer asks for `events.read events.write calendar.admin` and only ever reads.

    ## What to do instead
    Ask for what the feature at hand needs, and for more when a person first uses what needs more.

    ## Source
    RFC 6749, section 3.3; RFC 9700, section 2.3 (privileges restricted to the minimum); Google API Services
    User Data Policy, "Request the minimum relevant permissions".
    """
    scopes = frames.once(scopes_of)
    if not scopes:
        return Judgement("NA", threshold=0.0, note="no scope was asked for")
    told = _told(frames)
    calls = frames.api_calls
    served = int(calls["error"].isna().sum())
    if served < least_calls:
        note = f"{count(served, 'successful call')}, too few to tell what is used; {told}"
        return Judgement("NA", threshold=0.0, note=note)
    kinds = frames.operations["name"].nunique()
    if 0 < kinds < least_kinds:
        note = f"only {count(kinds, 'kind')} of operations, too few to tell what the app needs; {told}"
        return Judgement("NA", threshold=0.0, note=note)
    needed = {scope for route in frames.provider.routes for scope in route.scopes}
    findings = []
    unused = 0
    for one in scopes:
        left = sorted((one.asked & needed) - one.used)
        unused += len(left)
        if left:
            message = (
                f"{one.client} asked for {', '.join(left)}, and no call that succeeded had need of "
                f"{'it' if len(left) == 1 else 'them'}."
            )
            findings.append(Finding(message, None, _first_asking(frames, one.client, left)))
    verdict = "REVIEW" if findings else "PASS"
    return Judgement(verdict, float(unused), 0.0, tuple(findings), note=told)


@rule("QL407", "restricted-scope", unit="scopes")
def restricted_scope(frames: Frames) -> Judgement:
    """The app asked for scopes that it may not have before the provider's review.

    ## What it checks
    Authorization requests before the approval (the whole run, where there is none) that asked for a scope of
    the profile's `[test_phase]`: one of `forbidden_scopes` is FAIL, as the provider answers invalid_scope;
    one of `restricted_scopes` is WARN, as people are warned of the app. The note has what was asked, granted
    and used.

    ## Why it matters
    What works for the developer's own account then fails for everybody, at the very moment of the launch:
    nobody can connect, because of a scope that most of them did not need.

    ## Example
    During temporary access the app asks for `calendar.admin`, which needs a review of its own.

    ## What to do instead
    Ask only for scopes that the app has been granted, and switch further ones on by configuration once they
    are approved.

    ## Source
    RFC 6749, section 4.1.2.1 (invalid_scope); the provider profile's `[test_phase]`.
    """
    phase = frames.provider.test_phase
    if not phase.forbidden_scopes and not phase.restricted_scopes:
        return Judgement("NA", threshold=0.0, note="the profile has no scope that a test phase restricts")
    asked = frames.once(_answered)
    asked = asked[asked["oauth:scopes_asked"].notna()]
    approved = frames.events.loc[frames.events["what"] == "approved", "at"]
    if len(approved):
        asked = asked[asked["at"] < approved.min()]
    if not len(asked):
        return Judgement("NA", threshold=0.0, note="no scope was asked for before the approval")
    findings: list[Finding] = []
    worst, number = "PASS", 0
    for names, verdict, why in (
        (phase.forbidden_scopes, "FAIL", "which the provider forbids before its review"),
        (phase.restricted_scopes, "WARN", "of which the consent page warns before the provider's review"),
    ):
        for scope in names:
            mine = asked[_holds(asked["oauth:scopes_asked"], scope)]
            number += len(mine)
            if len(mine):
                worst = verdict if worst == "PASS" else worst
            findings += _by_client(mine, partial(_asked_for, scope, why))
    return Judgement(worst, float(number), 0.0, tuple(findings), note=_told(frames))


@rule("QL408", "unknown-scope", unit="requests")
def unknown_scope(frames: Frames) -> Judgement:
    """The app asked for a scope that the provider does not have.

    ## What it checks
    Authorization requests that asked for a scope which the profile does not name. The note has what was
    asked, granted and used.

    ## Why it matters
    The provider answers invalid_scope, and nobody can connect: a scope's name was mistyped, or joined with
    the wrong separator (some providers have commas where OAuth has spaces).

    ## Example
    `scope=events.read%2Cevents.write` at a provider that wants a space: one scope, and an unknown one.

    ## What to do instead
    Take the names and the separator from the provider's documentation, and try the first consent in a test.

    ## Source
    RFC 6749, section 3.3 and section 4.1.2.1 (invalid_scope).
    """
    asked = frames.once(_answered)
    asked = asked[asked["oauth:scopes_asked"].notna()]
    if not len(asked):
        return Judgement("NA", threshold=0.0, note="no scope was asked for")
    mine = asked[_holds(asked["oauth:scopes_asked"], "[other]")]
    findings = _by_client(
        mine, lambda group: f"asked {count(len(group), 'time')} for a scope that the provider does not have"
    )
    return Judgement("FAIL" if findings else "PASS", float(len(mine)), 0.0, findings, note=_told(frames))


@rule("QL409", "missing-scope", unit="calls")
def missing_scope(frames: Frames) -> Judgement:
    """The app called what needs a scope that it had never asked for.

    ## What it checks
    Calls that were refused for want of a scope which the client had asked nobody for. WARN; FAIL where the
    app called the same route again after that answer was there. Where the scope had been asked for and a
    person did not grant it, see QL410. The note has what was asked, granted and used.

    ## Why it matters
    Such a call cannot succeed for anybody, and a permission is no rate limit: waiting and repeating does not
    mend it. Each attempt costs quota, and a person gets an error that only the developer can remove.

    ## Example
    The app asks for `events.read`, and its "add event" button is answered 403 insufficient_scope all day.

    ## What to do instead
    Keep the scopes that each feature needs beside the feature, ask for them before it is used, and treat 403
    insufficient_scope as a reason to ask for consent, never to retry.

    ## Source
    RFC 6750, section 3.1 (insufficient_scope).
    """
    calls = frames.api_calls
    if not calls["scopes_needed"].notna().any():
        return Judgement("NA", threshold=0.0, note="no call was made to a route that needs a scope")
    mine = _lacking(frames, granted_less=False)
    return _scope_judgement(frames, mine, ["client_id", "route"], "had asked nobody for that")


@rule("QL410", "partial-consent-ignored", unit="calls")
def partial_consent_ignored(frames: Frames) -> Judgement:
    """A person granted less than was asked, and the app called as if they had granted all.

    ## What it checks
    Calls that were refused for want of a scope which had been asked for and which the person had not
    granted. The answer to the code tells what was granted. WARN; FAIL where the app called the same route
    for the same person again after that answer was there. The note has what was asked, granted and used.

    ## Why it matters
    People may untick scopes, and providers let them. An app that does not look at what it was granted shows
    such a person errors for ever, and spends its quota on them.

    ## Example
    A person unticks `activity:write`. The token's answer says `scope: read,activity:read`, and each upload
    is answered 403.

    ## What to do instead
    Read `scope` in the token's answer, keep it with the tokens, and switch off, or ask anew for, what it does
    not cover.

    ## Source
    RFC 6749, sections 3.3 and 5.1 (the server must tell a scope that differs); Strava API, Authentication
    ("Apps should check which scopes a user has accepted."), developers.strava.com/docs/authentication.
    """
    asked = frames.once(_answered)
    coded = asked[asked["oauth:code"].notna() & asked["oauth:scopes_asked"].notna()]
    pairs = coded[["oauth:scopes_asked", "oauth:scopes_granted"]].drop_duplicates()
    less = [
        row
        for row in pairs.itertuples(index=False)
        if isinstance(row[0], str) and not set(row[0].split()) <= set(str(row[1]).split())
    ]
    if not less:
        return Judgement("NA", threshold=0.0, note="nobody granted less than was asked for")
    mine = _lacking(frames, granted_less=True)
    return _scope_judgement(frames, mine, ["client_id", "person", "route"], "had not been granted that")


@rule("QL411", "denied-consent-mishandled", unit="requests", loop_s=60.0, loops=3)
def denied_consent_mishandled(frames: Frames, *, loop_s: float, loops: int) -> Judgement:
    """A person said no, and the app sent them straight back to the question.

    ## What it checks
    Authorization requests for a person that begin within `loop_s` seconds of an answer access_denied for
    the same client and person. WARN; FAIL from `loops` in a row on.

    ## Why it matters
    A person who has said no wants to go on without the connection. An app that takes any callback without a
    code for "not connected yet, so connect" holds them in a loop that only closing the window ends.

    ## Example
    The callback `?error=access_denied` is answered with a redirect to the provider's consent page, which
    comes back with access_denied, and so on, four times a second.

    ## What to do instead
    Read `error` in the callback, show what cannot be done without the connection, and ask again only when
    the person wants to.

    ## Source
    RFC 6749, section 4.1.2.1 (access_denied).
    """
    calls = frames.calls
    mine = (calls["kind"] == "authorize") & calls["path"].eq(AUTHORIZE)
    denied = np.flatnonzero((mine & calls["error"].eq("access_denied")).to_numpy())
    holder = frames.once(holders)
    denied = denied[holder[denied] >= 0]
    if not len(denied):
        return Judgement("NA", threshold=0.0, note="nobody refused consent")
    sent, done = calls["sent"].to_numpy(), calls["done"].to_numpy()
    rows = np.flatnonzero((mine & calls["method"].eq("GET")).to_numpy() & (holder >= 0))
    facts = (holder[denied], done[denied], denied)
    place = known_before(facts, (holder[rows], sent[rows], rows))
    by = denied[np.maximum(place, 0)]
    back = (place >= 0) & (sent[rows] - done[by] < int(loop_s * 1e9))
    rows, by = rows[back], by[back]
    people, sizes = np.unique(holder[rows], return_counts=True)
    longest = int(sizes.max(initial=0))
    findings = []
    for whose in people[np.argsort(-sizes, kind="stable")][:MOST_FINDINGS]:
        again = rows[holder[rows] == whose]
        first = int(by[holder[rows] == whose][0])
        message = (
            f"{calls['person'].iloc[first]} refused consent at {clock_time(int(done[first]))} (call "
            f"{calls['seq'].iloc[first]}) and was asked again {count(len(again), 'time')}, first "
            f"{duration(int(sent[again[0]] - done[first]))} later (call {calls['seq'].iloc[again[0]]})."
        )
        seqs = (int(calls["seq"].iloc[first]), *calls["seq"].iloc[again[:_SHOWN]].tolist())
        findings.append(Finding(message, int(sent[again[0]]), seqs))
    verdict = "PASS" if not findings else "FAIL" if longest >= loops else "WARN"
    untold = len(people) - len(findings)
    return Judgement(verdict, float(len(rows)), 0.0, tuple(findings), untold=untold)


@rule("QL412", "code-reused", unit="codes")
def code_reused(frames: Frames) -> Judgement:
    """The app sent an authorization code to the token endpoint more than once.

    ## What it checks
    Requests to the token endpoint with a code that an earlier one had carried, where that had been answered
    with a token or with invalid_grant. An attempt that a limit refused, or that met a fault of the
    provider's, may be repeated. Where the provider revoked the tokens for it, the finding says so.

    ## Why it matters
    A code is good for one use. The second use looks like a stolen code: the provider refuses it, and should
    revoke all that the first had brought. The person, just connected, is disconnected again.

    ## Example
    The callback's page is loaded twice, and each load redeems the code.

    ## What to do instead
    Redeem once: forget the state when its callback comes, so that a second is refused before the code is
    sent, and redirect to a page of its own.

    ## Source
    RFC 6749, section 4.1.2 (the client must not use the code more than once; a server that sees it twice
    should revoke what the first use brought).
    """
    redeemed = _redeemed(frames)
    if not len(redeemed):
        return Judgement("NA", threshold=0.0, note=_NO_REDEMPTION)
    spends = redeemed["oauth:issued_token"].notna() | redeemed["error"].eq("invalid_grant")
    spent = redeemed[spends].drop_duplicates("oauth:code")
    first = dict(zip(spent["oauth:code"].astype("str"), spent.index, strict=True))
    by = redeemed["oauth:code"].astype("str").map(first).fillna(len(frames.calls)).to_numpy(dtype=np.int64)
    again = redeemed[redeemed.index.to_numpy() > by]
    by = by[redeemed.index.to_numpy() > by]
    revoked = details(frames, "token-revoked", why="code used twice")
    ended = set(revoked["at"])
    findings = []
    starts = pd.unique(by)
    for start in starts[:MOST_FINDINGS]:
        mine = again[by == start]
        one = frames.calls.loc[start]
        whose = f"{one['person']}'s code" if isinstance(one["person"], str) else "A code"
        later = duration(int(mine["at"].iloc[0] - one["at"]))
        message = (
            f"{whose} was sent at {clock_time(int(one['at']))} (call {one['seq']}) and "
            f"{count(len(mine), 'more time')}, first {later} later (call {mine['seq'].iloc[0]})."
        )
        if ended & set(mine["at"]):
            message += " For this the provider revoked the tokens that the code had brought."
        seqs = (int(one["seq"]), *mine["seq"].iloc[:_SHOWN].tolist())
        findings.append(Finding(message, int(mine["at"].iloc[0]), seqs))
    verdict = "FAIL" if findings else "PASS"
    untold = len(starts) - len(findings)
    return Judgement(verdict, float(len(again)), 0.0, tuple(findings), untold=untold)


@rule("QL413", "deprecated-grant", unit="requests")
def deprecated_grant(frames: Frames) -> Judgement:
    """The app used a grant that is no longer to be used.

    ## What it checks
    Requests to the token endpoint with `grant_type=password`, and authorization requests with
    `response_type=token` (the implicit grant), whether the provider answered them or not.

    ## Why it matters
    With the password grant an app learns people's passwords, which is what OAuth is there to avoid; with the
    implicit grant access tokens travel in addresses, with nothing that binds them to who asked.

    ## Example
    `grant_type=password&username=ann&password=...`

    ## What to do instead
    Use the authorization code grant with PKCE; for the app's own account, client credentials.

    ## Source
    RFC 9700, section 2.1.2 (implicit) and section 2.4 (password: must not be used).
    """
    calls = frames.calls
    oauth = calls[
        (calls["kind"].eq("token") & calls["oauth:grant_type"].notna())
        | (calls["kind"].eq("authorize") & calls["oauth:response_type"].notna())
    ]
    if not len(oauth):
        return Judgement("NA", threshold=0.0, note="no grant was asked for")
    findings: list[Finding] = []
    number = 0
    for column, value, name in (
        ("oauth:grant_type", "password", "password"),
        ("oauth:response_type", "token", "implicit"),
    ):
        mine = oauth[oauth[column].eq(value)]
        number += len(mine)
        findings += _by_client(mine, partial(_used_grant, name))
    return Judgement("FAIL" if findings else "PASS", float(number), 0.0, tuple(findings))


@rule("QL414", "client-secret-exposed", unit="requests")
def client_secret_exposed(frames: Frames) -> Judgement:
    """The app put its secret into an address, or sent it in two ways at once.

    ## What it checks
    Requests to the authorization server with `client_secret` in their query, and those that carry the secret
    in the Authorization header and in the form.

    ## Why it matters
    Addresses are logged everywhere; in an authorization request the secret even travels through people's
    browsers. Two ways at once are refused by providers that keep to the standard, and make of each change of
    the secret two.

    ## Example
    `POST /oauth/token?client_id=app-1&client_secret=...`

    ## What to do instead
    Send it in the Authorization header (client_secret_basic), or where the provider wants it, in the form.

    ## Source
    RFC 6749, section 2.3.1 (must not be in the request URI) and section 2.3 (not more than one method).
    """
    calls = frames.calls
    known = calls[calls["oauth:client_auth"].notna()]
    if not len(known):
        return Judgement(
            "NA", threshold=0.0, note="no request had a secret, or the ledger does not say how it was sent"
        )
    ways = known["oauth:client_auth"]
    in_url = known[_holds(ways, "query")]
    twice = known[ways.eq("basic post")]
    findings = [
        *_by_client(
            in_url, lambda group: f"sent its secret in the address of {count(len(group), 'request')}", "path"
        ),
        *_by_client(
            twice,
            lambda group: f"sent its secret in the header and in the form of {count(len(group), 'request')}",
            "path",
        ),
    ]
    metric = float(len(in_url) + len(twice))
    return Judgement("FAIL" if findings else "PASS", metric, 0.0, tuple(findings))


@rule("QL415", "forged-callback-accepted", unit="callbacks")
def forged_callback_accepted(frames: Frames) -> Judgement:
    """The app took up a callback whose state it had never given out.

    ## What it checks
    The answers to the probe `forged_state`, which a profile plants among its `[[faults]]`: a callback with a
    true code and a state that the app did not make. An app that is connected by it, raises nothing, or sends
    the code to the token endpoint has accepted it.

    ## Why it matters
    An attacker sends a victim such a link. The victim's session is then connected to the attacker's account,
    and what the victim enters goes there; or the victim's data is joined to an account that the attacker
    holds.

    ## Example
    The callback's handler reads `code` and does not look at `state`.

    ## What to do instead
    Compare `state` with the one in this browser's session before anything else, and refuse the callback when
    they differ.

    ## Source
    RFC 6749, section 10.12; RFC 9700, section 4.7.
    """
    return _probe_judgement(frames, "forged_state", "a callback with a state that the app had not made")


@rule("QL416", "wrong-issuer-accepted", unit="callbacks")
def wrong_issuer_accepted(frames: Frames) -> Judgement:
    """The app took up a callback that another authorization server claims to have sent.

    ## What it checks
    The answers to the probe `wrong_issuer`: a callback whose `iss` is not the provider's. FAIL where the
    provider names its issuer in its answers; else WARN, as the app has no reason to expect one.

    ## Why it matters
    An app that knows several providers can be brought to send one provider's code to another (mix-up): the
    attacker, who runs the other, redeems it.

    ## Example
    The callback has `iss=attacker.test`, and the app redeems its code.

    ## What to do instead
    Compare `iss` with the issuer to which the request was sent, and refuse the callback when they differ.

    ## Source
    RFC 9207, section 2.4; RFC 9700, section 4.4.
    """
    names = frames.provider.oauth.issuer_parameter
    said = "a callback that names another issuer"
    return _probe_judgement(frames, "wrong_issuer", said, "FAIL" if names else "WARN")


@rule("QL417", "injected-code-accepted", unit="callbacks")
def injected_code_accepted(frames: Frames) -> Judgement:
    """The app took up a code that another person had got.

    ## What it checks
    The answers to the probe `injected_code`: the victim's own state with a code that somebody else was given
    by a request of their own. Sending it to the token endpoint is no mistake, as only the provider can tell;
    being connected by it is.

    ## Why it matters
    Whoever gets hold of a code, from a log or another app on the device, puts it into a session of their own
    and is let into the account of the person to whom it belongs.

    ## Example
    An app without PKCE redeems the code; the provider has nothing by which to see that it was asked for
    elsewhere.

    ## What to do instead
    Use PKCE with a verifier for each request: the provider then refuses the code.

    ## Source
    RFC 9700, sections 2.1.1 and 4.5 (authorization code injection).
    """
    return _probe_judgement(frames, "injected_code", "a code that another person had got")


def _answered(frames: Frames) -> pd.DataFrame:
    """Authorization requests that brought a code or an error: the end of each, not its pages on the way."""
    calls = frames.calls
    mine = calls["kind"].eq("authorize") & (calls["path"].eq(AUTHORIZE) | frames.is_recorded)
    ended = calls["oauth:code"].notna() | calls["error"].notna()
    return calls[mine & ended & ~calls["error"].isin(("forged_form", "method_not_allowed"))]


def _redeemed(frames: Frames) -> pd.DataFrame:
    """Requests to the token endpoint that carried a code."""
    calls = frames.calls
    return calls[calls["kind"].eq("token") & calls["oauth:code"].notna()]


def _asked_for(scope: str, why: str, group: pd.DataFrame) -> str:
    return f"asked {count(len(group), 'time')} for '{scope}', {why}"


def _used_grant(name: str, group: pd.DataFrame) -> str:
    return f"used the {name} grant in {count(len(group), 'request')}"


def _by_client(mine: pd.DataFrame, tell: Callable[[pd.DataFrame], str], *more: str) -> tuple[Finding, ...]:
    """A finding for each client (and each of `more`): they are few."""
    findings = []
    by = ["client_id", *more]
    for key, group in mine.groupby(by, observed=True, dropna=False, sort=False):
        client = key[0] if isinstance(key[0], str) else "A client that is not registered"
        message = (
            f"{client} {tell(group)}, first at {clock_time(int(group['at'].iloc[0]))} (call "
            f"{group['seq'].iloc[0]})."
        )
        findings.append(
            Finding(message, int(group["at"].iloc[0]), tuple(group["seq"].iloc[:_SHOWN].tolist()))
        )
    return tuple(findings[:MOST_FINDINGS])


def _repeated(asked: pd.DataFrame, column: str, noun: str, bad: str) -> Judgement:
    """Values that occur in more than one request; `metric` is the most requests that share one."""
    sizes = asked[column].value_counts()
    sizes = sizes[sizes > 1]
    findings = []
    for value in sizes.index[:MOST_FINDINGS]:
        group = asked[asked[column].eq(value)]
        people = group["person"].nunique()
        message = (
            f"{count(len(group), 'authorization request')} of {count(people, 'person', 'people')} had the "
            f"same {noun}, first at {clock_time(int(group['at'].iloc[0]))} (call {group['seq'].iloc[0]})."
        )
        findings.append(
            Finding(message, int(group["at"].iloc[0]), tuple(group["seq"].iloc[:_SHOWN].tolist()))
        )
    metric = float(sizes.max()) if len(sizes) else 1.0
    verdict = bad if findings else "PASS"
    return Judgement(verdict, metric, 1.0, tuple(findings), untold=len(sizes) - len(findings))


def _holds(texts: pd.Series, word: str) -> npt.NDArray[np.bool_]:
    """Which of the texts (of few different ones) hold the word."""
    return texts.isin([text for text in texts.cat.categories if word in str(text).split()]).to_numpy()


def _told(frames: Frames) -> str:
    """What each client asked for, was granted, and used."""
    return "; ".join(f"{one.client}: {one}" for one in frames.once(scopes_of))


def _first_asking(frames: Frames, client: str, scopes: Iterable[str]) -> tuple[int, ...]:
    asked = frames.once(_answered)
    mine = asked[asked["client_id"].eq(client)]
    found = [mine.loc[_holds(mine["oauth:scopes_asked"], scope), "seq"].iloc[:1] for scope in scopes]
    return tuple(sorted({int(seq) for seqs in found for seq in seqs}))


def _lacking(frames: Frames, *, granted_less: bool) -> pd.DataFrame:
    """Calls refused for want of a scope: one that was asked for and not granted, or one never asked for."""
    calls = frames.api_calls
    code = frames.provider.dialect.errors["insufficient_scope"].code
    refused = calls[calls["error"].eq(code) & calls["limit"].isna() & calls["scopes_needed"].notna()]
    asked = {one.client: one.asked for one in frames.once(scopes_of)}
    pairs = refused[["client_id", "scopes_needed"]].drop_duplicates()
    wanted = [
        (client, needed)
        for client, needed in pairs.itertuples(index=False)
        if (set(str(needed).split()) <= asked.get(str(client), frozenset())) is granted_less
    ]
    chosen = np.zeros(len(refused), dtype=bool)
    for client, needed in wanted:
        chosen |= (refused["client_id"].eq(client) & refused["scopes_needed"].eq(needed)).to_numpy()
    return refused[chosen]


def _scope_judgement(frames: Frames, mine: pd.DataFrame, by: list[str], why: str) -> Judgement:
    """WARN for calls that lack a scope; FAIL for those sent after an answer that had said so."""
    findings: list[Finding] = []
    repeated = groups = 0
    for _, group in mine.groupby(by, observed=True, sort=False):
        groups += 1
        first = group.iloc[0]
        again = group[(group["sent"] >= first["done"]) & (group["seq"] > first["seq"])]
        repeated += len(again)
        if len(findings) == MOST_FINDINGS:
            continue
        whose = f" for {first['person']}" if "person" in by else ""
        more = f", and called again {count(len(again), 'time')} after that answer" if len(again) else ""
        message = (
            f"{first['client_id']} called '{first['route']}'{whose}, which needs {first['scopes_needed']}, "
            f"and {why}: refused at {clock_time(int(first['at']))} (call {first['seq']}){more}."
        )
        findings.append(Finding(message, int(first["at"]), tuple(group["seq"].iloc[:_SHOWN].tolist())))
    verdict = "FAIL" if repeated else "WARN" if findings else "PASS"
    untold = groups - len(findings)
    return Judgement(verdict, float(len(mine)), 0.0, tuple(findings), note=_told(frames), untold=untold)


def _probe_judgement(frames: Frames, question: str, said: str, bad: str = "FAIL") -> Judgement:
    """What the app answered to the probes of one kind."""
    probes = details(frames, "probe")
    asked = [
        (int(at), who, told)
        for at, who, told in zip(probes["at"], probes["who"], probes["details"], strict=True)
        if told.get("question") == question and told.get("answer") in ("accepted", "refused")
    ]
    if not asked:
        note = f"the probe '{question}' was not asked: plant it among the profile's faults"
        return Judgement("NA", threshold=0.0, note=note)
    accepted = [one for one in asked if one[2]["answer"] == "accepted"]
    findings = tuple(
        Finding(f"At {clock_time(at)} the app accepted {said}, for {who}: {told.get('how', '')}.", at)
        for at, who, told in accepted[:MOST_FINDINGS]
    )
    note = f"{len(accepted):,} of {count(len(asked), 'probe')} accepted ({share(len(accepted) / len(asked))})"
    verdict = bad if accepted else "PASS"
    untold = len(accepted) - len(findings)
    return Judgement(verdict, float(len(accepted)), 0.0, findings, note=note, untold=untold)
