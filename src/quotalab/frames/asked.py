"""Which calls each limit was asked about, and what they cost, from the calls' own columns and the profile.

What a limit was asked about is what the ledger has a key for; whether it had to be asked is worked out here
from kind, caller, route, tags, method, tenant and object, and compared in `quotalab.frames.agreement`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from quotalab.errors import InputError
from quotalab.frames.loading import Frames
from quotalab.profiles.faults import Fault
from quotalab.profiles.limits import METERED, Limit

__all__ = [
    "KEY_COLUMNS",
    "UNKNOWN_ROUTE",
    "Calls",
    "asked_calls",
    "expected",
    "member_column",
    "numbers",
    "struck",
]

Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

KEY_COLUMNS = {
    "app": "client_id",
    "person": "person",
    "tenant": "tenant",
    "token": "token",
    "ip": "ip",
    "route": "route",
    "object": "object",
}
"""What a limit counts a call under -> the column of calls that says it."""
UNKNOWN_ROUTE = "unknown"
_BEFORE_LIMITS = ("too_large", "server_error")
"""What a call can be answered before any limit is asked, where no planted fault answers it."""
_MOST = 2**62


@dataclass(frozen=True)
class Calls:
    """The calls that were asked of one limit, in the order in which they were decided: (at, seq)."""

    rows: Ints
    """Their positions in `Frames.calls`."""
    at_ns: Ints
    answered_ns: Ints
    key: Ints
    """Codes of the categorical column `key:LIMIT`."""
    number: Ints
    """The limit's number, in force at the call."""
    need: Ints
    """What had to fit; 1 where the limit is not metered."""
    final: Ints
    """What an admitted call is charged in the end; 1 where the limit is not metered."""
    admitted: Bools
    """By every limit."""
    charged: Bools
    """Admitted; or refused and charged to this limit all the same, as the ledger has it."""
    when: str
    """``before``, ``refund`` or ``after``: see `quotalab.profiles.limits.Cost`."""

    @property
    def asked(self) -> Ints:
        """What was asked for: what was charged in the end, or would have had to fit."""
        return np.where(self.admitted, self.final, self.need)

    @property
    def at_once(self) -> Ints:
        """What is charged when the call is decided."""
        if self.when == "after":
            return np.where(self.charged & ~self.admitted, self.need, 0)
        return np.where(self.charged, self.need, 0)

    @property
    def settled(self) -> Ints:
        """What is charged when the answer has been given; below 0, what comes back."""
        if self.when == "after":
            return np.where(self.admitted, self.final, 0)
        return np.where(self.admitted, self.final - self.need, 0)


def asked_calls(frames: Frames) -> Mapping[str, Calls]:
    """By name of the profile's limits. Use as ``frames.once(asked_calls)``."""
    calls = frames.calls
    order = np.argsort(calls["at"].to_numpy(), kind="stable")  # the table is in order of seq
    at_ns, answered_ns = calls["at"].to_numpy(), calls["answered"].to_numpy()
    admitted = calls["limit"].isna().to_numpy()
    found = {}
    for limit in frames.provider.limits:
        codes = calls[f"key:{limit.name}"].cat.codes.to_numpy().astype(np.int64)
        rows = order[((codes >= 0) & calls["kind"].isin(limit.match.kinds).to_numpy())[order]]
        need, final = _costs(frames, limit, rows)
        found[limit.name] = Calls(
            rows=rows,
            at_ns=at_ns[rows],
            answered_ns=answered_ns[rows],
            key=codes[rows],
            number=numbers(frames, limit, at_ns[rows]),
            need=need,
            final=final,
            admitted=admitted[rows],
            charged=admitted[rows] | calls[f"charge:{limit.name}"].notna().to_numpy()[rows],
            when=limit.cost.when if limit.kind in METERED else "before",
        )
    return found


def numbers(frames: Frames, limit: Limit, at_ns: Ints) -> Ints:
    """A limit's number in force at each instant, by the timetable."""
    found = np.full(len(at_ns), limit.limit, dtype=np.int64)
    for change in limit.changes:
        found[at_ns >= frames.run.start_ns + change.after_ns] = change.limit
    return found


