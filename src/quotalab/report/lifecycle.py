"""The life of tokens over a run: consents, tokens given, renewed, refused, rejected and revoked."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from quotalab.frames import Frames
from quotalab.rules.grants import holders, rejected_calls

__all__ = ["Lane", "life_in_figures", "token_life"]

Ints = npt.NDArray[np.int64]

_EVENTS = (
    ("consent-given", "consent given", "admitted"),
    ("consent-denied", "consent denied", "asked"),
    ("consent-withdrawn", "consent withdrawn", "asked"),
)
_GRANTS = (
    ("authorization_code", "token for a code"),
    ("refresh_token", "token renewed"),
    ("client_credentials", "token for the app"),
)


@dataclass(frozen=True)
class Lane:
    """One kind of thing that happens to tokens, and when it did."""

    label: str
    colour: str
    """A name in `figures.PALETTE`."""
    at_ns: Ints
    people: int
    """How many different ones it happened to, as far as that is known."""


def token_life(frames: Frames) -> list[Lane]:
    """The lanes in the order of a token's life; those in which nothing happened are left out."""
    calls, events = frames.calls, frames.events
    at_ns, who = calls["at"].to_numpy(), frames.once(holders)
    ok = calls["oauth:issued_token"].notna().to_numpy()
    lanes = []
    for what, label, colour in _EVENTS:
        mine = events[events["what"] == what]
        lanes.append(Lane(label, colour, mine["at"].to_numpy(), mine["who"].nunique()))

    def lane(label: str, colour: str, chosen: npt.NDArray[np.bool_]) -> None:
        rows = np.flatnonzero(chosen)
        known = who[rows]
        lanes.append(Lane(label, colour, at_ns[rows], len(np.unique(known[known >= 0]))))

    is_token = (calls["kind"] == "token").to_numpy()
    grants = calls["oauth:grant_type"]
    for grant, label in _GRANTS:
        lane(label, "admitted", is_token & ok & (grants == grant).to_numpy())
    lane(
        "another grant", "admitted", is_token & ok & ~grants.isin([grant for grant, _ in _GRANTS]).to_numpy()
    )
    lane("token refused", "asked", is_token & ~ok)
    lane("rejected by the API", "asked", frames.once(rejected_calls))
    lane("revoked by the app", "demand", (calls["kind"] == "revoke").to_numpy())
    revoked = events[events["what"] == "token-revoked"]
    lanes.append(
        Lane("revoked by the provider", "demand", revoked["at"].to_numpy(), revoked["who"].nunique())
    )
    return [one for one in lanes if len(one.at_ns)]


def life_in_figures(frames: Frames) -> list[tuple[str, str]]:
    """How tokens were used, as pairs of a name and a figure; empty where none was given."""
    calls = frames.calls
    given = calls["oauth:issued_token"]
    rows = np.flatnonzero(given.notna().to_numpy())
    if not len(rows):
        return []
    carried = calls.loc[calls["kind"] == "api", "token"].value_counts()
    carried.index = carried.index.astype("str")
    used = carried.reindex(given.iloc[rows].astype("str")).fillna(0).to_numpy(dtype=np.int64)
    words = [
        ("access tokens given", f"{len(rows):,}"),
        ("calls with each", f"median {int(np.median(used)):,}, at most {int(used.max()):,}"),
        ("never used", f"{int((used == 0).sum()):,}"),
    ]
    states = calls.loc[calls["kind"] == "api", "token_state"].value_counts()
    for state in ("expired", "revoked", "unknown", "none"):
        number = int(states.get(state, 0))
        if number:
            words.append(
                (
                    f"calls with {'no token' if state == 'none' else f'a token that was {state}'}",
                    f"{number:,}",
                )
            )
    return words
