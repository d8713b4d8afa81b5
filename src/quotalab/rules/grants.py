"""Meanings that the rules on tokens and on authorization share: whose a call is, what was known when it was
sent, how tokens were renewed, which scopes were asked, granted and used.

A person's grant begins with a code that was redeemed, and lives on by renewals; whoever acts for itself
(client credentials) is a holder too.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from quotalab.frames import Frames

__all__ = [
    "AUTHORIZE",
    "RENEWALS",
    "Scopes",
    "consents",
    "details",
    "holders",
    "is_skewed",
    "known_before",
    "rejected_calls",
    "rejections",
    "renewals",
    "scopes_of",
    "skew",
]

Ints = npt.NDArray[np.int64]

AUTHORIZE = "/oauth/authorize"
"""The path of the sandbox's authorization endpoint; other pages around it are `authorize` calls as well."""
RENEWALS = ("refresh_token", "client_credentials")
"""Grants by which an app gets a new token without asking anybody."""
_NEVER_NS = 2**62


def holders(frames: Frames) -> Ints:
    """Whose each call is, as a code of client and person; -1: not known. Use with ``frames.once``.

    A refresh token whose holder the provider no longer knew is known by the answer that gave it out.
    """
    calls = frames.calls
    person = calls["person"].cat.codes.to_numpy().astype(np.int64)
    presented, issued = calls["oauth:refresh_token"], calls["oauth:issued_refresh_token"]
    lost = np.flatnonzero((person < 0) & presented.notna().to_numpy())
    if len(lost):
        given = np.flatnonzero(issued.notna().to_numpy() & (person >= 0))
        owner = dict(zip(issued.iloc[given].astype(str), person[given].tolist(), strict=True))
        person[lost] = [owner.get(token, -1) for token in presented.iloc[lost].astype(str)]
    client = calls["client_id"].cat.codes.to_numpy().astype(np.int64)
    return np.where((person < 0) | (client < 0), -1, person * (int(client.max(initial=0)) + 1) + client)


def known_before(facts: tuple[Ints, Ints, Ints], asked: tuple[Ints, Ints, Ints]) -> Ints:
    """For each of `asked`, the latest of `facts` in its group that was there before it; -1 where none was.

    Both are (group, instant, row): a fact counts from its instant on, and at that very instant only for what
    has a higher row. Positions in `facts` are returned.
    """
    count = len(facts[0])
    group, when, row = (np.concatenate(pair) for pair in zip(facts, asked, strict=True))
    is_fact = np.arange(len(group)) < count
    order = np.lexsort((is_fact, row, when, group))
    place = np.arange(len(order))
    last = np.maximum.accumulate(np.where(is_fact[order], place, -1)) if len(order) else place
    asks = np.flatnonzero(~is_fact[order])
    held = last[asks]
    good = (held >= 0) & (group[order[np.maximum(held, 0)]] == group[order[asks]])
    found = np.full(len(asked[0]), -1, dtype=np.int64)
    found[order[asks[good]] - count] = order[held[good]]
    return found


def rejected_calls(frames: Frames) -> npt.NDArray[np.bool_]:
    """Which calls to the API were told that their token is no good. Use with ``frames.once``.

    By 401, or by what the provider has in its place; not by what it says, with 401 too, where a scope lacks.
    """
    calls, errors = frames.calls, frames.provider.dialect.errors
    codes = {errors[name].code for name in ("unknown_token", "revoked_token", "expired_token")}
    told = (calls["status"] == 401) | (calls["error"].isin(codes) & calls["limit"].isna())
    wants_scope = calls["error"].eq(errors["insufficient_scope"].code) & (calls["token_state"].eq("valid"))
    return (calls["kind"].eq("api") & told & ~wants_scope).to_numpy(dtype=bool)


def rejections(frames: Frames) -> pd.DataFrame:
    """The first rejection of each access token: its hash `token`, `row`, `done`. Use with ``frames.once``."""
    calls = frames.calls
    rows = np.flatnonzero(frames.once(rejected_calls) & calls["token"].notna().to_numpy())
    found = pd.DataFrame({"token": calls["token"].iloc[rows].astype("str").to_numpy(), "row": rows}).assign(
        done=calls["done"].to_numpy()[rows]
    )
    return found.sort_values(["done", "row"]).drop_duplicates("token").reset_index(drop=True)


def consents(frames: Frames) -> pd.DataFrame:
    """Codes that were redeemed: `holder`, `row`, `done`. Use with ``frames.once``."""
    calls = frames.calls
    rows = np.flatnonzero(
        (calls["oauth:grant_type"] == "authorization_code").to_numpy()
        & calls["oauth:issued_token"].notna().to_numpy()
    )
    return pd.DataFrame(
        {
            "holder": frames.once(holders)[rows],
            "row": rows,
            "done": calls["done"].to_numpy()[rows],
        }
    )