def _costs(frames: Frames, limit: Limit, rows: Ints) -> tuple[Ints, Ints]:
    """What has to fit, and what is charged in the end: see `quotalab.profiles.limits.Cost`."""
    if limit.kind not in METERED:
        ones = np.ones(len(rows), dtype=np.int64)
        return ones, ones
    cost, calls = limit.cost, frames.calls
    own = np.full(len(rows), cost.base, dtype=np.int64)
    for column, table in (
        ("method", cost.methods),
        ("route", cost.routes),
    ):  # a route's goes before a method's
        categories = calls[column].cat.categories
        codes = calls[column].cat.codes.to_numpy()[rows]
        for code, name in enumerate(categories):
            if name in table:
                own[codes == code] = table[name]
    returned = _objects(calls["objects"].to_numpy()[rows], own, cost.per_object)
    if cost.when == "refund":
        return _objects(calls["objects_asked"].to_numpy()[rows], own, cost.per_object), returned
    if cost.when == "after":
        free = (own == 0) & (cost.per_object == 0)
        return np.where(free, 0, 1), returned
    return returned, returned


def _objects(number: Ints, own: Ints, each: int) -> Ints:
    if not each or not len(number):
        return own
    if int(number.max()) * each + int(own.max()) > _MOST or int(number.min()) < 0:
        raise InputError("a call that costs 2**62 or more, or less than nothing, cannot be counted exactly")
    found: Ints = own + each * number
    return found


def member_column(frames: Frames, limit: Limit) -> pd.Series:
    """What a cardinality limit counts, for all calls."""
    if limit.of == "token" and limit.match.kinds == ("token",):
        return frames.calls["oauth:issued_refresh_token"]
    return frames.calls[KEY_COLUMNS[limit.of]]


def struck(frames: Frames, meant: Callable[[Fault], bool]) -> Bools:
    """Which calls a planted fault touched that is `meant`; the column `fault` has their names."""
    names = {fault.name for fault in frames.provider.faults if meant(fault)}
    column = frames.calls["fault"].cat
    hit = [not names.isdisjoint(told.split()) for told in column.categories]
    return np.isin(column.codes.to_numpy(), np.flatnonzero(hit))


def expected(frames: Frames) -> Mapping[str, Bools]:
    """Which calls each limit had to be asked about, by what the calls themselves say.

    Of calls to the authorization server only those that were asked of some limit: what else was wrong with
    them cannot be told from their columns. Use as ``frames.once(expected)``.
    """
    calls, limits = frames.calls, frames.provider.limits
    is_api = (calls["kind"] == "api").to_numpy()
    keyed = np.zeros(len(calls), dtype=bool)
    for limit in limits:
        keyed |= calls[f"key:{limit.name}"].notna().to_numpy()
    state = calls["token_state"]
    anonymous = (state.notna() & (state != "valid")).to_numpy()
    early = calls["error"].isin(_BEFORE_LIMITS).to_numpy() & ~keyed
    early |= struck(frames, lambda fault: fault.comes_first)
    route_tags = {route.name: route.tags for route in frames.provider.routes}
    found = {}
    for limit in limits:
        match = limit.match
        mine = calls["kind"].isin(match.kinds).to_numpy() & ~early
        if match.callers != "all":
            mine &= ~is_api | (anonymous == (match.callers == "anonymous"))
        if match.routes or match.tags:
            meant = [
                name
                for name, tags in route_tags.items()
                if name in match.routes or not set(tags).isdisjoint(match.tags)
            ]
            of_route = calls["route"].isin(meant).to_numpy()
            if UNKNOWN_ROUTE in match.routes:
                of_route = of_route | calls["route"].isna().to_numpy()
            mine &= of_route
        if match.methods:
            mine &= calls["method"].isin(match.methods).to_numpy()
        for part in ("tenant", "object"):
            if part in limit.key or (limit.kind == "cardinality" and limit.of == part):
                mine &= calls[part].notna().to_numpy()
        if limit.kind == "cardinality" and match.kinds == ("token",):
            mine &= calls["oauth:issued_refresh_token"].notna().to_numpy()
        else:
            mine &= is_api | keyed
        found[limit.name] = mine
    return found
