"""Tokens: whether the app handles the tokens it was given as it should."""

from __future__ import annotations

import numpy as np

from quotalab.frames import Frames
from quotalab.rules import Finding, Judgement, rule
from quotalab.rules.times import clock_time, count, duration


@rule("QL301", "expired-token-reused")
def expired_token_reused(frames: Frames) -> Judgement:
    """The app presented an access token again that the API had rejected.

    ## What it checks
    Access tokens that an API call got a 401 for, and that are presented again in a call sent after that
    answer was there. One 401 as such is fine: tokens expire. A call that was on its way already is fine too.

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
    rejected = presented[presented["status"] == 401].sort_values("done", kind="stable")
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
    for code in np.unique(token[again]):
        mine = presented[again & (token == code)]
        rejection = calls.loc[by[code]]
        wait_ns = int(mine["sent"].iloc[0] - rejection["done"])
        seqs = tuple(int(seq) for seq in mine["seq"])
        message = (
            f"The token of {rejection['person'] if isinstance(rejection['person'], str) else 'a person'} was "
            f"rejected at {clock_time(int(rejection['at']))} (call {rejection['seq']}) and presented "
            f"{count(len(mine), 'more time')}, first {duration(wait_ns)} after that answer (call {seqs[0]})."
        )
        findings.append(Finding(message, int(mine["at"].iloc[0]), (int(rejection["seq"]), *seqs[:50])))
    findings.sort(key=lambda finding: finding.calls[1])
    return Judgement("FAIL" if findings else "PASS", float(len(reused)), 0.0, tuple(findings))