def renewals(frames: Frames) -> pd.DataFrame:
    """Requests for a token that asked nobody: refreshes and client credentials. Use with ``frames.once``.

    In order of holder and time: `row`, `holder`, `sent`, `done` (ns), `ok` (a token was given), `former`
    (position in `frames.calls` of the answer that had given the holder's token before, -1: none), `left_ns`
    (of that token's life, by the profile, when this was sent; 2**62: it had no end), `rejected` (position of
    the call by which the API had rejected that token before this was sent, -1: it had not), `used` (how many
    calls to the API carried that token in all), `together` (sent while another renewal for the holder was
    under way), `since_ns` (since the latest renewal that succeeded for the holder was answered; 2**62: none).
    """
    calls = frames.calls
    holder = frames.once(holders)
    sent, at, done = (calls[name].to_numpy() for name in ("sent", "at", "done"))
    ok = calls["oauth:issued_token"].notna().to_numpy()
    rows = np.flatnonzero(calls["oauth:grant_type"].isin(RENEWALS).to_numpy() & (calls["kind"] == "token"))
    rows = rows[holder[rows] >= 0]
    rows = rows[np.lexsort((rows, sent[rows], holder[rows]))]
    given = np.flatnonzero(ok & (holder >= 0))
    place = known_before((holder[given], done[given], given), (holder[rows], sent[rows], rows))
    former = np.where(place >= 0, given[np.maximum(place, 0)] if len(given) else -1, -1)
    life_ns = frames.provider.oauth.access_token_lifetime_ns
    left_ns = np.full(len(rows), _NEVER_NS, dtype=np.int64)
    if life_ns < _NEVER_NS:
        left_ns = at[np.maximum(former, 0)] + life_ns - sent[rows]
    token = calls["oauth:issued_token"].iloc[np.maximum(former, 0)].astype("str").to_numpy()
    first = frames.once(rejections).set_index("token")
    by = first["row"].reindex(token).fillna(-1).to_numpy(dtype=np.int64)
    known = (former >= 0) & (by >= 0) & (done[np.maximum(by, 0)] <= sent[rows]) & (by < rows)
    carried = calls["token"].value_counts()
    carried.index = carried.index.astype("str")
    used = carried.reindex(token).fillna(0).to_numpy(dtype=np.int64)
    before = pd.DataFrame({"holder": holder[rows], "done": done[rows]})
    latest = before.groupby("holder")["done"].cummax().groupby(before["holder"]).shift(fill_value=-1)
    renewed = given[~(calls["oauth:grant_type"].iloc[given] == "authorization_code").to_numpy()]
    place = known_before((holder[renewed], done[renewed], renewed), (holder[rows], sent[rows], rows))
    since_ns = sent[rows] - (done[renewed[np.maximum(place, 0)]] if len(renewed) else 0)
    return pd.DataFrame(
        {
            "row": rows,
            "holder": holder[rows],
            "sent": sent[rows],
            "done": done[rows],
            "ok": ok[rows],
            "former": former,
            "left_ns": left_ns,
            "rejected": np.where(known, by, -1),
            "used": used,
            "together": sent[rows] < latest.to_numpy(),
            "since_ns": np.where(place >= 0, since_ns, _NEVER_NS),
        }
    )


def details(frames: Frames, what: str, **wanted: object) -> pd.DataFrame:
    """The events of one kind, with these details: `seq`, `at`, `who`, and `details` (dicts)."""
    mine = frames.events[frames.events["what"] == what]
    told = pd.DataFrame(
        {
            "seq": mine["seq"].to_numpy(),
            "at": mine["at"].to_numpy(),
            "who": mine["who"].astype(object).to_numpy(),
            "details": [json.loads(text) for text in mine["details"]],
        }
    )
    holds = [wanted.items() <= one.items() for one in told["details"]]
    return told[np.array(holds, dtype=bool)]


def _skews(frames: Frames) -> dict[str, int]:
    """The planted differences of clocks by name: how far the provider's is ahead, in ns."""
    return {fault.name: fault.by_ns for fault in frames.provider.faults if fault.kind == "clock_skew"}


def is_skewed(frames: Frames, rows: Ints) -> npt.NDArray[np.bool_]:
    """Of calls, whether a difference of clocks made their tokens good or bad."""
    planted = _skews(frames)
    if not planted:
        return np.zeros(len(rows), dtype=bool)
    met = [
        names
        for names in frames.calls["fault"].cat.categories
        if not planted.keys().isdisjoint(str(names).split())
    ]
    return frames.calls["fault"].iloc[rows].isin(met).to_numpy()


def skew(frames: Frames, rows: Ints) -> str:
    """A sentence that names the provider's clock as the cause, where it touched one of these calls."""
    planted = _skews(frames)
    if not planted:
        return ""
    for names in frames.calls["fault"].iloc[rows].dropna().unique():
        for name in str(names).split():
            if name in planted:
                by_s = planted[name] / 1e9
                ahead = "ahead of" if by_s > 0 else "behind"
                return (
                    f" The cause is a difference of clocks: the provider's was {abs(by_s):g} s {ahead} the "
                    f"app's ('{name}')."
                )
    return ""


@dataclass(frozen=True)
class Scopes:
    """What one client asked for, was granted, and used."""

    client: str
    asked: frozenset[str]
    granted: frozenset[str]
    used: frozenset[str]
    """That the routes needed whose calls were let through."""

    def __str__(self) -> str:
        parts = (("asked", self.asked), ("granted", self.granted), ("used", self.used))
        return "; ".join(f"{name}: {' '.join(sorted(scopes)) or 'none'}" for name, scopes in parts)


def scopes_of(frames: Frames) -> tuple[Scopes, ...]:
    """Of each client that asked for any, in order of their ids. Use with ``frames.once``."""
    calls = frames.calls
    served = calls["kind"].eq("api") & calls["error"].isna()
    found = []
    for client in calls["client_id"].cat.categories.sort_values():
        mine = calls["client_id"] == client
        asked = _words(calls.loc[mine & (calls["kind"] != "api"), "oauth:scopes_asked"])
        if asked:
            granted = _words(calls.loc[mine & (calls["kind"] != "api"), "oauth:scopes_granted"])
            used = _words(calls.loc[mine & served, "scopes_needed"])
            found.append(Scopes(str(client), asked, granted, used))
    return tuple(found)


def _words(texts: pd.Series) -> frozenset[str]:
    return frozenset(word for text in texts.dropna().unique() for word in str(text).split())
