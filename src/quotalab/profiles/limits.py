"""Limits of a provider profile: their kinds, keys, costs and numbers, validated."""

from __future__ import annotations

import contextlib
import datetime
import re
import zoneinfo
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from fractions import Fraction
from hashlib import blake2b
from typing import Any

from quotalab.profiles.reading import Table, parse_duration_ns

__all__ = [
    "CALL_KINDS",
    "KEY_PARTS",
    "KINDS",
    "METERED",
    "Change",
    "Cost",
    "Formula",
    "Limit",
    "Match",
    "Source",
    "key_offset_ns",
    "parse_limits",
    "parse_source",
]

KINDS = (
    "rolling_window",
    "fixed_window",
    "token_bucket",
    "concurrency",
    "balance",
    "cardinality",
    "penalty",
    "opaque",
)
METERED = ("rolling_window", "fixed_window", "token_bucket", "balance", "opaque")
"""Kinds that calls are charged to, by their cost."""
KEY_PARTS = ("app", "person", "tenant", "token", "ip", "route", "object")
CALL_KINDS = ("api", "token", "authorize", "revoke", "introspect")
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")
CONFIDENCES = ("high", "medium", "low", "own", "undisclosed")
REFUSED_CALLS = ("free", "this", "longer", "all")

_DAY_NS = 86_400 * 10**9
_MONTH_NS = 30 * _DAY_NS
_MOST = 10**12
_RATE = re.compile(r"\s*(\d+(?:\.\d+)?(?:/\d+)?)\s*/\s*(.+?)\s*")


@dataclass(frozen=True, slots=True)
class Source:
    """Where a figure comes from: a page, the day it was read, and how sure it is.

    `own`: our choice. `undisclosed`: the provider does not say; what stands here is ours.
    """

    where: str
    read: datetime.date | None
    confidence: str


@dataclass(frozen=True, slots=True)
class Match:
    """Which calls a limit is asked about; an empty tuple: whatever it is."""

    kinds: tuple[str, ...] = ("api",)
    """Of `CALL_KINDS`."""
    callers: str = "known"
    """``known``: with a valid token; ``anonymous``: without one; ``all``."""
    routes: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    """A route is meant by its name or by one of its tags; ``unknown``: endpoints that the profile has not."""
    methods: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Cost:
    """What a call is charged: that of its route, else of its method, else `base`; and its objects'.

    `when` says what has to fit and what is charged in the end, with R objects returned, A asked for, and
    c = the cost of route or method: ``before``: c + per_object x R has to fit, and is charged at once.
    ``refund``: c + per_object x A has to fit and is charged; when the answer has been given, all but
    c + per_object x R comes back. ``after``: 1 has to fit; c + per_object x R is charged when the answer has
    been given, whether it fits or not.
    """

    base: int = 1
    routes: Mapping[str, int] = field(default_factory=dict)
    methods: Mapping[str, int] = field(default_factory=dict)
    per_object: int = 0
    when: str = "before"


@dataclass(frozen=True, slots=True)
class Formula:
    """A number that grows with the app's people: base + per_person x (people - over), within bounds."""

    base: int
    per_person: int
    over: int
    least: int
    most: int

    def number(self, people: int) -> int:
        """The number for so many people; never below 1."""
        return min(self.most, max(self.least, self.base + self.per_person * max(0, people - self.over)))


@dataclass(frozen=True, slots=True)
class Change:
    """From `after_ns` after the start on, the limit is `limit`; a call at that very instant sees it."""

    after_ns: int
    limit: int
    why: str


@dataclass(frozen=True, slots=True)
class Limit:
    """One quota. `limit` is its number: calls, tokens (capacity), credits, members, answers (threshold).

    Which of the other fields mean something depends on `kind`; those that do not keep their defaults.
    """

    name: str
    kind: str
    limit: int
    """Of ``opaque``: 0 until it is drawn; see `drawn`."""
    source: Source
    key: tuple[str, ...] = ("app",)
    match: Match = Match()
    cost: Cost = Cost()
    refused_calls: str = "free"
    """Which limits a call that this one refuses is charged to: none, this, those of longer periods, all."""
    hidden: bool = False
    """Whether no header tells of it."""

    period_ns: int = 0
    """Of windows, balances (0: never refilled), penalties; nominal where `calendar` or `zone` has a say."""
    align: str = "clock"
    """Of a fixed window: ``clock``, ``first_call`` (charged), ``offset`` (its own for each key)."""
    zone: str = "UTC"
    """Of clock-aligned windows: an IANA time zone."""
    calendar: str = ""
    """``month``: clock-aligned windows are calendar months in `zone`."""
    rate: Fraction = Fraction(0)
    """Of a token bucket: tokens a nanosecond, exact."""
    min_age_ns: int = 0
    """Of a concurrency limit: only calls that have been under way for so long count."""
    may_go_negative: bool = True
    """Of a balance: whether a call is admitted as long as anything is left, whatever it costs."""
    of: str = "person"
    """Of a cardinality: what is distinct; one of person, tenant, token, ip, object."""
    on_excess: str = "refuse"
    """Of a cardinality: ``refuse`` the call, or ``evict_oldest`` member."""
    statuses: tuple[int, ...] = ()
    """Of a penalty: which answers count."""
    action: str = "block"
    """Of a penalty: ``block`` the key, ``extend`` (a call while blocked begins the block anew), ``ban``."""
    block_ns: int = 0
    escalation: int = 1
    """Of a penalty: each further block of a key lasts so many times the one before ..."""
    longest_ns: int = 0
    """... but never longer than this ..."""
    forgive_ns: int = 0
    """... and starts from `block_ns` again when so long has passed since the last block's end."""
    floor: int = 0
    ceiling: int = 0
    """Of ``opaque``: the number lies somewhere from `floor` to `ceiling`, both included."""
    counts: str = ""
    """Of ``opaque``: how it counts, ``rolling_window`` or ``fixed_window``; else the kind itself."""
    formula: Formula | None = None
    changes: tuple[Change, ...] = ()
    """In order of time."""

    def for_people(self, people: int) -> Limit:
        """With the number that its formula gives for so many people."""
        return self if self.formula is None else replace(self, limit=self.formula.number(people))

    def drawn(self, number: int) -> Limit:
        """An opaque limit with its number."""
        return replace(self, limit=number)

    @property
    def length_ns(self) -> int | None:
        """The period by which limits are longer or shorter than others; None: for ever.

        Of a token bucket, how long it takes to fill.
        """
        if self.kind == "token_bucket":
            return -(-self.limit // self.rate)
        return self.period_ns if self.kind != "balance" or self.period_ns else None


def key_offset_ns(limit: Limit, key: str) -> int:
    """Where the windows of a limit with ``align = "offset"`` begin for a key: in [0, period)."""
    digest = blake2b(f"{limit.name}\n{key}".encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "big") % limit.period_ns


def parse_source(table: Table) -> Source:
    """A ``source`` table."""
    where = table.text("where")
    read = table.any("read", None)
    if isinstance(read, str):  # a run folder keeps profiles as JSON, which has no dates
        with contextlib.suppress(ValueError):
            read = datetime.date.fromisoformat(read)
    if read is not None and (not isinstance(read, datetime.date) or isinstance(read, datetime.datetime)):
        raise table.error("read", f"must be a date such as 2026-11-01, not {read!r}")
    source = Source(where, read, table.choice("confidence", CONFIDENCES))
    table.done()
    return source


def parse_limits(top: Table, routes: Mapping[str, tuple[str, ...]]) -> tuple[Limit, ...]:
    """The ``limits`` and the ``timetable`` of a profile; `routes` are the routes' names with their tags."""
    limits = {name: _limit(name, table, routes) for name, table in top.tables("limits")}
    if not limits:
        raise top.error("limits", "is missing; there must be at least one [limits.NAME] table")
    for entry in top.array("timetable"):
        after_ns = entry.duration_ns("after")
        why = entry.text("why")
        # Whoever is approved may have the same limits as before: see `oauth.parse_approved`.
        numbers = entry.table("limits", {}) if entry.flag("approve", False) else entry.table("limits")
        for name in numbers:
            if name not in limits:
                raise numbers.error(name, f"there is no such limit; there is: {', '.join(limits)}")
            limit = limits[name]
            evicts = limit.on_excess == "evict_oldest"
            if limit.kind in ("opaque", "concurrency", "penalty") or evicts:
                raise numbers.error(name, f"the number of a limit of kind {limit.kind!r} cannot change")
            if limit.kind == "balance" and limit.period_ns:
                raise numbers.error(name, "the number of a balance that is refilled cannot change")
            change = Change(after_ns, numbers.whole(name, least=1, most=_MOST), why)
            if limit.changes and limit.changes[-1].after_ns >= after_ns:
                raise entry.error("after", "must be later than that of the entry before")
            limits[name] = replace(limit, changes=(*limit.changes, change))
        numbers.done()
        entry.done()
    return tuple(limits.values())


def _limit(name: str, table: Table, routes: Mapping[str, tuple[str, ...]]) -> Limit:
    if not re.fullmatch(r"[A-Za-z][\w-]*", name) or name in ("tightest", "refusing"):
        raise table.error("", "is no name for a limit: letters, digits, dashes and underscores are")
    kind = table.choice("kind", KINDS)
    source = parse_source(table.table("source"))
    key = table.texts("key", ("app",), allowed=KEY_PARTS)
    if not key:
        raise table.error("key", "must name at least one of " + ", ".join(KEY_PARTS))
    match = _match(table.table("match", {}), routes, kind, key)
    hidden = table.flag("hidden", False)
    common: dict[str, Any] = {"source": source, "key": key, "match": match, "hidden": hidden}
    if kind in METERED:
        common["cost"] = _cost(table, routes)
        common["refused_calls"] = table.choice("refused_calls", REFUSED_CALLS, "free")
    if set(match.kinds) != {"api"} and set(key) - {"app", "ip", "person"}:
        raise table.error("key", "of calls that are not the API's may hold app, ip and person only")
    limit = _KINDS[kind](name, table, common)
    if limit.formula is None and limit.kind in ("rolling_window", "fixed_window", "token_bucket"):
        dearest = max((limit.cost.base, *limit.cost.routes.values(), *limit.cost.methods.values()))
        if dearest > limit.limit and limit.cost.when != "after":
            raise table.error("cost", f"of {dearest} never fits into a limit of {limit.limit}")
    table.done()
    return limit


def _match(table: Table, routes: Mapping[str, tuple[str, ...]], kind: str, key: tuple[str, ...]) -> Match:
    tags = sorted({tag for kept in routes.values() for tag in kept})
    callers = "all" if kind == "penalty" and key == ("ip",) else "known"
    match = Match(
        kinds=table.texts("kinds", ("api",), allowed=CALL_KINDS),
        callers=table.choice("callers", ("known", "anonymous", "all"), callers),
        routes=table.texts("routes", (), allowed=(*routes, "unknown")),
        tags=table.texts("tags", (), allowed=tuple(tags)),
        methods=table.texts("methods", (), allowed=METHODS),
    )
    if not match.kinds:
        raise table.error("kinds", "must name at least one of " + ", ".join(CALL_KINDS))
    if match.callers != "known" and set(key) - {"ip", "route"}:
        raise table.error(
            "callers", f"without a token there is no {key[0]}; the key may hold ip and route only"
        )
    if set(match.kinds) != {"api"} and (match.routes or match.tags):
        raise table.error("kinds", "other than 'api' have no routes")
    table.done()
    return match


def _cost(table: Table, routes: Mapping[str, tuple[str, ...]]) -> Cost:
    given = table.peek("cost")
    if not isinstance(given, Mapping):
        return Cost(base=table.whole("cost", 1, most=_MOST))
    below = table.table("cost")
    cost = Cost(
        base=below.whole("base", 1, most=_MOST),
        routes=_numbers(below, "routes", tuple(routes)),
        methods=_numbers(below, "methods", METHODS),
        per_object=below.whole("per_object", 0, most=_MOST),
        when=below.choice("when", ("before", "refund", "after"), "before"),
    )
    below.done()
    return cost


def _numbers(table: Table, key: str, allowed: tuple[str, ...]) -> dict[str, int]:
    below = table.table(key, {})
    numbers = {}
    for name in below:
        if name not in allowed:
            raise below.error(name, f"is not known; there is: {', '.join(allowed) or 'none'}")
        numbers[name] = below.whole(name, most=_MOST)
    return numbers


def _number(table: Table, key: str) -> tuple[int, Formula | None]:
    """A whole number, or a formula over the number of people."""
    if not isinstance(table.peek(key), Mapping):
        return table.whole(key, least=1, most=_MOST), None
    below = table.table(key)
    formula = Formula(
        base=below.whole("base", 0, most=_MOST),
        per_person=below.whole("per_person", least=1, most=_MOST),
        over=below.whole("over", 0, most=_MOST),
        least=below.whole("least", 1, least=1, most=_MOST),
        most=below.whole("most", _MOST, least=1, most=_MOST),
    )
    if formula.least > formula.most:
        raise below.error("least", f"must be at most 'most', which is {formula.most}")
    below.done()
    return formula.number(1), formula


def _rolling(name: str, table: Table, common: dict[str, Any]) -> Limit:
    number, formula = _number(table, "limit")
    _no_align(table)
    return Limit(name, "rolling_window", number, period_ns=_period(table), formula=formula, **common)


def _no_align(table: Table) -> None:
    """A rolling window has no edges; that its table still says where they were does no harm to `--set`."""
    table.choice("align", ("clock", "first_call", "offset"), "clock")
    table.text("zone", "UTC")


def _period(table: Table, key: str = "period") -> int:
    period_ns: int = table.duration_ns(key, least_ns=1_000_000)
    return period_ns


def _fixed(name: str, table: Table, common: dict[str, Any]) -> Limit:
    number, formula = _number(table, "limit")
    return Limit(name, "fixed_window", number, formula=formula, **_windows(table), **common)


def _windows(table: Table) -> dict[str, Any]:
    """Period, alignment and zone of fixed windows."""
    align = table.choice("align", ("clock", "first_call", "offset"), "clock")
    zone = table.text("zone", "UTC")
    try:
        zoneinfo.ZoneInfo(zone)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        raise table.error(
            "zone", f"{zone!r} is no time zone of the IANA database, such as 'UTC' or 'America/Los_Angeles'"
        ) from None
    if zone != "UTC" and align != "clock":
        raise table.error("zone", "means something only where align is 'clock'")
    if table.peek("period") == "month":
        table.text("period")
        if align != "clock":
            raise table.error("period", "'month' needs align = 'clock'")
        return {"period_ns": _MONTH_NS, "align": align, "zone": zone, "calendar": "month"}
    period_ns = _period(table)
    if zone != "UTC" and _DAY_NS % period_ns and period_ns % _DAY_NS:
        raise table.error("period", "must divide a day, or be whole days, where a time zone is given")
    return {"period_ns": period_ns, "align": align, "zone": zone}


def _bucket(name: str, table: Table, common: dict[str, Any]) -> Limit:
    number, formula = _number(table, "capacity")
    text = table.text("rate")
    match = _RATE.fullmatch(text)
    try:
        if match is None:
            raise ValueError
        unit = match[2] if match[2][0].isdigit() else f"1{match[2]}"
        rate = Fraction(match[1]) / parse_duration_ns(unit)
    except (ValueError, ZeroDivisionError):
        raise table.error(
            "rate", f"must be tokens and a time, such as '2/s' or '0.5/1m', not {text!r}"
        ) from None
    if not 0 < rate <= 1 or rate.denominator > 10**15:
        raise table.error("rate", f"must lie between 1 token in 11 days and 1 a nanosecond, not {text!r}")
    return Limit(name, "token_bucket", number, rate=rate, formula=formula, **common)


def _concurrency(name: str, table: Table, common: dict[str, Any]) -> Limit:
    number, formula = _number(table, "limit")
    min_age_ns = table.duration_ns("min_age", 0)
    return Limit(name, "concurrency", number, min_age_ns=min_age_ns, formula=formula, **common)


def _balance(name: str, table: Table, common: dict[str, Any]) -> Limit:
    number, formula = _number(table, "credits")
    windows: dict[str, Any] = {"period_ns": 0}
    if "period" in table:
        windows = _windows(table)
        if windows["align"] != "clock":
            raise table.error("align", "of a balance must be 'clock'")
    negative = table.flag("may_go_negative", True)
    return Limit(name, "balance", number, may_go_negative=negative, formula=formula, **windows, **common)


def _cardinality(name: str, table: Table, common: dict[str, Any]) -> Limit:
    number, formula = _number(table, "limit")
    of = table.choice("of", ("person", "tenant", "token", "ip", "object"))
    kinds = common["match"].kinds
    if of in common["key"]:
        raise table.error("of", f"{of!r} is part of the key, so there is never more than one")
    on_excess = table.choice("on_excess", ("refuse", "evict_oldest"), "refuse")
    if on_excess == "evict_oldest" and (kinds != ("token",) or of != "token"):
        raise table.error("on_excess", "'evict_oldest' needs of = 'token' and match.kinds = ['token']")
    if kinds == ("token",) and on_excess != "evict_oldest":
        raise table.error("on_excess", "of calls to the token endpoint must be 'evict_oldest'")
    if {"revoke", "introspect"} & set(kinds):
        raise table.error("match", "of a cardinality may name the kinds api, token and authorize only")
    if "authorize" in kinds and (kinds != ("authorize",) or of != "person" or common["key"] != ("app",)):
        raise table.error("match", "of kind 'authorize' alone needs of = 'person' and key = ['app']")
    return Limit(name, "cardinality", number, of=of, on_excess=on_excess, formula=formula, **common)


def _penalty(name: str, table: Table, common: dict[str, Any]) -> Limit:
    statuses = table.any("statuses")
    if (
        not isinstance(statuses, list)
        or not statuses
        or not all(isinstance(s, int) and not isinstance(s, bool) and 100 <= s <= 599 for s in statuses)
    ):
        raise table.error("statuses", f"must be a list of HTTP statuses from 100 to 599, not {statuses!r}")
    action = table.choice("action", ("block", "extend", "ban"), "block")
    block_ns = 0 if action == "ban" else _period(table, "block")
    limit = Limit(
        name,
        "penalty",
        table.whole("threshold", least=1, most=_MOST),
        period_ns=_period(table, "window"),
        statuses=tuple(statuses),
        action=action,
        block_ns=block_ns,
        escalation=table.whole("escalation", 1, least=1, most=1000) if action != "ban" else 1,
        longest_ns=table.duration_ns("longest", 366 * _DAY_NS) if action != "ban" else 0,
        forgive_ns=table.duration_ns("forgive", _DAY_NS) if action != "ban" else 0,
        **common,
    )
    if action != "ban" and limit.longest_ns < block_ns:
        raise table.error("longest", "must be no shorter than 'block'")
    return limit


def _opaque(name: str, table: Table, common: dict[str, Any]) -> Limit:
    floor = table.whole("floor", least=1, most=_MOST)
    ceiling = table.whole("ceiling", least=floor, most=_MOST)
    counts = table.choice("counts", ("rolling_window", "fixed_window"), "rolling_window")
    common["hidden"] = True
    windows = _windows(table) if counts == "fixed_window" else {"period_ns": _period(table)}
    return Limit(name, "opaque", 0, floor=floor, ceiling=ceiling, counts=counts, **windows, **common)


_KINDS = {
    "rolling_window": _rolling,
    "fixed_window": _fixed,
    "token_bucket": _bucket,
    "concurrency": _concurrency,
    "balance": _balance,
    "cardinality": _cardinality,
    "penalty": _penalty,
    "opaque": _opaque,
}
